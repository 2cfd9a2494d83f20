"""Uploads the same two runs to servers of old MLflow releases, and with old clients; prints what each of them loses.

Usage, from the project's root: ``python -m tests.bridge.releases [--servers RELEASE...] [--clients RELEASE...]``.
Each release has a virtual environment below ``build/mlflows``. Ends with 1 if one loses more than docs/mlflow.md says.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow_bridge.store.local_ui import free_port
from tests.bridge.targets.servers import running_mlflow

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "build" / "mlflows"
RUNS = {"quickstart": ROOT / "examples/quickstart/pipeline.py", "capturing": HERE / "capturing.py"}

LOST: Mapping[str, frozenset[str]] = {
    "2.22.1": frozenset({"timeline", "traces of tasks", "list of a run's models", "models"}),
    "3.1.4": frozenset({"timeline", "traces of tasks", "list of a run's models"}),
    "3.8.1": frozenset(),
    "3.16.0": frozenset(),
    "3.17.2": frozenset(),
}
"""What servers of these releases lose: what docs/mlflow.md says."""
CLIENTS = ("3.16.0", "3.17.2")

_KINDS = (
    ("timeline", re.compile(r"trace/\(pipeline\)/")),
    ("traces of tasks", re.compile(r"trace/")),
    ("models", re.compile(r"model/")),
    ("list of a run's models", re.compile(r"run/.*/models$")),
    ("datasets", re.compile(r"run/.*/dataset/")),
)
_OLD = re.compile(r"2\.|3\.\d\.")
"""Releases that want an SQLAlchemy of before 2.1, and a setuptools that has pkg_resources."""

Facts = Mapping[str, object]


def main() -> int:
    """Try all releases; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="*", default=list(LOST))
    parser.add_argument("--clients", nargs="*", default=list(CLIENTS))
    options = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="mlflow-releases-") as name:
        base = Path(name)
        here = Path(sys.executable)
        reference = _made_and_uploaded(here, base / "reference")
        for release in options.servers:
            found = _on_server(release, base)
            wrong += _said("server", release, _losses(reference, found, values=True))
        for release in options.clients:
            found = _made_and_uploaded(_environment(release), base / f"client-{release}")
            wrong += _said("client", release, _losses(reference, found, values=False))
    return min(wrong, 1)


def _said(role: str, release: str, losses: Mapping[str, Sequence[str]]) -> int:
    """Print what a release loses; 1 if that is not what the documentation says."""
    expected = LOST.get(release, frozenset()) if role == "server" else frozenset()
    right = losses.keys() == expected
    print(
        f"{role} {release}: loses {', '.join(sorted(losses)) or 'nothing'}{'' if right else '  <- NOT AS DOCUMENTED'}"
    )
    for kind in losses.keys() - expected:
        for fact in losses[kind][:5]:
            print(f"    {fact}")
    sys.stdout.flush()
    return not right


def _losses(reference: Facts, found: Facts, *, values: bool) -> dict[str, list[str]]:
    """Facts that are missing or different, by kind.

    Args:
        values: it is the same run; else only the names of things are alike.
    """
    losses: dict[str, list[str]] = {}
    for path, value in reference.items():
        if path in found and (found[path] == value or not values):
            continue
        kind = next((kind for kind, pattern in _KINDS if pattern.match(path.partition("/")[2])), "other things")
        losses.setdefault(kind, []).append(f"{path}: {value} -> {found.get(path, 'nothing')}"[:300])
    return losses


def _made_and_uploaded(python: Path, directory: Path) -> Facts:
    """Run both pipelines in an environment, and upload them to a file with it."""
    directory.mkdir()
    for pipeline in RUNS.values():
        _call(
            python,
            "-m",
            "pynb_dag_runner",
            "run",
            pipeline,
            "--executor",
            "process",
            "--output-dir",
            "runs",
            at=directory,
        )
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    _call(python, "-m", "pynb_dag_runner", "upload", "runs", "--tracking-uri", uri, at=directory)
    return _facts(python, uri)


def _on_server(release: str, base: Path) -> Facts:
    """Upload the runs of the reference to a server of a release; read it with a client of that release."""
    python, directory = _environment(release), base / f"server-{release}"
    backend = f"sqlite:///{directory / 'mlflow.db'}"
    port = free_port("127.0.0.1", 16000 + os.getpid() % 500 * 20)
    with running_mlflow(backend, directory, port, python=python) as uri:
        arguments = ("-m", "pynb_dag_runner", "upload", "runs", "--tracking-uri", uri)
        _call(Path(sys.executable), *arguments, at=base / "reference")
        return _facts(python, uri)


def _facts(python: Path, uri: str) -> Facts:
    facts: dict[str, object] = {}
    for experiment in RUNS:
        printed = _call(python, HERE / "contents.py", uri, experiment, at=HERE)
        facts |= {f"{experiment}/{path}": value for path, value in json.loads(printed).items()}
    return facts


def _call(python: Path, *arguments: str | Path, at: Path) -> str:
    """What a program of an environment prints; what is wrong with it is shown, and ends this."""
    done = subprocess.run([python, *arguments], cwd=at, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    done.check_returncode()
    return done.stdout


def _environment(release: str) -> Path:
    """The Python of a release's environment, made if it is not there."""
    directory = ENVIRONMENTS / release
    python = directory / "bin" / "python"
    if not (directory / "made").exists():
        others = ["sqlalchemy<2.1", "setuptools<80"] if _OLD.match(release) else []
        _run(".ci/make-venv", sys.executable, str(directory))
        _run(".ci/install", str(directory), "", f"mlflow=={release}", *others)
        (directory / "made").touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
