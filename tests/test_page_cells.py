"""The cells of the Markdown pages fit their column and run, here on a few hundred images."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

from aae_utils import data

matplotlib.use("Agg")

BOOK = Path(__file__).resolve().parent.parent / "book"
COLUMN = 76
CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?P<head>---\n.*?\n---\n|(?::[^\n]*\n)*)(?P<code>.*?)^```$", re.M | re.S
)
PAGES = sorted(page for page in BOOK.glob("*.md") if CELL.search(page.read_text("utf-8")))


def cells(page: Path) -> list[str]:
    return [cell["code"] for cell in CELL.finditer(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_fits_its_column(page: Path) -> None:
    lines = [line for cell in cells(page) for line in cell.splitlines()]
    assert [line for line in lines if len(line) > COLUMN] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_cells_run_one_after_the_other(page: Path, monkeypatch, one_thread) -> None:
    load = data.load_mnist
    monkeypatch.setattr(data, "load_mnist", lambda split: load(split).first(600))
    names: dict[str, object] = {"__name__": page.stem}
    with matplotlib.rc_context():
        for cell in cells(page):
            exec(compile(cell, page.name, "exec"), names)
