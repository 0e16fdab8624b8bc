"""The book: every page has its place, the notebooks are whole, and no page asks another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Attributes whose address a browser fetches by itself, unlike the href of a link to click on.
LOADING_ATTRIBUTES = {"src", "srcset", "data", "poster", "background", "imagesrcset"}
# Kinds of <link> that only say something about the page.
SILENT_LINKS = {"canonical", "license", "author", "next", "prev", "search", "index", "alternate"}
REMOTE = re.compile(r"^\s*(?:https?:|ftp:|wss?:)?//", re.IGNORECASE)
REMOTE_IN_CSS = re.compile(r"(?:url\(\s*|@import\s+)['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
REMOTE_IN_SCRIPT = re.compile(r"['\"`]((?:https?:)?//[\w-]+\.[^'\"`\s]+)['\"`]", re.IGNORECASE)


class RemoteLoads(HTMLParser):
    """Collects every address in a page that makes a browser ask another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("style", "script") else self._inside
        for name in LOADING_ATTRIBUTES & values.keys():
            parts = values[name].split(",") if "srcset" in name else [values[name]]
            self._note(part for part in parts if REMOTE.match(part))
        if tag == "link" and not set(values.get("rel", "").lower().split()) & SILENT_LINKS:
            self._note([values["href"]] if REMOTE.match(values.get("href", "")) else [])
        if tag in ("use", "image"):
            places = [values.get("href", ""), values.get("xlink:href", "")]
            self._note(place for place in places if REMOTE.match(place))
        self._note(REMOTE_IN_CSS.findall(values.get("style", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self._note(REMOTE_IN_CSS.findall(data))
        elif self._inside == "script":
            self._note(REMOTE_IN_SCRIPT.findall(data))

    def _note(self, addresses: Iterator[str] | list[str]) -> None:
        self.found.extend(address.strip() for address in addresses)


def remote_loads(page: str) -> list[str]:
    parser = RemoteLoads()
    parser.feed(page)
    parser.close()
    return parser.found


# ---------------------------------------------------------------------------- the check checks


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<script src="//cdn.example.org/a.js" async></script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<link rel="preload" as="font" href="https://example.org/a.woff2">',
        '<img alt="" src="http://example.org/a.png">',
        '<img srcset="a.png 1x, https://example.org/b.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        '<object data="https://example.org/a.svg"></object>',
        '<svg><use xlink:href="https://example.org/a.svg#b"/></svg>',
        '<p style="background: url(https://example.org/a.png)"></p>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<style>p { background: url("//example.org/a.png") }</style>',
        '<script>const PLACE = "https://example.org/lib/index.js"; load(PLACE)</script>',
    ],
)
def test_a_page_that_loads_from_another_host_is_found(page: str) -> None:
    assert len(remote_loads(f"<html><body>{page}</body></html>")) == 1


@pytest.mark.parametrize(
    "page",
    [
        '<a href="https://arxiv.org/abs/1511.05644">the paper</a>',
        '<link rel="canonical" href="https://example.org/book">',
        '<script src="_static/a.js?v=1"></script>',
        '<img src="data:image/png;base64,iVBORw0KGgo=">',
        "<pre>url(https://example.org/a.png)</pre>",
        "<script>// see https://example.org for more</script>",
        "<style>p { background: url(../a.png) }</style>",
    ],
)
def test_a_page_that_loads_nothing_from_another_host_passes(page: str) -> None:
    assert remote_loads(f"<html><body>{page}</body></html>") == []


# ------------------------------------------------------------------------------- what was built


@pytest.fixture(scope="module")
def html() -> Path:
    if not (HTML / "index.html").is_file():
        pytest.skip("The book is not built: run `make book` first.")
    return HTML


def test_built_pages_load_nothing_from_another_host(html: Path) -> None:
    pages = sorted(html.rglob("*.html"))
    assert len(pages) > 5
    found = {str(page.relative_to(html)): remote_loads(page.read_text("utf-8")) for page in pages}
    assert {page: addresses for page, addresses in found.items() if addresses} == {}


def test_built_style_sheets_load_nothing_from_another_host(html: Path) -> None:
    sheets = sorted((html / "_static").rglob("*.css"))
    assert sheets
    found = {sheet.name: REMOTE_IN_CSS.findall(sheet.read_text("utf-8")) for sheet in sheets}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


def test_built_book_carries_mathjax(html: Path) -> None:
    assert (html / "_static/mathjax/tex-svg-full.js").stat().st_size > 2_000_000
    assert (html / "_static/mathjax/LICENSE").is_file()
    pages = [page.read_text("utf-8") for page in html.rglob("*.html")]
    with_math = [page for page in pages if 'class="math notranslate' in page]
    assert with_math
    assert all("_static/mathjax/tex-svg-full.js" in page for page in with_math)


# ----------------------------------------------------------------------------- what it is made of


def listed_files() -> list[str]:
    """Every file that _toc.yml names, without its suffix, in order."""
    return list(files_in(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))))


def files_in(entry: Any) -> Iterator[str]:
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for value in entry.values():
            yield from files_in(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from files_in(value)


def test_contents_list_every_notebook_and_every_page_once() -> None:
    pages = [*NOTEBOOKS, *(ROOT / "book").glob("*.md")]
    existing = [str(page.relative_to(ROOT).with_suffix("")) for page in pages]
    assert sorted(listed_files()) == sorted(existing)


def test_contents_keep_the_order_of_the_paper() -> None:
    notebooks = [name for name in listed_files() if name.startswith("notebooks/")]
    assert notebooks == sorted(notebooks)
    assert listed_files()[0] == "book/intro"
    assert listed_files()[-1] == "book/bibliography"


def test_a_failing_notebook_fails_every_build() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert config["sphinx"]["config"]["nb_execution_raise_on_error"] is True
    assert config["execute"]["execute_notebooks"] == "cache"
    assert not config["execute"].get("allow_errors", False)
    assert config["execute"]["timeout"] > 0


def test_warnings_are_errors_in_the_build() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (command,) = re.findall(r"^\t.*jupyter-book build.*$", makefile, re.MULTILINE)
    assert {"-W", "--keep-going", "--all"} <= set(command.split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_stored_outputs_and_no_error_among_them(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs, f"{path.name} was not executed: run it and save it"
    assert [output.ename for output in outputs if output.output_type == "error"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_the_kernel_of_the_environment(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


def test_bibliography_has_the_sources_of_every_citation() -> None:
    keys = re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "book/references.bib").read_text("utf-8"), re.MULTILINE)
    assert len(keys) == len(set(keys))
    texts = [page.read_text("utf-8") for page in [*NOTEBOOKS, *(ROOT / "book").glob("*.md")]]
    cited = {
        key.strip()
        for text in texts
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in group.split(",")
    }
    assert cited <= set(keys)
