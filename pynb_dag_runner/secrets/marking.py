"""Mark values as secret, find them among parameters, and unwrap them where they are used.

Marked are values in a ``Secret`` (pydantic's), which may stand anywhere in lists, tuples, sets and dicts, and the
values of the environment variables that ``PYNB_DAG_RUNNER_REDACT`` names.
"""

import os
import threading
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr

from pynb_dag_runner.model.nested_values import instances_in, replaced
from pynb_dag_runner.model.text import storable
from pynb_dag_runner.secrets.masking import MIN_CHARACTERS, Redactor

__all__ = ["Secret"]

REDACT_VARIABLE = "PYNB_DAG_RUNNER_REDACT"
"""Environment variable: names of others whose values are secret, with commas between them."""

FROM_ENVIRONMENT = "@env:"
"""Begins a text that names the environment variable with the value of a secret parameter."""

MARKED = (Secret, SecretStr, SecretBytes)


def redactor_of(*values: object, texts: Iterable[str] = ()) -> Redactor:
    """Hides the secrets that are in ``values``, those that this process's environment names, and ``texts``."""
    marked = [text for value in values for secret in secrets_in(value) for _, text in _texts(secret, "")]
    return Redactor([*(text for text in marked if text is not None), *texts, *_environment().values()])


def environment_problems() -> list[str]:
    """What can't be hidden of what the environment names, one sentence each."""
    return [
        f"{REDACT_VARIABLE} names {name!r}, whose value has fewer than {MIN_CHARACTERS} characters; it could not be "
        "hidden without destroying what else is written"
        for name, value in _named().items()
        if value and len(value) < MIN_CHARACTERS
    ]


def _environment() -> dict[str, str]:
    return {name: value for name, value in _named().items() if len(value) >= MIN_CHARACTERS}


def _named() -> dict[str, str]:
    names = [name.strip() for name in os.environ.get(REDACT_VARIABLE, "").split(",")]
    # Bytes that are no UTF-8 come as halves of surrogate pairs; no file of ours holds such.
    return {name: storable(os.environ.get(name, "")) for name in names if name}


def secrets_in(value: Any) -> Iterator[Any]:
    """The plain values of all secrets in nested lists, tuples, sets and dicts; each container is walked once."""
    return (marked.get_secret_value() for marked in instances_in(value, MARKED))


def is_secret(value: object) -> bool:
    """Whether there is a secret in ``value``."""
    return any(True for _ in instances_in(value, MARKED))


def replace_secrets(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of ``value`` in which ``replace(plain)`` stands for each secret; ``value`` itself if there is none."""
    return replaced(value, MARKED, lambda marked: replace(marked.get_secret_value()))


def revealed(value: Any) -> Any:
    """``value`` with the plain values of its secrets: what a task is given."""
    return replace_secrets(value, lambda plain: plain)


def secret_problems(value: Any, where: str) -> list[str]:
    """Why secrets in ``value`` could not be hidden, one phrase each that does not show them.

    Args:
        where: what to call the value, such as ``parameter 'key'``.
    """
    return [problem for secret in secrets_in(value) for problem, _ in _texts(secret, where) if problem]


def _texts(secret: Any, where: str) -> Iterator[tuple[str | None, str | None]]:
    """For each text and number in a secret a problem or the text to hide; empty ones need no hiding."""
    if secret is None or isinstance(secret, bool):
        return
    if isinstance(secret, Mapping | list | tuple | set | frozenset):
        for item in secret.values() if isinstance(secret, Mapping) else secret:
            yield from _texts(item, where)
        return
    try:
        text = secret.decode() if isinstance(secret, bytes) else str(secret)
        text.encode()
    except UnicodeError:
        yield f"{where}: a secret can't be hidden if it is no text in UTF-8", None
        return
    if not isinstance(secret, str | bytes | int | float | PurePath):
        kind = type(secret).__name__
        yield f"{where}: a secret is text, a number, or lists and dicts of these, got a {kind}", None
    elif text and len(text) < MIN_CHARACTERS:
        reason = "could not be hidden without destroying what else is written"
        yield f"{where}: a secret of fewer than {MIN_CHARACTERS} characters {reason}", None
    else:
        yield None, text


def is_secret_type(annotation: Any) -> bool:
    """Whether values of the annotated type are secret, or can hold secrets."""
    if typing.get_origin(annotation) is Secret or (isinstance(annotation, type) and issubclass(annotation, MARKED)):
        return True
    return any(is_secret_type(argument) for argument in typing.get_args(annotation))


def from_environment(text: str) -> str:
    """The value that ``@env:NAME`` stands for; any other text stands for itself.

    Raises:
        LookupError: there is no such variable; the message is a phrase.
    """
    if not text.startswith(FROM_ENVIRONMENT):
        return text
    name = text.removeprefix(FROM_ENVIRONMENT)
    value = _taken_out.get(name, os.environ.get(name))
    if value is None:
        raise LookupError(f"there is no environment variable {name!r}")
    return value


_taken_out: dict[str, str] = {}
"""Variables that are not in the environment while a run goes on."""
_runs_without: Counter[str] = Counter()
_taking_out = threading.Lock()


@contextmanager
def out_of_environment(names: Iterable[str]) -> Iterator[None]:
    """Take variables out of this process's environment for a while: what it starts does not inherit them.

    :func:`from_environment` still finds them. Those that ``PYNB_DAG_RUNNER_REDACT`` names stay: tasks are to have them.
    """
    wanted = sorted(set(names) - set(_named()))
    with _taking_out:
        for name in wanted:
            _runs_without[name] += 1
            if name in os.environ:
                _taken_out[name] = os.environ.pop(name)
    try:
        yield
    finally:
        with _taking_out:
            for name in wanted:
                _runs_without[name] -= 1
                if not _runs_without[name] and name in _taken_out:
                    os.environ.setdefault(name, _taken_out.pop(name))
