"""What ``upload`` tells people on stderr, and scripts as JSON."""

import json
from collections import Counter
from threading import Lock
from typing import TextIO

from mlflow_bridge.model.values import UploadFailure, UploadOutcome, UploadPlan, UploadResult
from mlflow_bridge.store.target import Target
from mlflow_bridge.uploads.batch import Done
from mlflow_bridge.uploads.listener import Listener
from pynb_dag_runner.model.text import visible

_PLANS = {
    UploadOutcome.UPLOADED: "would be uploaded",
    UploadOutcome.COMPLETED: "is there in part and would be completed",
    UploadOutcome.UPDATED: "has been resumed since it was uploaded; what is new would be sent (updated)",
    UploadOutcome.RESTORED: "was deleted in MLflow, or some of it; it would be restored",
    UploadOutcome.UNCHANGED: "is there; nothing would be sent (unchanged)",
}
FAILED, NOT_TRIED = "failed", "not tried"
_ORDER = (*(outcome.value for outcome in UploadOutcome), FAILED, NOT_TRIED)
_MOST_REASONS = 20


class UploadOutput:
    """What is said of uploads while they are done, and at their end.

    Args:
        stream: for people; progress is shown if it is a terminal.
        sources: folders and archives that there are; an archive may turn out to hold many runs.
        keep: records, for the JSON document.
    """

    def __init__(self, stream: TextIO, sources: int, *, keep: bool) -> None:
        self.keep = keep
        self._stream, self._known = stream, sources
        self._live = stream.isatty()
        self._lock = Lock()
        self._shown = self._run_line = ""
        self._counts: Counter[str] = Counter()
        self._failures: list[UploadFailure] = []
        self._sent = False
        self.records: list[dict[str, object]] = []

    @property
    def failed(self) -> bool:
        """Whether some run is not in MLflow."""
        return bool(self._failures)

    @property
    def sent(self) -> bool:
        """Whether some run is in MLflow."""
        return self._sent

    def listener(self) -> Listener:
        """Shows how far it is."""
        return Listener(
            task_done=self._task_done,
            waiting=lambda: self.say("waiting for another upload of this folder to end"),
            runs_done=self._runs_done,
            stopping=lambda: self.say("what is under way ends with its next task (Ctrl-C: at once)"),
        )

    def say(self, text: str) -> None:
        """Lines for people; names and messages of a run folder may come from a stranger."""
        with self._lock:
            self._clear()
            self._stream.write("".join(f"{visible(line)}\n" for line in text.split("\n")))
            self._stream.flush()

    def done(self, done: Done) -> None:
        """One more run."""
        word = _word(done)
        self._counts[word] += 1
        if self.keep:
            self.records.append(record(done))
        if isinstance(done, UploadFailure):
            self._failures.append(done)
            if done.tried and self._known == 1:
                self.say(f"failed: {_named(done)}")
        elif isinstance(done, UploadPlan):
            if self._known == 1 or done.outcome is not UploadOutcome.UNCHANGED:
                self.say(f"{done.folder}: {_PLANS[done.outcome]}")
        else:
            self._result(done)

    def summary(self, *, dry_run: bool, interrupted: bool) -> None:
        """Counts, and why what failed failed; nothing more of a single run."""
        with self._lock:
            self._clear()
        total = sum(self._counts.values())
        if self._known > 1 or total > 1:
            self._sum_up(total, dry_run)
        if interrupted:
            left = f" ({total:,} done of at least {self._known:,})" if self._known > 1 else ""
            self.say(f"interrupted{left}; the same command again goes on where this stopped")

    def _sum_up(self, total: int, dry_run: bool) -> None:
        untried = [failure for failure in self._failures if not failure.tried]
        tried = [failure for failure in self._failures if failure.tried]
        counts = ", ".join(f"{self._counts[word]:,} {word}" for word in _ORDER if self._counts[word])
        self.say(f"{runs(total)}{', dry run' if dry_run else ''}: {counts or 'nothing done'}")
        for failure in tried[:_MOST_REASONS] if self._known > 1 else ():
            self.say(f"failed: {_named(failure)}")
        if len(tried) > _MOST_REASONS:
            self.say(f"... and {len(tried) - _MOST_REASONS:,} more; --json has all of them")
        if untried:
            reason = untried[0].error.removeprefix("not tried: ")
            self.say(f"Error: {reason}; {len(untried):,} not tried; upload again to go on")

    def document(self, target: Target, *, dry_run: bool, interrupted: bool) -> str:
        """The JSON document."""
        summary = {word.replace(" ", "_"): self._counts[word] for word in _ORDER}
        head = {"tracking_uri": target.shown, "dry_run": dry_run, "interrupted": interrupted, "summary": summary}
        return json.dumps({**head, "uploads": self.records}, indent=1)

    def _result(self, result: UploadResult) -> None:
        self._sent = True
        if self._known == 1 or result.outcome is not UploadOutcome.UNCHANGED:
            tasks = "1 task" if result.tasks == 1 else f"{result.tasks} tasks"
            self.say(f"{result.outcome.value}: {result.run_id} ({tasks}) in {result.tracking_uri}")
        for warning in result.warnings:
            self.say(f"warning: {warning}" if self._known == 1 else f"warning: {result.run_id}: {warning}")

    def _task_done(self, done: int, total: int) -> None:
        self._show(f"{self._run_line}task {done} of {total}")

    def _runs_done(self, done: int, total: int) -> None:
        self._known = total
        failed = f", {len(self._failures):,} failed" if self._failures else ""
        self._run_line = f"{done:,} of {total:,} done{failed}; " if total > 1 else ""
        if total > 1:
            self._show(self._run_line.removesuffix("; "))

    def _show(self, text: str) -> None:
        if self._live:
            with self._lock:
                self._shown = text
                self._stream.write(f"\r\033[Kuploading: {text}")
                self._stream.flush()

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\033[K")
            self._shown = ""


def runs(number: int) -> str:
    """``1 run``, ``1,000 runs``."""
    return "1 run" if number == 1 else f"{number:,} runs"


def record(done: Done) -> dict[str, object]:
    """One element of ``uploads`` in the JSON document."""
    folder = str(done.folder)
    if isinstance(done, UploadFailure):
        return {"folder": folder, "outcome": FAILED, "error": done.error, "tried": done.tried}
    if isinstance(done, UploadPlan):
        return {"folder": folder, "outcome": done.outcome.value, "run_id": done.run_id}
    return {
        "folder": folder,
        "outcome": done.outcome.value,
        "run_id": done.run_id,
        "uri": uri(done),
        "experiment_id": done.experiment_id,
        "mlflow_run_id": done.mlflow_run_id,
        "tasks": done.tasks,
        "warnings": list(done.warnings),
    }


def uri(result: UploadResult) -> str:
    """Where a run can be found: its address on a server, or its name in a file."""
    return result.url or f"runs:/{result.mlflow_run_id}"


def _named(failure: UploadFailure) -> str:
    """Why it failed, and where, if the reason does not say that."""
    return failure.error if str(failure.folder) in failure.error else f"{failure.folder}: {failure.error}"


def _word(done: Done) -> str:
    if isinstance(done, UploadFailure):
        return FAILED if done.tried else NOT_TRIED
    return done.outcome.value
