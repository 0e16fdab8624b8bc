// The lab: a small adversarial autoencoder is trained in the page, on a prior that the reader picks or draws.

import { loadData, startWorker } from "./data.js";
import { LabCharts } from "./lab_charts.js";
import { Drawing } from "./lab_drawing.js";
import { EXPERIMENTS, settingsPanel } from "./lab_settings.js";
import { forward } from "./matrix.js";
import { drawImage, heatPicture, Plane, redrawOnChange } from "./plot.js";
import { randomStream } from "./random.js";
import { DEFAULTS, PIXELS } from "./training.js";
import { EXTENT, samplePrior } from "./training_priors.js";
import {
  announcer,
  button,
  choice,
  element,
  expose,
  mount,
  oncePerFrame,
  reducedMotion,
  toggle,
} from "./ui.js";

/**
 * @typedef {[number, number]} Point
 * @typedef {{ steps: number, codes: Float32Array, decoder: Float32Array[], discriminator: Uint8Array | null,
 *             distance: number, floor: number, speed: number, diverged: boolean, generation: number,
 *             moments: import("./lab_charts.js").Moment[] }} Report as the worker sends it
 */

const SHOWN = 500; // digits at the end of the set: they are shown and not trained on
const OWN = "own";
const PRIORS = [
  { value: "gaussian", label: "Gaussian" },
  { value: "ring", label: "Ring" },
  { value: "spiral", label: "Spiral" },
  { value: "spokes", label: "Ten spokes" },
  { value: "moons", label: "Two moons" },
  { value: OWN, label: "Draw your own" },
];
const DENSITY = { samples: 12000, grid: 72 };
const KEY_STEP = 0.1;
const CALM = 1000; // milliseconds from picture to picture for readers who asked for less motion

