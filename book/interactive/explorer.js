// The plane of codes: test codes over the prior's density, and the decoder under the pointer.

import { loadData } from "./data.js";
import { GRID, loadModel } from "./explorer_model.js";
import { drawImage, Plane, redrawOnChange, shortNumber } from "./plot.js";
import { announcer, element, expose, loadedChoice, mount, oncePerFrame, toggle } from "./ui.js";

/** @typedef {import("./explorer_model.js").CodeModel} CodeModel */

const REACH = 9; // pixels around a dot in which the pointer means the dot
const TILE_MILLISECONDS = 8; // of a frame, spent on the grid of images until it is complete
const INK = "#16181c";

mount("explorer", async (stage, config) => {
  const digits = await loadData("digits");
  const shown = await loadModel(config.shows[0].record);
  const explorer = new Explorer(digits, shown);
  explorer.build(stage, config.shows);
  expose(stage, {
    decode: (/** @type {number[]} */ code) => Array.from(explorer.model.decode(code)),
    draw: () => explorer.drawNow(),
    state: () => ({ code: explorer.code, touched: explorer.touched, limit: explorer.model.limit }),
  });
  explorer.move(shown.dot(0), 0);
});

/** What is shown, where the reader is, and how he moves. */
class Explorer {
  /**
   * @param {import("./data.js").Data} digits
   * @param {CodeModel} model
   */
  constructor({ arrays, meta }, model) {
    /** @type {Uint8Array} */
    this.images = arrays.images.data;
    /** @type {Uint8Array} */
    this.labels = arrays.labels.data;
    /** @type {string[]} */
    this.colors = meta.colors;
    this.model = model;
    /** @type {[number, number]} */
    this.code = [0, 0];
    this.touched = -1; // the dot whose images are shown
    this.overlay = false;
    /** @type {number | null} the digit that is singled out */
    this.only = null;

    this.canvas = planeCanvas();
    this.plane = new Plane(this.canvas, model.limit);
    this.decoded = picture("The decoded image");
    this.original = picture("A test image");
    this.rebuilt = picture("Its reconstruction");
    this.pair = element(
      "div",
      { class: "touch-pair" },
      named(this.original, "test image"),
      named(this.rebuilt, "rebuilt"),
    );
    this.place = element("p", { class: "touch-reading" });
    this.pairName = element("p", { class: "touch-reading" });
    this.spoken = announcer();
    this.draw = oncePerFrame(() => this.drawNow());
  }

  /**
   * @param {HTMLElement} stage
   * @param {{ label: string, record: string }[]} shows
   */
  build(stage, shows) {
    const results = element(
      "div",
      { class: "touch-side touch-results" },
      named(this.decoded, "decoded here", "touch-large"),
      element("div", { class: "touch-words" }, this.place),
      this.pair,
      element("div", { class: "touch-words" }, this.pairName),
    );
    const left = element("div", {}, this.canvas, this.legend());
    stage.append(
      this.bar(shows),
      element("div", { class: "touch-columns" }, left, results),
      this.hint(),
      this.spoken.node,
    );
    this.canvas.addEventListener("pointermove", (event) => this.move(this.plane.toCode(event)));
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    redrawOnChange(this.canvas, this.draw);
  }

  /** @param {{ label: string, record: string }[]} shows */
  bar(shows) {
    const show = (/** @type {CodeModel} */ model) => {
      this.model = model;
      this.move(this.inside(this.code));
    };
    const bar =
      shows.length > 1
        ? loadedChoice({ label: "Model", shows, load: loadModel, show })
        : element("div", { class: "touch-bar" });
    const grid = toggle(`${GRID} × ${GRID} images`, false, (on) => {
      this.overlay = on;
      this.draw();
    });
    bar.append(grid);
    return bar;
  }

  /** The ten digits; one can be singled out. */
  legend() {
    const row = element("div", { class: "touch-legend", role: "group", "aria-label": "Show one digit only" });
    this.colors.forEach((color, digit) => {
      const made = toggle(String(digit), false, (on) => {
        for (const other of row.children) if (other !== made) other.setAttribute("aria-pressed", "false");
        this.only = on ? digit : null;
        this.move(this.code);
      });
      made.style.setProperty("--touch-digit", color);
      row.append(made);
    });
    return row;
  }

  hint() {
    const words =
      "To find a hole, move slowly from one color to the next: where no dots lie between them, the decoder draws" +
      " no digit, only a blend. The darker the ground, the more often the prior draws a code there.";
    const heads = " The white rings are the cluster heads, with the digit that each is called.";
    return element("p", { class: "touch-hint" }, words + (this.model.heads ? heads : ""));
  }

