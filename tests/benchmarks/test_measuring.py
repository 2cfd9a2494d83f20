"""A command is measured from outside, with all that it starts, and nothing of it is left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.measuring import Measured, MeasurementFailed, measure

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"


def of_python(code: str, directory: Path) -> Measured:
    return measure([sys.executable, "-I", "-S", "-c", code], directory)


def test_time_output_and_directory_are_those_of_the_command(tmp_path: Path) -> None:
    before = time.time()
    found = of_python("import os, time; time.sleep(0.3); print(os.getcwd())", tmp_path)
    assert found.stdout == f"{tmp_path}\n"
    assert 0.3 <= found.wall_s < 60
    assert before <= found.started <= time.time() - found.wall_s
    assert found.cpu_s < 0.3


def test_processor_time_of_children_counts(tmp_path: Path) -> None:
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {BUSY!r}])"
    assert 0.3 <= of_python(code, tmp_path).cpu_s < 1


def test_processor_time_of_orphans_counts(tmp_path: Path) -> None:
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', {BUSY!r}], start_new_session=True)"
    assert 0.3 <= of_python(code, tmp_path).cpu_s < 1


def test_processor_time_of_children_that_nobody_waits_for_counts(tmp_path: Path) -> None:
    ignore = "import os, signal, subprocess, sys, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    busy = f"{BUSY}time.sleep(2)"  # until it has been looked at, on a busy machine too
    until_gone = "while os.path.exists(f'/proc/{child.pid}'): time.sleep(0.01)"
    code = f"{ignore}child = subprocess.Popen([sys.executable, '-S', '-c', {busy!r}])\n{until_gone}"
    assert 0.25 <= of_python(code, tmp_path).cpu_s < 1


def test_peak_memory_is_that_of_the_command_alone(tmp_path: Path) -> None:
    large = "data = b'x' * 200_000_000; import time; time.sleep(0.2)"
    assert 200e6 < of_python(large, tmp_path).peak_bytes < 250e6
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {large!r}])"
    assert of_python(child, tmp_path).peak_bytes < 100e6


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match=r"exit code 3, expected 0: .*\n.*it did not work"):
        of_python("import sys; print('it did not work', file=sys.stderr); sys.exit(3)", tmp_path)


def test_a_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match="exit code -9"):
        measure([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, bound_s=0.3)


def test_what_a_command_leaves_running_is_named_and_ended(tmp_path: Path) -> None:
    program = tmp_path / "stays-on"
    program.symlink_to("/bin/sleep")
    code = f"import subprocess\nsubprocess.Popen([{str(program)!r}, '61.5'], start_new_session=True)"
    with pytest.raises(MeasurementFailed, match="left running stays-on"):
        of_python(code, tmp_path)
    assert not [process for process in psutil.process_iter(["cmdline"]) if "61.5" in (process.info["cmdline"] or [])]


def test_an_interrupted_measurement_lets_the_command_clean_up(tmp_path: Path) -> None:
    command = (
        "import pathlib, time\n"
        "pathlib.Path('begun').touch()\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: pathlib.Path('cleaned').touch()\n"
    )
    measuring = (
        "import pathlib, sys\nfrom benchmarks.measuring import measure\n"
        "measure([sys.executable, '-c', sys.argv[1]], pathlib.Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", measuring, command, tmp_path],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that nobody but the process itself gets the signal
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert (tmp_path / "cleaned").exists()
