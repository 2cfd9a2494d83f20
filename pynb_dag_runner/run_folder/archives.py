"""Extract run folders from a zip or tar for as long as they are read.

An archive may come from a stranger. Files and folders are made by us, one by one, from names that were looked at: no
link, device or pipe is ever made, nothing is overwritten, and what is extracted is counted as it is written, since
headers may lie. All of it lies in a private directory, which is removed in the end.
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pynb_dag_runner.errors import RunFolderError
from pynb_dag_runner.model.text import cut_end
from pynb_dag_runner.run_folder import paths

MAX_BYTES = 20 * 10**9
"""Of everything that is extracted."""

MAX_ENTRIES = 200_000
MAX_FOLDERS_DEEP = 120
"""Of a file: above its name. A run folder's artifacts may have 100."""

MAX_RATIO = 200
FREE_BYTES = 10**9
"""Above so many bytes, an archive may become at most ``MAX_RATIO`` times as large: logs shrink to a fiftieth, bombs to
a thousandth."""

_MAX_ZIP_DIRECTORY = 64 << 20
_MAX_TAR_HEADER = 16 << 10
"""Bytes that the libraries read into memory at once. A name has at most 4,096."""

_MAX_XZ_MEMORY = 256 << 20
_CHUNK = 1 << 20
_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MANY_DIGITS = re.compile(rb"\d{256}")
"""In a header of a tar they keep regular expressions of ``tarfile`` busy for hours (CVE-2024-6232)."""

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    ValueError,
    NotImplementedError,
    OverflowError,
    RecursionError,
)
"""What the libraries raise where an archive is damaged; the last four where it was made to do harm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedRun:
    """A run folder that can be read now.

    Attributes:
        folder: where it is; for a run in an archive, in a directory that will be removed.
        shown: where it is for people: the archive's path and the folder's path in it.
    """

    folder: Path
    shown: Path


@contextmanager
def opened(path: Path) -> Iterator[tuple[OpenedRun, ...]]:
    """The run folders in an archive, sorted by run id, or a run folder as it is.

    Args:
        path: a directory, or a zip, tar, tar.gz, tar.bz2 or tar.xz with one run folder or many, at any depth.

    Raises:
        RunFolderError: the archive is damaged, or holds what no archive of a run folder holds, or no run folder; also
            for errors inside of the ``with``, with a file's place in the archive instead of its place on the disk.
    """
    if path.is_dir():
        yield (OpenedRun(folder=path, shown=path),)
        return
    with tempfile.TemporaryDirectory(prefix="pynb-dag-runner-archive-") as directory:
        top = Path(directory, "files")
        top.mkdir(mode=0o700)
        with _regular_file(path) as file:
            names = _extract(path, file, top)
        folders = _run_folders(names)
        if not folders:
            raise RunFolderError(path, f"there is no run folder in it: no {paths.RUN}{_archive_inside(names)}")
        try:
            yield tuple(OpenedRun(folder=top / folder, shown=path / folder) for folder in folders)
        except RunFolderError as error:
            if not error.file.is_relative_to(top):
                raise
            raise RunFolderError(path / error.file.relative_to(top), error.problem, error.key) from None


def _archive_inside(names: Iterable[PurePosixPath]) -> str:
    """What to say of an archive in an archive, as CI systems make it of one that they are given."""
    inside = min((name for name in names if name.name.lower().endswith(_ENDINGS)), default=None)
    return f"; extract it first, since there is an archive in it: {cut_end(str(inside), 100)}" if inside else ""


def _run_folders(names: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Folders with a ``run.json``, but not those inside others: a task may log an artifact of that name."""
    found: set[PurePosixPath] = set()
    for folder in sorted((name.parent for name in names if name.name == paths.RUN), key=lambda folder: folder.parts):
        if not found.intersection((folder, *folder.parents)):
            found.add(folder)
    return sorted(found, key=lambda folder: (folder.name, folder))


class _BoundedFile(io.FileIO):
    """A file of which nobody reads so much at once that it fills the memory, or so odd a header that it takes hours.

    Attributes:
        most: bytes of one read.
    """

    most = _MAX_ZIP_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise ValueError(f"{size:,} bytes would have to be read at once")
        data = super().read(-1 if size is None else size) or b""
        if self.most == _MAX_TAR_HEADER and _MANY_DIGITS.search(data):
            raise ValueError("there is a number without an end in a header")
        return data