mount("lab", async (stage) => {
  const [{ arrays, meta }, worker] = await Promise.all([
    loadData("small-digits"),
    startWorker("training.worker"),
  ]);
  const images = Float32Array.from(arrays.images.data, (/** @type {number} */ level) => level / 255);
  const first = images.length / PIXELS - SHOWN;
  const [trained, held] = [images.subarray(0, first * PIXELS), images.subarray(first * PIXELS)];
  const labels = arrays.labels.data.subarray(first);

  const drawing = new Drawing();
  let settings = { ...DEFAULTS };
  let prior = "spokes";
  let seed = 1;
  let generation = 0;
  let [arrived, between] = [0, 0]; // when the last report came, and how long after the one before
  let [wanted, pen, inked, slow, discriminator] = [false, false, false, false, false];
  /** @type {Report | null} */
  let report = null;
  /** @type {number | null} */
  let only = null; // the digit that is singled out
  /** @type {Point} */
  let place = [0, 0];
  /** @type {number | null} */
  let finger = null; // the one on the plane that is heard
  /** @type {HTMLCanvasElement | null} */
  let density = null;

  // ------------------------------------------------------------------ the worker

  /** @param {string} type @param {Record<string, unknown>} [content] */
  const send = (type, content = {}) => worker.postMessage({ type, ...content });
  const ready = () => prior !== OWN || drawing.strokes.length > 0;
  const priorChoice = () => (prior === OWN ? { name: OWN, strokes: drawing.strokes } : { name: prior });

  worker.onmessage = ({ data }) => {
    if (data.generation !== generation) return; // of a training that has been thrown away
    [between, arrived] = [performance.now() - arrived, performance.now()];
    report = data;
    charts.add(data.moments);
    if (data.diverged) {
      wanted = false;
      spoken.say(words());
    }
    draw();
  };

  function reset() {
    generation += 1;
    charts.clear();
    report = null;
    // a prior has to be there before there is something to compare with it
    send("reset", {
      images: trained,
      held,
      prior: ready() ? priorChoice() : { name: "spokes" },
      settings,
      seed,
    });
  }

  function run() {
    if (!ready()) return;
    if (report?.diverged) reset();
    wanted = true;
    setPen(false);
    send("run");
    draw();
  }

  function pause() {
    wanted = false;
    send("pause");
    draw();
    spoken.say(words());
  }

  function startOver() {
    reset();
    if (wanted) send("run");
  }

  function setView() {
    send("view", { view: { discriminator, slow, pause: reducedMotion() ? CALM : 0 } });
    draw();
  }

  /** @param {string} name */
  function pickPrior(name) {
    prior = name;
    setPen(name === OWN);
    if (!ready() && wanted) pause();
    changePrior();
  }

  /** The training goes on from where it is: the codes flow from one prior to the other. */
  function changePrior() {
    density = ready() ? densityPicture(priorChoice(), meta.parts.prior) : null;
    if (ready()) send("prior", { prior: priorChoice() });
    draw();
  }

  // ------------------------------------------------------------------ controls

  const canvas = element("canvas", { class: "touch-plane", tabindex: 0, role: "application" });
  const plane = new Plane(canvas, EXTENT);
  const decoded = element("canvas", { class: "touch-image", role: "img", "aria-label": "Decoded image" });
  const nearest = element("canvas", { class: "touch-image", role: "img", "aria-label": "Nearest digit" });
  const under = element("p", { class: "touch-reading touch-words" });
  const reading = element("p", { class: "touch-reading" });
  const notice = element("p", { class: "touch-hint", "aria-live": "polite" });
  const spoken = announcer();
  const charts = new LabCharts(meta.parts, meanImageError(trained));
  const panel = settingsPanel((changed) => {
    settings = changed;
    send("settings", { settings });
  });
  const start = button("Start", () => (wanted ? pause() : run()), { class: "touch-button touch-main" });
  const step = button("One step", () => {
    if (wanted) pause();
    send("advance", { steps: 1 });
  });
  const penSwitch = toggle("Pen", false, (on) => setPen(on));
  const undo = button("Undo", () => erase(() => drawing.undo()));
  const clear = button("Clear", () => erase(() => drawing.clear()));
  const penBar = bar("Drawing", penSwitch, undo, clear);
  const seedField = element("input", {
    type: "number",
    min: 0,
    max: 99999,
    step: 1,
    value: seed,
    class: "touch-number",
  });
  seedField.addEventListener("change", () => {
    seed = Math.max(0, Math.min(99999, Math.round(Number(seedField.value) || 0)));
    seedField.value = String(seed);
    startOver();
  });

  /** The ten digits; one can be singled out. */
  function legend() {
    const row = element("div", { class: "touch-legend", role: "group", "aria-label": "Show one digit only" });
    for (const [digit, color] of meta.colors.entries()) {
      const made = toggle(String(digit), false, (on) => {
        for (const other of row.children) if (other !== made) other.setAttribute("aria-pressed", "false");
        only = on ? digit : null;
        draw();
      });
      made.style.setProperty("--touch-digit", color);
      row.append(made);
    }
    return row;
  }

  /** @param {boolean} on */
  function setPen(on) {
    pen = on;
    inked = false;
    penSwitch.setAttribute("aria-pressed", String(on));
    draw();
  }

  /** @param {() => void} action */
  function erase(action) {
    action();
    if (!ready() && wanted) pause();
    setPen(true);
    changePrior();
  }

  /** @param {typeof EXPERIMENTS[number]} experiment */
  function experiment({ change, notice: text, page, title }) {
    settings = { ...DEFAULTS, ...change };
    panel.set(settings);
    reset();
    run();
    const first = ready() ? "" : "Draw your prior and press Start first. ";
    notice.replaceChildren(first, text, " Read on: ", element("a", { href: page }, title), ".");
  }

  // ------------------------------------------------------------------ pointer and keyboard

  /** @param {Point} to */
  function move(to) {
    place = to;
    if (inked) drawing.extend(to);
    draw();
  }

  function penDown() {
    inked = true;
    drawing.begin(place);
    draw();
  }

  function penUp() {
    if (!inked) return;
    inked = false;
    changePrior();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (finger !== null) return;
    finger = event.pointerId;
    canvas.setPointerCapture(finger);
    penUp();
    move(plane.toCode(event));
    if (pen) penDown();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (finger !== null && event.pointerId !== finger) return;
    if (inked && !event.buttons) return; // the keyboard's pen is down
    for (const point of event.getCoalescedEvents?.() ?? []) if (inked) drawing.extend(plane.toCode(point));
    move(plane.toCode(event));
  });
  const lift = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== finger) return;
    finger = null;
    penUp();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("blur", () => {
    finger = null;
    penUp();
  });
  canvas.addEventListener("keydown", (event) => {
    const by = /** @type {Record<string, Point>} */ ({
      ArrowLeft: [-KEY_STEP, 0],
      ArrowRight: [KEY_STEP, 0],
      ArrowUp: [0, KEY_STEP],
      ArrowDown: [0, -KEY_STEP],
    })[event.key];
    if (by) {
      const inside = (/** @type {number} */ value) => Math.max(-EXTENT, Math.min(EXTENT, value));
      move([inside(place[0] + by[0]), inside(place[1] + by[1])]);
      spoken.say(placeInWords());
    } else if (pen && event.key === " ") event.repeat || (inked ? penUp() : penDown());
    else if (pen && (event.key === "Delete" || event.key === "Backspace")) erase(() => drawing.undo());
    else return;
    event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (wanted) send(document.hidden ? "pause" : "run");
  });

  // ------------------------------------------------------------------ the picture

  const draw = oncePerFrame(() => {
    plane.clear();
    const field = discriminator && report?.discriminator;
    if (field) {
      const size = Math.sqrt(field.length);
      plane.heat(heatPicture(field, size, meta.parts.prior, meta.parts.discriminator), 0.55);
    } else if (density) plane.heat(density, 0.75);
    plane.axes();
    if (report && ready())
      plane.dots(report.codes, labels, meta.colors, { radius: plane.size / 190, opacity: 0.9, only });
    if (prior === OWN && pen) drawing.show(plane, meta.parts.prior);
    if (!ready()) plane.note("Draw a line here: with the mouse, a finger, or arrow keys and Space.");
    plane.cursor(...place);
    drawDecoded();
    charts.draw(report?.floor ?? 0);
    sayState();
  });

  function drawDecoded() {
    const near = nearestNow();
    drawImage(
      decoded,
      report ? forward(decoderOf(report.decoder), Float32Array.from(place)) : new Float32Array(PIXELS),
    );
    drawImage(nearest, held.subarray(near * PIXELS, (near + 1) * PIXELS));
    under.textContent = codeInWords();
  }

  const nearestNow = () => (report ? nearestOf(report.codes, place) : 0);
  const codeInWords = () => `z = (${place.map((value) => value.toFixed(1).replace("-", "−")).join(", ")})`;

  function placeInWords() {
    return `${codeInWords()}. Nearest digit: ${labels[nearestNow()]}.`;
  }

  function sayState() {
    start.textContent = wanted ? "Pause" : report?.steps ? "Go on" : "Start";
    [start.disabled, step.disabled] = [!ready(), !ready()];
    penBar.hidden = prior !== OWN;
    reading.textContent = words();
    canvas.setAttribute(
      "aria-label",
      `Codes in the plane. ${pen ? "Arrow keys move the pen, Space lowers and lifts it" : "Arrow keys move the point that is decoded"}.`,
    );
  }

  function words() {
    if (!ready()) return "Draw your prior in the plane, in one line or several, then press Start.";
    if (!report) return "";
    if (report.diverged)
      return `A loss became infinite at step ${report.steps}: lower a rate and press Start over.`;
    const rate = wanted && report.speed ? `, ${Math.round(report.speed)} a second` : "";
    const [distance, floor] = [report.distance, report.floor].map((value) => value.toFixed(2));
    const done = report.steps ? `${report.steps.toLocaleString("en-US")} steps${rate}` : "Not trained yet";
    return `${done} · distance to the prior ${distance} (samples of it: ${floor})`;
  }

  stage.append(
    bar("Prior", choice({ label: "Prior", options: PRIORS, value: prior, change: pickPrior })),
    element(
      "div",
      { class: "touch-columns" },
      element(
        "div",
        {},
        penBar,
        canvas,
        legend(),
        element("div", { class: "touch-bar touch-film-bar" }, start, step, button("Start over", startOver)),
        reading,
      ),
      element(
        "div",
        { class: "touch-results" },
        pair(decoded, "decoded here", nearest, "nearest digit"),
        under,
      ),
      charts.node,
    ),
    element("p", { class: "touch-name" }, "Experiments, each from the start"),
    bar("Experiments", ...EXPERIMENTS.map((one) => button(one.label, () => experiment(one)))),
    notice,
    element("p", { class: "touch-name" }, "Switches and learning rates"),
    panel.node,
    bar(
      "View and seed",
      toggle("Show D(z)", discriminator, (on) => {
        discriminator = on;
        setView();
      }),
      toggle("Slow motion", slow, (on) => {
        slow = on;
        setView();
      }),
      element("label", { class: "touch-field" }, "Seed", seedField),
    ),
    spoken.node,
  );
  expose(stage, {
    state: () => ({
      ...{ running: wanted, place, between, steps: report?.steps, speed: report?.speed },
      ...{ distance: report?.distance, floor: report?.floor, discriminator: Boolean(report?.discriminator) },
    }),
    moments: () => charts.moments,
    advance: (/** @type {number} */ steps) => send("advance", { steps }),
    strokes: () => drawing.strokes,
    decode: (/** @type {Point} */ code) =>
      report && Array.from(forward(decoderOf(report.decoder), Float32Array.from(code))),
  });
  reset();
  setView();
  changePrior();
  redrawOnChange(canvas, draw);
});

