"""Convert a notebook with nbconvert, with its mathematics set as MathML."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, pass_context
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter

from pynb_dag_runner.reports.pages.mathematics import typeset
from pynb_dag_runner.reports.pages.pictures import NoPicture, Pictures, note
from pynb_dag_runner.reports.template_cache import template_cache

MAX_CODE = 100_000
"""Characters of one code cell, or block of code, that is highlighted: half a second of processor time."""
MAX_CODE_OF_PAGE = 500_000
"""The same for all of a page; lists of numbers are data, which nobody reads for its colours."""
MAX_MARKDOWN = 1_000_000
"""Characters of one Markdown text; this long it takes two seconds, and longer ones are shown as they are."""

_TEMPLATES = Path(__file__).parent / "templates"
_TEMPLATE = "evaluated_notebook.html.j2"
_AREA = re.compile(r'<div (?:id="[^"]*" )?class="(?:jp-Cell-inputWrapper|[^"]*\bjp-OutputArea-output\b[^"]*)"')
_PICTURE = re.compile(r'(<div class="jp-Rendered(?:Image|SVG) [^>]*>\s*<img)(?![^>]*\balt=)')


class _Highlighter:
    """nbconvert's filter, which highlights what is not too long.

    Args:
        lexer: for code whose language is not said.
    """

    def __init__(self, lexer: str | None, parent: Any) -> None:
        self._highlight = Highlight2HTML(pygments_lexer=lexer, parent=parent)
        self._left = MAX_CODE_OF_PAGE

    def __call__(self, source: str, language: str | None = None, metadata: Any = None) -> str:
        """The code as HTML."""
        if self.takes(source):
            return str(self._highlight(source, language, metadata))
        return f'<div class="highlight"><pre>{html.escape(source)}</pre></div>'

    def takes(self, source: str) -> bool:
        """Whether it is to be highlighted, which counts then."""
        if len(source) > min(MAX_CODE, self._left):
            return False
        self._left -= len(source)
        return True


class _Renderer(IPythonRenderer):
    """Writes MathML where nbconvert leaves TeX for a script from the network.

    Args:
        highlighter, pictures: of the page.
    """

    def __init__(self, highlighter: _Highlighter, pictures: Pictures, **options: Any) -> None:
        super().__init__(**options)
        self._highlighter = highlighter
        self._pictures = pictures

    def image(self, text: str, url: str, title: str | None = None) -> str:
        try:
            found = self._pictures.in_place_of(html.unescape(url), self.attachments)
        except NoPicture as reason:
            return note(url, reason)
        # nbconvert's own method would read files by rules of its own.
        return str(super(IPythonRenderer, self).image(text, found, title))

    def block_html(self, html: str) -> str:
        return str(super().block_html(self._pictures.in_html(html, self.attachments)))

    def inline_html(self, html: str) -> str:
        return str(super().inline_html(self._pictures.in_html(html, self.attachments)))

    def block_math(self, body: str) -> str:
        return typeset(body, display=True)

    def inline_math(self, body: str) -> str:
        if body[-1:].isspace() and not body[:1].isspace():
            return html.escape(f"${body}$")  # "from $5 to $6" is no formula
        return typeset(body, display=False)

    def latex_environment(self, name: str, body: str) -> str:
        return typeset(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    def block_code(self, code: str, info: str | None = None) -> str:
        if (info or "").strip().startswith("mermaid"):
            # nbconvert hides it until a script from the network has drawn it.
            return f"<pre><code>{html.escape(code)}</code></pre>"
        if (info or "").strip() and not self._highlighter.takes(code):
            return f"<pre><code>{html.escape(code)}</code></pre>"
        return str(super().block_code(code, info))


class PageExporter(HTMLExporter):
    """Pages that ask no network. One exporter makes any number of them, and nothing of one gets into another.

    It reads and compiles nbconvert's templates once: they take ten times as long as a small notebook itself.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            embed_images=True,
            optimistic_validation=True,
            extra_loaders=[FileSystemLoader(_TEMPLATES)],
            template_file=_TEMPLATE,
            **options,
        )
        self._highlighter, self._pictures = _Highlighter(None, self), Pictures()
        self.environment.auto_reload = False  # would look at each template file for each page
        self.environment.bytecode_cache = template_cache()
        # By default the page asks content delivery networks for these; without a network it would wait in vain.
        self.require_js_url = ""
        self.mathjax_url = ""
        self.jquery_url = ""
        self.mermaid_js_url = ""
        self.mermaid_layout_elk_js_url = ""
        self.jupyter_widgets_base_url = ""

    def page(self, notebook: Any, title: str, pictures: Pictures, more: Mapping[str, Any]) -> str:
        """The page of a notebook.

        Args:
            pictures: finds those that the notebook has from elsewhere.
            more: what the template asks for beside what nbconvert has.
        """
        self._pictures = pictures
        try:
            # By the name nbconvert keeps the metadata of notebooks for ever: all have the same.
            notebook.metadata.setdefault("title", title)
            page, _ = self.from_notebook_node(notebook, resources={"metadata": {"name": "page"}, **more})
        finally:
            self._pictures = Pictures()
        return page

    def from_notebook_node(  # type: ignore[override] # HTMLExporter declares it likewise
        self, nb: Any, resources: Any = None, **options: Any
    ) -> tuple[str, Any]:
        """nbconvert's conversion.

        nbconvert's own method parses the finished page for the sake of a few attributes, half of the time that a page
        takes.
        """
        language = nb.metadata.get("language_info", {})
        lexer = language.get("pygments_lexer", language.get("name"))
        self._highlighter = highlight = _Highlighter(lexer, self)
        widgets = WidgetsDataTypeFilter(notebook_metadata={}, parent=self)  # they are drawn by now
        for name, found in (("highlight_code", highlight), ("filter_data_type", widgets)):
            self.register_filter(name, found)  # type: ignore[no-untyped-call]
        page, resources = TemplateExporter.from_notebook_node(self, nb, resources, **options)
        return accessible(page), resources

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """nbconvert's own filter, with another renderer."""
        if len(source) > MAX_MARKDOWN:
            return f"<pre>{html.escape(source)}</pre>"
        renderer = _Renderer(
            self._highlighter,
            self._pictures,
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=False,  # the renderer has done so, by rules of its own
            anchor_link_text=self.anchor_link_text,
            exclude_anchor_links=self.exclude_anchor_links,
        )
        return str(MarkdownWithMath(renderer=renderer).render(source))


def accessible(page: str) -> str:
    """The page with what nbconvert adds to what its templates give: cells for the keyboard, words for pictures."""
    page = _AREA.sub(r'\g<0> tabindex="0"', page)
    return _PICTURE.sub(r'\1 alt="No description has been provided for this image"', page)
