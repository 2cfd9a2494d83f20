r"""Generate the forms in which programs write a text: quoted, escaped, encoded, in digits, broken into lines.

Encodings work on one character after another. So a form here is a list of what may stand for each character, which also
finds a text of which a program encodes some characters only, in a way of its own: ``requests`` writes
``hunter2!pa%20ss@w*rd``, ``printf %q`` writes ``pa\ ss\@w\*rd``.

Standard library only: the process that writes a log loads this.
"""

import base64
import html
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html.entities import codepoint2name
from itertools import product

_MIN_LINE_CHARACTERS = 8
"""Lines of a text of several lines, such as a private key, are forms too if they have so many characters."""
_MIN_INNER_CHARACTERS = 8
"""Of base64 that does not begin with the text; fewer are in every picture by chance."""
_MIN_SEPARATED_BYTES = 8
"""Of numbers with blanks between them; fewer are in every table of numbers by chance."""
_MIN_BEFORE_BREAK = 4
"""Characters before a line's end that make a stream wait for the next line. What is broken before is found later, when
the file is whole."""
_MIN_ANCHOR_BYTES = 3
_GAP_BYTES = 45
_ESCAPING_DEPTH = 2
"""Times that what is escaped is escaped again: a text in JSON, in an output, in a notebook, which is JSON."""
_NAMED_CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\f": "f", "\v": "v", "\a": "a", "\b": "b", "\x1b": "eE", "\0": "0"}


@dataclass(frozen=True)
class Gap:
    """What may stand between two characters.

    Attributes:
        whole: a regular expression.
        begun: matches what is the beginning of a gap, and no gap.
        first: bytes with which one begins.
    """

    whole: bytes
    begun: re.Pattern[bytes]
    first: bytes


_LINE_BREAK = Gap(
    rb"(?:(?:(?:=|\\*)\r?\n|=?(?:\\+r)?\\+n)[ \t]{0,40})?", re.compile(rb"=?\\+(?:r\\*)?|(?:=|\\*)\r|="), b"\\\r\n="
)
"""Of a text, or of base64: a program's line break, or the same escaped, and the next line's indentation."""
_BETWEEN_HEX = Gap(rb"(?:[\s:,;.\-]|0x|\\+x|%|=){0,4}", re.compile(rb"[\s:,;.\-]*(?:0|\\+)"), b" \t\n\v\f\r:,;.-0\\%=")
_MARKS_OF_HEX = Gap(rb"(?:\\+x|%|=)?", re.compile(rb"\\+"), b"\\%=")
_NO_GAP = Gap(b"", re.compile(rb"(?!)"), b"")
_BETWEEN_DECIMAL = Gap(rb"[\s,;]{1,8}", re.compile(rb"(?!)"), b" \t\n\v\f\r,;")

_SQUEEZED = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_LEFT_OUT = b" \t\r\n\v\f\\\"'`nNrRxX:,;.-%=&#+/_"
"""What gaps consist of. Letters among them, since a line break may be written as a backslash and a letter."""


def squeezed(data: bytes) -> bytes:
    """``data`` without what may stand between characters, in small letters: here anchors are found fast."""
    return data.translate(_SQUEEZED, _LEFT_OUT)


