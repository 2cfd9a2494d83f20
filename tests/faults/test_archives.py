"""Run folders in archives: good ones read as the folder itself, hostile ones are refused and touch nothing."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from mlflow_bridge.cli.commands import upload
from pynb_dag_runner.cli import pynb_dag_runner
from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.model.outcomes import RunStatus
from pynb_dag_runner.run_folder import archives, read_run
from pynb_dag_runner.run_folder.archives import opened
from tests.factories import make_run_record, write_run, write_whole_run
from tests.faults import hostile_archives as hostile
from tests.faults.fuzzing import FUZZ
from tests.faults.hostile_archives import RUN, member, tar_of, zip_of
from tests.faults.watching import watching

SECRET = "the canary sings"
FORMATS = ("zip", "tar", "gztar", "bztar", "xztar")
LINK_MODE, PIPE_MODE, DEVICE_MODE = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o600, stat.S_IFCHR | 0o600


_UPLOADS = pytest.mark.filterwarnings(  # of MLflow 3.17 with SQLAlchemy 2.1, as for the bridge's own tests
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where archives are extracted; it has to be empty in the end."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    directory = tmp_path / "canary"
    directory.mkdir()
    (directory / "secret").write_text(SECRET)
    return directory


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An output directory with one run."""
    write_whole_run(tmp_path / "runs")
    return tmp_path / "runs"


