"""The figures to touch: their bundles, their data beside the package's numbers, their use in a browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import PHONE, build_pages, open_browser, open_page, served
from scipy.special import logsumexp
from torch import Tensor

from aae_utils import data, runs

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "book" / "_ext"))

import bundle  # noqa: E402
import exports  # noqa: E402
import interactive  # noqa: E402
import rounding  # noqa: E402

PIECES = {
    "explorer-labels": "plane-labeled-mixture",
    "film-labels": "film-labeled-mixture",
    "parzen": "",
    "draw-style": "draw-supervised-mnist",
    "draw-label": "draw-semi-supervised-100",
    "clusters-16": "clusters-clustering-16",
}
TOGETHER = ("film-labels", "explorer-labels")
"""Figures of one page, as in the chapters."""
MEGABYTE = 1_000_000
LEVELS = 255

# ------------------------------------------------------------------------------------ the bundler


def write_modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text)
    return folder / "main.js"


def test_bundle_holds_each_module_once_and_before_those_that_import_it(tmp_path: Path) -> None:
    shared = "export const one = 1;\nexport function two() {}\n"
    main = 'import { one as first } from "./shared.js";\nimport { three } from "./other.js";\nthree(first);\n'
    other = 'import { two } from "./shared.js";\nexport async function three() {\n  two();\n}\n'
    text = bundle.bundle(write_modules(tmp_path, shared=shared, main=main, other=other))
    assert text.count("const $shared = (() => {") == 1
    assert text.index("$shared = ") < text.index("$other = ") < text.index("$main = ")
    assert "return { one, two };" in text
    assert "one: first" in text
    assert not re.search(r"^\s*(import|export)\b", text, re.MULTILINE)


@pytest.mark.parametrize("line", ["export default 1;", 'import x from "./a.js";', "export { x };"])
def test_bundle_names_a_form_that_it_does_not_know(tmp_path: Path, line: str) -> None:
    with pytest.raises(bundle.BundleError, match=re.escape(line)):
        bundle.bundle(write_modules(tmp_path, main=f"{line}\n"))


def test_bundle_refuses_a_circle(tmp_path: Path) -> None:
    text = 'import { x } from "./%s.js";\n'
    with pytest.raises(bundle.BundleError, match="break the circle"):
        bundle.bundle(write_modules(tmp_path, main=text % "other", other=text % "main"))


# ------------------------------------------------------------------------------- smaller networks


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_independent_units_leave_out_copies() -> None:
    three = torch.randn(50, 3, generator=stream())
    copies = three[:, [0, 0, 1, 2, 1, 2]]
    assert sorted(v % 6 for v in np.array([0, 0, 1, 2, 1, 2])[rounding.independent_units(copies, 3)]) == [
        0,
        1,
        2,
    ]


def test_a_network_of_repeated_units_is_thinned_without_loss() -> None:
    first = rounding.Layer(
        torch.randn(8, 2, generator=stream(1)).repeat(2, 1), torch.randn(8, generator=stream(2)).repeat(2)
    )
    last = rounding.Layer(torch.randn(5, 16, generator=stream(3)), torch.randn(5, generator=stream(4)))
    x = torch.randn(400, 2, generator=stream(5))
    thin = rounding.thinned([first, last], x, (8,))
    assert thin[0].weight.shape == (8, 2)
    torch.testing.assert_close(thin[1](thin[0](x).relu()), last(first(x).relu()), atol=1e-3, rtol=1e-3)


def test_rounding_for_its_inputs_is_far_closer_than_rounding_each_weight() -> None:
    weight = torch.randn(20, 100, generator=stream())
    x = torch.randn(1000, 12, generator=stream(1)) @ torch.randn(12, 100, generator=stream(2))
    rounded = rounding.rounded_for(weight, x)
    scale = torch.from_numpy(rounded.scale)
    alone = (weight / scale).round() * scale
    error = (x @ (rounded.weight() - weight).T).pow(2).mean()
    assert np.abs(rounded.whole).max() == rounding.LARGEST
    assert error < 0.05 * (x @ (alone - weight).T).pow(2).mean()


def test_a_record_shows_the_run_whose_weights_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAE_RUNS", str(tmp_path))
    for seed, files in ((0, []), (2, [runs.WEIGHTS, runs.DESCRIPTION]), (3, [runs.WEIGHTS])):
        folder = tmp_path / "labeled-mixture" / f"laptop-seed{seed}"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
    assert exports.run_folder("plane-labeled-mixture") == tmp_path / "labeled-mixture" / "laptop-seed2"
    assert exports.is_there("plane-labeled-mixture")
    assert not exports.is_there("film-labeled-mixture")


def test_differences_add_up_to_the_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    assert (np.cumsum(exports._differences(frames), axis=0, dtype=np.uint8) == frames).all()


# ------------------------------------------------------------------------------------ a small book

CONF = """
import sys
sys.path.insert(0, {ext!r})
project = "pieces"
extensions = ["myst_parser", "interactive", "offline"]
myst_enable_extensions = ["colon_fence"]
html_theme = "sphinx_book_theme"
html_static_path = [{static!r}]
html_favicon = {static!r} + "/favicon.svg"
html_context = {{"default_mode": "auto"}}
"""
PAGE = """# {name}

