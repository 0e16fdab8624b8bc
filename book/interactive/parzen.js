// Section 3 in one dimension: a Parzen window over samples, and the likelihood of held-out points.

import { cssColor, drawLines, fitCanvas, redrawOnChange } from "./plot.js";
import { randomStream } from "./random.js";
import { announcer, button, element, expose, lineKey, mount, oncePerFrame, slider } from "./ui.js";

const HELD_OUT = 200;
const HELD_OUT_SEED = 2; // and the samples get those that follow
const COUNTS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000];
const REACH = 8; // the line runs from -REACH to REACH
// what the samples are drawn from: weight, mean and standard deviation of three normal densities
const PARTS = [
  [0.5, -2.5, 0.8],
  [0.3, 1.2, 0.45],
  [0.2, 4, 1],
];
const WIDTHS = Float32Array.from({ length: 41 }, (_, i) => 0.03 * 100 ** (i / 40));
const [VIOLET, GRAY, BLUE] = ["#7a55a8", "#63686f", "#2f6db3"];

mount("parzen", (stage) => {
  const parzen = new ParzenWindow();
  parzen.build(stage);
  expose(stage, {
    state: () => ({
      sigma: parzen.sigma,
      samples: Array.from(parzen.samples),
      held: Array.from(parzen.held),
      value: parzen.curve[parzen.width],
    }),
  });
  parzen.sampleAnew();
});

/** Samples, held-out points, the width of the window, and how they look. */
class ParzenWindow {
  constructor() {
    this.seed = HELD_OUT_SEED + 1;
    this.width = 12; // which of WIDTHS
    this.stop = 4; // which of COUNTS
    this.samples = new Float32Array();
    // the same ones for all samples: a value that jumps does so because of the samples alone
    this.held = sample(HELD_OUT, randomStream(HELD_OUT_SEED));
    this.curve = new Float32Array(); // mean log-likelihood for each of WIDTHS
    this.density = plot("", "The density that the Parzen window estimates beside the true one");
    this.chart = plot("touch-low", "Log-likelihood of the held-out points for every sigma");
    this.reading = element("p", { class: "touch-reading" });
    this.spoken = announcer();
    this.sigmaSlider = this.slider(
      "σ",
      "width",
      WIDTHS,
      (value) => value.toFixed(2),
      () => this.draw(),
    );
    this.countSlider = this.slider("Samples", "stop", COUNTS, thousands, () => this.sampleAnew());
    this.draw = oncePerFrame(() => this.drawNow());
  }

  get sigma() {
    return WIDTHS[this.width];
  }

  /**
   * A slider over the places of a list.
   * @param {string} label
   * @param {"width" | "stop"} place
   * @param {ArrayLike<number>} values
   * @param {(value: number) => string} words
   * @param {() => void} then
   */
  slider(label, place, values, words, then) {
    const change = (/** @type {number} */ value) => {
      this[place] = value;
      then();
    };
    const format = (/** @type {number} */ value) => words(values[value]);
    return slider({ label, min: 0, max: values.length - 1, step: 1, value: this[place], format, change });
  }

  /** @param {HTMLElement} stage */
  build(stage) {
    const hint =
      "Too narrow a window leaves held-out points between the samples, too wide a one blurs the density. With more samples" +
      " the best σ shrinks, and the likelihood comes near that of the true density. In 784 dimensions a wide gap stays.";
    const buttons = element(
      "div",
      { class: "touch-bar" },
      button("Take the best σ", () => this.takeBest()),
      button("Draw new samples", () => this.drawAnother()),
    );
    stage.append(
      lineKey([
        { name: "estimate", color: VIOLET },
        { name: "true density", color: GRAY },
        { name: "samples", color: BLUE },
      ]),
      this.density,
      this.countSlider.row,
      this.sigmaSlider.row,
      buttons,
      this.reading,
      lineKey([{ name: `mean log-likelihood of ${HELD_OUT} held-out points`, color: BLUE }]),
      this.chart,
      element("p", { class: "touch-hint" }, hint),
      this.spoken.node,
    );
    redrawOnChange(this.density, this.draw);
  }

  sampleAnew() {
    this.samples = sample(COUNTS[this.stop], randomStream(this.seed));
    this.curve = WIDTHS.map((sigma) => meanLog(this.held, (at) => parzenDensity(at, this.samples, sigma)));
    this.draw();
  }

  drawAnother() {
    this.seed += 1;
    this.sampleAnew();
  }

  takeBest() {
    this.width = this.curve.indexOf(Math.max(...this.curve));
    this.sigmaSlider.set(this.width);
    this.draw();
  }

  drawNow() {
    const { curve, sigma } = this;
    const truth = meanLog(this.held, trueDensity);
    drawDensity(this.density, this.samples, sigma);
    drawLines(this.chart, {
      x: WIDTHS,
      lines: [{ name: "held-out", color: BLUE, y: curve }],
      at: sigma,
      logarithmic: true,
      low: truth - 2.5,
      high: truth + 0.25,
      marks: [{ y: truth, name: "true density" }],
      label: "σ",
    });
    this.reading.replaceChildren(
      element("strong", {}, `${nats(curve[this.width])} nats`),
      ` a held-out point with ${thousands(this.samples.length)} samples and σ = ${sigma.toFixed(2)};` +
        ` the true density itself reaches ${nats(truth)}.`,
    );
    this.spoken.say(this.reading.textContent ?? "");
  }
}

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
  let sum = 0; // a plain loop: with 2,000 samples the curve takes 16 million terms while a slider moves
  for (let i = 0; i < samples.length; i++) {
    const far = (at - samples[i]) / sigma;
    sum += Math.exp(-0.5 * far * far);
  }
  return sum / (samples.length * sigma * Math.sqrt(2 * Math.PI));
}

/** @param {Float32Array} points @param {(at: number) => number} density */
function meanLog(points, density) {
  // a density that is zero to the computer is drawn as a deep fall, not as a gap
  return points.reduce((sum, at) => sum + Math.log(Math.max(density(at), 1e-300)), 0) / points.length;
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
    [truth, GRAY, [5, 4]],
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

/** @param {number} value */
function thousands(value) {
  return value.toLocaleString("en-US");
}

/** @param {string} look @param {string} name */
function plot(look, name) {
  return element("canvas", { class: `touch-wide ${look}`, role: "img", "aria-label": name });
}
