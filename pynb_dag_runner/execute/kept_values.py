"""Read return values that JSON can't hold back from a run folder. Nothing else unpickles what a run folder holds.

Unpickling runs whatever code a pickle names. So this is for folders of the user's own alone, to go on with a run;
reading, reporting and uploading never come here.
"""

import os
from pathlib import Path
from typing import Any

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.processes.pickling import ForeignClassError, loads_of_earlier
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.safe_read import existing


class UnavailableValueError(Exception):
    """A kept value can't be had; the message is a phrase."""


def check_own(folder: Path) -> None:
    """Refuse a run folder that is not this user's.

    Raises:
        RunFolderError: it belongs to somebody else.
    """
    owner, me = folder.stat().st_uid, os.geteuid()
    if owner != me:
        raise RunFolderError(
            folder, f"it belongs to user {owner}, and you are user {me}; only your own runs can be resumed"
        )


def read_kept_value(run_folder: Path, attempt_folder: Path) -> Any:
    """The return value that an attempt kept.

    Args:
        attempt_folder: relative to the run folder.

    Raises:
        UnavailableValueError: the file is not there, not this user's, or can't be unpickled.
    """
    path = attempt_folder / paths.RETURN_PICKLE
    try:
        if (run_folder / path).lstat().st_uid != os.geteuid():
            raise UnavailableValueError("its return value's file belongs to somebody else")
        if existing(run_folder, path) is None:
            raise UnavailableValueError("its return value stands behind a link")
        descriptor = os.open(run_folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnavailableValueError("its return value is not in the run folder any more") from None
    except OSError as error:
        raise UnavailableValueError(f"its return value can't be read: {error.strerror}") from None
    try:
        with open(descriptor, "rb") as file:
            return loads_of_earlier(file.read())
    except ForeignClassError as error:
        raise UnavailableValueError(f"its return value can't be read back: {error}") from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle, or a user's class, may raise anything
        raise UnavailableValueError(f"its return value can't be unpickled: {type(error).__name__}: {error}") from None
