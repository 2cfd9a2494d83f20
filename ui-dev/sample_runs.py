"""Makes sample run folders, by really running the sample pipeline: every end that a run can have, once.

`python ui-dev/sample_runs.py DIRECTORY` makes them in a directory and prints their paths.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAM = Path(sys.executable).parent / "pynb-dag-runner"
PIPELINE = Path(__file__).parent / "pipelines" / "temperatures.py"

_INDEX = "samples.json"
_RUNS_AT_ONCE = 3
_PATIENCE_S = 120.0
_POLL_S = 0.05
_TIMEOUT_S = 8
"""Of the notebook that hangs. It has to get as far as to hang in that time: the kernel starts in 1 to 3 s."""
_FEWER_DEGREES = [1, 2]
"""One task fewer in each run that is there to be compared with another."""


class SampleError(Exception):
    """A sample run did not end as it should."""


@dataclass(frozen=True, kw_only=True)
class SampleRuns:
    """The run folders, by how their runs ended.

    The three that succeeded differ in the parameter `noise`, so that there is something to compare. In the others it is
    the task `clean` that does not succeed: it raises in both of its attempts, hangs until its time is over, or runs
    while the runner is killed.
    """

    succeeded: Path
    less_noise: Path
    more_noise: Path
    failed: Path
    timed_out: Path
    interrupted: Path

    @property
    def by_name(self) -> Mapping[str, Path]:
        """All of them: name for people -> run folder."""
        return {name.replace("_", " "): folder for name, folder in vars(self).items()}


def make_sample_runs(directory: Path) -> SampleRuns:
    """Run the sample pipeline in all its ways; takes half a minute on two cores.

    Args:
        directory: gets the run folders; an index of them is written last.

    Raises:
        SampleError: a run did not end as it should.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with ThreadPoolExecutor(_RUNS_AT_ONCE) as pool:

        def start(exit_code: int, **parameters: object) -> Future[Path]:
            return pool.submit(_finished_run, directory, exit_code, parameters)

        runs = {
            "interrupted": pool.submit(_interrupted_run, directory / "interrupted", stop),
            "timed_out": start(1, fault="hang", timeout_s=_TIMEOUT_S),
            "failed": start(1, fault="raise"),
            "succeeded": start(0),
            "less_noise": start(0, noise=0.5, degrees=_FEWER_DEGREES),
            "more_noise": start(0, noise=4.0, degrees=_FEWER_DEGREES),
        }
        try:
            samples = SampleRuns(**{name: run.result() for name, run in runs.items()})
        except BaseException:
            # Ctrl-C as well: what runs gets it, too; what waits must not be started after it.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    index = {name: str(folder.relative_to(directory)) for name, folder in vars(samples).items()}
    (directory / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return samples


def read_sample_runs(directory: Path) -> SampleRuns | None:
    """The samples that were made in a directory before; None if they were not, or not all of them."""
    index = directory / _INDEX
    if not index.exists():
        return None
    return SampleRuns(**{name: directory / path for name, path in json.loads(index.read_text("utf-8")).items()})


def _command(directory: Path, parameters: Mapping[str, object]) -> list[str]:
    """Without Ray, which takes longer to start than all tasks take."""
    command = [str(PROGRAM), "run", str(PIPELINE), "--output-dir", str(directory), "--num-cpus", "2"]
    command += ["--executor", "process"]
    for name, value in parameters.items():
        command += ["-p", f"{name}={value}"]
    return command


def _finished_run(directory: Path, exit_code: int, parameters: Mapping[str, object]) -> Path:
    """Run the pipeline to its end; the run folder."""
    done = subprocess.run(
        _command(directory, parameters),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode != exit_code:
        raise SampleError(f"{PIPELINE.name} with {dict(parameters)}: exit code {done.returncode}\n{done.stderr}")
    return Path(done.stdout.strip())


def _interrupted_run(directory: Path, stop: threading.Event) -> Path:
    """Kill the runner while a notebook runs, as a machine does that is switched off; the run folder.

    Args:
        stop: when set, nobody is interested any more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "runner.log").open("wb") as log:
        runner = subprocess.Popen(
            _command(directory, {"fault": "hang"}), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until(lambda: _hangs(directory), runner)
        writing = psutil.Process(runner.pid).children(recursive=True)
    finally:
        runner.kill()
        runner.wait()
    # Kernel and worker notice and end by themselves; nobody writes to the folder after that.
    give_up = time.monotonic() + _PATIENCE_S
    while writing and not stop.is_set():
        if time.monotonic() > give_up:
            raise SampleError(f"these processes outlived their killed runner: {writing}")
        _, left = psutil.wait_procs(writing, timeout=1)
        writing = [process for process in left if _lives(process)]
    (folder,) = directory.glob("*/*/run.json")
    return folder.parent


def _lives(process: psutil.Process) -> bool:
    """A zombie does not; it stays for ever where nobody asks how orphans ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _hangs(directory: Path) -> bool:
    """Has the task that hangs been started, and come to the cell where it hangs?"""
    started = any(
        json.loads(line).items() >= {"event": "attempt_started", "task": "clean"}.items()
        for events in directory.glob("*/*/events.jsonl")
        for line in events.read_text("utf-8").splitlines(keepends=True)
        if line.endswith("\n")
    )
    logs = directory.glob("*/*/tasks/clean/attempt-1/output.log")
    return started and any("waiting for the weather station" in log.read_text("utf-8") for log in logs)


def _wait_until(happened: Callable[[], bool], runner: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not happened():
        if runner.poll() is not None:
            raise SampleError(f"the runner that was to be killed had ended, with exit code {runner.returncode}")
        if time.monotonic() > give_up:
            raise SampleError(f"the run that was to be interrupted did not come to its hang within {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)


def main() -> None:
    """Make the samples and print where they are."""
    parser = argparse.ArgumentParser(description="Make sample run folders by running the sample pipeline.")
    parser.add_argument("directory", type=Path, help="gets the run folders")
    for name, folder in make_sample_runs(parser.parse_args().directory.absolute()).by_name.items():
        print(f"{name:12} {folder}")


if __name__ == "__main__":
    main()
