"""Check names and types of what tasks are given and hand on, before anything runs.

Only what is certain is refused. A name may be computed, a type may be unknown, a helper may set an output: then nothing
is said here, and the run tells.
"""

import functools
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import FunctionType, NoneType
from typing import Any

from pynb_dag_runner.define.parameters import ParameterSpec
from pynb_dag_runner.model.graph import FunctionSource, NotebookSource, Task, unknown_name
from pynb_dag_runner.model.nested_values import instances_in
from pynb_dag_runner.model.references import OutputReference, references_in, replace_references
from pynb_dag_runner.model.text import short_repr
from pynb_dag_runner.notebooks.declared_parameters import fits, may_convert
from pynb_dag_runner.notebooks.python_cells import python_of
from pynb_dag_runner.notebooks.set_outputs import literal_outputs, outputs_set_in
from pynb_dag_runner.secrets.marking import replace_secrets

_SHOWN_CHARACTERS = 80
_RETURN = "return"
_PLAIN = (NoneType, bool, int, float, str, bytes, PurePath)


def wiring_problems(tasks: Iterable[Task]) -> list[str]:
    """What does not fit together, one sentence each, naming the task that would be given it."""
    wires = _Wires()
    return [f"task {task.name!r}: {problem}" for task in tasks for problem in wires.problems(task)]


@dataclass
class _Wires:
    """Looks at tasks one after the other; what is found out of a notebook or function is found out once."""

    _code: dict[NotebookSource, "_NotebookCode"] = field(default_factory=dict)
    _hints: dict[int, dict[str, Any]] = field(default_factory=dict)
    _outputs: dict[object, frozenset[str] | None] = field(default_factory=dict)

    def problems(self, task: Task) -> Iterator[str]:
        """What is wrong with what ``task`` is given."""
        if isinstance(task.source, FunctionSource):
            kinds: Mapping[str, Any] | None = self._hints_of(task.source.function)
        else:
            code = self._code_of(task.source)
            kinds = code.kinds
            if kinds is not None and not task.source.extra_parameters:
                yield from _name_problems([name for name in task.parameters if name not in code.words], kinds)
        for name, value in task.parameters.items():
            if next(instances_in(value, Task), None) is not None:
                continue  # refused as such; what else there is to say of it explains nothing
            references = list(references_in(value))
            if not all(isinstance(reference.output_name, str) for reference in references):
                continue
            if kinds is not None and name in kinds:
                yield from self._type_problems(name, value, kinds[name])
            for reference in references:
                yield from self._output_problems(reference)

    def _type_problems(self, name: str, value: Any, kind: Any) -> Iterator[str]:
        if isinstance(value, OutputReference):
            source = getattr(value.producer, "source", None)
            if isinstance(source, FunctionSource) and value.output_name == _RETURN:
                returned = self._hints_of(source.function).get(_RETURN, Any)
                if not may_convert(returned, kind):
                    yield f"parameter {name!r}: got {value.words}, a {_words(returned)}, expected {_words(kind)}"
            return
        try:
            plain = replace_secrets(replace_references(value, lambda _reference: None), lambda _plain: None)
            if not fits(plain, kind):
                yield f"parameter {name!r}: got {short_repr(plain, _SHOWN_CHARACTERS)}, expected {_words(kind)}"
        except RecursionError:
            return  # said where values are looked at

    def _output_problems(self, reference: OutputReference) -> Iterator[str]:
        producer, name = reference.producer, reference.output_name
        if not isinstance(producer, Task):
            return
        if isinstance(producer.source, FunctionSource):
            known = None if name == _RETURN else self._set_by_function(producer, name)
        else:
            known = self._set_by_notebook(producer.source, name)
        if known is not None:
            yield f"it is given {reference.words}, but {unknown_name('output', name, sorted(known))}"

    def _set_by_notebook(self, source: NotebookSource, name: str) -> frozenset[str] | None:
        """All outputs of a notebook, if ``name`` is surely none of them; else None."""
        code = self._code_of(source)
        if code.cells is None or name in code.literal_outputs:
            return None
        if source not in self._outputs:
            self._outputs[source] = outputs_set_in(code.cells, [source.cwd or source.path.parent])
        return self._outputs[source]

    def _set_by_function(self, task: Task, name: str) -> frozenset[str] | None:
        """The same for a function, which always has its return value."""
        assert isinstance(task.source, FunctionSource)
        function = task.source.function
        files = _files_of(function)
        if files is None or next(instances_in(task.parameters, FunctionType), None) is not None:
            return None
        try:
            texts = [file.read_text("utf-8") for file in sorted(files)]
        except (OSError, ValueError):
            return None
        if name in literal_outputs(texts):
            return None
        if files not in self._outputs:
            self._outputs[files] = outputs_set_in(texts, sorted({file.parent for file in files}))
        known = self._outputs[files]
        return None if known is None else known | {_RETURN}

    def _code_of(self, source: NotebookSource) -> "_NotebookCode":
        if source not in self._code:
            self._code[source] = _NotebookCode.of(source)
        return self._code[source]

    def _hints_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        if id(function) not in self._hints:
            try:
                self._hints[id(function)] = typing.get_type_hints(function)
            except Exception:  # noqa: BLE001 - an annotation is any expression; some mean nothing at run time
                self._hints[id(function)] = {}
        return self._hints[id(function)]


