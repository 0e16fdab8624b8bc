"""The lab: an adversarial autoencoder that is trained in the page."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from browser import PHONE, build_pages, open_browser, open_page, served
from test_interactive import CONF, PAGE, touch
from torch import Tensor, nn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

BOOK = Path(__file__).resolve().parent.parent / "book"
sys.path.append(str(BOOK / "_ext"))
from bundle import bundle  # noqa: E402

STEPS_IN_TIME = 20 * 30  # 20 seconds at 30 steps a second, the slowest machine that the lab is made for
PATIENCE = 600_000  # milliseconds, for machines that have much else to do
WIDE, NARROW, ROWS, PIXELS, LEAK = 12, 8, 6, 196, 0.2

# Puts the training's modules within reach of `page.evaluate`.
REACH = """
import { AdversarialAutoencoder } from "./training.js";
import { Distance } from "./training_distance.js";
import { samplePrior } from "./training_priors.js";
import { randomStream } from "./random.js";
window.lab = { AdversarialAutoencoder, Distance, samplePrior, randomStream };
"""

GRADIENTS = """([wide, narrow, phase, batchNorm, images, samples]) => {
    const model = new lab.AdversarialAutoencoder(lab.randomStream(1), wide, narrow);
    for (const norm of model.norms) norm.on = batchNorm;
    const x = Float32Array.from(images);
    const codes = model.encoder.forward(x);
    const loss = {
        reconstruction: () => model.reconstruct(x),
        discriminator: () => model.discriminate(Float32Array.from(samples), codes),
        generator: () => model.generate(codes),
    }[phase]();
    const read = what => Object.fromEntries(["encoder", "decoder", "discriminator"].map(name =>
        [name, model[name].parameters.map(parameter => Array.from(parameter[what]))]));
    return { loss, values: read("values"), gradients: read("gradient") };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as program:
        yield program


@pytest.fixture(scope="module")
def engine(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """An empty page that knows the training's code."""
    folder = tmp_path_factory.mktemp("engine")
    for name in ("training", "training_network", "training_priors", "training_distance", "random"):
        (folder / f"{name}.js").write_text((BOOK / "interactive" / f"{name}.js").read_text("utf-8"), "utf-8")
    (folder / "reach.js").write_text(REACH.lstrip(), "utf-8")
    page = browser.new_page()
    page.add_script_tag(content=bundle(folder / "reach.js"))
    yield page
    page.close()


# ---------------------------------------------------------------------------------- the training's code


def torch_networks(batch_norm: bool) -> nn.ModuleDict:
    """The same networks in torch."""

    def hidden(inputs: int, outputs: int, leak: float = 0, normalized: bool = False) -> list[nn.Module]:
        norm = [nn.BatchNorm1d(outputs)] if normalized else []
        return [nn.Linear(inputs, outputs), *norm, nn.ReLU() if leak == 0 else nn.LeakyReLU(leak)]

    encoder = [*hidden(PIXELS, WIDE), *hidden(WIDE, NARROW), nn.Linear(NARROW, 2)]
    decoder = [*hidden(2, NARROW), *hidden(NARROW, WIDE), nn.Linear(WIDE, PIXELS), nn.Sigmoid()]
    judge = [
        *hidden(2, NARROW, 0.2, batch_norm),
        *hidden(NARROW, NARROW, 0.2, batch_norm),
        nn.Linear(NARROW, 1),
    ]
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(*encoder),
            "decoder": nn.Sequential(*decoder),
            "discriminator": nn.Sequential(*judge),
        }
    )


def torch_loss(phase: str, networks: nn.ModuleDict, images: Tensor, samples: Tensor) -> Tensor:
    """The loss of a phase, as the paper writes it."""
    codes, judge = networks["encoder"](images), networks["discriminator"]
    if phase == "reconstruction":
        return (networks["decoder"](codes) - images).square().sum() / (2 * len(images))
    if phase == "discriminator":
        return -(judge(samples).sigmoid().log().mean() + (1 - judge(codes.detach()).sigmoid()).log().mean())
    return -judge(codes).sigmoid().log().mean()


