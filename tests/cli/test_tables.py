"""Tables on stdout are those that rich would draw, in its colours: the live view beside them is drawn by rich."""

import io
from importlib.metadata import version

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pynb_dag_runner.cli.tables import aligned, echo, heading
from pynb_dag_runner.reports.styled_text import STYLES, Line, Styled

WIDE = 10_000


class Stream(io.StringIO):
    """A stdout that is a terminal or is none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of terminals."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


def echoed(environment: pytest.MonkeyPatch, lines: list[Line], *, terminal: bool) -> str:
    """What is printed on such a stdout."""
    stream = Stream(terminal=terminal)
    with environment.context() as patch:
        patch.setattr("sys.stdout", stream)
        echo(lines)
    return stream.getvalue()


@pytest.mark.skipif(version("rich") < "14", reason="rich reads NO_COLOR, FORCE_COLOR and TTY_COMPATIBLE so since 14.0")
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"TERM": "dumb"},
        {"TERM": "UNKNOWN"},
        {"TERM": ""},
        {"TERM": "linux"},
        {"COLORTERM": "truecolor"},
        {"NO_COLOR": "1"},
        {"NO_COLOR": ""},
        {"FORCE_COLOR": "1"},
        {"FORCE_COLOR": ""},
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"FORCE_COLOR": "1", "TERM": "dumb"},
        {"TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"},
        {"TTY_COMPATIBLE": "1", "FORCE_COLOR": ""},
        {"TTY_COMPATIBLE": "maybe"},
    ],
    ids=str,
)
def test_styles_are_those_of_rich(environment: pytest.MonkeyPatch, variables: dict[str, str], terminal: bool) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    styles = sorted({"", "dim", *STYLES.values()})
    drawn = Stream(terminal=terminal)
    console = Console(file=drawn, highlight=False, width=WIDE)
    for style in styles:
        console.print(Text.assemble("before ", ("said", style), ("", style), " after"), soft_wrap=True)
    lines: list[Line] = [
        (Styled("before "), Styled("said", style), Styled("", style), Styled(" after")) for style in styles
    ]
    assert echoed(environment, lines, terminal=terminal) == drawn.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "two\nlines",
        "\n",
        "日本語",
        "e\N{COMBINING ACUTE ACCENT}",
        "👩‍👩‍👧",
        "[bold]x[/]",
    ],
)
def test_columns_are_as_wide_as_those_of_rich(environment: pytest.MonkeyPatch, text: str) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("first", no_wrap=True)
    table.add_column("second", no_wrap=True)
    table.add_row(Text(text), Text("after"))
    table.add_row(Text("a longer text"), Text(text))
    drawn = Stream(terminal=False)
    Console(file=drawn, highlight=False, width=WIDE).print(table)
    rows = [heading("first", "second"), (Styled(text), Styled("after")), (Styled("a longer text"), Styled(text))]
    expected = [line.rstrip() for line in drawn.getvalue().splitlines()]
    assert echoed(environment, list(aligned(rows)), terminal=False).split("\n") == [*expected, ""]


def test_a_tab_is_as_wide_as_it_is_drawn(environment: pytest.MonkeyPatch) -> None:
    rows = [(Styled("1234567\tb"), Styled("after")), (Styled("12345678\tb"), Styled("after"))]
    assert echoed(environment, list(aligned(rows)), terminal=False).splitlines() == [
        "1234567 b          after",
        "12345678        b  after",
    ]


def test_a_style_ends_with_its_line(environment: pytest.MonkeyPatch) -> None:
    lines: list[Line] = [(Styled("  warning: first\n  second\n", "yellow"),), ()]
    drawn = Stream(terminal=True)
    Console(file=drawn, highlight=False, width=WIDE).print(Text(*lines[0][0]), soft_wrap=True)
    assert echoed(environment, lines, terminal=True) == drawn.getvalue() + "\n"
