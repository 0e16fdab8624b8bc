// Section 3 in one dimension: a Parzen window over samples, and the likelihood of held-out points.

import { cssColor, drawLines, fitCanvas, redrawOnChange } from "./plot.js";
import { randomStream } from "./random.js";
import { announcer, button, element, expose, lineKey, mount, oncePerFrame, slider } from "./ui.js";

const HELD_OUT = 200;
const COUNTS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000];
const REACH = 8; // the line runs from -REACH to REACH
// what the samples are drawn from: weight, mean and standard deviation of three normal densities
const PARTS = [
  [0.5, -2.5, 0.8],
  [0.3, 1.2, 0.45],
  [0.2, 4, 1],
];
const WIDTHS = Float32Array.from({ length: 41 }, (_, i) => 0.03 * 100 ** (i / 40));
const [VIOLET, GREY, BLUE] = ["#7a55a8", "#63686f", "#2f6db3"];

mount("parzen", (stage) => {
  let seed = 1;
  let width = 12; // index into WIDTHS
  let stop = 4; // index into COUNTS
  let held = heldOut();
  let samples = draws(COUNTS[stop]);
  let curve = curveOf(samples, held);

  function heldOut() {
    return sample(HELD_OUT, randomStream(2 * seed));
  }

  /** @param {number} count */
  function draws(count) {
    return sample(count, randomStream(2 * seed + 1));
  }

  function redo() {
    held = heldOut();
    samples = draws(COUNTS[stop]);
    curve = curveOf(samples, held);
    draw();
  }

  const density = element("canvas", {
    class: "touch-wide",
    role: "img",
    "aria-label": "The density that the Parzen window estimates beside the true one",
  });
  const chart = element("canvas", {
    class: "touch-wide touch-low",
    role: "img",
    "aria-label": "Log-likelihood of the held-out points for every sigma",
  });
  const reading = element("p", { class: "touch-reading" });
  const spoken = announcer();

  const draw = oncePerFrame(() => {
    const sigma = WIDTHS[width];
    drawDensity(density, samples, sigma);
    const truth = meanLog(held, trueDensity);
    const here = curve[width];
    drawLines(chart, {
      x: WIDTHS,
      lines: [{ name: "held-out", color: BLUE, y: curve }],
      at: sigma,
      logarithmic: true,
      low: truth - 2.5,
      high: truth + 0.25,
      marks: [{ y: truth, name: "true density" }],
      label: "σ",
    });
    reading.replaceChildren(
      element("strong", {}, `${nats(here)} nats`),
      ` a held-out point with ${samples.length.toLocaleString("en-US")} samples and σ = ${sigma.toFixed(2)};` +
        ` the true density itself reaches ${nats(truth)}.`,
    );
    spoken.say(reading.textContent ?? "");
  });

  const sigmaSlider = slider({
    label: "σ",
    min: 0,
    max: WIDTHS.length - 1,
    step: 1,
    value: width,
    format: (value) => WIDTHS[value].toFixed(2),
    change: (value) => {
      width = value;
      draw();
    },
  });
  const countSlider = slider({
    label: "Samples",
    min: 0,
    max: COUNTS.length - 1,
    step: 1,
    value: stop,
    format: (value) => COUNTS[value].toLocaleString("en-US"),
    change: (value) => {
      stop = value;
      redo();
    },
  });
  stage.append(
    lineKey([
      { name: "estimate", color: VIOLET },
      { name: "true density", color: GREY },
      { name: "samples", color: BLUE },
    ]),
    density,
    countSlider.row,
    sigmaSlider.row,
    element(
      "div",
      { class: "touch-bar" },
      button("Take the best σ", () => {
        width = curve.indexOf(Math.max(...curve));
        sigmaSlider.set(width);
        draw();
      }),
      button("Draw new samples", () => {
        seed += 1;
        redo();
      }),
    ),
    reading,
    lineKey([{ name: `mean log-likelihood of ${HELD_OUT} held-out points`, color: BLUE }]),
    chart,
    element(
      "p",
      { class: "touch-hint" },
      "Too narrow a window leaves held-out points between the samples, too wide a one blurs the density. With more samples" +
        " the best σ shrinks, and the likelihood comes near that of the true density. In 784 dimensions a wide gap stays.",
    ),
    spoken.node,
  );
  redrawOnChange(density, draw);
  expose(stage, {
    state: () => ({
      sigma: WIDTHS[width],
      samples: Array.from(samples),
      held: Array.from(held),
      value: curve[width],
    }),
  });
  draw();
});

