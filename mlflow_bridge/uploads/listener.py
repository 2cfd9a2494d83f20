"""What an upload tells while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What an upload tells while it goes on.

    Attributes:
        task_done: called with the number of tasks that are there and the number of all; from the uploading thread.
        waiting: called if another upload of the same folder has to be waited for.
        runs_done: of many uploads, called with the number of runs that are done and the number of all that are known so
            far: how many an archive holds shows when it is opened.
        stopping: of many uploads, called if nobody waits for them any more.
    """

    task_done: Callable[[int, int], None] = lambda done, total: None
    waiting: Callable[[], None] = lambda: None
    runs_done: Callable[[int, int], None] = lambda done, total: None
    stopping: Callable[[], None] = lambda: None


SILENT = Listener()
