"""Write parameters into a notebook as source code, in the notebook's language.

papermill's own translators write text as Python does, which other languages read as another text or not at all, and
numbers that these languages do not have. So those for languages that people run here are mended, and what the rest
would get wrong is refused.
"""

import math
from collections.abc import Mapping
from typing import Any

from pynb_dag_runner.notebooks.papermill import (
    BashTranslator,
    JuliaTranslator,
    PapermillException,
    PythonTranslator,
    RTranslator,
    ScalaTranslator,
    papermill_translators,
)
from pynb_dag_runner.notebooks.secret_inputs import FromEnvironment
from pynb_dag_runner.notebooks.source_code import source_code

_EXACT_IN_A_DOUBLE = 2**53
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


class Unwritable(ValueError):
    """A language has no such value; the message is one phrase."""


class LosslessPythonTranslator(PythonTranslator):  # type: ignore[misc] # papermill is untyped
    """papermill's own turns what it does not know into a string, and lets ``black`` rewrite the cell if installed."""

    @classmethod
    def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
        """Source of the injected cell. ``parameters`` passed the check of what notebooks can receive."""
        code = source_code(parameters, _placeholder)
        assignments = [f"{name} = {expression}" for name, expression in code.expressions.items()]
        return "\n".join([f"# {comment}", *code.imports, *assignments]) + "\n"


def _placeholder(value: Any) -> str | None:
    return value.source if isinstance(value, FromEnvironment) else None


class _R(RTranslator):  # type: ignore[misc] # papermill is untyped
    @classmethod
    def translate_escaped_str(cls, str_val: Any) -> str:
        if "\0" in str_val:
            raise Unwritable("a text in R holds no NUL")
        return _quoted(str_val, "\\U{:08x}")

    @classmethod
    def translate_int(cls, val: int) -> str:
        if abs(val) > _EXACT_IN_A_DOUBLE:
            raise Unwritable(f"R holds whole numbers up to 2**53 exactly, got {val}")
        return str(val)

    @classmethod
    def translate_float(cls, val: float) -> str:
        return _number(val, nan="NaN", infinity="Inf")

    @classmethod
    def translate_dict(cls, val: Mapping[str, Any]) -> str:
        if "" in val:
            raise Unwritable("a list in R has no empty name")
        return str(super().translate_dict(val))

    @classmethod
    def assign(cls, name: str, str_val: str) -> str:
        # papermill drops leading underscores; R takes any name in backquotes.
        return f"{f'`{name}`' if name.startswith('_') else name} = {str_val}"


class _Julia(JuliaTranslator):  # type: ignore[misc] # papermill is untyped
    @classmethod
    def translate_escaped_str(cls, str_val: Any) -> str:
        return _quoted(str_val, "\\U{:08x}").replace("$", "\\$")  # which would begin an expression

    @classmethod
    def translate_float(cls, val: float) -> str:
        return _number(val, nan="NaN", infinity="Inf")


class _Scala(ScalaTranslator):  # type: ignore[misc] # papermill is untyped
    @classmethod
    def translate_escaped_str(cls, str_val: Any) -> str:
        return _quoted(str_val, None)

    @classmethod
    def translate_int(cls, val: int) -> str:
        if not -(2**63) <= val < 2**63:
            raise Unwritable(f"a Long in Scala has 64 bits, got {val}")
        return str(super().translate_int(val))

    @classmethod
    def translate_float(cls, val: float) -> str:
        if math.isinf(val):
            return "Double.PositiveInfinity" if val > 0 else "Double.NegativeInfinity"
        return _number(val, nan="Double.NaN", infinity="")


class _Bash(BashTranslator):  # type: ignore[misc] # papermill is untyped
    @classmethod
    def translate_none(cls, val: None) -> str:
        return "''"  # in an array nothing would be no element

    @classmethod
    def translate_escaped_str(cls, str_val: Any) -> str:
        if "\0" in str_val:
            raise Unwritable("a text in bash holds no NUL")
        return str(super().translate_escaped_str(str_val))

    @classmethod
    def translate_list(cls, val: list[Any]) -> str:
        if any(isinstance(item, list) for item in val):
            raise Unwritable("an array in bash holds no arrays")
        return str(super().translate_list(val))

    @classmethod
    def translate_dict(cls, val: Mapping[str, Any]) -> str:
        raise Unwritable("bash has no value for a mapping")


def _quoted(text: str, beyond: str | None) -> str:
    """``text`` between double quotes, in ASCII.

    Args:
        beyond: how a character beyond 16 bits is written; None: as a surrogate pair.
    """
    characters = []
    for character in text:
        code = ord(character)
        if character in _ESCAPES:
            characters.append(_ESCAPES[character])
        elif 32 <= code < 127:
            characters.append(character)
        elif code <= 0xFFFF:
            characters.append(f"\\u{code:04x}")
        elif beyond is not None:
            characters.append(beyond.format(code))
        else:
            units = character.encode("utf-16-be")
            characters += [f"\\u{units[:2].hex()}", f"\\u{units[2:].hex()}"]
    return f'"{"".join(characters)}"'


def _number(value: float, nan: str, infinity: str) -> str:
    if math.isnan(value):
        return nan
    if math.isinf(value):
        return infinity if value > 0 else f"-{infinity}"
    return repr(value)


_OURS = {
    "python": LosslessPythonTranslator,
    "pysparkkernel": LosslessPythonTranslator,  # papermill knows it by its kernelspec's name
    "R": _R,
    "sparkrkernel": _R,
    "julia": _Julia,
    "scala": _Scala,
    "sparkkernel": _Scala,
    "bash": _Bash,
}
for _name, _translator in _OURS.items():
    papermill_translators.register(_name, _translator)


def writer_of(kernel: str, language: str) -> str | None:
    """The name by which papermill finds the translator for a kernel or its language; None: it has none.

    papermill registers them by names of languages, of kernelspecs, and in capital and small letters.
    """
    for name in (kernel, language, f".net-{language}"):
        for known in (name, name.upper(), name.lower()):
            try:
                papermill_translators.find_translator(known, known)
            except PapermillException:
                continue
            return known
    return None


def problems(kernel: str, language: str, parameters: Mapping[str, Any]) -> list[str]:
    """Why these parameters can't be written into a notebook that is no Python one, a phrase for each.

    Args:
        parameters: values that JSON holds.
    """
    writer = writer_of(kernel, language)
    if writer is None and parameters:
        names = ", ".join(repr(name) for name in parameters)
        return [f"papermill can't write parameters in {language}, so this notebook can't be given {names}"]
    found = []
    for name, value in parameters.items():
        try:
            if writer not in _OURS:
                _check_plain(value, language)
            papermill_translators.find_translator(writer, writer).codify({name: value})
        except (Unwritable, NotImplementedError) as error:
            found.append(f"parameter {name!r} can't be written in {language}: {error}")
    return found


def _check_plain(value: Any, language: str) -> None:
    """Refuse what papermill's translators write as Python would."""
    if isinstance(value, str):
        if not value.isascii() or not value.isprintable() or any(character in value for character in "\\$`"):
            raise Unwritable(f"papermill's text in {language} can be plain ASCII only, got {value!r}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Unwritable(f"papermill writes no number in {language} for {value!r}")
    elif isinstance(value, Mapping):
        for item in (*value, *value.values()):
            _check_plain(item, language)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, language)