def used(name: str, batch_norm: bool, lists: dict[str, list[list[float]]]) -> list[list[float]]:
    """The parameters of a network that torch has, too: not the scale and shift of what is switched off."""
    off = (2, 3, 6, 7) if name == "discriminator" and not batch_norm else ()
    return [values for index, values in enumerate(lists[name]) if index not in off]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("phase", "changed"),
    [
        ("reconstruction", {"encoder", "decoder"}),
        ("discriminator", {"discriminator"}),
        ("generator", {"encoder"}),
    ],
)
def test_gradients_are_those_of_torch(engine: Page, phase: str, changed: set[str], batch_norm: bool) -> None:
    stream = torch.Generator().manual_seed(0)
    images, samples = torch.rand(ROWS, PIXELS, generator=stream), torch.randn(ROWS, 2, generator=stream)
    sent = [WIDE, NARROW, phase, batch_norm, images.flatten().tolist(), samples.flatten().tolist()]
    found = engine.evaluate(GRADIENTS, sent)
    networks = torch_networks(batch_norm).double()
    for name, network in networks.items():
        for parameter, values in zip(
            network.parameters(), used(name, batch_norm, found["values"]), strict=True
        ):
            parameter.data = torch.tensor(values, dtype=torch.float64).view_as(parameter)
    loss = torch_loss(phase, networks, images.double(), samples.double())
    loss.backward()

    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, network in networks.items():
        gradients = used(name, batch_norm, found["gradients"])
        if name not in changed:
            assert not any(map(any, gradients))
            continue
        # Batch normalization makes some gradients zero, of which single precision leaves a trace.
        trace = 1e-6 * max(parameter.grad.norm() for parameter in network.parameters())
        for parameter, values in zip(network.parameters(), gradients, strict=True):
            expected = parameter.grad.flatten()
            assert (torch.tensor(values) - expected).norm() <= 1e-4 * expected.norm() + trace


DISTANCES = """([samples, shift]) => {
    const distance = new lab.Distance({ name: "moons" }, samples);
    const codes = lab.samplePrior({ name: "moons" }, samples, lab.randomStream(5));
    const shifted = codes.map((value, i) => value + shift * (i % 2));
    return [distance.of(codes), distance.of(shifted), distance.floor];
}"""


def test_distance_of_a_shifted_cloud_follows_from_theory(engine: Page) -> None:
    near, shifted, floor = engine.evaluate(DISTANCES, [400, 3.0])
    assert near == pytest.approx(floor, rel=0.5)
    assert shifted == pytest.approx((3.0**2 / 2 + near**2) ** 0.5, rel=0.1)


OWN = """strokes => {
    const codes = lab.samplePrior({ name: "own", strokes }, 4000, lab.randomStream(1));
    const pairs = Array.from({ length: 4000 }, (_, i) => [codes[2 * i], codes[2 * i + 1]]);
    return pairs;
}"""


def test_a_drawn_prior_is_spread_evenly_along_its_lines(engine: Page) -> None:
    samples = torch.tensor(engine.evaluate(OWN, [[[-2, 0], [2, 0]], [[0, 1], [0, 2]]]))
    along, across = samples[samples[:, 1] < 0.5], samples[samples[:, 1] >= 0.5]
    assert len(along) / len(samples) == pytest.approx(4 / 5, abs=0.03)
    assert along.std(0).tolist() == pytest.approx([4 / 12**0.5, 0.09], rel=0.1)
    assert across.mean(0).tolist() == pytest.approx([0, 1.5], abs=0.05)


# ------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lab on a page of its own."""
    folder = tmp_path_factory.mktemp("lab")
    source = folder / "source"
    source.mkdir()
    (source / "conf.py").write_text(CONF.format(ext=str(BOOK / "_ext"), static=str(BOOK / "_static")))
    (source / "index.md").write_text(PAGE.format(name="lab"))
    return build_pages(source, folder / "html")