:::{{touch}} {name}

A caption for {name}.

A sentence for JupyterLab.
:::
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page for each piece whose runs are there, built with the book's own extension and its stored data."""
    folder = tmp_path_factory.mktemp("pieces")
    source = folder / "source"
    source.mkdir()
    book = ROOT / "book"
    (source / "conf.py").write_text(CONF.format(ext=str(book / "_ext"), static=str(book / "_static")))
    (source / "index.md").write_text("# Pieces\n\n```{toctree}\n:glob:\n*\n```\n")
    for name in PIECES:
        (source / f"{name}.md").write_text(PAGE.format(name=name))
    both = "\n".join(f":::{{touch}} {name}\n\nA caption.\n:::\n" for name in TOGETHER)
    (source / "together.md").write_text(f"# Two figures\n\n{both}")
    stored = ROOT / "_build" / ".touch"
    stored.mkdir(parents=True, exist_ok=True)
    (folder / ".touch").symlink_to(stored)
    return build_pages(source, folder / "html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@contextmanager
def open_piece(browser: Any, base: str, name: str, **settings: Any) -> Iterator[Any]:
    """The page of a piece, once it can be touched; the test fails if the page complained about anything."""
    record = PIECES[name]
    if record and not exports.is_there(record):
        pytest.skip(f"{record} cannot be shown: its run is not there, or recorded no film.")
    with open_page(browser, f"{base}/{name}.html", **settings) as (page, complaints):
        page.locator("figure.touch").scroll_into_view_if_needed()
        page.wait_for_selector("figure.touch-ready", timeout=120_000)
        yield page
        assert (complaints.errors, complaints.other_hosts, complaints.missing) == ([], [], [])


@pytest.fixture(scope="module")
def desk(browser: Any, site: Path) -> Iterator[Callable[[str], Any]]:
    """Opens a piece in a wide window, from its file; tests of the same piece share the page."""
    with ExitStack() as stack:
        pages: dict[str, Any] = {}

        def page_of(name: str) -> Any:
            if name not in pages:
                pages[name] = stack.enter_context(open_piece(browser, site.as_uri(), name))
            return pages[name]

        yield page_of


def touch(page: Any, function: str, *values: Any) -> Any:
    """Call a function that the piece exposes."""
    call = "([name, values]) => document.querySelector('.touch-body').touch[name](...values)"
    return page.evaluate(call, [function, list(values)])


def after_a_frame(page: Any) -> None:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def levels_apart(shown: Any, wanted: Tensor) -> float:
    return LEVELS * float((torch.tensor(shown) - wanted).abs().max())


@pytest.mark.parametrize("name", PIECES)
def test_piece_starts_from_a_folder(desk: Any, name: str) -> None:
    assert desk(name).locator(".touch-body canvas").first.is_visible()


@pytest.mark.parametrize("name", PIECES)
def test_piece_starts_from_a_server(browser: Any, site: Path, name: str) -> None:
    with served(site) as address, open_piece(browser, address, name) as page:
        assert page.locator(".touch-body canvas").first.is_visible()


@pytest.mark.parametrize("name", PIECES)
def test_piece_fits_a_phone_and_a_finger(browser: Any, site: Path, name: str) -> None:
    with open_piece(browser, site.as_uri(), name, width=PHONE, scheme="dark") as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        low = page.evaluate(
            """() => [...document.querySelectorAll(".touch-body :is(button, label, input)")]
                .filter(control => control.getBoundingClientRect().height < 44)
                .map(control => control.outerHTML)"""
        )
        assert low == []


def test_each_figure_of_a_page_keeps_its_choice(browser: Any, site: Path) -> None:
    shows = [record for name in TOGETHER for _, record in interactive.FIGURES[name].shows]
    if not all(map(exports.is_there, shows)):
        pytest.skip("A figure of the page has nothing to choose from: its runs are not there.")
    with open_page(browser, f"{site.as_uri()}/together.html") as (page, complaints):
        for name in TOGETHER:
            page.locator(f"#touch-{name}").scroll_into_view_if_needed()
            page.wait_for_selector(f"#touch-{name}.touch-ready", timeout=120_000)
        first, second = (page.locator(f"#touch-{name}") for name in TOGETHER)
        assert [figure.locator("input:checked").count() for figure in (first, second)] == [1, 1]
        second.get_by_label("Swiss roll").check()
        assert first.get_by_label("Mixture").is_checked()
        assert second.get_by_label("Swiss roll").is_checked()
        assert complaints.in_words() == []


@pytest.mark.parametrize("name", PIECES)
def test_page_stays_small(site: Path, name: str) -> None:
    figure = interactive.FIGURES[name]
    records = [name for name in (*(r for _, r in figure.shows), *figure.also) if exports.is_there(name)]
    folder = site / "_static" / "interactive"
    size = sum((folder / "data" / f"{record}.js").stat().st_size for record in records)
    size += (folder / f"{figure.piece}.js").stat().st_size if records or not figure.shows else 0
    print(f"{name}: {size / MEGABYTE:.2f} MB")
    assert size < (5 if name.startswith("draw") else 3) * MEGABYTE


def test_without_javascript_the_caption_says_what_there_is(browser: Any, site: Path) -> None:
    reader = browser.new_context(java_script_enabled=False)
    page = reader.new_page()
    page.goto(f"{site.as_uri()}/parzen.html")
    text = page.locator("figure.touch").inner_text()
    reader.close()
    assert "A caption for parzen." in text
    assert "switch JavaScript on" in text
    assert "JupyterLab" not in text


def test_figure_names_its_runs(site: Path) -> None:
    page = (site / "clusters-16.html").read_text()
    assert "clustering-16/laptop-seed0" in page


def test_page_without_a_figure_loads_nothing(site: Path) -> None:
    assert "interactive" not in re.sub(r"<title>.*?</title>", "", (site / "index.html").read_text())


def test_figure_whose_runs_are_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "is_there", lambda record: record != "film-labeled-mixture")
    shows, _ = interactive.present(interactive.FIGURES["film-labels"])
    assert shows == [("Swiss roll", "film-labeled-swiss-roll")]


