"""References to outputs of tasks. They stand for values that exist only once the producer has run.

While a pipeline is written down a reference can be handed on, and nothing else: whatever would need the value itself is
refused, so that no text, no condition and no file name is ever made of the reference instead.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from pynb_dag_runner.errors import OutputNotKnownError, TaskIsNoValueError
from pynb_dag_runner.model.nested_values import instances_in, replaced


class Producer(Protocol):
    """What is needed of the task whose output is referred to."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def owner(self) -> object:
        """Identity of the pipeline object that made it."""


class OutputReference:
    """Stands for a value that a task will have produced when the holder of this reference runs.

    Its ``repr`` is for people; a text made with it is recognised by :func:`shown_references_in`.

    Attributes:
        producer: the task.
        output_name: what the task calls the value.
    """

    __slots__ = ("output_name", "producer")

    def __init__(self, producer: Producer, output_name: str) -> None:
        self.producer = producer
        self.output_name = output_name

    @property
    def words(self) -> str:
        """What to call it in a sentence."""
        return f"output {self.output_name!r} of task {self.producer.name!r}"

    def __repr__(self) -> str:
        return f"<{self.words}>"

    def __copy__(self) -> "OutputReference":
        return self

    def __deepcopy__(self, _memo: object) -> "OutputReference":
        return self  # a copy of the task would be one of no pipeline

    if not TYPE_CHECKING:  # for a type checker it has no further attributes

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):  # libraries ask in this way what an object can do
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise _NoAttributeError(self.words, f"asked for its {name!r}")


class _NoAttributeError(OutputNotKnownError, AttributeError):
    """The same for an attribute, so that ``hasattr`` answers."""


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(reference: OutputReference, *_arguments: object) -> NoReturn:
        raise OutputNotKnownError(reference.words, use)

    return refuse


_BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
_USES = {
    "made into text": "str format bytes",
    "used as a path": "fspath",
    "used as a condition": "bool",
    "compared": "eq ne lt le gt ge",
    "put into a set or used as a key": "hash",
    "iterated over": "iter reversed next",
    "measured": "len length_hint",
    "searched": "contains",
    "indexed": "getitem setitem delitem",
    "used as a number": "index int float complex round trunc floor ceil abs neg pos invert",
    "combined with another value": " ".join(f"{name} r{name}" for name in _BINARY.split()),
    "entered": "enter exit aenter aexit",
    "awaited": "await aiter anext",
    "pickled": "reduce reduce_ex",
}
"""For each use of a value the special methods by which Python asks for it (docs.python.org, "Special method names")."""

for _use, _methods in _USES.items():
    for _method in _methods.split():
        setattr(OutputReference, f"__{_method}__", _refusal(_use))


class TaskElsewhere:
    """What a function finds where it runs of a task that it reads from around it: its name, and no value of its.

    A method of an object that keeps its tasks takes them along, so they can't be refused; that one is used, can.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<Task {self._name!r} of the pipeline>"

    def __reduce__(self) -> tuple[type["TaskElsewhere"], tuple[str]]:
        return (TaskElsewhere, (self._name,))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._refuse()

    def _refuse(self, *_arguments: object) -> NoReturn:
        raise TaskIsNoValueError(self._name)

    __str__ = __format__ = __bool__ = __iter__ = __len__ = __getitem__ = __call__ = _refuse
    __fspath__ = __index__ = __int__ = __float__ = __add__ = __radd__ = _refuse


_SHOWN = re.compile(
    r"""<(?:output\ (?P<output>'[^']*'|"[^"]*")\ of\ task\ |Task\ )(?P<task>'[^']*'|"[^"]*")(?:\ \(\w+\))?>""",
    re.VERBOSE,
)


def references_in(value: Any) -> Iterator[OutputReference]:
    """Every output reference inside nested dicts, lists and tuples, in order of appearance."""
    return instances_in(value, OutputReference)


def shown_references_in(value: Any) -> Iterator[str]:
    """What the texts and paths in ``value`` show of references and tasks that were made into text by ``repr``.

    ``f"{reference!r}"`` and ``str([reference])`` ask for nothing but the ``repr``, which debuggers need as well.
    """
    for item in instances_in(value, (str, PurePath)):
        if "<" in (text := str(item)):
            yield from (match.group() for match in _SHOWN.finditer(text))


def replace_references(value: Any, resolve: Callable[[OutputReference], Any]) -> Any:
    """A copy of ``value`` with each output reference replaced by ``resolve(reference)``."""
    return replaced(value, OutputReference, resolve)
