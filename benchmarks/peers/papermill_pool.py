"""papermill alone: ``python papermill_pool.py NOTEBOOK NUMBER PROCESSES`` writes evaluated notebooks here.

With one process the notebooks are evaluated one after another, without a pool.
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import papermill


def evaluate(notebook: str, output: str) -> None:
    """Evaluate one notebook, without papermill's progress bar and log."""
    papermill.execute_notebook(notebook, output, progress_bar=False, log_output=False)


def main() -> None:
    """Evaluate them all."""
    notebook, number, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    outputs = [f"out-{index:03d}.ipynb" for index in range(number)]
    if processes == 1:
        for output in outputs:
            evaluate(notebook, output)
        return
    # papermill is imported before the processes are forked: that is in the pool's favour.
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(evaluate, [notebook] * number, outputs))


if __name__ == "__main__":
    main()