# ------------------------------------------------------------------------------------ the explorer


@torch.no_grad()
def test_explorer_decodes_as_torch_does(desk: Any) -> None:
    model = runs.find_run("labeled-mixture").model()
    codes = model.encode(data.load("mnist", "test").images[:50], stream())
    page = desk("explorer-labels")
    shown = [touch(page, "decode", code.tolist()) for code in codes]
    milliseconds = page.evaluate(
        """() => {
            const { decode } = document.querySelector(".touch-body").touch;
            return Array.from({ length: 20 }, (_, batch) => {
                const start = performance.now();
                for (let i = 0; i < 10; i++) decode([i / 2, batch / 2]);
                return (performance.now() - start) / 10;
            });
        }"""
    )
    print(f"one decoded image: {np.median(milliseconds):.2f} ms")
    assert levels_apart(shown, model.decode(codes)) <= 2


def test_explorer_follows_pointer_and_keys(desk: Any) -> None:
    page = desk("explorer-labels")
    plane = page.locator(".touch-plane")
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    limit = touch(page, "state")["limit"]
    assert touch(page, "state")["code"] == pytest.approx([limit / 2, limit / 2], abs=limit / 100)
    plane.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert touch(page, "state")["code"] == pytest.approx([0.04 * limit, -0.1 * limit])
    page.keyboard.press("Enter")
    after_a_frame(page)
    assert touch(page, "state")["touched"] >= 0
    assert "a test image of the digit" in page.locator(".touch-results").inner_text()


