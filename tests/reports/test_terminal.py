"""What is drawn on a terminal stays as it was meant, whoever else writes, and also when the terminal goes away."""

import io
import re

import pytest
from rich.text import Text

from pynb_dag_runner.reports.terminal import LastingStream, LiveView, SerialConsole

CONTROL = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen(io.StringIO):
    """An endless terminal that knows what rich's live display uses: cursor up, erase line."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for number, command, carriage_return, line_feed, text in CONTROL.findall(self.getvalue()):
            if command == "A":
                row = max(0, row - int(number or 1))
            elif command == "K":
                lines[row] = ""
            elif carriage_return:
                column = 0
            elif line_feed:
                row, column = row + 1, 0
                lines += [""] * (row - len(lines) + 1)
            elif text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return lines


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("LINES", "30")):
        monkeypatch.setenv(name, value)
    return Screen()


def test_no_printed_line_is_lost_to_a_view_that_changes_its_height(screen: Screen) -> None:
    console = SerialConsole(LastingStream(screen))
    printed: list[str] = []
    view = LiveView(console, lambda: Text("\n".join("view" for _ in range(1 + len(printed) % 7))), redraw_s=0.0001)
    view.start()
    for number in range(400):
        printed.append(f"line {number}")
        console.print(printed[-1])
    view.stop()
    assert [line for line in screen.lines() if line] == printed


class BrokenPipe(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError


def test_a_broken_stream_is_tried_once() -> None:
    broken = BrokenPipe()
    stream = LastingStream(broken)
    assert [stream.write("a"), stream.write("b")] == [1, 1]
    assert broken.tries == 1
