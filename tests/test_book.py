"""The book's sources: every page has its place, the notebooks are whole, links and breaks are what they say.

What a reader's browser makes of the built pages is tested in `test_pages.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from browser import HTML, book_pages, refuse

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "book" / "_ext"))
from code_links import address, line_of  # noqa: E402
from line_breaks import with_breaks, with_equations_kept, with_lines  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
# Characters of code that fit the column of a page on a laptop.
CODE_WIDTH = 76

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


# --------------------------------------------------------------------------------------- contents


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


# -------------------------------------------------------------------------------------- notebooks


@each_notebook
def test_notebook_has_stored_outputs_and_no_error_among_them(path: Path) -> None:
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert outputs, f"{path.name} was not executed: run it and save it"
    assert [output.ename for output in outputs if output.output_type == "error"] == []


@each_notebook
def test_notebook_runs_on_the_kernel_of_the_environment(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_code_of_a_notebook_fits_its_column(path: Path) -> None:
    lines = [line for cell in code_cells(path) for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > CODE_WIDTH] == []


# ------------------------------------------------------------------------------ how the book is built


def test_a_failing_notebook_fails_every_build() -> None:
    assert CONFIG["sphinx"]["config"]["nb_execution_raise_on_error"] is True
    assert CONFIG["execute"]["execute_notebooks"] == "cache"
    assert not CONFIG["execute"].get("allow_errors", False)


def test_warnings_are_errors_in_the_build() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (command,) = re.findall(r"^\t.*jupyter-book build.*$", makefile, re.MULTILINE)
    assert {"-W", "--keep-going", "--all"} <= set(command.split())


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The built pages, by name."""
    if not book_pages():
        refuse("The book is not built: run `make book` first.")
    return {page: (HTML / page).read_text("utf-8") for page in book_pages()}


def test_no_page_loads_code_or_pictures_from_another_host(pages: dict[str, str]) -> None:
    loads = re.compile(
        r'<(?:script|img|iframe|source|link rel="(?:stylesheet|preload)")[^>]*="(?:https?:)?//[^"]*"'
    )
    scripts = re.compile(r"unpkg\.com|jsdelivr|cdnjs")  # where libraries of the web are fetched from
    assert {
        page: loads.findall(html) + scripts.findall(html) for page, html in pages.items()
    } == dict.fromkeys(pages, [])


def test_chapters_are_numbered_like_their_files(pages: dict[str, str]) -> None:
    chapters = {page: html for page, html in pages.items() if page.startswith("notebooks/")}
    assert len(chapters) == len(NOTEBOOKS)
    for page, html in chapters.items():
        (number,) = re.findall(r'<h1><span class="section-number">(\d+)\. </span>', html)
        assert page.startswith(f"notebooks/{int(number):02d}_")


def test_buttons_follow_from_the_one_address(pages: dict[str, str]) -> None:
    repository = CONFIG["repository"]["url"]
    name, branch = repository.removeprefix("https://github.com/"), CONFIG["repository"]["branch"]
    for path in NOTEBOOKS:
        html = pages[f"notebooks/{path.stem}.html"]
        file = f"notebooks/{path.name}"
        for link in (
            f"https://colab.research.google.com/github/{name}/blob/{branch}/{file}",
            f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{file}",
            f"{repository}/edit/{branch}/{file}",
        ):
            assert f'href="{link}"' in html


# ------------------------------------------------------------------------ the extensions of the book


CODE = """import re

LIMIT: float = 0.5
TABLE = {}

class Trainer:
    def step(self): ...

def train(trainer): ...
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [("LIMIT", 3), ("TABLE", 4), ("Trainer", 6), ("Trainer.step", 7), ("train", 9), ("tr", None)],
)
def test_a_definition_is_found_by_its_name(name: str, line: int | None) -> None:
    assert line_of(name, CODE) == line


def test_a_link_to_code_leads_to_file_folder_and_line(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/loop.py").write_text(CODE)
    place = tmp_path, "https://example.org/me/book/", "main"
    assert address("package", *place) == "https://example.org/me/book/tree/main/package"
    assert address("package/loop.py", *place) == "https://example.org/me/book/blob/main/package/loop.py"
    assert address("package/loop.py::Trainer", *place).endswith("/blob/main/package/loop.py#L6")


@pytest.mark.parametrize("target", ["package/loop.py", "loop.py::Learner"])
def test_a_link_to_code_that_does_not_exist_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop.py").write_text(CODE)
    with pytest.raises(ValueError, match=re.escape(target.partition("::")[0])):
        address(target, tmp_path, "https://example.org/me/book", "main")


@pytest.mark.parametrize(
    ("html", "marked"),
    [
        ('<span class="pre">a_b.c/d</span>', '<span class="pre">a_<wbr>b.<wbr>c/<wbr>d</span>'),
        ('<span class="pre">--seed</span>', '<span class="pre">--seed</span>'),
        ('<span class="pre">0.25</span>', '<span class="pre">0.25</span>'),
        ("<td>label_loss</td>", "<td>label_<wbr>loss</td>"),
        ("<p>label_loss</p>", "<p>label_loss</p>"),
        ('<a href="a_b.html">c_d</a>', '<a href="a_b.html">c_d</a>'),
    ],
)
def test_long_names_may_break_where_it_does_no_harm(html: str, marked: str) -> None:
    assert with_breaks(html) == marked


def test_an_equation_keeps_its_comma() -> None:
    equation = r'<span class="math notranslate nohighlight">\(q(z)\)</span>'
    assert with_equations_kept(f"{equation}, and") == f'<span class="aae-together">{equation},</span> and'
    assert with_equations_kept(f"{equation} and") == f"{equation} and"


def test_a_line_of_code_knows_its_indentation_and_keeps_its_text() -> None:
    html = '<div class="highlight"><pre><span></span>if x:\n    <b>y</b>\n\n</pre></div>'
    marked = with_lines(html)
    assert re.findall(r"--indent: (\d+)", marked) == ["0", "4", "0"]
    assert re.sub("<[^>]*>", "", marked) == re.sub("<[^>]*>", "", html)