REMEMBER = """() => {
    const plane = document.querySelector(".touch-plane");
    const { width, height } = plane;
    window.remembered = plane.getContext("2d").getImageData(0, 0, width, height).data;
}"""
# the share of the plane's pixels that are not as they were
CHANGED = """() => {
    const plane = document.querySelector(".touch-plane");
    const { data } = plane.getContext("2d").getImageData(0, 0, plane.width, plane.height);
    let changed = 0;
    for (let i = 0; i < data.length; i += 4)
        changed += [i, i + 1, i + 2].some(at => Math.abs(data[at] - window.remembered[at]) > 8);
    return changed / (data.length / 4);
}"""


def test_explorer_draws_the_grid_and_goes_on_following(desk: Any) -> None:
    page = desk("explorer-labels")
    page.evaluate(REMEMBER)
    page.get_by_role("button", name="17 × 17").click()
    page.wait_for_function(f"() => ({CHANGED})() > 0.5")  # the dots and the ground are covered by images
    milliseconds = page.evaluate(
        """async () => {
            const plane = document.querySelector(".touch-plane");
            const box = plane.getBoundingClientRect();
            const { draw } = document.querySelector(".touch-body").touch;
            const frame = () => new Promise(requestAnimationFrame);
            for (let i = 0; i < 80; i++) await frame();
            const times = [];
            for (let i = 1; i <= 60; i++) {
                const place = { clientX: box.left + (box.width * i) / 60, clientY: box.top + box.height / 2 };
                plane.dispatchEvent(new PointerEvent("pointermove", place));
                const start = performance.now();
                draw();
                times.push(performance.now() - start);
                await frame();
            }
            return times;
        }"""
    )
    print(f"one drawing of the explorer with its 17 x 17 images: {np.median(milliseconds):.1f} ms")
    state = touch(page, "state")
    assert state["code"] == pytest.approx([state["limit"], 0], abs=state["limit"] / 100)


def test_explorer_follows_a_finger_and_switches_models(browser: Any, site: Path) -> None:
    with open_piece(browser, site.as_uri(), "explorer-labels", width=PHONE) as page:
        plane = page.locator(".touch-plane")
        plane.scroll_into_view_if_needed()
        box = plane.bounding_box()
        page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
        mixture = touch(page, "state")
        assert mixture["code"] == pytest.approx([-mixture["limit"] / 2, 0], abs=mixture["limit"] / 50)
        page.get_by_label("Swiss roll").tap()
        page.wait_for_function(
            "limit => document.querySelector('.touch-body').touch.state().limit !== limit",
            arg=mixture["limit"],
        )


# ---------------------------------------------------------------------------------------- drawing


@torch.no_grad()
def test_drawn_digits_in_a_style_are_those_of_torch(desk: Any) -> None:
    model = runs.find_run("supervised-mnist").model()
    images = data.load("mnist", "test").images[:50]
    styles, labels = model.encode(images), torch.arange(50) % 10
    page = desk("draw-style")
    asked = zip(styles.tolist(), labels.tolist(), strict=True)
    shown = [touch(page, "decode", style, label) for style, label in asked]
    read = [touch(page, "encode", image.tolist()) for image in images[:5]]
    assert levels_apart(shown, model.decode(styles, labels)) <= 2
    assert (torch.tensor(read) - styles[:5]).abs().max() < 0.05 * styles.std()


