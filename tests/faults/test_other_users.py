"""Another user of the machine tries to get into a run: nothing temporary of it can be entered, renamed or replaced."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner.executors import EXECUTOR_NAMES
from pynb_dag_runner.executors.hosts.supervisor import Host
from pynb_dag_runner.executors.on_ray.lane_worker import serve
from pynb_dag_runner.processes.fork_server import wire
from pynb_dag_runner.processes.fork_server.client import ForkRefused, ask
from pynb_dag_runner.processes.fork_server.wire import ForkRequest
from tests.end_to_end.cli_process import PROGRAM, environment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user, too")

OTHER_USER = 65534
BOUND_S = 200.0

NOTEBOOK = """
    # %%
    import time
    from pathlib import Path
    print("a secret", flush=True)
    Path("notebook").touch()
    while not Path("go").exists():
        time.sleep(0.05)
"""
PIPELINE = """
    import time
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    def wait():
        (HERE / "function").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)

    @pipeline
    def waiting(p: Pipeline):
        p.notebook("notebook.py")
        p.function(wait)
"""


def as_another_user(attack: Callable[[list[Path]], list[str]], paths: list[Path]) -> list[str]:
    """What a call gives in a process of another user."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(OTHER_USER)
            os.setuid(OTHER_USER)
            os.write(theirs, json.dumps(attack(paths)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return list(json.loads(said))


def successes(paths: list[Path]) -> list[str]:
    """What can be done to files, directories and sockets."""
    tries: dict[str, Callable[[Path], object]] = {
        "rename": lambda path: path.rename(path.with_name("renamed")),
        "open to all": lambda path: path.chmod(0o777),
        "remove": lambda path: path.rmdir() if path.is_dir() else path.unlink(),
        "list": os.listdir,
        "read": Path.read_bytes,
        "connect": connected,
        "put something there": lambda path: path.with_name("other").touch(),
        "bind in it": lambda path: bound(path / "socket"),
    }
    done = []
    for path in paths:
        for name, attempt in tries.items():
            try:
                attempt(path)
            except OSError:
                continue
            done.append(f"{name}: {path}")
    return done


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def answers(paths: list[Path]) -> list[str]:
    """What listeners answer to whoever asks for a process, before they close the connection."""
    request = ForkRequest(arguments=(), cwd="/", environment={})
    said = []
    for path in paths:
        with connected(path) as connection:
            connection.settimeout(BOUND_S)
            try:
                wire.send(connection, request, [1, 2])
                said.append(connection.recv(100).decode())
            except ConnectionError:
                said.append("")
            except TimeoutError:
                said.append("it waits for more")
    return said


@dataclass(frozen=True)
class Running:
    """A run in which all tasks wait.

    Attributes:
        place: its private directory, where everybody may make files.
    """

    executor: str
    process: psutil.Process
    place: Path


@pytest.fixture(scope="module", params=EXECUTOR_NAMES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    project = tmp_path_factory.mktemp("project")
    (project / "notebook.py").write_text(dedent(NOTEBOOK))
    (project / "pipeline.py").write_text(dedent(PIPELINE))
    public = Path(tempfile.mkdtemp(dir="/tmp"))
    public.chmod(0o1777)
    variables = {"TMPDIR": str(public), "RAY_AUTH_MODE": "disabled"}
    command = [str(PROGRAM), "run", "pipeline.py", "--executor", request.param]
    run = subprocess.Popen(command, cwd=project, env=environment(variables), stderr=subprocess.PIPE, text=True)
    try:
        expected = ["notebook"] if request.param == "inline" else ["notebook", "function"]
        give_up = time.monotonic() + BOUND_S
        while not all((project / name).exists() for name in expected):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        (place,) = public.iterdir()
        yield Running(request.param, psutil.Process(run.pid), place)
    finally:
        (project / "go").touch()
        _, said = run.communicate(timeout=BOUND_S)
        left = list(public.iterdir())
        shutil.rmtree(public)
    assert (run.returncode, left) == (0, []), said


def everything_of(place: Path) -> list[Path]:
    return [place, *place.rglob("*")]


def is_socket(path: Path) -> bool:
    return stat.S_ISSOCK(path.lstat().st_mode)


def test_nothing_of_a_run_can_be_reached(running: Running) -> None:
    paths = everything_of(running.place)
    least = {"inline": 5, "process": 5, "ray": 8}  # a kernel's, and what Ray and its lanes add
    assert len([path for path in paths if is_socket(path)]) >= least[running.executor]
    beside = running.place.with_name("other")  # everybody may
    assert as_another_user(successes, paths) == [f"put something there: {running.place}"]
    beside.unlink()


def test_those_who_listen_say_nothing_to_others_even_where_the_directory_is_open(running: Running) -> None:
    own = [path for path in everything_of(running.place) if path.name.startswith("lanes-") or path.name == "base"]
    assert own
    opened = {
        path: path.stat().st_mode for one in own for path in (one, *one.parents) if path.is_relative_to(running.place)
    }
    try:
        for path in opened:
            path.chmod(0o777)
        assert as_another_user(answers, own) == [""] * len(own)
    finally:
        for path, mode in opened.items():
            path.chmod(stat.S_IMODE(mode))


def listening(running: Running) -> list[tuple[str, str, int]]:
    """Name of the process, address and port, of all that a run's processes listen to."""
    return [
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in (running.process, *running.process.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_a_run_listens_on_the_loopback_interface_alone(running: Running) -> None:
    found = listening(running)
    assert {ip.removeprefix("::ffff:") for _, ip, _ in found} <= {"127.0.0.1"}, found
    assert (running.executor == "ray") == any(name == "gcs_server" for name, _, _ in found)


ASK_RAY = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_keys(b""))
"""


def test_ray_answers_nobody_who_has_not_its_token(running: Running) -> None:
    if running.executor != "ray":
        return
    (port,) = [port for name, _, port in listening(running) if name == "gcs_server"]
    asked = subprocess.run(
        [sys.executable, "-c", ASK_RAY, f"127.0.0.1:{port}"],
        env={"PATH": os.environ["PATH"], "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert asked.returncode != 0
    assert "token is missing or incorrect" in asked.stderr


@pytest.fixture
def impostor() -> Iterator[Path]:
    """A socket at which another user listens, in a directory that everybody can write to."""
    public = Path(tempfile.mkdtemp(dir="/tmp"))
    public.chmod(0o1777)
    path = public / "socket"
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(OTHER_USER)
            listener = bound(path)
            os.write(theirs, b"listening")
            accepted, _ = listener.accept()
            accepted.recv(100)
        finally:
            os._exit(0)
    os.close(theirs)
    assert os.read(ours, 100) == b"listening"
    os.close(ours)
    yield path
    os.waitpid(pid, 0)
    shutil.rmtree(public)


def test_a_fork_server_of_another_user_is_not_asked(impostor: Path) -> None:
    request = ForkRequest(arguments=(), cwd="/", environment={"A": "secret"})
    with pytest.raises(ForkRefused, match="another user listens there"):
        ask(impostor, request, [1, 2])


def test_nothing_is_taken_from_another_user_in_the_place_of_the_driver(impostor: Path) -> None:
    with pytest.raises(PermissionError, match="another user listens there"):
        next(serve(str(impostor), b"token", [], Host))