  /**
   * @param {[number, number]} code
   * @param {number} [dot] the dot that is meant, by default one under the pointer
   */
  move(code, dot = this.dotNear(code, REACH)) {
    this.code = code;
    this.touched = dot;
    this.draw();
  }

  /**
   * @param {[number, number]} code
   * @param {number} pixels
   */
  dotNear(code, pixels) {
    const reach = (pixels * 2 * this.model.limit) / (this.plane.size || 1);
    return this.model.nearestDot(code, reach, (dot) => this.only === null || this.labels[dot] === this.only);
  }

  /** @param {number[]} code @returns {[number, number]} */
  inside(code) {
    const { limit } = this.model;
    const [first, second] = code.map((value) => Math.max(-limit, Math.min(limit, value)));
    return [first, second];
  }

  /** @param {PointerEvent} event */
  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const code = this.plane.toCode(event);
    this.move(code, this.dotNear(code, 2 * REACH));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = (event.shiftKey ? 0.1 : 0.02) * this.model.limit;
    const [right, up] = ARROWS[event.key] ?? [0, 0];
    if (right || up) this.move(this.inside([this.code[0] + right * step, this.code[1] + up * step]));
    else if (event.key === "Home") this.move([0, 0]);
    else if (event.key === "Enter" || event.key === " ") this.jump();
    else return;
    event.preventDefault();
  }

  /** To the nearest dot, however far. */
  jump() {
    const dot = this.dotNear(this.code, Number.POSITIVE_INFINITY);
    this.move(this.model.dot(dot), dot);
  }

  drawNow() {
    this.drawPlane();
    drawImage(this.decoded, this.model.decode(this.code));
    const share = Math.round(100 * this.model.density(this.code));
    const [first, second] = this.code.map((value) => shortNumber(Math.round(10 * value) / 10));
    this.place.textContent = `z = (${first}, ${second}) · prior density ${share} % of its peak`;
    this.drawPair();
    this.spoken.say(`${this.place.textContent}. ${this.touched >= 0 ? this.pairName.textContent : ""}`);
  }

  drawPair() {
    const { touched } = this;
    this.pair.classList.toggle("touch-empty", touched < 0);
    this.pairName.textContent =
      touched < 0 ? "touch a dot to see its image" : `a test image of the digit ${this.labels[touched]}`;
    if (touched < 0) return;
    drawImage(this.original, this.images.subarray(784 * touched, 784 * (touched + 1)), 255);
    drawImage(this.rebuilt, this.model.decode(this.model.dot(touched)));
  }

  drawPlane() {
    const { plane, model, colors, labels, only } = this;
    plane.limit = model.limit;
    plane.clear();
    plane.heat(model.heat, 0.5);
    plane.axes();
    if (this.overlay) this.drawTiles();
    plane.dots(model.codes, labels, colors, {
      radius: plane.size / 170,
      only,
      opacity: this.overlay ? 0.55 : 0.9,
    });
    if (model.heads) drawHeads(plane, model.heads);
    if (this.touched >= 0) plane.ring(model.dot(this.touched), 5, colors[labels[this.touched]], INK);
    plane.cursor(...this.code);
    const outside = model.outside();
    plane.note(outside ? `${outside} of ${labels.length} dots lie outside` : "");
  }

  /** The grid of decoded images; those not yet decoded follow in the next frames. */
  drawTiles() {
    if (!this.model.fillTiles(TILE_MILLISECONDS)) this.draw();
    this.plane.heat(this.model.tiles);
  }
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * White rings with the digit that each cluster head is called.
 * @param {Plane} plane
 * @param {{ places: Float32Array, labels: Int8Array }} heads
 */
function drawHeads(plane, { places, labels }) {
  const { context } = plane;
  context.font = "bold 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  labels.forEach((label, head) => {
    const [x, y] = plane.ring([places[2 * head], places[2 * head + 1]], 10, "#ffffff", INK);
    context.fillStyle = INK;
    context.fillText(String(label), x, y + 1);
  });
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
}

function planeCanvas() {
  return element("canvas", {
    class: "touch-plane",
    tabindex: 0,
    role: "application",
    "aria-label":
      "Plane of codes. Arrow keys move the point that is decoded, Shift makes the steps larger," +
      " Enter jumps to the nearest test image, Home to the middle.",
  });
}

/** @param {string} name */
function picture(name) {
  return element("canvas", { class: "touch-image", role: "img", "aria-label": name, width: 28, height: 28 });
}

/** @param {HTMLElement} canvas @param {string} name @param {string} [look] */
function named(canvas, name, look = "") {
  return element("div", { class: `touch-named ${look}` }, canvas, element("span", {}, name));
}