@torch.no_grad()
def test_slider_moves_the_style_along_the_direction_of_most_variance(desk: Any) -> None:
    page = desk("draw-style")
    page.get_by_role("button", name="Middle").click()
    slider = page.get_by_label("Direction 1")
    before = np.array(touch(page, "state")["z"])
    slider.fill("1")
    moved = np.linalg.norm(np.array(touch(page, "state")["z"]) - before)
    styles = runs.find_run("supervised-mnist").model().encode(data.load("mnist", "test").images)
    strongest = float(torch.linalg.eigvalsh(styles.T.cov())[-1].sqrt())
    assert moved == pytest.approx(strongest, rel=1e-3)


@torch.no_grad()
def test_sliders_stand_where_a_style_lies_however_far(desk: Any) -> None:
    page = desk("draw-style")
    styles = runs.find_run("supervised-mnist").model().encode(data.load("mnist", "test").images)
    center = styles.mean(0).numpy()
    variances, directions = (part.numpy() for part in torch.linalg.eigh(styles.T.cov()))
    sliders = page.get_by_label("Direction").all()
    strongest = np.argsort(-variances)[: len(sliders)]
    for choice in page.locator(".touch-thumb").all():
        choice.click()
        after_a_frame(page)
        away = np.array(touch(page, "state")["z"]) - center
        places = np.abs(directions.T[strongest] @ away) / np.sqrt(variances[strongest])
        shown = [abs(float(slider.input_value())) for slider in sliders]
        assert shown == pytest.approx(places.tolist(), abs=0.05)


def test_drawing_is_prepared_as_mnist_was(desk: Any) -> None:
    images = data.load("mnist", "test").images[100:120]
    page = desk("draw-label")
    seen = []
    for image in images:
        touch(page, "show", image.tolist())
        after_a_frame(page)
        seen.append(touch(page, "state")["seen"])
    difference = (torch.tensor(seen) - images).abs().mean(1)
    print(f"a MNIST image on the pad comes back with a mean difference of {difference.mean():.5f}")
    assert difference.max() <= 0.02


@torch.no_grad()
def test_answer_to_a_test_image_is_that_of_torch(desk: Any) -> None:
    model = runs.find_run("semi-supervised-100").model()
    images = data.load("mnist", "test").images[:20]
    answers = torch.tensor([touch(desk("draw-label"), "answer", image.tolist()) for image in images])
    assert (answers - model.predict(images)).abs().max() < 0.02


def test_a_palm_and_a_held_key_draw_nothing(desk: Any) -> None:
    page = desk("draw-label")
    pad = page.locator(".touch-pad")
    pad.focus()
    page.keyboard.press("Delete")
    page.evaluate(
        """() => {
            const pad = document.querySelector(".touch-pad");
            pad.setPointerCapture = () => {};
            const box = pad.getBoundingClientRect();
            const send = (type, pointerId, x, y) => pad.dispatchEvent(new PointerEvent(type, {
                pointerId, buttons: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height,
            }));
            send("pointerdown", 1, 0.5, 0.2);
            send("pointerdown", 2, 0.9, 0.9);
            for (let y = 0.2; y <= 0.8; y += 0.05) {
                send("pointermove", 1, 0.5, y);
                send("pointermove", 2, 0.9, 0.9);
            }
            send("pointerup", 2, 0.9, 0.9);
            send("pointerup", 1, 0.5, 0.8);
        }"""
    )
    after_a_frame(page)
    assert np.argmax(touch(page, "state")["answered"]) == 1
    page.keyboard.press("Delete")
    for _ in range(4):  # held: one press and its repetitions
        page.keyboard.down("Space")
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    page.keyboard.up("Space")
    page.keyboard.press("Space")
    after_a_frame(page)
    assert np.argmax(touch(page, "state")["answered"]) == 1