def _words(kind: Any) -> str:
    return ParameterSpec(name="", annotation=kind).type_name


def _name_problems(names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            found = unknown_name("parameter", name, known)
            yield f"in its notebook's parameters cell {found} (extra_parameters=True lets it take more)"


@dataclass(frozen=True)
class _NotebookCode:
    """What is known of a notebook.

    Attributes:
        kinds: types of its declared parameters; None: it takes what it is given, or that is not known.
        words: all that stand in its code. A name that is not among them is one that it can't read: one that is may be
            read without a default, which its parameters cell does not have to give.
        cells: the code of its cells; None: it is not known what they do.
    """

    kinds: Mapping[str, Any] | None = None
    words: frozenset[str] = frozenset()
    cells: tuple[str, ...] | None = None

    @functools.cached_property
    def literal_outputs(self) -> frozenset[str]:
        """Names of outputs that stand in it."""
        return literal_outputs(self.cells or ())

    @classmethod
    def of(cls, source: NotebookSource) -> "_NotebookCode":
        """Nothing is known of one that can't be read, which the checks say, and of one in another language."""
        from pynb_dag_runner.notebooks import languages
        from pynb_dag_runner.notebooks.kernel_choice import choose, is_own, language_of
        from pynb_dag_runner.notebooks.source import UnreadableNotebook, read_notebook

        try:
            notebook = read_notebook(source.path)
            kernel = choose(source.kernel, notebook.metadata, notebook.language).name
        except (UnreadableNotebook, LookupError):
            return cls()
        if language_of(kernel) != languages.PYTHON or notebook.language != languages.PYTHON:
            return cls()
        declared = notebook.parameters
        kinds = None if declared is None else {name: parameter.type for name, parameter in declared.items()}
        words = frozenset(word for code in notebook.code for word in re.findall(r"\w+", code))
        if not is_own(kernel):
            return cls(kinds, words)  # what another interpreter can import is unknown
        codes = [python_of(code) for code in notebook.code]
        cells = tuple(code for code in codes if code is not None)
        return cls(kinds, words, cells if len(cells) == len(codes) else None)


def _files_of(function: Any) -> frozenset[Path] | None:
    """The files of a function and of those that it carries with it; None where they can't be known."""
    files, waiting, seen = set[Path](), [function], set[int]()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, functools.partial):
            waiting += [item.func, *item.args, *item.keywords.values()]
        elif isinstance(item, FunctionType):
            file = Path(item.__code__.co_filename)
            if not file.is_file():
                return None  # typed into a notebook, say
            files.add(file)
            try:
                waiting += [cell.cell_contents for cell in item.__closure__ or ()]
            except ValueError:  # a variable that has no value yet
                return None
            waiting += [*(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
        elif not isinstance(item, _PLAIN):
            return None
    return frozenset(files)
