"""Ways to damage a run folder: what hypothesis draws, and what is then done to the files."""

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

NAMES = (
    "",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a/b",
    "a" * 10_000,
    "\x00",
    "a\x00b",
    "\x1b[2J\x07\r\n",
    "\u202eevil\u202c",
    "\u200f\ufeff\uffff",
    "\U0001f600" * 80,
    "e\u0301" * 60,
    "con",
    " .",
    "%2E%2E",
    "<script>alert(1)</script>",
    "`$(touch x)`|{{7*7}}",
)
"""Texts that are meant as names or paths by nobody kind."""

RAW_VALUES = (
    "null",
    "true",
    "{}",
    "[]",
    "[[[]]]",
    "-1",
    "0",
    "1e999",
    "-1e999",
    "1e-999",
    "1e308",
    "-1.7976931348623157e308",
    "NaN",
    "Infinity",
    '"NaN"',
    "1.5",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    str(-(2**63)),
    str(10**400),
    "9" * 4_300,
    "9" * 5_000,
    "[" * 100_000,
    "[" * 190 + "]" * 190,
    '{"a":' * 190 + "1" + "}" * 190,
    "[" * 100_000 + "]" * 100_000,
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\u0000"',
    '"\x00"',
    '"0001-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59.999999Z"',
    '"9999-12-31T23:59:59.999999-14:00"',
    '"1969-12-31T23:59:59Z"',
    '"2026-11-23T05:47:12"',
    '"PENDING"',
    '"RUNNING"',
    '"SKIPPED"',
    '"CANCELLED"',
    '{"$float": "NaN"}',
    '{"$float": "Infinity"}',
    *(json.dumps(name) for name in NAMES),
)
"""JSON values, and what only looks like one, as they stand in a file."""

_MARK = "mark-of-the-damage"


@dataclass(frozen=True)
class Damage:
    """One thing to be done to a run folder: ``apply`` does it, ``words`` says it where a test fails."""

    words: str
    apply: Callable[[Path], None]

    def __repr__(self) -> str:
        return self.words if len(self.words) < 300 else self.words[:300] + "..."


def damages(names: list[str], canary: Path) -> st.SearchStrategy[list[Damage]]:
    """One to four damages.

    Args:
        names: of the files of the run folder, relative to it.
        canary: a directory outside with a file ``secret``, for links.
    """
    records = [name for name in names if name.endswith((".json", ".jsonl"))]
    folders = sorted({str(parent) for name in names for parent in Path(name).parents} - {"."})
    one = st.one_of(
        _json_damages(records),
        _json_damages(records),
        _byte_damages(records),
        _line_damages([name for name in records if name.endswith(".jsonl")]),
        _file_damages(names + folders, canary),
        _artifact_damages(folders, canary),
    )
    return st.lists(one, min_size=1, max_size=4)


def _json_damages(names: list[str]) -> st.SearchStrategy[Damage]:
    def make(name: str, where: int, line: int, raw: str, how: str) -> Damage:
        return Damage(
            f"{name}: {how} value {where} of line {line} by {raw}", lambda top: _edit(top / name, where, line, raw, how)
        )

    return st.builds(
        make,
        st.sampled_from(names),
        st.integers(0, 400),
        st.integers(0, 30),
        st.sampled_from(RAW_VALUES) | st.text(max_size=20).map(json.dumps),
        st.sampled_from(["replace", "replace", "replace", "duplicate", "remove", "rename", "wrap"]),
    )


def _edit(path: Path, where: int, line: int, raw: str, how: str) -> None:
    """Change a value of a JSON file, or of a line of a JSONL file; a file that is no JSON by now stays as it is."""
    try:
        text = path.read_text("utf-8")
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        number = line % len(lines) if lines else 0
        lines[number : number + 1] = [_edited(json.loads(lines[number]), where, raw, how)]
    except (OSError, ValueError, IndexError, RecursionError):
        return
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogatepass")


def _edited(content: Any, where: int, raw: str, how: str) -> str:
    places = list(_places(content))
    holder, key = places[where % len(places)]
    old = holder[key]
    if how == "remove":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[_MARK] = holder.pop(key)
        return json.dumps(content).replace(f'"{_MARK}"', raw if raw.startswith('"') else f'"{key}2"')
    elif how == "duplicate" and isinstance(holder, dict):
        holder[_MARK] = old
        return json.dumps(content).replace(f'"{_MARK}":', f"{json.dumps(key)}: {raw}, {json.dumps(key)}:")
    else:
        holder[key] = [_MARK] if how == "wrap" else _MARK
    return json.dumps(content).replace(f'"{_MARK}"', raw)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value below ``value``, as what holds it and its key or index."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(pairs):
        yield value, key
        yield from _places(item)


