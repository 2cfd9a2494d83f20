"""Text is cleaned and cut in one way, whoever shows it."""

import pytest

from pynb_dag_runner.model.text import (
    cut_end,
    cut_middle,
    cut_to_columns,
    first_line,
    listed,
    one_line,
    plain,
    printable,
    short_repr,
    storable,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße\t1\n2", "Grüße\t1\n2"),  # letters of every script, line ends and tabs stay
        ("1\u00a0000 👩\u200d🔬", "1\u00a0000 👩\u200d🔬"),  # so do spaces and joiners that text is made of
        ("a\r\nb", "a\nb"),
        ("\x1b[1;31mred\x1b[m", "red"),  # colours go
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),  # hyperlinks too
        ("a\rb\x00\x9b", "a\\rb\\x00\\x9b"),  # what steers a terminal is spelled out
        ("\u202etxt\ud800", "\\u202etxt\\ud800"),  # so is reversed writing, and what no stream can encode
    ],
)
def test_printable_text_steers_no_terminal_and_hides_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("abcdefghijklm", "abcdef…klm"),
        ("日本語日本語日本語", "日本語…語"),  # each letter is two columns wide
    ],
)
def test_a_cut_text_keeps_both_ends(text: str, shown: str) -> None:
    assert cut_to_columns(text, 10) == shown


def test_text_for_a_file_has_no_colours_and_no_halves_of_characters() -> None:
    assert plain("\x1b[1;31mred\x1b[m \ud800\x00") == "red \\ud800\x00"
    assert storable("\x1b[1mü\udfff") == "\x1b[1mü\\udfff"


def test_visible_text_is_one_line_and_hides_nothing() -> None:
    assert visible("a\r\n\t\x1b[1mü\u2028\u202e\ud800") == "a\\r\\n\\t\\x1b[1mü\\u2028\\u202e\\ud800"


def test_one_line_has_single_spaces_and_no_steering() -> None:
    assert one_line(" a\r\n\tb  \x1b[1mc\x07 ") == "a b c\\x07"


@pytest.mark.parametrize(
    ("text", "line"),
    [("", ""), (" \n\t\n", ""), ("\n  first \nsecond", "first"), ("0123456789+", "0123456..."), ("\x1b[m\na", "a")],
)
def test_the_first_line_is_the_first_that_says_something(text: str, line: str) -> None:
    assert first_line(text, 10) == line


def test_a_text_is_cut_to_its_limit_or_stays_whole() -> None:
    assert cut_end("0123456789", 10) == "0123456789"
    assert cut_end("0123456789+", 10) == "0123456..."


def test_a_cut_out_middle_is_counted() -> None:
    assert cut_middle("0123456789", 10) == "0123456789"
    assert cut_middle("a" * 1_500 + "b" * 1_500, 6) == "aaa\n[... 2,994 characters left out ...]\nbbb"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcd"), "a, b and 2 more"),
    ],
)
def test_names_are_listed_as_in_a_sentence(names: list[str], words: str) -> None:
    most = 2 if len(names) > 3 else 3
    assert listed(names, most) == words


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_repr_is_cut_and_never_raises() -> None:
    assert short_repr("x" * 100, 10) == "'xxxxxx..."
    assert short_repr("\ud800") == "'\\ud800'"
    assert short_repr(Broken()) == "<its repr raises RuntimeError>"
