"""Finding secret texts in other texts, in the forms in which programs write them, and putting stars in their place.

Found are a text itself and its forms in JSON, Python literals, URLs, HTML, base64 (also as a part of something longer)
and hexadecimal digits. Not found are parts of it, and whatever is compressed, encrypted or in another encoding.

Standard library only: the process that writes a log loads this.
"""

import base64
import html
import json
import math
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from pynb_dag_runner.outcome import Failure

MASK = "**********"
"""What stands where a secret stood; pydantic's own."""

MIN_CHARACTERS = 4
"""A shorter text is in half of all files by chance: hiding it would destroy them and tell what it is."""

_MIN_LINE_CHARACTERS = 8
"""Lines of a secret of several lines, such as a private key, are hidden singly too if they have so many characters."""
_MIN_INNER_CHARACTERS = 8
"""Of base64 that does not begin with the secret; fewer are in every picture by chance."""
_FEW_FORMS = 30
"""So many are looked for faster one by one, at 1 GB/s, than all at once, at 30 MB/s."""
_COUNTS = frozenset({"execution_count", "nbformat", "nbformat_minor"})
"""Numbers in a notebook that viewers rely on, and that no task sets."""


class Redactor:
    """Replaces secrets by :data:`MASK`; false if there are none.

    Args:
        texts: the secrets; they can be encoded as UTF-8. Empty ones hide nothing.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = tuple(sorted({text for text in texts if text}))
        self._numbers = frozenset(number for text in self.texts if (number := _number(text)) is not None)
        # Of several forms that begin at the same place the longest counts.
        forms = sorted({form for text in self.texts for form in _forms(text)}, key=lambda form: (-len(form), form))
        self._encoded = tuple(form.encode() for form in forms)
        self._in_text = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._in_bytes = re.compile(b"|".join(map(re.escape, self._encoded))) if forms else None

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self.texts)} secrets>"

    def __reduce__(self) -> tuple[type["Redactor"], tuple[tuple[str, ...]]]:
        return Redactor, (self.texts,)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        return text if self._in_text is None else self._in_text.sub(MASK, text)

    def is_in(self, data: bytes) -> bool:
        """Whether a secret is in ``data``."""
        if len(self._encoded) <= _FEW_FORMS:
            return any(form in data for form in self._encoded)
        return self._in_bytes is not None and self._in_bytes.search(data) is not None

    @property
    def longest(self) -> int:
        """Bytes of the longest form of a secret."""
        return max(map(len, self._encoded), default=0)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets in its texts, keys and numbers; the same object if there are no secrets."""
        if self._in_text is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            # Not the type that came in: a notebook's nodes would make a deep copy.
            return {
                self.text(key): item if key in _COUNTS and isinstance(item, int) else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and value in self._numbers:
            return MASK
        return value

    def failure(self, failure: Failure | None) -> Failure | None:
        """A failure without secrets."""
        if failure is None or not self:
            return failure
        return replace(
            failure,
            kind=self.text(failure.kind),
            message=self.text(failure.message),
            traceback=self.text(failure.traceback),
        )

    def stream(self) -> "RedactedStream":
        """For bytes that come in pieces."""
        return RedactedStream(self._encoded, self._in_bytes)


NO_SECRETS = Redactor()


class RedactedStream:
    """Redacts bytes that come in pieces, also what two pieces hold together. Memory: a piece and a form of a secret."""

    def __init__(self, forms: tuple[bytes, ...], pattern: re.Pattern[bytes] | None) -> None:
        self._pattern = pattern
        self._longest = max(map(len, forms), default=0)
        self._by_first: dict[int, list[bytes]] = {}
        for form in forms:
            self._by_first.setdefault(form[0], []).append(form)
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """What is known to be no beginning of a secret so far, redacted."""
        if self._pattern is None:
            return data
        data = self._held + data
        hold = self._open_from(data)
        done, parts = 0, []
        for match in self._pattern.finditer(data):
            if match.start() >= hold:
                break
            parts += [data[done : match.start()], MASK.encode()]
            done = match.end()
        self.found = self.found or bool(parts)
        hold = max(hold, done)
        self._held = data[hold:]
        return b"".join([*parts, data[done:hold]])

    def end(self) -> bytes:
        """The rest, since nothing more comes."""
        rest, self._held = self._held, b""
        if self._pattern is None or not self._pattern.search(rest):
            return rest
        self.found = True
        return self._pattern.sub(MASK.encode(), rest)

    def _open_from(self, data: bytes) -> int:
        """Where the first form begins that may go on beyond the end of ``data``; its length if there is none."""
        for start in range(max(0, len(data) - self._longest + 1), len(data)):
            forms = self._by_first.get(data[start])
            if forms is not None:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in forms):
                    return start
        return len(data)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _forms(text: str) -> Iterator[str]:
    yield from _forms_of_line(text)
    lines = text.splitlines()
    if len(lines) > 1:
        for line in {line.strip() for line in lines}:
            if len(line) >= _MIN_LINE_CHARACTERS:
                yield from _forms_of_line(line)


def _forms_of_line(text: str) -> Iterator[str]:
    literals = {text, *_literals(text)}
    yield from literals
    for literal in literals:
        yield from _literals(literal)  # a text in JSON in a notebook, which is JSON
        yield from _in_html(literal)
    for quoted in (
        urllib.parse.quote(text, safe=""),
        urllib.parse.quote(text),
        urllib.parse.quote_plus(text),
        urllib.parse.quote_plus(text, safe="/"),
    ):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)
    raw = text.encode()
    yield raw.hex()
    yield raw.hex().upper()
    yield from _in_base64(raw)


def _literals(text: str) -> Iterator[str]:
    """As it stands between quotes in JSON and in Python."""
    for in_ascii in (True, False):
        in_json = json.dumps(text, ensure_ascii=in_ascii)[1:-1]
        yield in_json
        yield in_json.replace("/", "\\/")
        shown = ascii if in_ascii else repr
        for single, double in product(("'", "\\'"), ('"', '\\"')):
            quotes = {"'": single, '"': double}
            yield "".join(quotes.get(character) or shown(character)[1:-1] for character in text)


def _in_html(text: str) -> Iterator[str]:
    marked = html.escape(text, quote=False)
    yield marked
    for single, double in product(("'", "&#x27;", "&#39;"), ('"', "&quot;", "&#34;")):
        yield marked.replace('"', double).replace("'", single)


def _in_base64(raw: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
        for before in range(3):
            # Six bits a character: those at both ends also depend on what stands beside the secret.
            inner = encode(bytes(before) + raw).decode()[math.ceil(before * 8 / 6) : (before + len(raw)) * 8 // 6]
            if len(inner) >= _MIN_INNER_CHARACTERS:
                yield inner