@contextmanager
def _regular_file(path: Path) -> Iterator[_BoundedFile]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RunFolderError(path, f"it can't be read: {error.strerror}") from None
    with _BoundedFile(descriptor) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RunFolderError(path, "it is no directory and no regular file; expected a run folder or an archive")
        yield file


def _extract(path: Path, file: _BoundedFile, top: Path) -> list[PurePosixPath]:
    """Extract an archive into the empty directory ``top``; gives the names of its files."""
    extraction = _Extraction(path, top, os.fstat(file.fileno()))
    try:
        kind = _kind(path, file.read(265))
        file.seek(0)
        if kind == "zip":
            _extract_zip(file, extraction)
        elif kind == "tar":
            _extract_tar(file, extraction)
        else:
            with tempfile.TemporaryFile(dir=top.parent) as unpacked:
                for data in _unpacked(file, kind):
                    extraction.count(len(data))
                    unpacked.write(data)
                unpacked.flush()
                unpacked.seek(0)
                extraction.bytes = 0  # the same bytes are counted again as files
                with _BoundedFile(unpacked.fileno(), closefd=False) as tar:
                    _extract_tar(tar, extraction)
    except _DAMAGED as error:
        reason = "it is cut off" if isinstance(error, EOFError) else str(error).strip().rstrip(".") or "no reason known"
        raise RunFolderError(path, f"the archive is damaged: {reason}", extraction.at) from None
    except OSError as error:
        raise RunFolderError(path, _system_problem(error, top), extraction.at) from None
    return extraction.files


