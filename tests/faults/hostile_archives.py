"""Archives that a stranger could send, built byte by byte where the libraries refuse to make them."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

RUN = "digits/run/run.json"
"""A run folder's first file, so that an archive is refused for what else is in it."""


def zip_of(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip with these entries, in this order, whatever their names."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def zip_with_mode(path: Path, mode: int, content: bytes) -> Path:
    """A zip with one entry whose Unix mode says what kind of file it is."""
    info = zipfile.ZipInfo("digits/run/odd")
    info.create_system, info.external_attr = 3, mode << 16
    return zip_of(path, (RUN, b"{}"), (info, content), ("digits/run/odd/file", b"through it"))


def tar_of(path: Path, *members: tarfile.TarInfo, contents: Iterable[bytes] = ()) -> Path:
    """A tar with these members, compressed as the suffix says; those with a size take the contents in turn."""
    left = iter(contents)
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w:")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # its modes are literals in the stubs
        archive.addfile(member(RUN, size=2), io.BytesIO(b"{}"))
        for made in members:
            archive.addfile(made, io.BytesIO(next(left)) if made.size else None)
    return path


def member(name: str, **attributes: object) -> tarfile.TarInfo:
    """A member of a tar."""
    made = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def zeros_zip(path: Path, size: int) -> Path:
    """A zip with one file of ``size`` zeros, a thousandth of that large."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RUN, "{}")
        with archive.open("digits/run/zeros", "w", force_zip64=True) as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return path


def overlapping_zip(path: Path, names: int) -> Path:
    """A zip whose entries all share the same data."""
    body, name = zlib.compress(bytes(1 << 20))[2:-4], RUN.encode()
    crc = zlib.crc32(bytes(1 << 20))
    local = _local_header(name, crc, len(body), 1 << 20) + name + body
    entries = [(f"digits/run/{number}".encode(), 0) for number in range(names)]
    return _write_zip(path, local, [(RUN.encode(), 0), *entries], crc, len(body), 1 << 20)


def lying_zip(path: Path) -> Path:
    """A zip whose directory says that its one file has 10 bytes, while there is a megabyte."""
    body, crc = zlib.compress(bytes(1 << 20))[2:-4], zlib.crc32(bytes(1 << 20))
    local = _local_header(RUN.encode(), crc, len(body), 10) + RUN.encode() + body
    return _write_zip(path, local, [(RUN.encode(), 0)], crc, len(body), 10)


def many_entries_zip(path: Path, number: int) -> Path:
    """A zip with a directory of so many entries of no length."""
    name = RUN.encode()
    local = b"".join(
        _local_header(f"digits/run/{index:07}".encode(), 0, 0, 0) + f"digits/run/{index:07}".encode()
        for index in range(number)
    )
    size = len(_local_header(name, 0, 0, 0)) + 18
    return _write_zip(
        path, local, [(f"digits/run/{index:07}".encode(), index * size) for index in range(number)], 0, 0, 0
    )


def _local_header(name: bytes, crc: int, compressed: int, size: int) -> bytes:
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, compressed, size, len(name), 0)


def _write_zip(
    path: Path, local: bytes, entries: Iterable[tuple[bytes, int]], crc: int, compressed: int, size: int
) -> Path:
    """Local parts, then a directory of these names and offsets, all with the same sizes."""
    directory = b"".join(
        struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, compressed, size, len(name), 0, 0, 0, 0, 0, offset
        )
        + name
        for name, offset in entries
    )
    # The count of entries is a lie, too: readers go by the length of the directory.
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(local), 0)
    path.write_bytes(local + directory + end)
    return path


def edited(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The file with its bytes changed."""
    path.write_bytes(change(path.read_bytes()))
    return path


def encrypted(path: Path) -> Path:
    """A zip whose entries say that they are encrypted."""

    def change(data: bytes) -> bytes:
        for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = data.index(mark) + at
            data = data[:place] + b"\1" + data[place + 1 :]
        return data

    return edited(zip_of(path, (RUN, b"{}")), change)
