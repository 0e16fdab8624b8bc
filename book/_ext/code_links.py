"""Link from a page to a file of the repository, or to one definition in it: the role `{source}`.

    {source}`aae_utils/training.py`
    {source}`aae_utils/training.py::Trainer.step`
    {source}`the loop <aae_utils/training.py::Trainer>`

The address comes from `repository` in `_config.yml` alone. A path or a name that does not exist is a
warning, and so an error in our builds: the links cannot outlive the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import ReferenceRole


def line_of(name: str, code: str) -> int | None:
    """The number of the line that defines `name`; None without one.

    Args:
        name: A class, function or constant, or a method as `Class.method`.
        code: The text of a Python file.
    """
    lines, number = code.splitlines(), 0
    for part in name.split("."):
        own = re.escape(part)
        pattern = re.compile(rf"\s*(?:(?:async )?def|class) {own}\b|{own}\b[^=(]*=")
        number = next((n for n, line in enumerate(lines, 1) if n > number and pattern.match(line)), 0)
        if not number:
            return None
    return number


def address(target: str, root: Path, repository: str, branch: str) -> str:
    """The address of `target`, a path below `root` with or without `::name`, in the repository.

    Raises:
        ValueError: There is no such path, or no such name in it.
    """
    path, _, name = target.partition("::")
    file = root / path
    if not file.exists():
        raise ValueError(f"the repository has no '{path}'")
    kind = "tree" if file.is_dir() else "blob"
    page = f"{repository.rstrip('/')}/{kind}/{branch}/{path}"
    if not name:
        return page
    line = line_of(name, file.read_text("utf-8"))
    if line is None:
        raise ValueError(f"'{path}' defines no '{name}'")
    return f"{page}#L{line}"


class SourceRole(ReferenceRole):
    """A path, shown as code, that leads to the file in the repository."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link; where it leads nowhere, the bare path and a warning."""
        options = self.config.html_theme_options
        shown = self.title if self.has_explicit_title else self.title.partition("::")[2] or self.title
        text = nodes.inline("", shown) if self.has_explicit_title else nodes.literal("", shown)
        try:
            place = address(
                self.target,
                Path(self.env.srcdir),
                options["repository_url"],
                options.get("repository_branch", "main"),
            )
        except ValueError as error:
            message = self.inliner.reporter.warning(f"{{source}}: {error}", line=self.lineno)
            return [text], [message]
        return [nodes.reference("", "", text, refuri=place, internal=False)], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Give pages the role `{source}`."""
    app.add_role("source", SourceRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
