"""The jinja2 environment of all templates. It escapes everything that is not marked safe."""

from functools import cache
from typing import TYPE_CHECKING, Any

from pynb_dag_runner.model.quantities import count, duration, moment, size
from pynb_dag_runner.model.text import printable
from pynb_dag_runner.reports.template_cache import template_cache
from pynb_dag_runner.reports.wording import state_word

if TYPE_CHECKING:
    import jinja2


@cache
def environment() -> "jinja2.Environment":
    """Templates of this package, with the words of ``wording`` as filters."""
    import jinja2  # takes 30 ms to import: only who draws pays

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("pynb_dag_runner.reports"),
        bytecode_cache=template_cache(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    for function in (duration, size, moment, count, state_word):
        made.filters[function.__name__] = function
    return made


def render(template: str, **values: Any) -> str:
    """A template's text with ``values`` filled in."""
    return environment().get_template(template).render(**values)


def source(template: str) -> str:
    """A template's own text, for style sheets and scripts that hold no values."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), template)[0].strip()


def text(value: str) -> str:
    """``value`` as a template writes it: for what comes so often that a template takes too long."""
    import markupsafe

    return str(markupsafe.escape(printable(value)))


def _printable(value: object) -> object:
    """Applied to every value that a template writes; markup that was escaped before passes."""
    return printable(value) if type(value) is str else value
