"""Text of strangers in markdown: what is shown is the text, and nothing of it acts."""

import html
import re
import string

import pytest
from markdown_it import MarkdownIt

from pynb_dag_runner.model.markdown import code_block, code_span, markdown_text

RENDER = MarkdownIt("gfm-like", {"linkify": False}).render


def shown(markdown: str) -> str:
    """What is read of the page that markdown becomes."""
    return html.unescape(re.sub(r"<[^>]*>", "", RENDER(markdown))).strip()


@pytest.mark.parametrize(
    "text",
    [
        string.punctuation,
        "**bold** _it_ ~~old~~ `code` [x](javascript:y) ![x](http://y) <b>no</b> &lt; a|b # $x$ {{x}}",
        "x\\*y\\\\",
        "Grüße 👩\u200d🔬",
    ],
)
def test_text_is_shown_as_it_is(text: str) -> None:
    page = RENDER(f"- {markdown_text(text)}")
    assert shown(f"- {markdown_text(text)}") == text
    assert re.findall(r"<(\w+)", page) == ["ul", "li"]


def test_text_is_one_line_and_makes_no_links_and_names_nobody() -> None:
    assert markdown_text("a\n# b\x1b[1m") == "a \\# b"
    assert markdown_text("https://a www.b @c :tada:") == "https\\://a www\\.b \\@c \\:tada\\:"


def test_a_code_span_ends_where_it_should() -> None:
    assert code_span("a`b``\n*c*") == "`a'b'' *c*`"


def test_the_fence_of_a_block_is_longer_than_any_inside() -> None:
    assert code_block(["a", "````", "b\x07"], "text") == "`````text\na\n````\nb\\x07\n`````"
