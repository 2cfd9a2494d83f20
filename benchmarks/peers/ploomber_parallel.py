"""Ploomber with its parallel executor, in its own environment: NOTEBOOK NUMBER PROCESSES, as ``papermill_pool.py``."""

import sys
from pathlib import Path

# Not in this project's environment: see ploomber_environment.py.
from ploomber import DAG  # type: ignore[import-not-found]
from ploomber.executors import Parallel  # type: ignore[import-not-found]
from ploomber.products import File  # type: ignore[import-not-found]
from ploomber.tasks import NotebookRunner  # type: ignore[import-not-found]


def main() -> None:
    """Evaluate them all."""
    notebook, number, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dag = DAG(executor=Parallel(processes=processes, print_progress=False))
    for index in range(number):
        NotebookRunner(notebook, File(f"out-{index:03d}.ipynb"), dag=dag, name=f"notebook-{index:03d}")
    dag.build()


if __name__ == "__main__":
    main()