/**
 * A row of controls.
 * @param {string} label
 * @param {...HTMLElement} controls
 */
function bar(label, ...controls) {
  return element("div", { class: "touch-bar", role: "group", "aria-label": label }, ...controls);
}

/**
 * Two small images side by side, each with its name.
 * @param {HTMLElement} left
 * @param {string} leftName
 * @param {HTMLElement} right
 * @param {string} rightName
 */
function pair(left, leftName, right, rightName) {
  const named = (/** @type {HTMLElement} */ image, /** @type {string} */ name) =>
    element("div", { class: "touch-named" }, image, element("span", {}, name));
  return element("div", { class: "touch-pair" }, named(left, leftName), named(right, rightName));
}

/**
 * The decoder's layers from its parameters: weight and bias of each in turn.
 * @param {Float32Array[]} parameters
 * @returns {import("./matrix.js").Layer[]}
 */
function decoderOf(parameters) {
  const biases = parameters.filter((_, i) => i % 2);
  return biases.map((bias, i) => ({
    weight: { shape: [bias.length, parameters[2 * i].length / bias.length], data: parameters[2 * i] },
    bias,
    activation: i === biases.length - 1 ? "sigmoid" : "relu",
  }));
}

/**
 * @param {Float32Array} codes (N, 2)
 * @param {Point} place
 * @returns {number} which code lies nearest
 */
