"""``python -m pynb_dag_runner``: the command line, by a certain interpreter. It has few lines by its nature."""

import sys

from pynb_dag_runner.cli import main

if __name__ == "__main__":
    sys.exit(main())
