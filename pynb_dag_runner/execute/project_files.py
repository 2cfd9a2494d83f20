"""Choose the files of a pipeline's project that its tasks need on machines without the project."""

import sys
from pathlib import Path

from pynb_dag_runner.executors.project import PackedProject, pack
from pynb_dag_runner.model.graph import Dag, NotebookSource


def project_of(dag: Dag, base_dir: Path) -> PackedProject:
    """The files of a pipeline's project; see :func:`~pynb_dag_runner.executors.project.pack`."""
    sources = [task.source for task in dag.tasks if isinstance(task.source, NotebookSource)]
    directories = [directory for source in sources for directory in (source.path.parent, source.cwd) if directory]
    return pack(base_dir, directories, [entry for entry in sys.path if entry])
