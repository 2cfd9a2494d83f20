"""Mathematics in pages: set where it is understood, its source where it is not, and never anything else."""

import html
import re
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pynb_dag_runner.model.outcomes import Failure, Outcome
from pynb_dag_runner.reports.pages.mathematics import MAX_CHARACTERS, formula_in, typeset
from pynb_dag_runner.reports.pages.page import to_html

DRAWN = [
    r"e^{i\pi}+1=0",
    r"\frac{\partial f}{\partial x}",
    r"\sum_{i=1}^{n} x_i^2",
    r"\int_0^\infty e^{-x^2}\,dx=\frac{\sqrt{\pi}}{2}",
    r"\begin{align} a &= b + c \\ d &= e \end{align}",
    r"\begin{aligned} a &= b \\ &= c \end{aligned}",
    r"\begin{eqnarray} a &=& b \\ c &=& d \end{eqnarray}",
    r"f(x)=\begin{cases} x & x>0 \\ 0 & \text{otherwise} \end{cases}",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\operatorname{argmax}_x f(x)",
    r"\mathbb{R}^n \to \mathcal{L}",
    r"\bm{x} + \boldsymbol{W}",
    r"\operatorname*{argmin}_x f",
    r"\sum_{\substack{i<n \\ j<m}} x_{ij}",
    r"\left( \frac{1}{2} \right]",
    r"\lim_{x \to 0} \frac{\sin x}{x}",
    r"\hat{y} = \mathbf{w}^\top \mathbf{x} + b",
    r"P(A \mid B)",
    r"\nabla \cdot \vec{E} = \frac{\rho}{\varepsilon_0}",
    r"\binom{n}{k}",
    r"\begin{equation}\label{eq:one} x = 1 \end{equation}",
    r"x \in \{1, 2\}",
    r"10\,\%",
    r"a < b",
]
SHOWN_AS_SOURCE = [
    r"\unknown{x}",
    r"E = mc^2 \tag{1}",
    r"\boldsymbol{\theta}",
    r"\textbf{x}",
    r"a = b \\ c",
    r"\left[\begin{array}{c|c} 1 & 2 \end{array}\right]",
    r"\begin{array}{cc} 1 & 2 \\ \hline 3 & 4 \end{array}",
    r"\widetilde{abc}",
    r"\text{if $x$}",
    r"\eqref{one}",
    r"\ce{H2O}",
    r"a & b",
    r"\frac",
    r"\not= x",
    r"\href{javascript:alert(1)}{x}",
    r"\begin{multline} a \\ b \end{multline}",
    "x" * (MAX_CHARACTERS + 1),
    "{" * 2000,
    "",
]


@pytest.mark.parametrize("tex", DRAWN)
def test_usual_formulas_are_set(tex: str) -> None:
    page = typeset(tex, display=False)
    root = ElementTree.fromstring(page)
    assert root.tag.endswith("math")
    assert "\\" not in "".join(root.itertext())


@pytest.mark.parametrize("tex", SHOWN_AS_SOURCE, ids=lambda tex: tex[:20])
def test_what_is_not_understood_is_shown_as_it_was_written(tex: str) -> None:
    root = ElementTree.fromstring(typeset(tex, display=True))
    assert root.tag == "code"
    assert "".join(root.itertext()) == f"$${tex}$$"


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<img src=x onerror=alert(1)>}",
        r"<script>alert(1)</script>",
        r"\color{red\" onclick=\"alert(1)}{x}",
        r"\text{&lt;script&gt;}",
        r"\unknown{</code><script>}",
    ],
)
def test_a_formula_brings_no_HTML_into_the_page(tex: str) -> None:
    root = ElementTree.fromstring(typeset(tex, display=True))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not names & {"img", "script"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_half_a_character_does_not_cost_the_page() -> None:
    made = page(new_markdown_cell("$x\ud800$ and \ud800 more"))
    assert "and ? more" in made


def test_a_message_is_shown_in_the_banner_as_it_is() -> None:
    why = Failure(kind="ValueError", message="$x$ cost $$5$$ <b>\n\n# two\n\n\\begin{align}a\\end{align}")
    made = to_html(new_notebook(), "title", Outcome.FAILED, why).decode()
    (banner,) = re.findall(r'<div role="alert".*?</div>', made, re.DOTALL)
    shown = html.unescape(banner)
    assert "$x$ cost $$5$$ <b>\n\n# two\n\n\\begin{align}a\\end{align}" in shown
    assert "<math" not in made


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("$x^2$", "x^2"),
        ("$$x$$", "x"),
        (" $\\displaystyle x$ \n", "\\displaystyle x"),
        (r"\[x\]", "x"),
        (r"\begin{equation}x\end{equation}", r"\begin{equation}x\end{equation}"),
        ("two $a$ and $b$", None),
        ("$a$ and $b$", None),
        ("plain", None),
        ("$", None),
        ("", None),
    ],
)
def test_an_output_of_one_formula_is_told_from_text_with_formulas(text: str, formula: str | None) -> None:
    assert formula_in(text) == formula


def page(*cells: nbformat.NotebookNode) -> str:
    return to_html(new_notebook(cells=list(cells)), "title", Outcome.SUCCEEDED, None).decode()


def test_mathematics_of_markdown_is_set_in_the_page_and_code_and_prices_stay() -> None:
    text = "Let $x^2$ be.\n\n$$y_1$$\n\n\\begin{align} a &= b \\end{align}\n\n`$code$`, from $5 to $6, or \\$7"
    made = page(new_markdown_cell(text))
    assert made.count("<math") == 3
    assert "<code>$code$</code>" in made
    assert "from $5 to $6, or $7" in made


def test_outputs_that_are_formulas_or_diagrams_need_no_script() -> None:
    data = ({"text/latex": "$x^2$", "text/plain": "x**2"}, {"text/vnd.mermaid": "graph TD; A-->B"})
    made = page(new_code_cell("x", outputs=[new_output("display_data", data=one) for one in data]))
    assert made.count("<math") == 1
    assert "<pre>graph TD; A--&gt;B</pre>" in made


def test_the_source_of_a_diagram_in_markdown_is_shown() -> None:
    assert "<pre><code>graph TD; A--&gt;B" in page(new_markdown_cell("```mermaid\ngraph TD; A-->B\n```"))


def test_a_page_names_no_address_that_it_would_load_from() -> None:
    made = page(new_markdown_cell("$x$"), new_code_cell("1"))
    assert re.findall(r"""(?:src|href|import|url)\s*[=(]?\s*["'](?:https?:)?//[^"']*""", made) == []