def _byte_damages(names: list[str]) -> st.SearchStrategy[Damage]:
    def make(name: str, start: int, length: int, data: bytes) -> Damage:
        def apply(top: Path) -> None:
            if (top / name).is_file():
                old = (top / name).read_bytes()
                at = start % (len(old) + 1)
                (top / name).write_bytes(old[:at] + data + old[at + length :])

        return Damage(f"{name}: {data!r} for {length} bytes from {start}", apply)

    lengths = st.integers(0, 40) | st.just(10**9)  # the latter truncates
    return st.builds(make, st.sampled_from(names), st.integers(0, 5_000), lengths, st.binary(max_size=20))


def _line_damages(names: list[str]) -> st.SearchStrategy[Damage]:
    def make(name: str, order: list[int], times: int) -> Damage:
        def apply(top: Path) -> None:
            if (top / name).is_file() and (lines := (top / name).read_bytes().splitlines(keepends=True)):
                (top / name).write_bytes(b"".join(lines[number % len(lines)] for number in order) * times)

        return Damage(f"{name}: lines {order}, {times} times", apply)

    return st.builds(
        make, st.sampled_from(names), st.lists(st.integers(0, 30), max_size=10), st.sampled_from([1, 1, 2, 300])
    )


def _file_damages(names: list[str], canary: Path) -> st.SearchStrategy[Damage]:
    def make(name: str, kind: str) -> Damage:
        return Damage(f"{name} becomes {kind}", lambda top: replace(top / name, kind, canary))

    return st.builds(make, st.sampled_from(names), st.sampled_from([*KINDS, "nothing", "unreadable"]))


def replace(path: Path, kind: str, canary: Path) -> None:
    """Put something else in the place of a file or folder; what is not there, or behind a link by now, stays so."""
    if not os.path.lexists(path) or path.parent.is_symlink():
        return
    if kind == "unreadable":
        path.chmod(0)
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind in KINDS:
        with chdir(path.parent):  # a socket's path may have 107 bytes
            KINDS[kind](Path(path.name), canary)


def _socket(path: Path, _: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind("short")
    path.with_name("short").rename(path)


def _device(path: Path, _: Path) -> None:
    if os.getuid() == 0:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: reading it never ends
    else:
        path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "a directory": lambda path, _: path.mkdir(),
    "an empty file": lambda path, _: path.touch(),
    "a pipe": lambda path, _: os.mkfifo(path),
    "a socket": _socket,
    "a device": _device,
    "a link to a secret file": lambda path, canary: path.symlink_to(canary / "secret"),
    "a link to a secret directory": lambda path, canary: path.symlink_to(canary),
    "a link to /etc/passwd": lambda path, _: path.symlink_to("/etc/passwd"),
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a link to its parent": lambda path, _: path.symlink_to(".."),
    "a link to nothing": lambda path, _: path.symlink_to("not there"),
}
"""What may stand in the place of a file, by the words for it."""


def _artifact_damages(folders: list[str], canary: Path) -> st.SearchStrategy[Damage]:
    """Artifacts with odd names, links among them, folders in folders."""
    attempts = [folder for folder in folders if Path(folder).name.startswith("attempt-")]

    def make(folder: str, name: bytes, kind: str) -> Damage:
        def apply(top: Path) -> None:
            artifacts = top / folder / "artifacts"
            if not (top / folder).is_dir() or any(p.is_symlink() for p in (artifacts, *artifacts.parents)):
                return
            if not artifacts.exists():
                artifacts.mkdir()
            path = artifacts / os.fsdecode(name)
            if artifacts.is_dir() and not os.path.lexists(path):
                with chdir(artifacts):
                    KINDS[kind](Path(path.name), canary)

        return Damage(f"{folder}/artifacts/{name!r} becomes {kind}", apply)

    odd = [b"a" * 255, b"-rf", b"..a", b"\xff\xfe", b"a\nb", b"a#b?c%20", b"\\", "\u202ea".encode(), b"<script>", b" "]
    names = st.sampled_from(odd) | st.binary(min_size=1, max_size=20).filter(_is_file_name)
    return st.builds(make, st.sampled_from(attempts), names, st.sampled_from(list(KINDS)))


def _is_file_name(name: bytes) -> bool:
    return name not in (b".", b"..") and not {0, ord("/")} & set(name)
