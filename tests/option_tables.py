"""Tables of the documentation that derive from declared options.

``python -m tests.option_tables`` writes them anew into ``docs/``; a test fails when they are out of date.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pynb_dag_runner.model.declarations import Declared, Number, declared
from pynb_dag_runner.model.run_settings import ResumeChoices, RunChoices, RunSettings
from pynb_dag_runner.model.task_options import FunctionOptions, NotebookOptions, TaskOptions

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- {name}: written by python -m tests.option_tables -->", "<!-- end of {name} -->"


def type_words(option: Declared) -> str:
    """The type of an option's value in JSON, and its unit."""
    number = option.rule if isinstance(option.rule, Number) else None
    if get_origin(option.type) is Literal:
        *others, last = (f"`{choice}`" for choice in get_args(option.type))
        words = f"{', '.join(others)} or {last}"
    elif number and number.most == 1:
        words = f"number from {number.least:g} to {number.most:g}"
    elif number:
        words = "whole number" if option.type is int else "number"
    else:
        words = {bool: "true or false", str: "text"}.get(option.type, _many(option.type))
    units = [unit for ending, unit in (("_s", ", seconds"), ("_bytes", ", bytes")) if option.key.endswith(ending)]
    return words + "".join(units) + ((", or null" if units else " or null") if option.is_optional else "")


def _many(kind: Any) -> str:
    return "object of numbers" if len(get_args(kind)) == 2 else "list of texts"


def said(option: Declared) -> str:
    """What an option does, as sentences."""
    return ". ".join(text for text in (option.help, option.more) if text)


def meaning(option: Declared, words: str) -> str:
    """What it means in a file, which has ``null`` for what was not given."""
    return words.replace("default:", "null:") if option.is_optional else words


def flags(option: Declared) -> str:
    """How an option is written on the command line."""
    if option.type is bool:
        return f"`{option.flag}`" + (f", `--no-{option.flag.removeprefix('--')}`" if option.default else "")
    metavar = option.metavar or option.name.upper()
    return f"`{option.flag} {metavar}`"


def task_options() -> Iterator[str]:
    yield from ("| key | type, unit | meaning |", "|---|---|---|")
    for name, option in declared(TaskOptions).items():
        only = "" if name in declared(NotebookOptions) else "of functions: "
        only = only if name in declared(FunctionOptions) else "of notebooks: "
        yield f"| `{option.key}` | {type_words(option)} | {only}{meaning(option, said(option))} |"


def run_settings() -> Iterator[str]:
    yield from ("| key | type, unit | meaning |", "|---|---|---|")
    for option in declared(RunSettings).values():
        yield f"| `{option.key}` | {type_words(option)} | {flags(option)}: {meaning(option, option.help)} |"


def options_of_run() -> Iterator[str]:
    yield from ("| option | in Python | does |", "|---|---|---|")
    for name, option in declared(RunChoices).items():
        yield f"| {flags(option)} | `{name}={option.default!r}` | {said(option)} |"


def options_of_resume() -> Iterator[str]:
    written = []
    for option in declared(ResumeChoices).values():
        no_form = f", `--no-{option.flag.removeprefix('--')}`" if option.type is bool and not option.default else ""
        written.append(flags(option) + no_form)
    yield f"{', '.join(written)}: as for [`run`](#run-target); what is not given is as the run had it."


TABLES = {
    "task options": ("run-folder.md", task_options),
    "settings": ("run-folder.md", run_settings),
    "options of run": ("cli.md", options_of_run),
    "options of resume": ("cli.md", options_of_resume),
}
"""By the name that stands at both ends in the page."""


def with_tables(page: str, text: str) -> str:
    """A page's text with its tables as they should be."""
    for name, (where, lines) in TABLES.items():
        if where != page:
            continue
        begin, end = BEGIN.format(name=name), END.format(name=name)
        assert text.count(begin) == text.count(end) == 1, f"docs/{page} has no place for {name!r}, or two"
        before, _, rest = text.partition(begin)
        text = before + f"{begin}\n\n" + "\n".join(lines()) + f"\n\n{end}" + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    for page in {page for page, _ in TABLES.values()}:
        path = DOCS / page
        path.write_text(with_tables(page, path.read_text("utf-8")), "utf-8")
