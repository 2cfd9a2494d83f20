"""Notebooks whose libraries the pipeline names, so that they are imported once for all of them."""

from pathlib import Path

from pynb_dag_runner import Pipeline, pipeline


@pipeline(preload=["pandas", "matplotlib.pyplot"])
def preloaded(p: Pipeline, notebook: Path, number: int) -> None:
    """The same notebook many times, side by side."""
    for index in range(number):
        p.notebook(notebook, name=f"{notebook.stem}-{index:03d}")
