"""Notebooks that are measured: as text for us, and as .ipynb, with the same cells, for those who read only that."""

from collections.abc import Sequence
from pathlib import Path

import nbformat

from benchmarks.measuring import MeasurementFailed

TRIVIAL = ("number = 7", "square = number**2", "print(square)")

FIGURES = (
    "import matplotlib.pyplot as plt\nimport pandas as pd",
    "data = pd.DataFrame({'x': range(100)})\ndata['y'] = data['x'] ** 2\ndata.plot(x='x', y='y')\nplt.show()",
    "data.plot.hist(y='y', bins=20)\nplt.show()",
)

LARGE_OUTPUT_BYTES = 50_000_000
"""What a notebook of :func:`large_outputs` puts out; as much as the runner keeps of one notebook."""
_PART_BYTES = 9_900_000
"""The runner keeps 10 MB of one output."""


def large_outputs() -> Sequence[str]:
    """Cells whose outputs have 50 MB together."""
    parts = LARGE_OUTPUT_BYTES // _PART_BYTES
    show = "display({'text/html': text}, raw=True)"
    return (f"text = '<p>' + 'x' * {_PART_BYTES} + '</p>'", *[show] * parts)


def write_text(path: Path, cells: Sequence[str]) -> Path:
    """Write a notebook as Python text with cell markers."""
    path.write_text("".join(f"# %%\n{cell}\n\n" for cell in cells))
    return path


def write_ipynb(path: Path, cells: Sequence[str]) -> Path:
    """Write a notebook as Jupyter has it, for the kernel ``python3``."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


def check_sizes(folder: Path) -> None:
    """Evaluated notebooks hold what was put out.

    Raises:
        MeasurementFailed: one is smaller.
    """
    for path in folder.glob("tasks/*/attempt-1/notebook.ipynb"):
        if path.stat().st_size < 0.9 * LARGE_OUTPUT_BYTES:
            raise MeasurementFailed(f"{path}: {path.stat().st_size} bytes, expected {LARGE_OUTPUT_BYTES}")
