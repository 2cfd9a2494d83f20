"""The MLflow runs of tasks and of their earlier attempts: made, completed, or replaced after a resume."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from mlflow_bridge.mapping.notes import Places, attempt_note, task_note
from mlflow_bridge.mapping.runs import map_attempt, map_task, promoted_values, status_word
from mlflow_bridge.model.values import Batch, StoredRun
from mlflow_bridge.tags import (
    KEY,
    KIND,
    NOTE,
    NOTE_DIGEST,
    PARENT,
    STATUS,
    SUPERSEDED,
    UPLOAD,
    attempt_key,
    note_tags,
    task_key,
)
from mlflow_bridge.uploads.deduplicate import chosen, deleted_by_user, is_complete, revision
from mlflow_bridge.uploads.listener import Listener
from mlflow_bridge.uploads.native_runs import read_replay, send_native
from mlflow_bridge.uploads.run_content import Upload, create, fill
from pynb_dag_runner.model.outcomes import TaskStatus
from pynb_dag_runner.run_folder import AttemptDetails, AttemptRun, TaskRun

Known = Mapping[tuple[str, str], list[StoredRun]]
"""Runs of earlier uploads by key and id of the run that they are nested in."""


def known_runs(runs: Iterable[StoredRun]) -> dict[tuple[str, str], list[StoredRun]]:
    """Runs of earlier uploads, to be found by :data:`Known`'s keys."""
    known: dict[tuple[str, str], list[StoredRun]] = {}
    for run in runs:
        known.setdefault((run.tags.get(KEY, ""), run.tags.get(PARENT, "")), []).append(run)
    return known


def send_tasks(
    upload: Upload, parent: StoredRun, known: dict[tuple[str, str], list[StoredRun]], listener: Listener
) -> dict[str, StoredRun | None]:
    """The run of each task, in plan order; None for one that someone has deleted in MLflow."""
    tasks = upload.run.tasks
    sent: dict[str, StoredRun | None] = {task.name: None for task in tasks}
    with ThreadPoolExecutor(upload.store.threads, thread_name_prefix="upload") as pool:
        futures = {pool.submit(_send_task, upload, parent, known, task): task.name for task in tasks}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                sent[futures[future]] = future.result()
                listener.task_done(done, len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return sent


def promoted_metrics(upload: Upload) -> dict[str, float]:
    """Last values of the metrics that tasks promote to the pipeline's run, by their keys there."""
    found: dict[str, float] = {}
    for task in upload.run.tasks:
        if task.options.promoted_metrics:
            replay = read_replay(upload, task, task.last_attempt)
            found |= promoted_values(task, replay.details, replay.native)
    return found


def _send_task(
    upload: Upload, parent: StoredRun, known: dict[tuple[str, str], list[StoredRun]], task: TaskRun
) -> StoredRun | None:
    """A task's run with the runs of its earlier attempts; None if someone has deleted it."""
    run = upload.run
    before = known.get((task_key(run, task), parent.id), [])
    stored = chosen(before)
    if deleted_by_user(before):
        return None
    if stored and _is_current(upload, task, stored):
        return stored
    replay = read_replay(upload, task, task.last_attempt)
    mapped = map_task(run, task, replay.details, replay.native)
    older = [one for one in before if not one.deleted and revision(one) < mapped.revision]
    if stored is None or stored in older:
        stored = create(upload, mapped, parent, _edited_tags(upload, task, stored) if stored else None)
    for one in older:
        _step_back(upload, known, task, one, stored)
    places = Places(experiment_id=upload.experiment.id, run_id=parent.id, tasks={task.name: stored.id})
    for attempt in task.attempts[:-1]:
        _send_attempt(upload, stored, known, (task, attempt), places)
    send_native(upload, known, stored, replay)
    fill(upload, stored, mapped, {}, task_note(run, task, places, stored.id, replay.details.tags.get(NOTE)))
    return stored


def _is_current(upload: Upload, task: TaskRun, stored: StoredRun) -> bool:
    """Whether nothing of a task is to be sent; also if MLflow has a later state than this copy of the run folder."""
    if revision(stored) != len(task.attempts):
        return revision(stored) > len(task.attempts)
    reused = task.status is TaskStatus.REUSED and task.attempts
    return is_complete(stored) and (bool(reused) or stored.tags.get(STATUS) == status_word(upload.run, task))


def _step_back(
    upload: Upload,
    known: dict[tuple[str, str], list[StoredRun]],
    task: TaskRun,
    older: StoredRun,
    newer: StoredRun,
) -> None:
    """A task's run from before a resume becomes the run of an earlier attempt; without attempts, it goes."""
    attempts = [attempt for attempt in task.attempts if attempt.number == revision(older)]
    if not attempts:
        upload.store.log_batch(older.id, Batch(tags=((UPLOAD, SUPERSEDED),)))
        upload.store.delete_run(older.id)
        return
    nested = [one for same in list(known.values()) for one in same if one.tags.get(PARENT) == older.id]
    for one in nested:
        if one.tags.get(KIND) == "attempt":
            _move(upload, known, one, newer, one.tags[KEY], {})
    key = attempt_key(upload.run, task, attempts[0])
    mapped = map_attempt(upload.run, task, attempts[0], AttemptDetails())
    tags = {name: value for name, value in mapped.tags.items() if name.startswith("pynb_dag_runner.") and name != KEY}
    _move(upload, known, older, newer, key, {**tags, "mlflow.runName": mapped.name})


def _move(
    upload: Upload,
    known: dict[tuple[str, str], list[StoredRun]],
    run: StoredRun,
    parent: StoredRun,
    key: str,
    tags: Mapping[str, str],
) -> None:
    """Nest a run elsewhere. All tags of a request are written in one transaction: it is either here or there."""
    changed = {**tags, KEY: key, PARENT: parent.id}
    upload.store.log_batch(run.id, Batch(tags=tuple(changed.items())))
    known.setdefault((key, parent.id), []).append(replace(run, tags={**run.tags, **changed}))


def _edited_tags(upload: Upload, task: TaskRun, older: StoredRun) -> dict[str, str]:
    """Tags that a user has set or changed in MLflow."""
    sent: Mapping[str, str] = {}
    for attempt in task.attempts:
        if attempt.number == revision(older):
            replay = read_replay(upload, task, attempt)
            sent = map_attempt(upload.run, task, attempt, replay.details, replay.native).tags
    edited = {
        key: value
        for key, value in older.tags.items()
        if not key.startswith(("mlflow.", "pynb_dag_runner.")) and sent.get(key) != value
    }
    note = older.tags.get(NOTE)
    if note is not None and note_tags(note)[NOTE_DIGEST] != older.tags.get(NOTE_DIGEST):
        edited[NOTE] = note
    return edited


def _send_attempt(
    upload: Upload, parent: StoredRun, known: Known, which: tuple[TaskRun, AttemptRun], places: Places
) -> None:
    """The run of an attempt that was not the last one."""
    task, attempt = which
    before = known.get((attempt_key(upload.run, task, attempt), parent.id), [])
    stored = chosen(before)
    if deleted_by_user(before) or (stored and is_complete(stored)):
        return
    replay = read_replay(upload, task, attempt)
    mapped = map_attempt(upload.run, task, attempt, replay.details, replay.native)
    stored = stored or create(upload, mapped, parent)
    send_native(upload, known, stored, replay)
    fill(upload, stored, mapped, {}, attempt_note(attempt, places, stored.id, replay.details.tags.get(NOTE)))
