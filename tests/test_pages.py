"""Every page of the built book in a real browser, on a laptop and on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from browser import LAPTOP, PHONE, book_on_disk, book_pages, open_browser, open_page, served_book, settle

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# An equation may be drawn smaller on a phone; below this share of its size it cannot be read.
SMALLEST_EQUATION = 0.55

# Unfold what a reader can unfold: the outputs of a hidden solution have to fit, too.
UNFOLD = """() => {
    document.querySelectorAll("details").forEach(fold => { fold.open = true; });
    document.querySelectorAll(".toggle-hidden").forEach(fold => fold.classList.remove("toggle-hidden"));
}"""

# For all measures: whether an element can be seen, and where it stands, in words.
TOOLS = r"""
    const visible = element => element.checkVisibility({ visibilityProperty: true })
        && element.getClientRects().length > 0;
    const place = element => {
        const heading = element.closest("section")?.querySelector("h1, h2, h3, h4, h5")?.textContent ?? "";
        const name = [element.tagName.toLowerCase(), ...element.classList].join(".");
        const words = (element.getAttribute("alt") || element.textContent).trim().replace(/\s+/g, " ");
        return `"${heading.replace(/#$/, "").trim()}": ${name} (${words.slice(0, 70)})`;
    };
"""

# Pictures whose shown aspect differs from their own by more than 1 %, or that are not there at all.
DISTORTED = """() => {
    const found = [];
    for (const picture of [...document.images].filter(visible)) {
        const style = getComputedStyle(picture);
        const inner = (size, a, b) => size - parseFloat(style[a]) - parseFloat(style[b]);
        const width = inner(picture.clientWidth, "paddingLeft", "paddingRight");
        const height = inner(picture.clientHeight, "paddingTop", "paddingBottom");
        const ratio = width / height / (picture.naturalWidth / picture.naturalHeight);
        if (!(Math.abs(ratio - 1) <= 0.01))
            found.push(`out of shape: ${place(picture)} is shown at ${width} x ${height}, `
                + `it is ${picture.naturalWidth} x ${picture.naturalHeight}`);
    }
    return found;
}"""

# What is wider than its box, so that it scrolls sideways or is cut off, and what sticks out of the column.
# Two kinds are left out:
# - code inside something that a reader chose to unfold;
# - `scrolls-sideways`, a class for content that has no narrower form and shows that it goes on.
# What only screen readers meet is clipped on purpose.
TOO_WIDE = """() => {
    const excused = `details div.highlight, details div.highlight *, .scrolls-sideways, .scrolls-sideways *,
        .visually-hidden, .touch-spoken, mjx-assistive-mml, mjx-assistive-mml *,
        .aae-stacked thead, .aae-stacked thead *`;
    const article = document.querySelector(".bd-article");
    const end = article.getBoundingClientRect().right - parseFloat(getComputedStyle(article).paddingRight);
    const clips = element => getComputedStyle(element).overflowX !== "visible";
    const clipped = element => element !== article && (clips(element) || clipped(element.parentElement));
    const found = [];
    for (const element of article.querySelectorAll(":not(svg *)")) {
        if (!visible(element) || element.matches(excused)) continue;
        if (clips(element) && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
            found.push(`too wide: ${place(element)} needs ${element.scrollWidth} px, `
                + `its box has ${element.clientWidth}`);
        const beyond = Math.round(element.getBoundingClientRect().right - end);
        if (beyond > 1 && !clipped(element.parentElement))
            found.push(`too wide: ${place(element)} sticks out of the column by ${beyond} px`);
    }
    return found;
}"""

SMALL_EQUATIONS = """least => {
    const found = [];
    for (const drawing of [...document.querySelectorAll(".bd-article mjx-container > svg")].filter(visible)) {
        const shown = drawing.getBoundingClientRect().width;
        drawing.style.maxWidth = "none";
        const own = drawing.getBoundingClientRect().width;
        drawing.style.maxWidth = "";
        if (shown < least * own)
            found.push(`too small: ${place(drawing)}, an equation of ${own} px, is shown at ${shown}`);
    }
    return found;
}"""


def measure(page: Page, script: str, argument: Any = None) -> list[str]:
    """Run a measure above in the page; what it found, in words."""
    return page.evaluate(script.replace("{", "{" + TOOLS, 1), argument)


def layout_faults(page: Page, width: int) -> list[str]:
    """All that does not fit on a page, in the theme that it has now."""
    found = measure(page, DISTORTED) + measure(page, TOO_WIDE)
    found += measure(page, SMALL_EQUATIONS, SMALLEST_EQUATION)
    needed = page.evaluate("document.documentElement.scrollWidth")
    if needed > width:
        found.append(f"the page scrolls sideways: it needs {needed} px of {width}")
    return found


def show_in(page: Page, scheme: str) -> None:
    """Let the reader's system ask for light or dark; the page follows."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)


def report(found: list[str]) -> str:
    """What a failed test says: one line for each fault."""
    return "\n".join(["", *dict.fromkeys(found)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def book() -> Iterator[str]:
    with served_book() as address:
        yield address


# Without a book there is one test, which says so.
every_page = pytest.mark.parametrize("path", book_pages() or ["no book"])


@pytest.mark.parametrize("width", [LAPTOP, PHONE])
@every_page
def test_page_fits_and_raises_no_error(browser: Browser, book: str, path: str, width: int) -> None:
    found = []
    with open_page(browser, f"{book}/{path}", width=width) as (page, complaints):
        page.evaluate(UNFOLD)
        for piece in page.locator("figure.touch").all():
            piece.scroll_into_view_if_needed()
            piece.locator(".touch-body").wait_for()
        settle(page)
        for scheme in ("light", "dark"):
            show_in(page, scheme)
            found += [f"{scheme}, {fault}" for fault in layout_faults(page, width)]
    found += complaints.in_words()
    assert not found, report(found)


@every_page
def test_page_works_as_a_file(browser: Browser, path: str) -> None:
    with open_page(browser, f"{book_on_disk()}/{path}") as (page, complaints):
        math = page.evaluate("document.querySelectorAll('span.math, div.math').length")
        drawn = page.evaluate("document.querySelectorAll('mjx-container > svg').length")
        broken = page.evaluate("document.querySelectorAll('mjx-merror, [data-mjx-error]').length")
        missing = page.evaluate("[...document.images].filter(image => !image.naturalWidth).length")
    assert (drawn >= math, broken, missing) == (True, 0, 0)
    assert not complaints.in_words(), report(complaints.in_words())
