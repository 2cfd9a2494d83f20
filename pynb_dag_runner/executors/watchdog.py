"""Ends what an executor started when the driver is gone, however it went."""

import os
import subprocess

from pynb_dag_runner.processes import marks
from pynb_dag_runner.processes.environment import set_variables
from pynb_dag_runner.processes.private_directory import MARK_VARIABLE, PrivateDirectory

_OWN_VARIABLES = "PYNB_DAG_RUNNER_"
_KEEP_ENVIRONMENT = "SPT_NOENV"
"""Asks setproctitle, with which Ray names its processes, not to write the name over the environment (its README)."""

_SCRIPT = """
exec 3<&0
(
    read -r ended
    for attempt in 1 2 3; do
        pids=$(
            {
                grep -slzxF "$1" /proc/[0-9]*/environ
                grep -slE "^Max file locks +$3[0-9]{9} " /proc/[0-9]*/limits |
                    sed 's/limits$/status/' | xargs -r grep -sLE '^State:[[:space:]]+[ZX]'
            } | cut -d/ -f3
        )
        [ -z "$pids" ] && break
        kill -9 $pids 2>/dev/null
        sleep 0.2
    done
    [ "$ended" = in-order ] && exit
    for attempt in 1 2 3 4 5; do
        rm -rf "$2" 2>/dev/null && break
        sleep 0.2
    done
) <&3 &
"""
"""Waits for a line, or the end of its input: the pipe from its starter closes when that ends, also by SIGKILL.

Zombies, which no signal ends, are left out: they have no environment, but limits.

In the background, so that it is no child of its starter: when a Ray worker ends, Ray kills the worker's children.
"""


class Watchdog:
    """A shell that outlives this process for a moment, to kill what is left and to remove its directory.

    PR_SET_PDEATHSIG ends Ray's own servers with the driver, but not the agents that those start (seen with Ray 2.60:
    they live on for minutes), nor the children of tasks.

    Args:
        directory: what is started meanwhile bears its mark. If this process ends without closing the watchdog, it is
            removed.
    """

    def __init__(self, directory: PrivateDirectory) -> None:
        self._number_before, number = marks.own(), directory.number
        mark = str(number)
        arguments = [f"{MARK_VARIABLE}={mark}", str(directory.place), mark[: marks.RUN_DIGITS]]
        # Started before the mark is set, so that it does not bear it itself; in a session of its own, so that Ctrl-C at
        # the terminal does not end it first.
        with marks.with_number(0):  # nor that of a task which has a run of its own
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "sh", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)},
            )
        self._shell.wait()
        self._before = set_variables({MARK_VARIABLE: mark, _KEEP_ENVIRONMENT: "1"})
        marks.set_number(number)

    def close(self) -> None:
        """Let it do its work, and wait until it has."""
        marks.set_number(self._number_before)
        set_variables(self._before)
        # This ends with the end of its output, which the part in the background holds.
        self._shell.communicate(b"in-order\n")
