"""The command line: one file a command, and here the door: errors become exit codes.

============ ==========================================================================
exit code    when
============ ==========================================================================
0            all went well; of a run: all tasks succeeded
1            the run ended and some task did not succeed
2            nothing ran: bad usage, a bad pipeline, no such run folder
130          interrupted with Ctrl-C
141          who read our output stopped reading; as for any program that a pipe ended
============ ==========================================================================

Nothing here, nor at the top of a command's file, imports what ``--help`` does not need.

It may import every room; it must not know how any of them does its work: a command reads, calls and prints.
"""

import gc
import io
import os
import sys
from collections.abc import Sequence

import click

from pynb_dag_runner.cli.commands import CommandTable, ReaderGoneError
from pynb_dag_runner.cli.streams import open_standard_streams
from pynb_dag_runner.errors import PynbDagRunnerError, RecordingError, RunInterruptedError, UsageError

PROGRAM = "pynb-dag-runner"
EXIT_SUCCEEDED, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 0, 1, 2, 130, 141


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM, message="%(prog)s %(version)s")
def pynb_dag_runner() -> None:
    """Run pipelines of notebooks and Python functions in parallel on Ray.

    Every run leaves a folder of plain files, with a report.

    Exit codes: 0 all tasks succeeded, 1 some task did not, 2 nothing ran, 130 interrupted.
    """
    try:
        os.getcwd()  # noqa: PTH109 - pathlib takes a while to import
    except OSError as error:
        raise UsageError(f"there is no current directory any more ({error.strerror}); change to another one") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None for those of this process.

    Returns:
        The exit code. An error that nobody foresaw is raised: its traceback belongs into a bug report.
    """
    open_standard_streams()
    # What a command reads or runs lives until it ends: looking for garbage in it takes a third of the time of drawing.
    gc.set_threshold(50_000, 20, 100)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: a name must not fail to be shown
    try:
        code = pynb_dag_runner.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()  # here, so that a reader who went away is noticed while it can still be told
    except click.Abort:
        return _say("interrupted", EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (RecordingError, RunInterruptedError) as error:
        return _say(f"error: {error}", EXIT_FAILED)
    except PynbDagRunnerError as error:
        return _say(f"error: {error}", EXIT_USAGE)
    except (BrokenPipeError, ReaderGoneError):
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    return code if isinstance(code, int) else EXIT_SUCCEEDED


def _say(message: str, code: int) -> int:
    click.echo(message, err=True)
    return code


def _discard_stdout() -> None:
    """Python flushes stdout when it ends; without a reader that would fail once more, loudly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