@contextmanager
def open_lab(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """The lab, once it can be touched; the test fails if the page complained about anything."""
    with open_page(browser, f"{address}/index.html", **settings) as (page, complaints):
        page.wait_for_selector("figure.touch-ready", timeout=PATIENCE)
        page.wait_for_function("() => document.querySelector('.touch-body').touch.state().steps === 0")
        yield page
        # the theme says this itself on a reader's first visit
        errors = [text for text in complaints.errors if "invalid theme mode" not in text]
        assert (errors, complaints.other_hosts, complaints.missing) == ([], [], [])


def wait_until(page: Page, condition: str) -> dict[str, Any]:
    """The state of the lab once `condition`, which may use `state`, is true."""
    read = "() => document.querySelector('.touch-body').touch.state()"
    page.wait_for_function(f"() => {{ const state = ({read})(); return {condition}; }}", timeout=PATIENCE)
    return page.evaluate(read)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def train(page: Page, steps: int) -> list[dict[str, float]]:
    """The curves after so many more steps."""
    before = touch(page, "state")["steps"]
    touch(page, "advance", steps)
    wait_until(page, f"state.steps === {before + steps}")
    return touch(page, "moments")


@pytest.mark.parametrize("way", ["file", "http"])
def test_training_halves_the_distance_to_the_prior(browser: Browser, site: Path, way: str) -> None:
    with served(site) as address, open_lab(browser, address if way == "http" else site.as_uri()) as page:
        page.get_by_role("radio", name="Ten spokes").check()
        start = wait_until(page, "state.steps === 0")["distance"]
        press(page, "Start")
        state = wait_until(page, f"state.distance <= {start / 2} || state.steps > {STEPS_IN_TIME}")
        assert state["distance"] <= start / 2
        print(f"the lab, {way}: half the distance in {state['steps']} steps, {state['speed']:.0f} a second")


def test_same_seed_gives_the_same_numbers(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        runs = []
        for seed in (7, 7, 8):
            page.get_by_role("spinbutton", name="Seed").fill(str(seed))
            page.get_by_role("spinbutton", name="Seed").press("Enter")
            press(page, "Start over")
            wait_until(page, "state.steps === 0")
            runs.append(train(page, 40))
        assert [moment["step"] for moment in runs[0]] == [20, 40]
        assert runs[0] == runs[1] != runs[2]


def drag(page: Page, plane: Locator, finger: bool) -> None:
    """Draw a line from the upper left to the lower right, with the mouse or with a finger."""
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    assert box is not None
    points = [
        (box["x"] + share * box["width"], box["y"] + share * box["height"]) for share in (0.2, 0.35, 0.6, 0.8)
    ]
    if finger:
        touches = page.context.new_cdp_session(page)
        for index, (x, y) in enumerate(points):
            kind = "touchMove" if index else "touchStart"
            touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        return
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()


@pytest.mark.parametrize("finger", [False, True])
def test_a_reader_trains_on_a_prior_of_their_own(browser: Browser, site: Path, finger: bool) -> None:
    with open_lab(browser, site.as_uri(), **({"width": PHONE} if finger else {})) as page:
        page.get_by_role("radio", name="Draw your own").check()
        start = page.get_by_role("button", name="Start", exact=True)
        page.locator(".touch-main:disabled").wait_for()
        drag(page, page.locator(".touch-plane"), finger)
        (stroke,) = touch(page, "strokes")
        assert stroke[0] == pytest.approx([-1.8, 1.8], abs=0.05)
        assert stroke[-1] == pytest.approx([1.8, -1.8], abs=0.05)
        start.click()
        wait_until(page, "state.steps > 0 && state.running")


def test_another_finger_on_the_plane_is_not_heard(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri(), width=PHONE) as page:
        page.get_by_role("radio", name="Draw your own").check()
        plane = page.locator(".touch-plane")
        plane.scroll_into_view_if_needed()
        box = plane.bounding_box()
        assert box is not None
        touches = page.context.new_cdp_session(page)

        def at(share: float, finger: int) -> dict[str, float]:
            return {
                "x": box["x"] + share * box["width"],
                "y": box["y"] + share * box["height"],
                "id": finger,
            }

        palm = at(0.95, 1)
        for kind, points in (
            ("touchStart", [at(0.2, 0)]),
            ("touchStart", [at(0.2, 0), palm]),
            ("touchMove", [at(0.4, 0), palm | {"x": palm["x"] - 3}]),
            ("touchMove", [at(0.6, 0), palm]),
            ("touchMove", [at(0.7, 0)]),  # the palm is lifted
            ("touchEnd", []),
        ):
            touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        (stroke,) = touch(page, "strokes")
        assert stroke[-1] == pytest.approx([1.2, -1.2], abs=0.1)
        assert max(point[0] for point in stroke) < 1.5


def test_an_experiment_says_that_a_drawing_is_wanted_first(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        page.get_by_role("radio", name="Draw your own").check()
        press(page, "No adversary")
        assert page.locator(".touch-hint").inner_text().startswith("Draw your prior and press Start first.")
        drag(page, page.locator(".touch-plane"), finger=False)
        press(page, "No adversary")
        assert not page.locator(".touch-hint").inner_text().startswith("Draw your prior")


def test_keys_say_where_the_point_is(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        train(page, 1)
        plane = page.locator(".touch-plane")
        plane.focus()
        plane.press("ArrowRight")
        page.wait_for_function(
            """() => document.querySelector(".touch-spoken").textContent
                .startsWith("z = (0.1, 0.0). Nearest digit: ")"""
        )


OUTSIDE = """() => {
    const body = document.querySelector(".touch-body").getBoundingClientRect();
    const shown = [...document.querySelectorAll(".touch-body *")].filter(one => one.checkVisibility());
    const boxes = shown.map(element => [element, element.getBoundingClientRect()]);
    return {
        outside: boxes
            .filter(([element, box]) => !element.closest(".touch-spoken, .visually-hidden")
                && (box.right > body.right + 1 || box.left < body.left - 1))
            .map(([element]) => element.outerHTML.slice(0, 80)),
        charts: boxes.filter(([element]) => element.matches(".touch-chart")).map(([, box]) => box.width),
    };
}"""


@pytest.mark.parametrize("width", [601, 667, 768, 820, 960, 1024, 1200, 1280])
def test_lab_fits_a_window_between_a_phone_and_a_screen(browser: Browser, site: Path, width: int) -> None:
    with open_lab(browser, site.as_uri(), width=width) as page:
        found = page.evaluate(OUTSIDE)
        assert found["outside"] == []
        assert len(found["charts"]) == 3 and min(found["charts"]) > 180
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_keys_move_the_point_and_draw(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        plane = page.locator(".touch-plane")
        plane.focus()
        plane.press("ArrowRight")
        plane.press("ArrowUp")
        assert touch(page, "state")["place"] == pytest.approx([0.1, 0.1])
        page.get_by_role("radio", name="Draw your own").check()
        plane.focus()
        for key in ("Space", "ArrowLeft", "ArrowLeft", "Space", "ArrowDown"):
            plane.press(key)
        (stroke,) = touch(page, "strokes")
        assert stroke == [pytest.approx(point) for point in ([0.1, 0.1], [0, 0.1], [-0.1, 0.1])]
        plane.press("Delete")
        assert touch(page, "strokes") == []


def test_what_is_switched_off_does_not_change(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        before = touch(page, "decode", [0.5, 0.5])
        press(page, "Reconstruction")
        press(page, "Adversary")
        train(page, 2)
        assert touch(page, "decode", [0.5, 0.5]) == before
        press(page, "Reconstruction")
        train(page, 2)
        assert touch(page, "decode", [0.5, 0.5]) != before


def test_experiments_start_anew_and_say_what_to_notice(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        press(page, "Batch normalization in D")
        wait_until(page, "state.steps > 0 && state.running")
        assert (
            page.get_by_role("button", name="Batch norm in D", exact=True).get_attribute("aria-pressed")
            == "true"
        )
        assert page.locator("a", has_text="Batch normalization in the discriminator").is_visible()
        press(page, "Show D(z)")
        wait_until(page, "state.discriminator")
        press(page, "Pause")


def test_experiments_point_to_sections_that_exist() -> None:
    script = (BOOK / "interactive" / "lab_settings.js").read_text("utf-8")
    links = re.findall(r'what_goes_wrong\.html#([\w-]+)",\s+title: "(.+)"', script)
    page = (BOOK / "what_goes_wrong.md").read_text("utf-8")
    sections = re.findall(r"^\(([\w-]+)\)=\n## (.+)$", page, re.MULTILINE)
    assert len(links) == script.count("what_goes_wrong.html#") >= 5
    assert set(links) <= set(sections)


TOP_EDGE = """() => {
    const canvas = document.querySelectorAll(".touch-chart")[2];
    const ratio = canvas.width / canvas.clientWidth;
    const mark = canvas.parentElement.querySelector(".touch-mark");
    const wanted = getComputedStyle(mark).backgroundColor.match(/[0-9]+/g).map(Number);
    const { data } = canvas.getContext("2d").getImageData(0, Math.round(16 * ratio), canvas.width, 1);
    let colored = 0;
    for (let i = 0; i < data.length; i += 4)
        colored += wanted.every((value, channel) => Math.abs(value - data[i + channel]) < 80);
    return colored / canvas.width;
}"""


def test_a_curve_above_its_chart_runs_along_the_upper_edge(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri()) as page:
        press(page, "No reconstruction")
        wait_until(page, "state.steps >= 200")
        press(page, "Pause")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(TOP_EDGE) > 0.5
        assert "samples of the prior" in page.locator(".touch-curves").inner_text()


def test_readers_who_want_less_motion_get_a_picture_a_second(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri(), reduced_motion="reduce") as page:
        press(page, "Start")
        first = wait_until(page, "state.steps > 0")["steps"]
        assert wait_until(page, f"state.steps > {first}")["between"] > 900


def test_lab_fits_a_phone_and_a_finger(browser: Browser, site: Path) -> None:
    with open_lab(browser, site.as_uri(), width=PHONE, scheme="dark") as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        low = page.evaluate(
            """() => [...document.querySelectorAll(".touch-body :is(button, label, input)")]
                .filter(control => control.checkVisibility() && control.getBoundingClientRect().height < 44)
                .map(control => control.outerHTML)"""
        )
        assert low == []
