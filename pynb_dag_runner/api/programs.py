"""What a run needs that a Python program starts: that no interruption is swallowed."""

import functools
from collections.abc import Callable
from typing import ParamSpec

from pynb_dag_runner.execute.runner import RunResult
from pynb_dag_runner.execute.signals import deliver_again, signal_of
from pynb_dag_runner.model.outcomes import RunStatus

_Arguments = ParamSpec("_Arguments")


def passes_interruptions_on(run: Callable[_Arguments, RunResult]) -> Callable[_Arguments, RunResult]:
    """Make a function that runs a pipeline let its program have the signals that the run had taken.

    The run has been ended in order by then. Without this a program would not notice, and begin its next run.
    """

    @functools.wraps(run)
    def passing_on(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> RunResult:
        try:
            result = run(*arguments, **options)
        except KeyboardInterrupt as error:  # before there was a run
            if (number := signal_of(error)) is not None:
                deliver_again(number)
            raise
        try:
            if result.interrupted_by is not None:
                deliver_again(result.interrupted_by)
            elif result.status is RunStatus.CANCELLED:  # an inline task was given the Ctrl-C itself
                raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            # No class of our own: only by KeyboardInterrupt itself does Python end as a program that Ctrl-C ended does.
            error.result = result  # type: ignore[attr-defined]
            error.add_note(f"The run was ended in order; its folder is {result.folder}")
            raise
        return result

    return passing_on