def call(command: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(pynb_dag_runner, [command, *map(str, arguments)], standalone_mode=False)


def archive_of(directory: Path, kind: str, name: str = "kept") -> Path:
    return Path(shutil.make_archive(str(directory.parent / name), kind, directory))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_run_reads_the_same_from_every_kind_of_archive(runs: Path, kind: str) -> None:
    (folder,) = runs.glob("*/*")
    path = archive_of(runs, kind)
    with opened(path) as (found):
        (run,) = found
        assert run.shown == path / folder.relative_to(runs)
        assert replace(read_run(run.folder), folder=folder) == read_run(folder)


def test_a_directory_is_taken_as_it_is(runs: Path) -> None:
    with opened(runs) as (run,):
        assert run.folder == run.shown == runs


@pytest.mark.parametrize("above", ["", "one/two/three"])
def test_a_run_is_found_at_any_depth(runs: Path, tmp_path: Path, above: str) -> None:
    (folder,) = runs.glob("*/*")
    top = tmp_path / "top"
    shutil.copytree(folder, top / above)
    with opened(archive_of(top, "zip")) as (run,):
        assert read_run(run.folder).id == folder.name


def test_an_artifact_that_is_called_as_a_run_is_none(runs: Path) -> None:
    (folder,) = runs.glob("*/*")
    artifact = folder / "tasks/train/attempt-1/artifacts/run.json"
    artifact.parent.mkdir()
    artifact.write_text("{}")
    with opened(archive_of(runs, "zip")) as found:
        assert len(found) == 1


def test_names_of_every_kind_come_through(runs: Path) -> None:
    (folder,) = runs.glob("*/*")
    artifacts = folder / "tasks/train/attempt-1/artifacts"
    artifacts.mkdir()
    names = ["日本語 e\u0301.txt", "back\\slash", "a" * 255, "new\nline", "\u202eevil"]
    for name in names:
        (artifacts / name).write_text(name)
    for kind in ("zip", "gztar"):
        with opened(archive_of(runs, kind)) as (run,):
            found = run.folder / artifacts.relative_to(folder)
            assert {path.name: path.read_text() for path in found.iterdir()} == {name: name for name in names}


def test_a_run_in_an_archive_does_not_go_on(tmp_path: Path) -> None:
    """Its driver would be on another host, which is told by a file's age: extracting must not make it young."""
    folder = write_run(tmp_path / "runs", make_run_record(status=RunStatus.RUNNING, end=None))
    os.utime(folder / "events.jsonl", (1_700_000_000, 1_700_000_000))
    for kind in ("zip", "tar"):
        with opened(archive_of(tmp_path / "runs", kind)) as (run,):
            assert read_run(run.folder).status is RunStatus.INTERRUPTED


def test_an_error_names_the_place_in_the_archive(runs: Path) -> None:
    (folder,) = runs.glob("*/*")
    (folder / "tasks/train/task.json").write_text("[]")
    path = archive_of(runs, "zip")
    result = call("show", path)
    expected = f"{path / folder.relative_to(runs)}/tasks/train/task.json: got a list, expected an object"
    assert str(result.exception) == expected


def test_show_says_of_an_archive_what_it_says_of_the_folder(runs: Path) -> None:
    (folder,) = runs.glob("*/*")
    path = archive_of(runs, "gztar")
    said = json.loads(call("show", "--json", path).stdout)
    assert said == json.loads(call("show", "--json", folder).stdout) | {"folder": str(path / folder.relative_to(runs))}
    assert "SUCCEEDED" in call("show", path).stdout


def test_several_runs_in_an_archive(runs: Path) -> None:
    write_run(runs, make_run_record(run_id="20261124T000000Z-0001"))
    path = archive_of(runs, "zip")
    listed = json.loads(call("list", "--json", path).stdout)
    assert [run["run_id"] for run in listed] == ["20261123T054712Z-9f3c", "20261124T000000Z-0001"]
    assert listed[0]["folder"] == f"{path}/digits/20261123T054712Z-9f3c"
    assert "it holds 2 runs, expected one" in str(call("show", path).exception)


def test_a_report_is_not_written_into_an_archive(runs: Path) -> None:
    path = archive_of(runs, "zip")
    before = path.read_bytes()
    assert "extract it first" in str(call("report", path).exception)
    assert path.read_bytes() == before


@_UPLOADS
def test_an_archive_is_uploaded_like_its_folder(runs: Path, tmp_path: Path) -> None:
    """Uploading the folder afterwards changes nothing: all of it is there."""
    path = archive_of(runs, "zip")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = CliRunner().invoke(upload, ["--json", "--tracking-uri", uri, str(path)])
    (folder,) = runs.glob("*/*")
    (sent,) = json.loads(first.stdout)["uploads"]
    assert (sent["outcome"], sent["folder"]) == ("uploaded", str(path / folder.relative_to(runs)))
    second = CliRunner().invoke(upload, ["--json", "--tracking-uri", uri, str(folder), str(path)])
    assert [one["outcome"] for one in json.loads(second.stdout)["uploads"]] == ["unchanged", "unchanged"]


@_UPLOADS
def test_what_can_not_be_uploaded_from_an_archive_does_not_keep_others_back(runs: Path, tmp_path: Path) -> None:
    write_run(runs, make_run_record(run_id="no id"))
    path = archive_of(runs, "zip")
    bad = hostile.encrypted(tmp_path / "bad.zip")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    result = CliRunner().invoke(upload, ["--json", "--tracking-uri", uri, str(bad), str(path)])
    assert result.exit_code == 1
    sent = json.loads(result.stdout)["uploads"]
    assert [one["outcome"] for one in sent] == ["failed", "uploaded", "failed"]
    assert "it is encrypted" in sent[0]["error"]
    assert sent[2]["error"].startswith(f"{path}/digits/no id/run.json: run_id: got 'no id'")


_ODD = "a link, a device or a pipe"
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip slip": (lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("../../canary/new", b"x")), "leads out of the archive"),
    "zip slip inside": (lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("digits/../../x", b"x")), "leads out"),
    "absolute zip": (
        lambda d: zip_of(d / "a.zip", (RUN, b"{}"), (f"{d}/canary/new", b"x")),
        "leads out of the archive",
    ),
    "link in a zip, then a file through it": (
        lambda d: hostile.zip_with_mode(d / "a.zip", LINK_MODE, f"{d}/canary".encode()),
        _ODD,
    ),
    "pipe in a zip": (lambda d: hostile.zip_with_mode(d / "a.zip", PIPE_MODE, b""), _ODD),
    "device in a zip": (lambda d: hostile.zip_with_mode(d / "a.zip", DEVICE_MODE, b""), _ODD),
    "encrypted zip": (lambda d: hostile.encrypted(d / "a.zip"), "it is encrypted"),
    "zip by another method": (
        lambda d: zip_of(d / "a.zip", (RUN, b"{}"), method=zipfile.ZIP_LZMA),
        "compressed by method 14, which is not read",
    ),
    "overlapping zip": (lambda d: hostile.overlapping_zip(d / "a.zip", 30_000), "overlaps another one"),
    "zip that lies about a size": (lambda d: hostile.lying_zip(d / "a.zip"), "the archive is damaged: Bad CRC-32"),
    "zip of 300,000 entries": (
        lambda d: hostile.many_entries_zip(d / "a.zip", 300_000),
        "it has more than 200,000 entries",
    ),
    "zip bomb": (lambda d: hostile.zeros_zip(d / "a.zip", 30 << 20), "more than 20,000,000 bytes"),
    "file and folder of one name": (
        lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("digits/run/a", b"x"), ("digits/run/a/b", b"x")),
        "two entries of this name",
    ),
    "entry without a name": (lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("./.", b"x")), "the entry has no name"),
    "long name": (lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("a" * 300, b"x")), "File name too long"),
    "deep folders": (
        lambda d: zip_of(d / "a.zip", (RUN, b"{}"), ("a/" * 500 + "x", b"x")),
        "nested more than 120 deep",
    ),
    "cut off zip": (lambda d: hostile.edited(archive_of(d / "runs", "zip"), lambda data: data[:-100]), "damaged"),
    "zip with a wrong byte": (
        lambda d: hostile.edited(
            zip_of(d / "a.zip", (RUN, b"{}" * 50), method=zipfile.ZIP_STORED),
            lambda data: data.replace(b"{}{}", b"{}{]"),
        ),
        "the archive is damaged: Bad CRC-32",
    ),
    "empty zip": (lambda d: zip_of(d / "a.zip"), "there is no run folder in it"),
    "zip of other things": (lambda d: zip_of(d / "a.zip", ("readme.txt", b"x")), "there is no run folder in it"),
    "tar slip": (lambda d: tar_of(d / "a.tar", member("../../canary/new")), "leads out of the archive"),
    "absolute tar": (lambda d: tar_of(d / "a.tar.gz", member(f"{d}/canary/new")), "leads out of the archive"),
    "link in a tar, then a file through it": (
        lambda d: tar_of(
            d / "a.tar", member("digits/l", type=tarfile.SYMTYPE, linkname=f"{d}/canary"), member("digits/l/new")
        ),
        _ODD,
    ),
    "hard link": (
        lambda d: tar_of(d / "a.tar.xz", member("x", type=tarfile.LNKTYPE, linkname=f"{d}/canary/secret")),
        _ODD,
    ),
    "device in a tar": (lambda d: tar_of(d / "a.tar", member("x", type=tarfile.CHRTYPE, devmajor=1, devminor=5)), _ODD),
    "pipe in a tar": (lambda d: tar_of(d / "a.tar", member("x", type=tarfile.FIFOTYPE)), _ODD),
    "tar with an entry twice": (lambda d: tar_of(d / "a.tar", member(RUN)), "two entries of this name"),
    "tar bomb": (
        lambda d: tar_of(d / "a.tar.gz", member("x", size=30 << 20), contents=[bytes(30 << 20)]),
        "more than 20,000,000 bytes",
    ),
    "cut off tar.gz": (
        lambda d: hostile.edited(archive_of(d / "runs", "gztar"), lambda data: data[:-100]),
        "it is cut off",
    ),
    "cut off tar.xz": (
        lambda d: hostile.edited(archive_of(d / "runs", "xztar"), lambda data: data[:-100]),
        "it is cut off",
    ),
    "cut off tar": (
        lambda d: hostile.edited(archive_of(d / "runs", "tar"), lambda data: data[:5000]),
        "the archive is damaged",
    ),
    "tar without an end": (
        lambda d: hostile.edited(tar_of(d / "a.tar"), lambda data: data[:1024]),
        "it is cut off, or one of its headers is damaged",
    ),
    "tar with a wrong header": (
        lambda d: hostile.edited(
            archive_of(d / "runs", "tar"), lambda data: data.replace(b"./digits/", b"./dixits/", 1)
        ),
        "damaged",
    ),
    "huge header": (
        lambda d: tar_of(d / "a.tar", member("x", pax_headers={"comment": "x" * 100_000})),
        "would have to be read at once",
    ),
    "header that keeps a regular expression busy": (
        lambda d: tar_of(d / "a.tar", member("x", pax_headers={"comment": "1" * 15_000})),
        "a number without an end",
    ),
    "no archive": (lambda d: d / "canary/secret", "it is no archive of a known kind"),
    "not there": (lambda d: d / "no.zip", "it can't be read: No such file or directory"),
    "a device": (lambda _: Path("/dev/zero"), "it is no directory and no regular file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_outside_is_touched(
    name: str, tmp_path: Path, temporary: Path, canary: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 20_000_000)  # small bombs show it as well
    make, phrase = HOSTILE[name]
    path = make(tmp_path)
    before = {found: found.stat().st_mtime_ns for found in (tmp_path, *canary.parent.rglob("*")) if found != temporary}
    most = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), most[1]))
    try:
        with watching(temporary) as watch, pytest.raises(RunFolderError) as caught, opened(path):
            pytest.fail("it was opened")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, most)
    assert phrase in str(caught.value)
    assert caught.value.file == path
    assert "\n" not in str(caught.value)
    assert watch.outside == []
    assert before == {found: found.stat().st_mtime_ns for found in before}
    assert [found for found in canary.parent.rglob("*") if found not in before and found != temporary] == []


