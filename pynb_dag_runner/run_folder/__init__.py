"""The run folder: plain files that hold everything that happened in one run.

``paths`` knows every file name, ``records`` the content of each file, ``writer`` and ``reader`` do the work, ``run`` is
what a reader gets. ``docs/run-folder.md`` describes the format for people, ``schema/*.json`` for machines.

It may import values, events and ``errors``; it must not know how a run is executed or drawn.
"""

from pynb_dag_runner.run_folder.reader import find_runs, read_attempt_details, read_run, read_run_record
from pynb_dag_runner.run_folder.records import RunRecord
from pynb_dag_runner.run_folder.run import AttemptDetails, AttemptRun, Run, TaskRun

__all__ = [
    "AttemptDetails",
    "AttemptRun",
    "Run",
    "RunRecord",
    "TaskRun",
    "find_runs",
    "read_attempt_details",
    "read_run",
    "read_run_record",
]
