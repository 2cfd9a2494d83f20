"""Attempts' folders with what MLflow's plugin would have put there, made without MLflow."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pynb_dag_runner.run_folder import AttemptRun

RUN = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
MODEL = "m-" + RUN

TABLES = """
CREATE TABLE experiments (experiment_id INTEGER, name VARCHAR);
CREATE TABLE runs (run_uuid VARCHAR, name VARCHAR, status VARCHAR, start_time BIGINT, end_time BIGINT,
                   lifecycle_stage VARCHAR, experiment_id INTEGER);
CREATE TABLE params (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
CREATE TABLE tags (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
CREATE TABLE metrics (key VARCHAR, value FLOAT, timestamp BIGINT, run_uuid VARCHAR, step BIGINT, is_nan BOOLEAN);
INSERT INTO experiments VALUES (0, 'Default');
"""
"""A few of MLflow's; readers have to do with what is there."""


def attempt_at(folder: Path) -> AttemptRun:
    """An attempt with this folder, relative to the run folder."""
    return AttemptRun(folder=folder, number=1)


def make_capture(run_folder: Path, *statements: str, tables: str = TABLES) -> AttemptRun:
    """An attempt whose database holds ``tables`` and what the statements make of them."""
    folder = run_folder / "tasks/train/attempt-1"
    (folder / "mlflow").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "mlflow/mlflow.db")) as connection:
        connection.executescript(tables + ";".join(statements))
    return attempt_at(folder.relative_to(run_folder))


def insert_run(run_id: str = RUN, name: str = "run", start_ms: int = 1) -> str:
    return f"INSERT INTO runs VALUES ('{run_id}', '{name}', 'FINISHED', {start_ms}, 9, 'active', 0)"