def _system_problem(error: OSError, top: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no room for its files in {top.parents[1]}; TMPDIR can name another directory"
    return f"it can't be extracted: {error.strerror or error}"


def _kind(path: Path, head: bytes) -> str:
    """``zip``, ``tar``, ``gz``, ``bz2`` or ``xz``, from the first bytes of the file."""
    beginnings = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
    for beginning, kind in beginnings.items():
        if head.startswith(beginning):
            return kind
    if head[257:262] == b"ustar" or path.suffix == ".tar":
        return "tar"
    known = "zip, tar, tar.gz, tar.bz2 or tar.xz"
    raise RunFolderError(path, f"it is no archive of a known kind; expected a run folder or a {known} of some")


class _Extraction:
    """What is being extracted: checks names, counts, and makes files and folders.

    Attributes:
        at: the entry that is dealt with, for errors.
        bytes: written so far.
        files: names of all files so far.
    """

    def __init__(self, archive: Path, top: Path, status: os.stat_result) -> None:
        self.at = ""
        self.bytes = 0
        self.files: list[PurePosixPath] = []
        self._archive, self._top = archive, top
        self._newest = status.st_mtime
        self._most = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * status.st_size))
        self._entries = 0
        self._folders = {PurePosixPath()}

    def refuse(self, problem: str) -> RunFolderError:
        """The error for the present entry."""
        return RunFolderError(self._archive, problem, self.at)

    def count(self, number: int) -> None:
        """Bytes that have been unpacked."""
        self.bytes += number
        self.expect(self._entries, self.bytes)

    def expect(self, entries: int, number: int) -> None:
        """Refuse an archive that has so many entries, or becomes so many bytes."""
        if entries > MAX_ENTRIES:
            raise RunFolderError(self._archive, f"it has more than {MAX_ENTRIES:,} entries; more are not read")
        if number > self._most:
            problem = f"unpacked it has more than {self._most:,} bytes, which no archive of its size should"
            raise RunFolderError(self._archive, problem)

    def enter(self, name: str) -> None:
        """Another entry begins."""
        self.at = cut_end(name, 100)
        self._entries += 1
        self.expect(self._entries, self.bytes)

    def add(self, entry: str, written: float, content: IO[bytes] | None) -> None:
        """Make a file that was ``written`` so many seconds after 1970, or without content a folder."""
        name = self._checked(entry)
        self._make_folders(name if content is None else name.parent)
        if content is None:
            return
        if not name.parts:
            raise self.refuse("the entry has no name")
        try:
            descriptor = os.open(self._top / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise self.refuse("there are two entries of this name") from None
        with open(descriptor, "wb", buffering=0) as file:
            while data := content.read(_CHUNK):
                self.count(len(data))
                while data:  # a write to a disk that gets full may write a part
                    data = data[file.write(data) :]
            # Whether a run goes on is told by the age of a file; nothing in an archive is younger than the archive.
            shown = min(max(written, 0.0), self._newest)
            os.utime(descriptor, times=(shown, shown))
        self.files.append(name)

    def _checked(self, name: str) -> PurePosixPath:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise self.refuse("the name leads out of the archive")
        if len(path.parts) > MAX_FOLDERS_DEEP + 1:
            raise self.refuse(f"folders are nested more than {MAX_FOLDERS_DEEP} deep")
        if "\0" in name:
            raise self.refuse("the name holds a character that no file's name can have")
        return path

    def _make_folders(self, folder: PurePosixPath) -> None:
        for part in (*reversed(folder.parents), folder):
            if part not in self._folders:
                try:
                    (self._top / part).mkdir(mode=0o700)
                except FileExistsError:
                    raise self.refuse("there are two entries of this name") from None
                self._folders.add(part)


def _extract_zip(file: _BoundedFile, extraction: _Extraction) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _refuse_overlaps(entries, extraction)
        extraction.expect(len(entries), sum(info.file_size for info in entries))
        for info in entries:
            extraction.enter(info.filename)
            _refuse_odd_zip_entry(info, extraction)
            if info.is_dir():
                extraction.add(info.filename, _zip_time(info), None)
                continue
            with archive.open(info) as content:
                extraction.add(info.filename, _zip_time(info), content)


def _refuse_overlaps(entries: Iterable[zipfile.ZipInfo], extraction: _Extraction) -> None:
    """Entries that share their data let a small zip become as large as one likes (D. Fifield, "A better zip bomb")."""
    end = 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.header_offset < end:
            extraction.at = cut_end(info.filename, 100)
            raise extraction.refuse("the entry overlaps another one; the archive is damaged or a bomb")
        end = info.header_offset + 30 + info.compress_size  # 30: a local header without its name


def _refuse_odd_zip_entry(info: zipfile.ZipInfo, extraction: _Extraction) -> None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise extraction.refuse("it is a link, a device or a pipe; a run folder holds none of its own")
    if info.flag_bits & 0x1:
        raise extraction.refuse("it is encrypted; extract the archive with its password first")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise extraction.refuse(f"it is compressed by method {info.compress_type}, which is not read; extract it first")


def _zip_time(info: zipfile.ZipInfo) -> float:
    """When the file was written, as far as a zip says: it has no time zone, so that of this machine is taken."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):  # a month 13
        return 0.0


def _extract_tar(file: _BoundedFile, extraction: _Extraction) -> None:
    file.most = _MAX_TAR_HEADER
    with tarfile.TarFile(fileobj=file, errorlevel=2) as archive:
        end = 0
        for info in archive:
            extraction.enter(info.name)
            if info.size < 0 or info.offset < end:
                raise extraction.refuse("the entry overlaps another one; the archive is damaged or a bomb")
            if not (info.isdir() or info.isreg()) or info.issparse():
                raise extraction.refuse("it is a link, a device or a pipe; a run folder holds none of its own")
            end = info.offset_data + (0 if info.isdir() else info.size)
            if info.isdir():
                extraction.add(info.name, info.mtime, None)
                continue
            file.most = _CHUNK
            with archive.extractfile(info) or io.BytesIO() as content:
                extraction.add(info.name, info.mtime, content)
            file.most = _MAX_TAR_HEADER
        extraction.at = ""
        file.seek(archive.offset)
        # The library takes a damaged header, or none at all, for the end; a whole tar says that it ends.
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut off, or one of its headers is damaged")


def _unpacked(file: _BoundedFile, kind: str) -> Iterator[bytes]:
    """The content of a compressed file, in pieces."""
    if kind == "xz":
        yield from _unpacked_xz(file)
        return
    with gzip.open(file) if kind == "gz" else bz2.open(file) as content:
        while data := content.read(_CHUNK):
            yield data


def _unpacked_xz(file: _BoundedFile) -> Iterator[bytes]:
    """As ``lzma.open`` does it, which knows no limit for the memory that the file asks for: up to 4 GiB."""
    rest = b""
    while rest or (rest := file.read(_CHUNK)):
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
        while not decompressor.eof:
            if decompressor.needs_input and not rest and not (rest := file.read(_CHUNK)):
                raise EOFError
            yield decompressor.decompress(rest, _CHUNK)
            rest = b""
        rest = decompressor.unused_data.lstrip(b"\0")  # streams may be padded
