"""Put the pictures that a notebook shows from files or attachments into its page."""

import base64
import contextlib
import html
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pynb_dag_runner.model.text import cut_end

MAX_BYTES = 10_000_000
"""Of one picture; as for a picture among the outputs."""
MAX_BYTES_OF_PAGE = 30_000_000
"""Of all pictures that a page has from files."""

_ATTACHMENT = "attachment:"
_VECTOR = "image/svg+xml"
_PREFERRED = (_VECTOR, "image/png", "image/jpeg")
"""Vector over raster, and lossless over lossy, as nbconvert has it."""
_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"BM.{8}\x00\x00", re.DOTALL), "image/bmp"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:<[?!](?!--)[^>]*>|<!--(?:(?!-->).)*-->)\s*)*<svg\b", re.DOTALL), _VECTOR),
)
"""What a file is, its first bytes say: a name says nothing, and no other file of a user's belongs into a page."""
_SNIFFED_BYTES = 4_096
_TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_SOURCE = re.compile(r"""(\ssrc\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)


class NoPicture(Exception):
    """It can't be shown; the message says why, for a reader of the page."""


@dataclass
class Pictures:
    """Finds the pictures of one page.

    Args:
        directory: that relative paths start from, the notebook's own; None: no file is read. A page of a notebook that
            came from elsewhere must not show what lies on this machine.
        root: nothing outside of it is read, whatever links lead there.
    """

    directory: Path | None = None
    root: Path | None = None
    _left: int = field(default=MAX_BYTES_OF_PAGE, init=False)

    def in_place_of(self, source: str, attachments: Mapping[str, Mapping[str, str]]) -> str:
        """The address of a picture that needs nothing but the page; one in the network stays as it is.

        Raises:
            NoPicture: there is none.
        """
        if source.startswith(_ATTACHMENT):
            return _attached(source.removeprefix(_ATTACHMENT), attachments)
        with contextlib.suppress(ValueError):  # no address at all: perhaps the name of a file
            address = urlsplit(source)
            if address.netloc or (address.scheme and address.scheme != "file"):
                return source
        return self._from_file(source)

    def _from_file(self, source: str) -> str:
        if self.directory is None or self.root is None:
            raise NoPicture("pages that are made after the run show no pictures from files")
        plain = source.split("#")[0].split("?")[0]
        for name in dict.fromkeys((unquote(source), unquote(plain), plain)):
            data = self._read(name)
            if data is not None:
                kind = next((kind for begin, kind in _KINDS if begin.match(data[:_SNIFFED_BYTES])), None)
                if kind is None:
                    raise NoPicture("the file is no picture")
                self._left -= len(data)
                return f"data:{kind};base64,{base64.b64encode(data).decode()}"
        raise NoPicture("there is no such file")

    def _read(self, name: str) -> bytes | None:
        """Content of a file; None: there is none of this name."""
        assert self.directory is not None
        assert self.root is not None
        if "\0" in name or name.startswith("file:"):
            raise NoPicture("only files below the project's directory are shown")
        found = os.path.realpath(self.directory / name)
        if not Path(found).is_relative_to(os.path.realpath(self.root)):
            raise NoPicture("only files below the project's directory are shown")
        try:
            # Opening a pipe or a device would wait, or do things.
            descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            most = min(MAX_BYTES, self._left)
            if status.st_size > most:
                raise NoPicture(f"it has {status.st_size:,} bytes, and there is room for {most:,}")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(descriptor)

    def in_html(self, text: str, attachments: Mapping[str, Mapping[str, str]]) -> str:
        """HTML in which each picture is part of it, or a note in its place."""
        return _TAG.sub(lambda tag: self._in_tag(tag[0], attachments), text)

    def _in_tag(self, tag: str, attachments: Mapping[str, Mapping[str, str]]) -> str:
        source = _SOURCE.search(tag)
        if source is None:
            return tag
        address = html.unescape(source[2].strip("\"'"))
        try:
            found = self.in_place_of(address, attachments)
        except NoPicture as reason:
            return note(address, reason)
        return tag if found == address else f'{tag[: source.start(2)]}"{html.escape(found)}"{tag[source.end(2) :]}'


def note(source: str, reason: NoPicture) -> str:
    """What stands in place of a picture that can't be shown."""
    shown = html.escape(cut_end(source, 200))
    return f'<em class="pdr-note">[picture {shown}: {html.escape(str(reason))}]</em>'


def _attached(name: str, attachments: Mapping[str, Mapping[str, str]]) -> str:
    bundle = attachments.get(name) or attachments.get(unquote(name))
    if not bundle:
        raise NoPicture("the cell has no such attachment")
    kind = next(kind for kind in (*_PREFERRED, *bundle) if kind in bundle)
    data = bundle[kind]
    if kind == _VECTOR and data.lstrip().startswith("<"):
        data = base64.b64encode(data.encode()).decode()
    return f"data:{kind};base64,{data}"