/** @param {number} count @param {ReturnType<typeof randomStream>} random */
function sample(count, random) {
  return Float32Array.from({ length: count }, () => {
    let chosen = random.uniform();
    const part = PARTS.find(([weight]) => {
      chosen -= weight;
      return chosen < 0;
    });
    const [, mean, deviation] = part ?? PARTS[PARTS.length - 1];
    return mean + deviation * random.normal();
  });
}

/** @param {number} at @param {number} mean @param {number} deviation */
function normalDensity(at, mean, deviation) {
  return Math.exp(-0.5 * ((at - mean) / deviation) ** 2) / (deviation * Math.sqrt(2 * Math.PI));
}

/** @param {number} at */
function trueDensity(at) {
  return PARTS.reduce(
    (sum, [weight, mean, deviation]) => sum + weight * normalDensity(at, mean, deviation),
    0,
  );
}

/**
 * 1/N sum_i N(at; sample_i, sigma^2).
 * @param {number} at @param {Float32Array} samples @param {number} sigma
 */
function parzenDensity(at, samples, sigma) {
  return samples.reduce((sum, value) => sum + normalDensity(at, value, sigma), 0) / samples.length;
}

/** @param {Float32Array} points @param {(at: number) => number} density */
function meanLog(points, density) {
  // a density that is zero to the computer is drawn as a deep fall, not as a gap
  return points.reduce((sum, at) => sum + Math.log(Math.max(density(at), 1e-300)), 0) / points.length;
}

/** @param {Float32Array} samples @param {Float32Array} held */
function curveOf(samples, held) {
  return WIDTHS.map((sigma) => meanLog(held, (at) => parzenDensity(at, samples, sigma)));
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array} samples @param {number} sigma */
function drawDensity(canvas, samples, sigma) {
  const { context, width, height } = fitCanvas(canvas);
  const floor = height - 22;
  const toX = (/** @type {number} */ at) => ((at + REACH) * width) / (2 * REACH);
  const points = Array.from({ length: Math.ceil(width / 2) + 1 }, (_, i) => (4 * REACH * i) / width - REACH);
  const truth = points.map(trueDensity);
  const estimate = points.map((at) => parzenDensity(at, samples, sigma));
  const unit = (floor - 14) / Math.max(1.6 * Math.max(...truth), Math.min(Math.max(...estimate), 1));
  context.fillStyle = cssColor(canvas, "--touch-paper");
  context.fillRect(0, 0, width, height);
  context.strokeStyle = BLUE;
  context.globalAlpha = samples.length > 300 ? 0.25 : 0.7;
  context.beginPath();
  for (const at of samples) {
    context.moveTo(toX(at), floor + 3);
    context.lineTo(toX(at), floor + 15);
  }
  context.stroke();
  context.globalAlpha = 1;
  for (const [values, color, dash] of /** @type {[number[], string, number[]][]} */ ([
    [truth, GREY, [5, 4]],
    [estimate, VIOLET, []],
  ])) {
    context.setLineDash(dash);
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.beginPath();
    points.forEach((at, i) => {
      context.lineTo(toX(at), floor - unit * values[i]);
    });
    context.stroke();
  }
  context.setLineDash([]);
  context.lineWidth = 1;
  context.strokeStyle = cssColor(canvas, "--touch-line");
  context.strokeRect(0, floor, width, 0);
}

/** @param {number} value */
function nats(value) {
  return value < -20 ? "less than −20" : value.toFixed(2).replace("-", "−");
}
