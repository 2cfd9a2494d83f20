"""Find secret texts in other texts, in the forms in which programs write them, and replace them by stars.

Found are a text itself and its forms in JSON, Python literals, URLs, HTML, base64 (also as a part of something longer)
and hexadecimal digits. Not found are parts of it, and whatever is compressed, encrypted or in another encoding.

Standard library only: the process that writes a log loads this.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pynb_dag_runner.secrets import own_names
from pynb_dag_runner.secrets.written_forms import Form, forms_of, squeezed

MASK = "**********"
"""What stands where a secret stood; pydantic's own."""

MIN_CHARACTERS = 4
"""A shorter text is in half of all files by chance: hiding it would destroy them and tell what it is."""

_COUNTS = frozenset({"execution_count", "nbformat", "nbformat_minor"})
"""Numbers in a notebook that viewers rely on, and that no task sets."""


class Search:
    """Looks for texts in all their forms: first fast for what each form leaves as it is, then exactly for those found.

    Attributes:
        least: bytes of the shortest form.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # Of several forms that begin at the same place a longer text's counts.
        by_length = sorted(texts, key=lambda text: (-len(text), text))
        self._forms = tuple(form for text in by_length for form in forms_of(text))
        self._patterns: dict[tuple[int, ...], re.Pattern[bytes]] = {}
        self.least = min((form.least for form in self._forms), default=sys.maxsize)
        self._longest = max((form.longest for form in self._forms), default=0)
        self._last = frozenset(written[:1] for form in self._forms for written in form.units[0])
        self._by_head: dict[bytes, list[Form]] = {}
        for form in self._forms:
            for head in form.heads():
                self._by_head.setdefault(head, []).append(form)
        firsts: dict[bytes, bytes] = {}
        for head in self._by_head:
            firsts[head[:1]] = firsts.get(head[:1], b"") + b"\\x%02x" % head[1]
        branches = [b"\\x%02x(?=[%b])" % (first[0], seconds) for first, seconds in firsts.items()]
        self._heads = re.compile(b"|".join(branches) or b"(?!)")

    def pattern_for(self, data: bytes) -> re.Pattern[bytes] | None:
        """Finds the forms that ``data`` may hold; None if there are none."""
        if len(data) < self.least:
            return None
        fast = squeezed(data)
        hits = tuple(number for number, form in enumerate(self._forms) if form.anchor in fast)
        if not hits:
            return None
        if hits not in self._patterns:
            self._patterns[hits] = re.compile(b"|".join(self._forms[number].pattern() for number in hits))
        return self._patterns[hits]

    def open_from(self, data: bytes) -> int:
        """Where the first form begins that may go on beyond the end of ``data``; its length if there is none."""
        for head in self._heads.finditer(data, max(0, len(data) - self._longest)):
            start = head.start()
            for form in self._by_head[data[start : start + 2]]:
                if len(data) - start <= form.longest and form.may_go_on(data, start):
                    return start
        if data[-1:] in self._last:
            return len(data) - 1
        return len(data)


class Redactor:
    """Replaces secrets by :data:`MASK`; false if there are none.

    Args:
        texts: the secrets; they can be encoded as UTF-8. Empty ones hide nothing.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = tuple(sorted({text for text in texts if text}))
        self._numbers = frozenset(number for text in self.texts if (number := _number(text)) is not None)
        self._search = Search(self.texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self.texts)} secrets>"

    def __reduce__(self) -> tuple[type["Redactor"], tuple[tuple[str, ...]]]:
        return Redactor, (self.texts,)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        data = _encoded(text)
        pattern = self._search.pattern_for(data)
        return text if pattern is None else pattern.sub(MASK.encode(), data).decode("utf-8", "surrogateescape")

    def is_in(self, data: bytes) -> bool:
        """Whether a secret is in ``data``."""
        pattern = self._search.pattern_for(data)
        return pattern is not None and pattern.search(data) is not None

    def value(self, value: Any, key: str = "") -> Any:
        """A JSON value without secrets in its texts, keys and numbers; the same object if there are no secrets.

        Args:
            key: of the dict that it stands in. Words of formats stay at their places, see :mod:`own_names`.
        """
        if not self:
            return value
        if isinstance(value, str):
            return value if value in own_names.VALUES.get(key, ()) else self.text(value)
        if isinstance(value, dict):
            # Not the type that came in: a notebook's nodes would make a deep copy.
            return {
                name if name in own_names.KEYS else self.text(name): (
                    item if name in _COUNTS and isinstance(item, int) else self.value(item, name)
                )
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and value in self._numbers:
            return MASK
        return value

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values without secrets, by names that are none, such as those of parameters."""
        return {name: self.value(value) for name, value in values.items()}

    def stream(self) -> "RedactedStream":
        """For bytes that come in pieces."""
        return RedactedStream(self._search)


NO_SECRETS = Redactor()


class RedactedStream:
    """Redacts bytes that come in pieces, also what two pieces hold together. Memory: a piece and a form of a secret."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """What is known to be no beginning of a secret so far, redacted."""
        data = self._held + data
        hold = self._search.open_from(data)
        pattern = self._search.pattern_for(data)
        done, parts = 0, []
        for match in pattern.finditer(data) if pattern else ():
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
        pattern = self._search.pattern_for(rest)
        if pattern is None or not pattern.search(rest):
            return rest
        self.found = True
        return pattern.sub(MASK.encode(), rest)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # the name of a file may come with such bytes
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
