"""Say where a line may break: inside long names, in code on a phone, not between an equation and its comma.

Code in the text and names in tables are often wider than a column on a phone. Browsers break them
anywhere or nowhere; `<wbr>` marks the places where it does no harm: after a dot, an underscore or a
slash, never in mid-word. A line of code that goes on below keeps its indentation, so that it still reads
as one line. An equation in the text is a picture to the browser, which then starts a new line with the
comma that follows.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

# The text of inline code, and of a table's cell that holds nothing but text.
NAMES = re.compile(r'(?<=<span class="pre">)[^<]+|(?<=<td>)[^<]+(?=</td>)|(?<=<th>)[^<]+(?=</th>)')
BREAKS = re.compile(r"(?<=[A-Za-z0-9)\]][._/])(?=[A-Za-z])(?!(?:py|ipynb|json|csv|md)\b)")

# An equation in the text, and what belongs to it: punctuation, or an ending such as "-dimensional".
EQUATION = re.compile(r'(<span class="math[^>]*>[^<]*</span>)([,.;:!?)’”]+|[-’][a-z]+)')

# Pygments closes its tags at the end of each line, so that a block can be cut into lines.
CODE = re.compile(r'(?<=<div class="highlight"><pre>).*?(?=</pre>)', re.DOTALL)
TAG = re.compile(r"<[^>]*>")
TEXT = re.compile(r"(?:^|(?<=>))[^<]+")
CODE_BREAKS = re.compile(r"(?<=[(\[{.,=/])(?![\d\s])|(?<=[A-Za-z0-9]_)(?=[A-Za-z])")


def with_breaks(html: str) -> str:
    """The page's HTML with `<wbr>` inside its names."""
    return NAMES.sub(lambda name: BREAKS.sub("<wbr>", name.group()), html)


def with_equations_kept(html: str) -> str:
    """The page's HTML with each equation in the text kept beside the punctuation after it."""
    return EQUATION.sub(r'<span class="aae-together">\1\2</span>', html)


def with_lines(html: str) -> str:
    """The page's HTML with each line of code in an element that knows its indentation."""
    return CODE.sub(lambda code: "".join(map(_line, code.group().splitlines(keepends=True))), html)


def _line(line: str) -> str:
    text = TAG.sub("", line)
    indent = len(text) - len(text.lstrip(" "))
    marked = TEXT.sub(lambda part: CODE_BREAKS.sub("<wbr>", part.group()), line)
    return f'<span class="aae-line" style="--indent: {indent}">{marked}</span>'


def mark_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Mark one page, just before it is written."""
    if "body" in context:
        context["body"] = with_lines(with_equations_kept(with_breaks(context["body"])))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx to call `mark_page` on every page."""
    app.connect("html-page-context", mark_page, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
