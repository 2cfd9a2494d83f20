"""A run folder to be uploaded: one real run of many tasks that have the same parameters, metrics and files."""

import random
from pathlib import Path

from pynb_dag_runner import Pipeline, tracking

PARAMS, METRICS, FILES = 5, 10, 3
FILE_BYTES = 14_000


def task(seed: int) -> None:
    """Log what a small training would: parameters, metrics, a few files."""
    generator = random.Random(seed)
    for number in range(PARAMS):
        tracking.log_param(f"param_{number}", generator.random())
    tracking.log_metrics({f"metric_{number}": generator.random() for number in range(METRICS)})
    for number in range(FILES):
        tracking.log_text(generator.randbytes(FILE_BYTES // 2).hex(), f"file_{number}.txt")


def make_run_folder(directory: Path, tasks: int) -> Path:
    """Run ``tasks`` tasks; returns the run folder."""
    pipeline = Pipeline(f"upload-{tasks}", base_dir=directory)
    for number in range(tasks):
        pipeline.function(task, name=f"task-{number:05d}", parameters={"seed": number})
    return pipeline.run(executor="inline", progress=False, output_dir=directory / "runs").folder