function nearestOf(codes, [x, y]) {
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (let i = 0; i < codes.length / 2; i++) {
    const away = (codes[2 * i] - x) ** 2 + (codes[2 * i + 1] - y) ** 2;
    if (away < least) [best, least] = [i, away];
  }
  return best;
}

/**
 * Where a prior is dense, as a picture for the whole plane.
 * @param {import("./training_priors.js").PriorChoice} prior
 * @param {string} color
 */
function densityPicture(prior, color) {
  const { samples, grid } = DENSITY;
  const counts = new Float32Array(grid * grid);
  const points = samplePrior(prior, samples, randomStream(0));
  for (let i = 0; i < points.length; i += 2) {
    const [column, row] = [points[i], points[i + 1]].map((value) =>
      Math.floor((grid * (value / EXTENT + 1)) / 2),
    );
    // each sample also counts a little in the cells around its own, which makes the picture smooth
    for (const [up, right, weight] of SOFT) {
      const [y, x] = [row + up, column + right];
      if (x >= 0 && y >= 0 && x < grid && y < grid) counts[y * grid + x] += weight;
    }
  }
  const most = counts.reduce((highest, count) => Math.max(highest, count), 0);
  return heatPicture(
    counts.map((count) => 200 * Math.sqrt(count / most)),
    grid,
    color,
  );
}

const SOFT = [-1, 0, 1].flatMap((up) =>
  [-1, 0, 1].map((right) => [up, right, 4 / 2 ** (up * up + right * right)]),
);

/**
 * The reconstruction loss of an answer that needs no code: the mean image, whatever the input.
 * @param {Float32Array} images (N, PIXELS)
 */
function meanImageError(images) {
  const count = images.length / PIXELS;
  const [mean, square] = [new Float64Array(PIXELS), new Float64Array(PIXELS)];
  for (let i = 0; i < images.length; i++) {
    mean[i % PIXELS] += images[i] / count;
    square[i % PIXELS] += images[i] ** 2 / count;
  }
  return square.reduce((sum, value, pixel) => sum + (value - mean[pixel] ** 2) / 2, 0);
}
