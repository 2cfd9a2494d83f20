"""Fills a throw-away MLflow store with sample runs and starts MLflow's UI on it, until Ctrl-C."""

import argparse
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sample_runs import SampleError, SampleRuns, make_sample_runs, read_sample_runs
from sample_store import StoreProblem, UploadedRun, fill_store, running_ui

STORE = Path(__file__).parent / "store"
"""Git ignores it; it can be deleted at any time."""


def main() -> None:
    """Parse the command line, fill the store, serve it."""
    arguments = _arguments()
    # The server must not outlive this process. A shell that starts it in the background lets it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        samples = _samples(STORE / "runs", fresh=arguments.fresh)
        if arguments.fresh or arguments.upload_anew:
            shutil.rmtree(STORE / "mlflow", ignore_errors=True)
        print("Uploading …", file=sys.stderr)
        _serve(samples, fill_store(STORE / "mlflow", samples.by_name), arguments.port)
    except (SampleError, StoreProblem) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="run the sample pipelines anew, and fill a new store")
    parser.add_argument("--upload-anew", action="store_true", help="fill a new store with the runs that are there")
    parser.add_argument("--port", type=int, default=5000, help="of the UI; if taken, the next free one (default: 5000)")
    return parser.parse_args()


def _samples(directory: Path, *, fresh: bool) -> SampleRuns:
    samples = None if fresh else read_sample_runs(directory)
    if samples is not None:
        print(f"The sample runs are there ({directory}); --fresh makes them anew.", file=sys.stderr)
        return samples
    print("Running the sample pipelines; takes less than a minute …", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    return make_sample_runs(directory)


def _serve(samples: SampleRuns, uploads: Mapping[str, UploadedRun], port: int) -> None:
    print("Starting the UI …", file=sys.stderr)
    with running_ui(STORE / "mlflow", port) as (address, process):
        print(f"MLflow       {address}{uploads['succeeded'].experiment_page}")
        for name, folder in samples.by_name.items():
            print(f"\n{name}\n  in MLflow  {address}{uploads[name].page}")
            if (folder / "report.html").exists():
                print(f"  report     {(folder / 'report.html').as_uri()}")
            else:
                print(f"  run folder {folder}")
        print("\nCtrl-C ends it.", flush=True)
        process.wait()
        raise StoreProblem(f"the UI has ended by itself; its last words are in {STORE / 'mlflow' / 'ui.log'}")


if __name__ == "__main__":
    main()