@pytest.mark.soak
@FUZZ
@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 100_000), st.binary(max_size=8), st.integers(0, 600)), max_size=4),
)
def test_an_archive_with_wrong_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, bytes, int]]
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    try:
        named: list[Path] = []
        write_whole_run(directory / "runs")
        path = archive_of(directory / "runs", kind)
        data = path.read_bytes()
        for at, new, length in changes:
            at %= len(data) + 1
            data = data[:at] + new + data[at + length :]
        path.write_bytes(data)
        with watching(Path(tempfile.gettempdir())) as watch:
            try:
                with opened(path) as runs:
                    for run in runs:
                        read_run(run.folder)
            except RunFolderError as error:
                named.append(error.file)
        assert watch.outside == []
        assert all(file.is_relative_to(path) for file in named)
    finally:
        shutil.rmtree(directory)


def test_a_full_disk_while_extracting_is_said(tmp_path: Path) -> None:
    size = 5 << 20
    path = zip_of(tmp_path / "a.zip", (RUN, b"{}"), ("digits/run/x", os.urandom(size)))
    small = tmp_path / "small"
    small.mkdir()
    program = f"import sys; from pynb_dag_runner.cli import main; sys.exit(main(['show', {str(path)!r}]))"
    command = f'mount -t tmpfs -o size=1m tmpfs "{small}" && TMPDIR="{small}" "{sys.executable}" -c "{program}"; ' + (
        f'code=$?; ls -A "{small}"; exit $code'
    )
    unshare = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no private mounts on this system")
    result = subprocess.run([*unshare, "sh", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "digits/run/x: there is no room for its files in" in result.stderr
    assert "TMPDIR can name another directory" in result.stderr


def test_limits_are_those_of_a_large_run() -> None:
    assert (archives.MAX_BYTES, archives.MAX_ENTRIES) == (20 * 10**9, 200_000)