def test_upright_stroke_is_read_as_a_one_by_pointer_and_by_keyboard(desk: Any) -> None:
    page = desk("draw-label")
    pad = page.locator(".touch-pad")
    box = pad.bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()
    after_a_frame(page)
    assert np.argmax(touch(page, "state")["answered"]) == 1
    pad.focus()
    page.keyboard.press("Delete")
    after_a_frame(page)
    assert touch(page, "state")["seen"] is None
    for key in ("Space", *["ArrowUp"] * 10, "Space"):
        page.keyboard.press(key)
    after_a_frame(page)
    assert np.argmax(touch(page, "state")["answered"]) == 1


# ------------------------------------------------------------------------------------------- film


def test_film_steps_scrubs_and_plays(desk: Any) -> None:
    page = desk("film-labels")
    assert touch(page, "state")["playing"] is False
    page.get_by_label("One moment on").click()
    page.get_by_label("Moment", exact=True).press("ArrowRight")
    assert touch(page, "state")["frame"] == 2
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.touch-body').touch.state().frame > 3")
    page.get_by_role("button", name="Pause").click()
    assert touch(page, "state")["playing"] is False


def test_film_shows_what_the_run_recorded(desk: Any) -> None:
    tensors, texts = runs.find_run("labeled-mixture").film()
    shown, limit = touch(desk("film-labels"), "film"), float(tensors["limit"])
    assert shown["steps"] == tensors["steps"].tolist()
    assert shown["distance"] == pytest.approx(tensors["distance"].tolist(), rel=1e-5)
    codes = torch.tensor(shown["codes"]).view(tensors["codes"].shape)
    inside = tensors["codes"].float().clamp(-limit, limit)
    assert (codes - inside).abs().max() < 1.01 * limit / exports.PLACES
    losses = {one["name"]: torch.tensor(one["y"][1:]) for one in shown["losses"]}
    assert list(losses) == [name.replace("_", " ") for name in texts["losses"].split(",")]
    for column, values in zip(tensors["losses"].T.float(), losses.values(), strict=True):
        torch.testing.assert_close(values, column[1:])


SWITCH = """async address => {
    const { loadedChoice } = await import(`${address}/ui.js`);
    const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
    const shown = [];
    let there = false;
    const load = async record => {
        await wait(record === "slow" ? 150 : 10);
        if (record === "missing" && !there) throw new Error("It is not there.");
        return record;
    };
    const shows = ["first", "slow", "fast", "missing"].map(record => ({ label: record, record }));
    const row = loadedChoice({ label: "Run", shows, load, show: record => shown.push(record) });
    document.body.append(row);
    const choose = name => row.querySelectorAll("input")[shows.findIndex(one => one.record === name)].click();
    choose("slow");
    choose("fast");
    await wait(300);
    choose("missing");
    await wait(50);
    const said = row.querySelector("[role=alert]").textContent;
    const back = shows[[...row.querySelectorAll("input")].findIndex(input => input.checked)].record;
    there = true;
    choose("fast");
    choose("missing");
    await wait(50);
    return { shown, said, back, after: row.querySelector("[role=alert]").textContent };
}"""


def test_the_last_choice_is_shown_and_a_failure_is_said(browser: Any) -> None:
    """What loads slowly must not replace what was chosen after it."""
    with served(ROOT / "book" / "interactive") as address:
        page = browser.new_page()
        page.goto(f"{address}/ui.js")
        found = page.evaluate(SWITCH, address)
        page.close()
    assert found["shown"] == ["fast", "missing"]
    assert found["said"] == "It is not there. Choose it again to try once more."
    assert found["back"] == "fast"
    assert found["after"] == ""


FORGET = """async address => {
    const { remembered } = await import(`${address}/ui.js`);
    const known = new Map();
    let calls = 0;
    const make = async () => { if (++calls === 1) throw new Error("no"); return calls; };
    const first = await remembered(known, "x", make).catch(error => error.message);
    return [first, await remembered(known, "x", make), await remembered(known, "x", make)];
}"""


