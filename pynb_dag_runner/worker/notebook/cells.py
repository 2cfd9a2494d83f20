"""Execute single cells with nbclient on a kernel of ours, with bounded outputs."""

import codecs
import contextlib
from typing import Any

from pynb_dag_runner.model.output_limits import CELL_TEXT_CHARACTERS, WIDGET_BYTES
from pynb_dag_runner.secrets.masking import NO_SECRETS, RedactedStream, Redactor
from pynb_dag_runner.worker.descriptors import MARK_FIELD
from pynb_dag_runner.worker.kernels.kernel import Kernel
from pynb_dag_runner.worker.logs import Log
from pynb_dag_runner.worker.notebook.nbclient_internals import PatientClient
from pynb_dag_runner.worker.notebook.outputs import DISPLAYED, Outputs, bounded_error, size_of

_NO_LIMIT_S = 10 * 365 * 24 * 3600
"""nbclient takes a whole number of seconds only."""
_OF_A_WIDGET = frozenset(("_model_name", "_model_module"))
"""Are in the state of each widget from its beginning."""


class CellClient(PatientClient):
    """Executes cells; what they print also goes to a log.

    Attributes:
        left: a cell called IPython's ``exit()``, which asks for the end without raising anything.
    """

    def __init__(
        self, notebook: Any, kernel: Kernel, log: Log, outputs: Outputs, redactor: Redactor = NO_SECRETS
    ) -> None:
        # No limit for messages to arrive: the notebook's own timeout is the limit (papermill issue 426).
        super().__init__(
            notebook,
            km=kernel.manager,
            iopub_timeout=_NO_LIMIT_S,
            on_cell_complete=self._sent,
            on_cell_executed=self._look_for_exit,
        )
        self.left = False
        self.kc = kernel.client
        self._task_log = log
        self._bounded = outputs
        self._redactor = redactor
        self._streams: dict[str, RedactedStream] = {}
        self._for_widgets = CELL_TEXT_CHARACTERS
        self._descriptors = kernel.descriptors
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._written: dict[str, RedactedStream] = {}
        self._running: tuple[Any, int] | None = None
        kernel.printed = self._take_written
        self.reset_execution_trackers()

    async def learn_language(self) -> None:
        """Ask the kernel for its language, which viewers need for highlighting."""
        assert self.kc is not None
        reply = await self.async_wait_for_reply(self.kc.kernel_info())
        if reply is not None and "language_info" in reply["content"]:
            self.nb.metadata["language_info"] = reply["content"]["language_info"]

    def executes(self, cell: Any) -> bool:
        """Whether a cell is one that goes to the kernel."""
        is_skipped = self.skip_cells_with_tag in cell.metadata.get("tags", [])
        return cell.cell_type == "code" and bool(cell.source.strip()) and not is_skipped

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """See nbclient; streams are logged as they come, outputs are kept within bounds."""
        kind, content = msg["msg_type"], msg["content"]
        if self._redactor and kind in ("stream", "error", *DISPLAYED):
            content = self._redacted(kind, content)
            msg["content"] = content
            if kind == "stream" and not content["text"]:
                return None
        if kind == "stream":
            self._task_log.write(content["text"].encode("utf-8", "replace"))
        elif kind == "error":
            msg["content"] = bounded_error(content)
        if kind in ("stream", "error", *DISPLAYED):
            if self.output_hook_stack[msg["parent_header"].get("msg_id")]:
                return self._to_widget(msg, cell, cell_index)
            if self.clear_before_next_output and kind != "update_display_data":
                self.clear_output(cell.outputs, {**msg, "content": {"wait": False}}, cell_index)
                self.clear_before_next_output = False
        if kind == "stream":
            if content["text"]:
                self._bounded.stream(cell.outputs, content["name"], content["text"])
            return None
        if kind in DISPLAYED and not self._bounded.displayed(cell.outputs, kind, content):
            return None
        return super().process_message(msg, cell, cell_index)

    def clear_output(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        """See nbclient."""
        super().clear_output(outs, msg, cell_index)
        if not outs:
            self._bounded.cleared()

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **options: Any) -> Any:
        """See nbclient."""
        self._bounded.begin_cell()
        try:
            return await super().async_execute_cell(cell, cell_index, *args, **options)
        finally:
            self._descriptors.drain(all_marks=True)
            self._end_streams(cell)
            self._running = None

    def _sent(self, cell: Any, cell_index: int) -> None:
        """The cell was sent to the kernel; nbclient makes room for its outputs now."""
        self._running = cell, cell_index

    def _take_written(self, name: str, data: bytes) -> None:
        """What the kernel's processes wrote past its messages: to the log, and into the cell that runs.

        Each of the two streams by itself, as in :meth:`_redacted`, and over the ends of cells.
        """
        if self._redactor:
            stream = self._written.setdefault(name, self._redactor.stream())
            data = stream.feed(data) if data else stream.end()
        with contextlib.suppress(OSError):  # a full disk, say; the cell still shows it
            self._task_log.write(data)
        decoder = self._decoders.setdefault(name, codecs.getincrementaldecoder("utf-8")("replace"))
        text = decoder.decode(data)
        if text and self._running is not None:
            cell, index = self._running
            if self.clear_before_next_output:
                self.clear_output(cell.outputs, {"parent_header": {}, "content": {"wait": False}}, index)
                self.clear_before_next_output = False
            self._bounded.stream(cell.outputs, name, text)

    def _redacted(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """The content of a message without secrets.

        Each printed stream by itself: what the kernel's processes write to the log meanwhile may fall between pieces.
        """
        if kind != "stream":
            return dict(self._redactor.value(content))
        stream = self._streams.setdefault(content["name"], self._redactor.stream())
        return {**content, "text": stream.feed(content["text"].encode("utf-8", "replace")).decode()}

    def _end_streams(self, cell: Any) -> None:
        """The cell prints no more: what might have been the beginning of a secret is none."""
        for name, stream in self._streams.items():
            if rest := stream.end():
                self._task_log.write(rest)
                self._bounded.stream(cell.outputs, name, rest.decode())
        self._streams.clear()

    def handle_comm_msg(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        """See nbclient, which takes whatever has a state for a widget; others may use comms as they like."""
        content = msg["content"]
        data = content.get("data")
        state = data.get("state", {}) if isinstance(data, dict) else None
        if not isinstance(state, dict):
            return
        if msg["msg_type"] == "comm_open":
            is_widget = content.get("target_name") == "jupyter.widget" and _OF_A_WIDGET.issubset(state)
        else:
            is_widget = content.get("comm_id") in self.widget_state
        if is_widget:
            super().handle_comm_msg(outs, msg, cell_index)

    def set_widgets_metadata(self) -> None:
        """See nbclient."""
        super().set_widgets_metadata()
        size = size_of(self.nb.metadata.get("widgets", {}))
        if size > WIDGET_BYTES:
            del self.nb.metadata["widgets"]
            self._task_log.remark(
                f"the state of the notebook's widgets is left out: {size:,} bytes, the limit is {WIDGET_BYTES:,}"
            )

    def _look_for_exit(self, execute_reply: Any, **_: Any) -> None:
        payloads = (execute_reply or {}).get("content", {}).get("payload", [])
        self.left = self.left or any(payload.get("source") == "ask_exit" for payload in payloads)

    def _to_widget(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """An Output widget gets all that it has sent back with each message, so it may not have much."""
        self._for_widgets -= size_of(msg["content"])
        return super().process_message(msg, cell, cell_index) if self._for_widgets > 0 else None

    def sees(self, msg: dict[str, Any]) -> None:
        """What child processes printed before the message comes before it."""
        self._descriptors.drain(msg["metadata"].get(MARK_FIELD))

    def misses_messages(self) -> None:
        """Say so in the log."""
        self._task_log.remark("the kernel dropped messages: some of this cell's output may be missing")
