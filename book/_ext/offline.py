"""Keep the pages to themselves: nothing in them asks another host for a file.

Jupyter Book puts Thebe, a remote service that runs code, on every page, used or not. We have no use
for it, and its loader stands on another host. MathJax comes from this book, see `_config.yml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sphinx.application import Sphinx

THEBE_CONFIG = re.compile(r'<script type="text/x-thebe-config">.*?</script>', re.DOTALL)


def mentions_thebe(file: Any) -> bool:
    """Whether a script or style sheet of a page, a file or its inline text, belongs to Thebe."""
    inline = getattr(file, "attributes", {}).get("body") or ""
    return "thebe" in f"{getattr(file, 'filename', file)} {inline}".lower()


def without_thebe(files: Iterable[Any]) -> list[Any]:
    """The scripts or style sheets of a page that do not belong to Thebe."""
    return [file for file in files if not mentions_thebe(file)]


def clean_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Take Thebe out of one page, just before it is written."""
    for kind in ("script_files", "css_files"):
        context[kind] = without_thebe(context.get(kind, []))
    if "body" in context:
        context["body"] = THEBE_CONFIG.sub("", context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx to call `clean_page` after all other extensions have added what they add."""
    app.connect("html-page-context", clean_page, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
