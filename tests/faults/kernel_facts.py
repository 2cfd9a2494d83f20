"""What a process can know of itself, as expressions: what must not depend on how it came about, and the rest."""

from textwrap import indent

IMPORTS = """
import asyncio, gc, json, locale, logging, os, random, resource, signal, sys, tempfile, threading, time, uuid, warnings
from collections import Counter
from pathlib import Path

def files():
    "What is open, by kind: numbers and their order differ from one start to the next."
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        if entry.name == "0":
            continue  # see "standard input"
        try:
            found.append(entry.readlink().name.partition(":")[0])
        except FileNotFoundError:
            pass  # the look itself
    return Counter(found)

def status(*names):
    lines = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [lines.get(name) for name in names]

def own(module):
    return sorted(name for name in vars(module) if not name.startswith("_i"))
"""

SAME = {
    "the program's name and arguments": "[sys.argv[0], *sys.argv[1:-1], Path(sys.argv[-1]).name]",
    "how the interpreter was called": "sys.orig_argv[:-1]",
    "where modules are looked for": "sys.path",
    "who finds and loads modules": "[repr(type(one)) for one in [*sys.meta_path, *sys.path_hooks]]",
    "working directory": "os.getcwd()",
    "files": "{kind: number for kind, number in files().items() if kind not in ('socket', 'anon_inode')}",
    "standard input": "os.read(0, 1).hex()",  # at its end: /dev/null, or a pipe that was closed
    "umask": "status('Umask')",
    "signal mask, and which are ignored and caught": "status('SigBlk', 'SigIgn', 'SigCgt')",
    "signal handlers": "{one.name: getattr(h := signal.getsignal(one), '__name__', repr(h)) for one in signal.Signals}",
    "limits": "{n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_')}",
    "place in the line when memory is short": "Path('/proc/self/oom_score_adj').read_text()",
    "scheduling": "[os.nice(0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))]",
    "privileges and control group": "status('CapEff', 'NoNewPrivs', 'Seccomp', 'Uid', 'Gid', 'Groups')"
    " + [Path('/proc/self/cgroup').read_text()]",
    "it leads a session": "[os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()]",
    "time zone": "[time.tzname, time.timezone, time.strftime('%H', time.gmtime(0)), time.localtime(0).tm_hour]",
    "locale and encodings": "[locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), sys.stdout.encoding]",
    "interpreter's flags": "[repr(sys.flags), sys.dont_write_bytecode, repr(sys.warnoptions)]",
    "interpreter's bounds": "[gc.get_threshold(), gc.isenabled(), sys.getrecursionlimit(), sys.getswitchinterval()]",
    "interpreter's hooks": "[getattr(one, '__qualname__', type(one).__name__) for one in"
    " (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook, threading.excepthook)]",
    "warnings": "sorted(repr(one) for one in warnings.filters)",
    "logging": "[logging.root.level, repr(logging.root.handlers)]",
    "event loop": "[repr(type(asyncio.get_running_loop() if asyncio._get_running_loop() else None)),"
    " repr(type(asyncio.get_event_loop_policy()))]",
    "the main module": "[__name__, vars(sys.modules['__main__']) is globals(), repr(type(__builtins__))]",
    "names in it": "own(sys.modules['__main__'])",
    "threads of Python": "sorted(one.name for one in threading.enumerate() if one.name != 'Thread-1')",
    "streams": "[repr(type(one)) for one in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__)]",
    "IPython": "[get_ipython().ipython_dir, repr(type(get_ipython())), repr(type(get_ipython().kernel))]",
    "history": "repr(get_ipython().history_manager.hist_file)",
    "environment": "{n: v for n, v in os.environ.items() if not n.startswith('PYNB_DAG_RUNNER_') and n not in OWN}",
    "matplotlib": "(lambda m: None if m is None else"
    " [m.get_backend(auto_select=False), {n: repr(v) for n, v in m.rcParams.items() if n != 'backend'}])"
    "(sys.modules.get('matplotlib'))",
}
"""By what each is: a kernel's notebook sees the same, forked or started, first or last."""

OTHERS = {
    # A forked kernel may have more: what the server and a preload imported.
    "modules": "sorted(sys.modules)",
    # zmq's, whose number depends on how the client met the kernel.
    "sockets": "[files()['socket'], files()['anon_inode']]",
    # A started kernel has a thread that looks whether its parent is there; a forked one is ended by its server.
    "number of threads": "len(os.listdir('/proc/self/task'))",
    "drawn": "[random.random(), uuid.uuid4().hex, next(tempfile._get_candidate_names()),"
    " *(float(n.random.random()) for n in [sys.modules.get('numpy')] if n)]",
    "mark": "[entry for entry in Path('/proc/self/environ').read_text().split(chr(0))"
    " if entry.startswith('PYNB_DAG_RUNNER_')]",
}

CELL = f"""
OWN = {("JPY_PARENT_PID", "MLFLOW_TRACKING_URI", "PYDEVD_USE_FRAME_EVAL", "RAY_AUTH_TOKEN")}
{IMPORTS}
facts = {{
{indent("".join(f"{name!r}: {expression},{chr(10)}" for name, expression in (SAME | OTHERS).items()), "    ")}}}
"""
"""A cell that leaves all of them in ``facts``."""
