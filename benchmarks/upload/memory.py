"""Peak memory of an upload for artifacts of several sizes, to an sqlite file and to a server.

    python -m benchmarks.upload.memory --megabytes 1 100 1000

Each upload is a process of its own. The largest file is kept twice below the directory for temporary files.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.upload.compare import server
from mlflow_bridge.store import open_store
from mlflow_bridge.store.target import resolve_target
from tests.bridge.uploads.upload_memory import peak_bytes, run_with_artifact


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Peak memory of an upload for artifacts of several sizes.")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 100, 1000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-memory-") as name, server(Path(name)) as address:
        file = f"sqlite:///{name}/direct/mlflow.db"
        open_store(resolve_target(file))
        print("artifact, MB | sqlite, peak MB | server, peak MB\n---|---|---")
        for megabytes in options.megabytes:
            folder = run_with_artifact(Path(name, str(megabytes)), megabytes * 1_000_000)
            peaks = [peak_bytes(folder, uri, f"{megabytes} MB") / 1e6 for uri in (file, address)]
            print(" | ".join([str(megabytes), *(f"{peak:.0f}" for peak in peaks)]), flush=True)


if __name__ == "__main__":
    main()
