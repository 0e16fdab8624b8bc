"""A real browser, a server and the list of pages: what the tests of the built book share.

Playwright drives the Chromium or Chrome of the machine. Without one, or without a built book, a test that
asks for them is skipped with one line; where `AAE_REQUIRE_BROWSER=1` is set, it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Pages that Sphinx adds to ours: they hold a search form or an index, no text of the book.
NOT_OURS = {"genindex.html", "search.html", "index.html"}

PATIENCE = 120_000  # milliseconds: a busy machine is no fault of a page
LAPTOP, PHONE = 1280, 390  # widths of a window, in CSS pixels
HEIGHTS = {LAPTOP: 800, PHONE: 844}


def refuse(reason: str) -> None:
    """Skip the test for `reason`; fail it where a browser is required."""
    if os.environ.get("AAE_REQUIRE_BROWSER", "0") not in ("", "0"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def book_pages() -> list[str]:
    """Every page of the built book, as its path below `_build/html`; empty when nothing was built."""
    if not (HTML / "index.html").is_file():
        return []
    pages = (page.relative_to(HTML).as_posix() for page in HTML.rglob("*.html"))
    return sorted(page for page in pages if page not in NOT_OURS and not page.startswith("_"))


def require_book() -> None:
    """Refuse to go on without a built book."""
    if not book_pages():
        refuse("The book is not built: run `make book` first.")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium, closed at the end."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError:
        refuse("Playwright is missing: install the project's extra 'test'.")
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--disable-dev-shm-usage"])
        except Error as error:
            reason = str(error).splitlines()[0]
            refuse(f"No browser starts: install Debian's `chromium` or Google Chrome ({reason}).")
        try:
            yield browser
        finally:
            browser.close()


class Server(ThreadingHTTPServer):
    """Has room for all connections that a browser opens at once."""

    request_queue_size = 64


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files over kept connections and does not print a line for each."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...


def build_pages(source: Path, html: Path) -> Path:
    """Build a folder of sources, with a `conf.py`, into `html`; a warning is an error.

    Each build is a process of its own: Sphinx warns when a process loads its extensions twice.
    """
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-d", str(html.with_name("doctrees")), source, html],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return html


@contextmanager
def served_book() -> Iterator[str]:
    """The address under which the built book is served, without a slash at its end."""
    require_book()
    with served(HTML) as address:
        yield address


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder is served, without a slash at its end."""
    with Server(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def book_on_disk() -> str:
    """The address of the built book when it is opened as files, without a slash at its end."""
    require_book()
    return HTML.as_uri()


@dataclass
class Complaints:
    """What went wrong on a page while a test looked at it."""

    errors: list[str] = field(default_factory=list)
    """Errors in the console, and errors that no script caught."""
    other_hosts: list[str] = field(default_factory=list)
    """Addresses on other hosts that the page asked for."""
    missing: list[str] = field(default_factory=list)
    """Files that could not be loaded."""

    def in_words(self) -> list[str]:
        """One line for each complaint; empty when there is nothing to complain of."""
        kinds = {"error": self.errors, "asks another host": self.other_hosts, "not found": self.missing}
        return [f"{kind}: {text}" for kind, texts in kinds.items() for text in texts]

    def watch(self, page: Page, host: str) -> None:
        """Collect the complaints of `page` from now on; `host` is the only one it may ask."""
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note_request(request.url, host))
        page.on("requestfailed", lambda request: self.missing.append(request.url))
        page.on("response", lambda answer: self.missing.append(answer.url) if answer.status >= 400 else None)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _note_request(self, address: str, host: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != host:
            self.other_hosts.append(address)


@contextmanager
def open_page(
    browser: Browser, address: str, *, width: int = LAPTOP, scheme: str = "light", **context: Any
) -> Iterator[tuple[Page, Complaints]]:
    """A page as a new reader meets it, ready to be looked at, and what it complains about.

    Args:
        browser: From `open_browser`.
        address: Base from `served_book` or `book_on_disk`, with the page's path.
        width: `LAPTOP` or `PHONE`; the phone has a touch screen.
        scheme: What the reader's system asks for, "light" or "dark".
        context: Further settings of Playwright's `new_context`, such as `reduced_motion="reduce"`.
    """
    phone = {"is_mobile": True, "has_touch": True, "device_scale_factor": 2} if width == PHONE else {}
    viewport = {"width": width, "height": HEIGHTS.get(width, 800)}
    settings = {"viewport": viewport, "color_scheme": scheme, **phone, **context}
    reader = browser.new_context(**settings)
    reader.set_default_timeout(PATIENCE)
    complaints = Complaints()
    try:
        page = reader.new_page()
        complaints.watch(page, urlsplit(address).netloc)
        page.goto(address, wait_until="load")
        settle(page)
        yield page, complaints
    finally:
        reader.close()


def settle(page: Page) -> None:
    """Wait until equations are set, fonts are there and every picture is decoded."""
    page.evaluate(
        """async () => {
            if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
            await document.fonts.ready;
            const pictures = [...document.images];
            pictures.forEach(picture => { picture.loading = "eager"; });
            await Promise.all(pictures.map(picture => picture.decode().catch(() => null)));
        }"""
    )