def test_what_could_not_be_loaded_can_be_asked_for_again(browser: Any) -> None:
    with served(ROOT / "book" / "interactive") as address:
        page = browser.new_page()
        page.goto(f"{address}/ui.js")
        assert page.evaluate(FORGET, address) == ["no", 2, 2]
        page.close()


def test_film_has_no_play_button_for_readers_who_want_less_motion(browser: Any, site: Path) -> None:
    with open_piece(browser, site.as_uri(), "film-labels", reduced_motion="reduce") as page:
        assert page.get_by_role("button", name="Play").count() == 0
        page.get_by_label("One moment on").click()
        assert touch(page, "state")["frame"] == 1


# --------------------------------------------------------------------------- clusters and windows


def test_clusters_give_the_errors_of_the_run(desk: Any) -> None:
    results, state = runs.find_run("clustering-16").results, touch(desk("clusters-16"), "state")
    assert state["rule"] == pytest.approx(results["error"], abs=0.05)
    assert state["majority"] == pytest.approx(results["majority_vote_error"], abs=0.05)
    assert state["yours"] == state["rule"]


def test_another_name_for_a_cluster_changes_the_error_by_its_images(desk: Any) -> None:
    record = exports.RECORDS["clusters-clustering-16"]()
    counts, names = record.arrays["counts"].astype(int), record.arrays["candidate_labels"].astype(int)
    cluster, choice = (int(index) for index in np.argwhere(names != names[:, :1])[0])
    gain = counts[cluster, names[cluster, choice]] - counts[cluster, names[cluster, 0]]
    page = desk("clusters-16")
    page.locator(".touch-tile").nth(cluster).click()
    page.locator(".touch-detail .touch-thumb").nth(choice).click()
    state = touch(page, "state")
    assert state["yours"] == pytest.approx(state["rule"] - 100 * gain / counts.sum())


def test_clusters_count_from_zero_and_say_in_words_what_they_hold(desk: Any) -> None:
    counts = exports.RECORDS["clusters-clustering-16"]().arrays["counts"].astype(int)
    page = desk("clusters-16")
    page.locator(".touch-tile").first.click()
    detail, last = page.locator(".touch-detail").inner_text(), page.locator(".touch-tile").last
    assert "Cluster 0 is called" in detail
    assert last.get_attribute("aria-label").startswith(f"Cluster {len(counts) - 1},")
    most = int(counts[0].argmax())
    article = "an" if most == 8 else "a"
    assert f"test images, {counts[0, most]:,} are {article} {most}" in detail


def test_parzen_window_gives_the_likelihood_of_theory(desk: Any) -> None:
    page = desk("parzen")
    page.get_by_label("σ").press("ArrowRight")
    state = touch(page, "state")
    held, samples = np.array(state["held"]), np.array(state["samples"])
    terms = -0.5 * ((held[:, None] - samples) / state["sigma"]) ** 2
    constant = np.log(len(samples) * state["sigma"] * np.sqrt(2 * np.pi))
    assert state["value"] == pytest.approx(np.mean(logsumexp(terms, axis=1) - constant), abs=1e-4)
    page.get_by_role("button", name="best").click()
    assert touch(page, "state")["value"] >= state["value"]


def test_new_samples_meet_the_same_held_out_points(desk: Any) -> None:
    page = desk("parzen")
    held = touch(page, "state")["held"]
    jumps = []
    for key in ("Home", "End"):  # five samples, two thousand
        page.get_by_label("Samples").press(key)
        page.get_by_role("button", name="best").click()
        states = [touch(page, "state")]
        for _ in range(6):
            page.get_by_role("button", name="Draw new samples").click()
            states.append(touch(page, "state"))
        assert all(state["held"] == held for state in states)
        assert states[0]["samples"] != states[1]["samples"]
        jumps.append(np.std([state["value"] for state in states]))
    assert jumps[1] < jumps[0] / 5
