"""Where temporary files go, and that none stays: whatever is read-only, missing, short, or killed."""

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pynb_dag_runner import find_runs, read_run
from pynb_dag_runner.cli import main
from pynb_dag_runner.cli.commands import COMMANDS
from pynb_dag_runner.errors import UsageError
from pynb_dag_runner.processes import private_directory
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE, SCRATCH_VARIABLE, PrivateDirectory
from tests.end_to_end.cli_process import PROGRAM, environment

BOUND_S = 200.0

PIPELINE = """
    import time
    from pathlib import Path
    from pynb_dag_runner import Pipeline, pipeline

    HERE = Path(__file__).parent

    def one():
        return Path.home().is_dir()

    def wait():
        (HERE / "waits").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)

    @pipeline
    def both(p: Pipeline):
        p.function(one)
        p.notebook("notebook.py")

    @pipeline
    def waiting(p: Pipeline):
        p.notebook("notebook.py", after=[p.function(wait)])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(dedent(PIPELINE))
    (tmp_path / "notebook.py").write_text("# %%\nprint('ran')\n")
    (tmp_path / "temporary").mkdir()
    return tmp_path


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def in_shell(script: str, project: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in the project; ``command`` comes before the shell."""
    return subprocess.run(
        [*command, "sh", "-c", script],
        cwd=project,
        env=environment({"RUN": str(PROGRAM), "TMPDIR": str(project / "temporary")}),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def needs(*command: str) -> tuple[str, ...]:
    """A command that starts others in surroundings of their own, where the system allows that."""
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"the system allows no {' '.join(command)}")
    return command


def log_of(project: Path) -> str:
    (folder,) = find_runs(project / "runs")
    return (folder / read_run(folder).by_name["notebook"].attempts[-1].folder / "output.log").read_text()


@pytest.mark.parametrize("executor", ["process", "ray"])
def test_a_run_needs_no_tmp_where_there_is_another_directory(project: Path, executor: str) -> None:
    script = f"""
        mount --bind $PWD /mnt && mount -t tmpfs -o ro none /tmp && cd /mnt || exit 9
        TMPDIR=/mnt/temporary $RUN run pipeline.py:both --executor {executor}
    """
    done = in_shell(script, project, *needs("unshare", "-Urm"))
    assert done.returncode == 0, done.stderr
    assert list((project / "temporary").iterdir()) == []


def test_a_home_that_is_read_only_leaves_nothing_elsewhere(project: Path) -> None:
    (project / "home").mkdir()
    script = """
        mount -t tmpfs -o ro none home
        HOME=$PWD/home $RUN run pipeline.py:both --executor process
    """
    done = in_shell(script, project, *needs("unshare", "-Urm"))
    assert done.returncode == 0, done.stderr
    assert list((project / "temporary").iterdir()) == []
    assert log_of(project) == "ran\n"


def test_a_user_whom_the_system_does_not_know_needs_no_home(project: Path) -> None:
    script = "unset HOME; $RUN run pipeline.py:both --executor process"
    done = in_shell(script, project, *needs("unshare", "-U", "--map-user=4242", "--map-group=4242"))
    assert done.returncode == 0, done.stderr
    (folder,) = find_runs(project / "runs")
    assert read_run(folder).by_name["one"].outputs == {"return": True}
    assert log_of(project) == "ran\n"


def test_too_few_open_files_are_told_at_once(project: Path) -> None:
    done = in_shell("ulimit -n 32; $RUN run pipeline.py:both --executor process", project)
    said = "error: a process may have no more than 32 files open here (ulimit -n); a run needs 128\n"
    assert (done.returncode, done.stderr) == (2, said)
    assert not (project / "runs").exists() or find_runs(project / "runs") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_that_is_gone_is_told_by_each_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main([command, "something"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no current directory any more (No such file or directory); change to another one\n"
    )


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_the_next_run_removes_what_a_run_left_that_was_killed_with_all_that_cleans_up(
    project: Path, executor: str
) -> None:
    temporary = project / "temporary"
    variables = environment({"TMPDIR": str(temporary)})
    command = [str(PROGRAM), "run", "pipeline.py:waiting", "--executor", executor]
    driver = subprocess.Popen(command, cwd=project, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((project / "waits").exists)
    (left,) = temporary.iterdir()
    watchdogs = [one for one in psutil.process_iter(["cmdline"]) if str(left) in (one.info["cmdline"] or [])]
    others = [*watchdogs, *psutil.Process(driver.pid).children(recursive=True)]
    assert bool(watchdogs) == (executor == "process")
    assert len(others) > len(watchdogs)  # fork servers, and what they forked
    for number in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(driver.pid, number)
        for process in others:
            process.send_signal(number)
    driver.wait()
    assert left.exists()
    (project / "go").touch()
    again = subprocess.run([*command, "--no-progress"], cwd=project, env=variables, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert list(temporary.iterdir()) == []


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def abandoned(place: Path, host: str, number: int) -> Path:
    directory = place / f"pdr-{number}"
    directory.mkdir()
    (directory / "owner").write_text(json.dumps({"host": host, "pid": 1, "number": number}))
    return directory


def test_only_what_nobody_holds_any_more_is_removed(temporary: Path) -> None:
    here = os.uname().nodename
    number = 2_000_000_000 * 10**9
    dead, elsewhere = abandoned(temporary, here, number), abandoned(temporary, "another.host", number + 1)
    held, young = abandoned(temporary, here, number + 2), temporary / "pdr-young"
    young.mkdir()
    (young / "owner").touch()
    (temporary / "pdr-foreign").mkdir()
    left = subprocess.Popen(["sleep", "600"], env={MARK_VARIABLE: str(number)})
    with (held / "owner").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with PrivateDirectory() as made:
            assert set(temporary.iterdir()) == {elsewhere, held, young, temporary / "pdr-foreign", made.place}
    assert not dead.exists()
    left.wait(BOUND_S)  # it was killed, which psutil has been told already


def test_it_is_made_where_others_can_not_rename_it(temporary: Path) -> None:
    temporary.chmod(0o777)
    with PrivateDirectory() as made:
        assert made.place.parent != temporary
        assert os.environ[SCRATCH_VARIABLE] == str(made.path)
    temporary.chmod(0o1777)
    with PrivateDirectory() as made:
        assert made.place.parent == temporary
        assert made.place.stat().st_mode & 0o777 == 0o700
    assert SCRATCH_VARIABLE not in os.environ


def test_without_any_place_there_is_no_run(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_directory, "_MORE_PLACES", ())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    temporary.chmod(0o777)
    words = f"TMPDIR can name one .others can rename what is in {temporary}: it is not sticky"
    with pytest.raises(UsageError, match=words):
        PrivateDirectory()


def test_a_long_way_has_a_short_one_that_others_find_too(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = temporary / ("long-" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with PrivateDirectory() as made:
        assert len(str(made.path)) < 40
        (made.place / "file").write_text("found")
        assert subprocess.run(["cat", made.path / "file"], capture_output=True, check=True).stdout == b"found"
    assert list(deep.iterdir()) == []