@dataclass(frozen=True)
class Form:
    """A form of a text.

    Attributes:
        units: for each character, or what stands for some of them, what it may be written as; the longest first.
        gap: what may stand between two units.
        anchor: is in each squeezed text that holds this form; empty: nothing of that kind is known.
    """

    units: tuple[tuple[bytes, ...], ...]
    gap: Gap
    anchor: bytes

    @cached_property
    def least(self) -> int:
        """Bytes that it has at least."""
        return sum(len(unit[-1]) for unit in self.units)

    @cached_property
    def longest(self) -> int:
        """Bytes that it has at most, unless there are many gaps in it."""
        separators = 8 if self.gap in (_BETWEEN_HEX, _BETWEEN_DECIMAL) else 4 if self.gap is _MARKS_OF_HEX else 0
        return sum(len(unit[0]) + separators for unit in self.units) + _GAP_BYTES * (1 + len(self.units) // 16)

    def heads(self) -> set[bytes]:
        """What its first two bytes can be."""
        seconds = {written[:1] for written in self.units[1]} | {bytes([byte]) for byte in self.gap.first}
        one_byte = [written for written in self.units[0] if len(written) == 1]
        heads = {written + second for written, second in product(one_byte, seconds)}
        return heads | {written[:2] for written in self.units[0] if len(written) > 1}

    def pattern(self) -> bytes:
        """A regular expression for it."""
        return self.gap.whole.join(
            re.escape(unit[0]) if len(unit) == 1 else b"(?:" + b"|".join(map(re.escape, unit)) + b")"
            for unit in self.units
        )

    def may_go_on(self, data: bytes, start: int) -> bool:
        """Whether ``data`` from ``start`` on is the beginning of this form, to which what follows may belong."""
        gap = _compiled(self.gap.whole)
        waiting, seen = [(start, 0)], {(start, 0)}
        while waiting:
            position, index = waiting.pop()
            if position == len(data):
                return True
            for written in self.units[index]:
                end = position + len(written)
                if end > len(data):
                    if written.startswith(data[position:]):
                        return True
                elif index + 1 < len(self.units) and data.startswith(written, position):
                    # Most lines end like the beginning of some form; they must not wait for the next one.
                    broken = self.gap is not _LINE_BREAK or index + 1 >= _MIN_BEFORE_BREAK
                    between = gap.match(data, end) if broken else None
                    after = [end] if between is None else [end, between.end()]
                    if broken and end < len(data) and self.gap.begun.fullmatch(data, end):
                        return True
                    for state in ((place, index + 1) for place in after):
                        if state not in seen:
                            seen.add(state)
                            waiting.append(state)
        return False


@lru_cache(maxsize=8)
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


def forms_of(text: str) -> Iterator[Form]:
    """Its forms, and those of its lines."""
    yield from _forms_of_line(text)
    lines = text.splitlines()
    if len(lines) > 1:
        for line in sorted({line.strip() for line in lines}):
            if len(line) >= _MIN_LINE_CHARACTERS:
                yield from _forms_of_line(line)


def _forms_of_line(text: str) -> Iterator[Form]:
    recognisable = len(re.findall(r"[0-9A-Za-z]", text)) >= 4  # so much is left if other characters are lost
    units = [_unit(part, recognisable) for part in _parts(text)]
    yield Form(tuple(units), _LINE_BREAK, _anchor(text))
    yield from _in_entities(text)
    for raw in dict.fromkeys(_encoded(text)):
        yield from _in_hex(raw)
        if len(raw) >= _MIN_SEPARATED_BYTES:
            numbers = tuple((b"%d" % byte,) for byte in raw)
            yield Form(numbers, _BETWEEN_DECIMAL, b"".join(unit[0] for unit in numbers[:5]))
        for encoded in dict.fromkeys(_in_base64(raw)):
            yield Form(tuple(_BASE64[character] for character in encoded), _LINE_BREAK, _anchor(encoded))


def _encoded(text: str) -> Iterator[bytes]:
    """In UTF-8, and in Latin-1, which HTTP's headers were once made of."""
    yield text.encode()
    if not text.isascii():
        try:
            yield text.encode("latin-1")
        except UnicodeEncodeError:
            return


def _anchor(text: str) -> bytes:
    """Letters and digits that nothing encodes singly."""
    runs = (squeezed(run.encode()) for run in re.findall(r"[0-9A-Za-z]+", text))
    longest = max(runs, key=len, default=b"")[:24]
    return longest if len(longest) >= _MIN_ANCHOR_BYTES else b""


def _in_hex(raw: bytes) -> Iterator[Form]:
    digits = [f"{byte:02x}" for byte in raw]
    gap = _BETWEEN_HEX if len(raw) >= _MIN_SEPARATED_BYTES else _MARKS_OF_HEX
    units = tuple(tuple(dict.fromkeys((pair.encode(), pair.upper().encode()))) for pair in digits)
    yield Form(units, gap, "".join(digits[:5]).encode())
    if gap is _BETWEEN_HEX:  # the same, to be found by another anchor: 0x68, 0x75
        yield Form(units, gap, "0".join(digits[:5]).encode())


def _in_entities(text: str) -> Iterator[Form]:
    """HTML's, also of letters and digits."""
    for forms in (("&#x{:x};", "&#x{:X};"), ("&#{};",)):
        units = [tuple(dict.fromkeys(form.format(ord(character)) for form in forms)) for character in text]
        anchor = "".join(unit[0].strip("&#x;") for unit in units[:5])
        yield Form(tuple(tuple(map(str.encode, unit)) for unit in units), _NO_GAP, anchor.encode())


_BASE64 = {chr(code): (bytes([code]),) for code in range(128)} | {
    "+": (b"\\u002b", b"\\u002B", b"%2B", b"%2b", b"+", b"-"),
    "/": (b"\\u002f", b"\\u002F", b"%2F", b"%2f", b"\\/", b"/", b"_"),
}


def _in_base64(raw: bytes) -> Iterator[str]:
    """In the usual alphabet."""
    yield base64.b64encode(raw).decode().rstrip("=")
    for before in range(3):
        # Six bits a character: those at both ends also depend on what stands beside the text.
        inner = base64.b64encode(bytes(before) + raw).decode()[math.ceil(before * 8 / 6) : (before + len(raw)) * 8 // 6]
        if len(inner) >= _MIN_INNER_CHARACTERS:
            yield inner


_PARTS = re.compile(r"""[\\'"]+|([^\\'"])\1*""", re.DOTALL)


def _parts(text: str) -> Iterator[str]:
    """Letters and digits singly; others singly, or as a run in which programs do not change their ways."""
    for match in _PARTS.finditer(text):
        part = match.group()
        yield from part if part.isascii() and part.isalnum() else [part]


@lru_cache(maxsize=4096)
def _unit(part: str, recognisable: bool) -> tuple[bytes, ...]:
    """What ``part`` of a text may be written as."""
    if part.isascii() and part.isalnum():
        return (part.encode(),)
    found = {*_quoted(part), *_escaped(part), *_in_urls(part), *_in_markup(part)} - {""}
    newest = found
    for _ in range(_ESCAPING_DEPTH):
        newest = {again for form in newest for again in _literals(form)} - found
        found |= newest
    found |= {marked for form in found for marked in _marked(form)}
    written = {form.encode() for form in found} | set(_as_bytes(part))
    if recognisable and not part.isascii():
        written |= {b"?" * len(part), "\ufffd".encode() * len(part), "\ufffd".encode() * len(part.encode())}
    return tuple(sorted(written, key=lambda form: (-len(form), form)))


def _literals(text: str) -> Iterator[str]:
    """Between quotes in JSON, and in Python."""
    escaped = text.replace("\\", "\\\\")
    yield escaped
    yield escaped.replace('"', '\\"')
    yield escaped.replace("'", "\\'")


def _quoted(part: str) -> Iterator[str]:
    yield part
    yield from _literals(part)
    yield part.replace("'", "''")  # SQL, YAML
    yield part.replace('"', '""')  # CSV
    yield part.replace("'", "'\"'\"'")  # shlex
    yield part.replace("'", "'\\''")  # bash, with set -x
    if part[0] in "%${}":
        yield part * 2  # configparser, printf; make and compose; str.format
    if part.isascii():
        yield "".join(f"\\{character}" for character in part)  # printf %q, Markdown, re.escape, JSON's \/
    if part[0] == "\n":
        yield part.replace("\n", "\r\n")


def _escaped(part: str) -> Iterator[str]:
    """By their numbers or names, after a backslash."""
    for name in _NAMED_CONTROLS.get(part[0], ""):
        yield f"\\{name}" * len(part)
    yield part.replace("\n", "\\r\\n")
    yield part.encode("ascii", "backslashreplace").decode()
    yield "".join(_by_number(character) for character in part)
    yield "".join(_by_number(character).upper().replace("\\U", "\\u") for character in part)
    for form in ("\\U{:08x}", "\\U{:08X}"):
        yield "".join(form.format(ord(character)) for character in part)
    yield "".join(f"\\u{{{ord(character):x}}}" for character in part)
    if ord(max(part)) < 256:
        yield "".join(f"\\x{ord(character):02x}" for character in part)
        yield "".join(f"\\x{ord(character):02X}" for character in part)
    if not part.isascii() and all(unicodedata.name(character, "") for character in part):
        yield "".join(f"\\N{{{unicodedata.name(character)}}}" for character in part)
    raw = part.encode()
    for form in ("\\x{:02x}", "\\x{:02X}", "\\{:03o}", "={:02X}"):
        yield "".join(form.format(byte) for byte in raw)
    if not part.isascii():
        yield raw.decode("latin-1")


def _by_number(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _in_urls(part: str) -> Iterator[str]:
    """With all of it encoded, or only those of its characters that some program takes for unsafe."""
    distinct = sorted(set(part))
    for kept in product((False, True), repeat=len(distinct)):
        safe = {character for character, keep in zip(distinct, kept, strict=True) if keep}
        for form, percent, encoding in product(("{:02X}", "{:02x}"), ("%", "%25"), ("utf-8", "latin-1")):
            yield "".join(
                character
                if character in safe
                else "".join(percent + form.format(byte) for byte in character.encode(encoding, "ignore"))
                for character in part
            )
    if part[0] == " ":
        yield "+" * len(part)


def _marked(text: str) -> Iterator[str]:
    marked = html.escape(text, quote=False)
    for single, double in product(("'", "&#x27;", "&#39;", "&apos;"), ('"', "&quot;", "&#34;", "&#x22;")):
        yield marked.replace('"', double).replace("'", single)


def _in_markup(part: str) -> Iterator[str]:
    yield from _marked(part)
    for form in ("&#{};", "&#{:02};", "&#x{:x};", "&#x{:X};"):
        yield "".join(form.format(ord(character)) for character in part)
    if all(ord(character) in codepoint2name for character in part):
        yield "".join(f"&{codepoint2name[ord(character)]};" for character in part)


def _as_bytes(part: str) -> Iterator[bytes]:
    if part == " ":  # where lines are folded
        for end, indentation in product((b"\n", b"\r\n", b"\\n"), range(13)):
            yield end + b" " * indentation
    if not part.isascii():
        yield b"".join(b"\\%c" % byte for byte in part.encode())  # perl's quotemeta
        yield b"=\n".join(b"=%02X" % byte for byte in part.encode())  # where lines of quoted-printable end
        yield b"=\\n".join(b"=%02X" % byte for byte in part.encode())  # the same in a repr
        yield part.encode("latin-1", "ignore") or part.encode()
