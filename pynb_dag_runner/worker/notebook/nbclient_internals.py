"""What is private to nbclient: the loop that waits for what a cell puts out."""

from queue import Empty
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete

from pynb_dag_runner.processes.changed_names import note, problem_of

TESTED_RELEASES = ("0.8", "0.11")
"""The oldest and the newest minor release for which the tests pass."""

_SILENCE_S = 10.0
"""A kernel that has replied, but not said that the cell is over, and is silent for so long: that message was lost."""

_PROBLEM = problem_of(
    NotebookClient, "_async_poll_output_msg", "self", "parent_msg_id", "cell", "cell_index", awaited=True
)
if _PROBLEM is not None:
    note(
        "nbclient",
        _PROBLEM,
        "what child processes print comes at the end of a cell, and a cell whose last message is lost runs on",
    )


class PatientClient(NotebookClient):
    """nbclient's, which does not wait for ever for a message that was dropped, and shows all messages as they come."""

    def sees(self, msg: dict[str, Any]) -> None:
        """A message came, of whatever cell; called before it is processed, if nbclient lets us."""

    def misses_messages(self) -> None:
        """The kernel has dropped messages of the cell that runs."""

    if _PROBLEM is None:

        async def _async_poll_output_msg(self, parent_msg_id: str, cell: Any, cell_index: int) -> None:
            assert self.kc is not None
            while True:
                try:
                    msg = await self.kc.iopub_channel.get_msg(timeout=_SILENCE_S)
                except Empty:
                    if "shell.execute_reply" in cell["metadata"].get("execution", {}):
                        self.misses_messages()
                        return
                    continue
                self.sees(msg)
                if msg["parent_header"].get("msg_id") == parent_msg_id:
                    try:
                        self.process_message(msg, cell, cell_index)
                    except CellExecutionComplete:
                        return
