"""The directive `touch`: a figure that can be touched, in a page or in a notebook.

    :::{touch} explorer-priors

    Move the pointer, a finger or the arrow keys over the plane of codes: each point is decoded at once.

    This figure lives in the built book: run `make book` and open `_build/html/index.html`.
    :::

The argument is a name of FIGURES. The first paragraph is the caption. What follows is for places that do not
know the directive, such as JupyterLab, which show the text as it stands; the book leaves it out. Under the
caption the book says which runs are shown and links to them.

The scripts are in `book/interactive`, a bundle a piece, and the data are written by `exports.py`, once,
and kept in `_build/.touch` until a run or the code changes. A figure whose runs are missing is left out,
with one line in the build's output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bundle import bundle
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

SOURCES = Path(__file__).resolve().parent.parent / "interactive"
WORKER = ".worker"
RESULTS = "book/results"
# Jupyter Book keeps what an extension wrote to a page's metadata, also over incremental and parallel builds.
KEY = "touch"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figure:
    """A piece, what it loads for each of its switch's positions, and what it loads besides."""

    piece: str
    shows: tuple[tuple[str, str], ...] = ()
    """Pairs of the switch's label and the record, "KIND-RUN", behind it."""
    also: tuple[str, ...] = ()


FIGURES = {
    "explorer-priors": Figure(
        "explorer",
        (
            ("AAE, Gaussian", "plane-aae-gaussian"),
            ("AAE, mixture", "plane-aae-mixture"),
            ("VAE, Gaussian", "plane-vae-gaussian"),
            ("VAE, mixture", "plane-vae-mixture"),
        ),
        ("digits",),
    ),
    "explorer-labels": Figure(
        "explorer",
        (("Mixture", "plane-labeled-mixture"), ("Swiss roll", "plane-labeled-swiss-roll")),
        ("digits",),
    ),
    "explorer-map": Figure(
        "explorer",
        (
            ("1,000 labels", "plane-reduction-1000"),
            ("100 labels", "plane-reduction-100"),
            ("No labels", "plane-reduction-unsupervised"),
        ),
        ("digits",),
    ),
    "film-priors": Figure(
        "film",
        (
            ("AAE, Gaussian", "film-aae-gaussian"),
            ("AAE, mixture", "film-aae-mixture"),
            ("VAE, Gaussian", "film-vae-gaussian"),
        ),
    ),
    "film-labels": Figure(
        "film", (("Mixture", "film-labeled-mixture"), ("Swiss roll", "film-labeled-swiss-roll"))
    ),
    "parzen": Figure("parzen"),
    "draw-style": Figure("draw-style", (("", "draw-supervised-mnist"),)),
    "draw-label": Figure("draw-label", (("", "draw-semi-supervised-100"),)),
    "clusters-16": Figure("clusters", (("", "clusters-clustering-16"),)),
    "clusters-30": Figure("clusters", (("", "clusters-clustering-30"),)),
    "lab": Figure("lab", also=("small-digits",)),
}


class TouchNode(nodes.General, nodes.Element):
    """The figure; its children are the caption."""


