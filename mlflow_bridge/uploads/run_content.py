"""One MLflow run is made, filled and completed."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mlflow_bridge.errors import TooLargeError
from mlflow_bridge.limits import batches
from mlflow_bridge.model.values import ArtifactFile, Experiment, MappedRun, StoredRun
from mlflow_bridge.source.captures import Captures
from mlflow_bridge.source.folder_files import holes_in, named, open_inside
from mlflow_bridge.store.protocol import TrackingStore
from mlflow_bridge.tags import COMPLETE, NOTE, NOTE_DIGEST, PARENT, UPLOAD, UPLOADER, note_tags
from pynb_dag_runner.run_folder import Run

_OURS = "pynb_dag_runner."


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What does not change during one upload.

    Attributes:
        directory: private, for links with the names of artifacts.
        uploader: who makes the MLflow runs.
        warnings: what the user should know, one sentence each; grows.
        captures: what its attempts logged with MLflow's own calls.
    """

    run: Run
    store: TrackingStore
    experiment: Experiment
    directory: Path
    uploader: str
    warnings: list[str] = field(default_factory=list)
    captures: Captures = field(default_factory=Captures)


def create(
    upload: Upload, mapped: MappedRun, parent: StoredRun | None, kept: Mapping[str, str] | None = None
) -> StoredRun:
    """A new MLflow run, with its tags but nothing else yet.

    Args:
        kept: tags that a user has set on the run which this one replaces.
    """
    # The note comes when it is complete, with links.
    tags = {key: value for key, value in mapped.tags.items() if key != NOTE}
    tags |= {**(kept or {}), UPLOADER: upload.uploader}
    if parent:
        tags[PARENT] = parent.id
    return upload.store.create_run(upload.experiment.id, mapped.name, mapped.start_ms, tags)


def fill(upload: Upload, stored: StoredRun, mapped: MappedRun, texts: Mapping[str, str], note: str) -> None:
    """Everything of a run that is not said when it is made; the tag that makes it complete comes last.

    Of a run that was complete in an earlier state, what a user has edited stays.
    """
    _send_files(upload, stored, mapped, texts)
    upload.store.end_run(stored.id, mapped.status, mapped.end_ms)
    changed = {
        key: value for key, value in mapped.tags.items() if key.startswith(_OURS) and stored.tags.get(key) != value
    }
    for batch in batches(mapped.params, mapped.metrics, {**_notes(stored, note), **changed, UPLOAD: COMPLETE}):
        upload.store.log_batch(stored.id, batch)


def send_text(upload: Upload, stored: StoredRun, name: str, text: str) -> None:
    """An artifact that is made here."""
    path = upload.directory / name
    path.write_text(text, encoding="utf-8")
    with unless_too_large(upload, path, name):
        upload.store.log_artifact(stored.artifact_uri, path, "")


def send_file(upload: Upload, artifact_uri: str, file: ArtifactFile, directory: Path) -> None:
    """A file of the run folder, without following links; left out if it is too large for the server, or mostly holes.

    Args:
        artifact_uri: where the store keeps the files of the run, model or trace that it belongs to.
        directory: private, for a link with its new name.
    """
    target, shown = PurePosixPath(file.target), upload.run.folder / file.source
    with open_inside(upload.run.folder, file.source) as descriptor:
        if holes := holes_in(descriptor):
            upload.warnings.append(f"{shown} was left out: {holes}")
            return
        with named(descriptor, directory, target.name) as path, unless_too_large(upload, path, shown):
            folder = "" if target.parent == PurePosixPath() else str(target.parent)
            upload.store.log_artifact(artifact_uri, path, folder)


@contextmanager
def unless_too_large(upload: Upload, path: Path, shown: str | Path) -> Iterator[None]:
    """A file that the server, or a proxy before it, refuses for its size is left out; a warning says so.

    Args:
        shown: what it is called in the run folder, or among the artifacts.
    """
    try:
        yield
    except TooLargeError:
        # A limit of somebody else's proxy: an upload that failed for it could never be completed.
        upload.warnings.append(
            f"{shown} ({path.stat().st_size / 1e6:.1f} MB) was left out: {upload.store.target.shown}, "
            "or a proxy before it, refuses files of this size (413)"
        )


def _notes(stored: StoredRun, note: str) -> dict[str, str]:
    """The note, unless a user has written another one."""
    there = stored.tags.get(NOTE)
    if there is None or note_tags(there)[NOTE_DIGEST] == stored.tags.get(NOTE_DIGEST):
        return note_tags(note)
    return {}


def _send_files(upload: Upload, stored: StoredRun, mapped: MappedRun, texts: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(dir=upload.directory) as directory:
        for file in mapped.files:
            send_file(upload, stored.artifact_uri, file, Path(directory))
        for name, text in {**mapped.texts, **texts}.items():
            path = Path(directory, name)
            path.write_text(text, encoding="utf-8")
            with unless_too_large(upload, path, f"{name} of {mapped.name}"):
                upload.store.log_artifact(stored.artifact_uri, path, "")