class Touch(SphinxDirective):
    """`:::{touch} NAME`, see the head of this file."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The figure, or nothing where its runs are missing."""
        name = self.arguments[0]
        if name not in FIGURES:
            raise self.error(f"There is no figure {name!r} to touch: choose from {', '.join(FIGURES)}.")
        figure = FIGURES[name]
        # so that {ref}`text <touch-NAME>` leads here from any page
        self.env.domains["std"].anonlabels[f"touch-{name}"] = (self.env.docname, f"touch-{name}")
        self.env.domains["std"].labels[f"touch-{name}"] = (self.env.docname, f"touch-{name}", name)
        shows, also = present(figure)
        if figure.shows and not shows:
            logger.info("%s: the figure %s is left out, its runs are not there.", self.env.docname, name)
            return []
        known = self.env.metadata[self.env.docname].setdefault(KEY, [])
        known.append({"piece": figure.piece, "records": [*(record for _, record in shows), *also]})
        config = {"shows": [{"label": label, "record": record} for label, record in shows], "also": also}
        node = TouchNode("", *self.caption(shows), name=name, piece=figure.piece, config=config)
        self.set_source_info(node)
        return [node]

    def caption(self, shows: list[tuple[str, str]]) -> list[nodes.Node]:
        """The body's first paragraph, and a line that names the runs."""
        lines = list(self.content)
        end = next(
            (i for i, line in enumerate(lines) if i and not line.strip() and lines[i - 1].strip()), len(lines)
        )
        holder = nodes.Element()
        self.state.nested_parse(self.content[:end] or StringList(), self.content_offset, holder)
        return [*holder.children, *self.sources(shows)]

    def sources(self, shows: list[tuple[str, str]]) -> Iterator[nodes.Node]:
        """One paragraph: Shown: run NAME, with a link to each run or to the results."""
        from exports import run_folder

        folders = [folder for _, record in shows if (folder := run_folder(record))]
        runs = list(dict.fromkeys(f"{folder.parent.name}/{folder.name}" for folder in folders))
        if not runs:
            return
        line = nodes.paragraph(
            "", "Shown: run " if len(runs) == 1 else "Shown: runs ", classes=["touch-source"]
        )
        for index, run in enumerate(runs):
            line += [nodes.Text(", ")] * bool(index)
            line += self.link(run)
        yield line

    def link(self, run: str) -> nodes.Node:
        """The run's name, linked to its folder in the repository, or to the results without a repository."""
        words = nodes.literal("", run)
        options = self.config.html_theme_options
        if address := options.get("repository_url"):
            branch = options.get("repository_branch") or "main"
            return nodes.reference("", "", words, refuri=f"{address}/tree/{branch}/runs/{run}")
        if RESULTS not in self.env.found_docs:
            return words
        return pending_xref(
            "", words, refdomain="std", reftype="doc", reftarget=f"/{RESULTS}", refexplicit=True, refwarn=True
        )


def present(figure: Figure) -> tuple[list[tuple[str, str]], list[str]]:
    """Those records of a figure whose runs are there."""
    from exports import is_there

    return [show for show in figure.shows if is_there(show[1])], [
        name for name in figure.also if is_there(name)
    ]


# ------------------------------------------------------------------------------------ the page


def visit_html(translator: Any, node: TouchNode) -> None:
    """The stage that the script fills, and the caption around the children."""
    config = escape(json.dumps(node["config"]), quote=True)
    translator.body.append(
        f'<figure class="touch" id="touch-{node["name"]}" data-piece="{node["piece"]}"'
        f' data-config="{config}">\n'
        '<div class="touch-stage"><p class="touch-note">This figure is drawn by a script:'
        " switch JavaScript on to use it.</p></div>\n<figcaption>\n"
    )


def depart_html(translator: Any, node: TouchNode) -> None:
    """Close what `visit_html` opened."""
    translator.body.append("</figcaption>\n</figure>\n")


def pass_by(translator: Any, node: TouchNode) -> None:
    """Other formats than HTML show the caption only."""


def used(app: Sphinx) -> list[dict[str, Any]]:
    """What the pages of the book ask for."""
    return [figure for page in app.env.metadata.values() for figure in page.get(KEY, [])]


def write_files(app: Sphinx, env: Any) -> list[str]:
    """Bundles and data of the figures that the pages have, into `_static/interactive`."""
    if app.builder.format != "html":
        return []
    folder = Path(app.outdir) / "_static" / "interactive"
    figures = used(app)
    if figures:
        from exports import write_record
    for record in sorted({record for figure in figures for record in figure["records"]}):
        write_record(record, folder / "data", Path(app.outdir).parent / ".touch")
    for piece in sorted({figure["piece"] for figure in figures}):
        write(folder / f"{piece}.js", bundle(SOURCES / f"{piece}.js"))
    for worker in SOURCES.glob(f"*{WORKER}.js") if figures else ():
        record = {"meta": {"source": bundle(worker)}, "arrays": {}, "bytes": ""}
        text = f"(window.AAE_DATA ??= {{}})[{json.dumps(worker.stem)}] = {json.dumps(record)};\n"
        write(folder / "data" / worker.name, text)
    return []


def write(path: Path, text: str) -> None:
    """Write a file where it is missing or different."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def add_files(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Name the bundles and the style sheet in the pages that need them, and in no others."""
    figures = app.env.metadata.get(pagename, {}).get(KEY, [])
    if not figures or doctree is None:
        return
    app.add_css_file("interactive.css")
    for piece in sorted({figure["piece"] for figure in figures}):
        app.add_js_file(f"interactive/{piece}.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the directive."""
    app.add_node(
        TouchNode,
        html=(visit_html, depart_html),
        latex=(pass_by, pass_by),
        text=(pass_by, pass_by),
        man=(pass_by, pass_by),
        texinfo=(pass_by, pass_by),
    )
    app.add_directive("touch", Touch)
    app.connect("env-updated", write_files)
    app.connect("html-page-context", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
