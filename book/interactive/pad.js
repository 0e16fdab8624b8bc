// A pad to draw a digit on, with pointer, finger or keyboard, or to put a test image on.
//
//   const pad = new Pad((pixels) => ...);          pixels: 784 numbers from 0 to 1, or null for an empty pad
//   stage.append(pad.node, choicesFor(pad, images, labels));
//   pad.show(pixels);

import { toDigit } from "./digit.js";
import { drawImage, grayImage } from "./plot.js";
import { button, element, oncePerFrame } from "./ui.js";

/** @typedef {[number, number]} Point */

const SIZE = 280;
const PEN = 22; // as thick as MNIST's pen, for a digit that fills the pad
const STEP = 8; // of the pen, for each press of an arrow key
const [PEN_UP, PEN_DOWN] = ["#9aa4ae", "#ffb454"];
/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

/** White ink on a black pad, and beside it the digit that the network sees. */
export class Pad {
  /** @param {(pixels: Float32Array | null) => void} change called in the frame after each stroke */
  constructor(change) {
    this.change = change;
    this.canvas = element("canvas", {
      class: "touch-pad",
      width: SIZE,
      height: SIZE,
      tabindex: 0,
      role: "application",
      "aria-label":
        "Pad to draw a digit. With the keyboard: arrow keys move the pen, Space lowers or lifts it, Delete clears the pad.",
    });
    this.context = contextOf(this.canvas);
    // ink lies on a canvas of its own, so that the keyboard's pen can be drawn over it
    this.ink = contextOf(element("canvas", { width: SIZE, height: SIZE }));
    this.ink.strokeStyle = "#ffffff";
    this.ink.lineWidth = PEN;
    this.ink.lineCap = "round";
    this.ink.lineJoin = "round";
    this.ink.imageSmoothingEnabled = false;
    this.seen = element("canvas", {
      class: "touch-image",
      role: "img",
      "aria-label": "What the network sees",
    });
    /** @type {Point} */
    this.pen = [SIZE / 2, SIZE / 2];
    this.down = false;
    this.byKeys = false;
    /** @type {number | null} */
    this.finger = null; // the one that draws; others on the pad are not heard
    this.showsImage = false; // the next stroke replaces it
    this.read = oncePerFrame(() => this.readNow());
    this.node = this.build();
  }

  build() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.release(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.leave());
    const seen = element(
      "div",
      { class: "touch-named" },
      this.seen,
      element("span", {}, "as the network sees it"),
    );
    const side = element(
      "div",
      { class: "touch-pad-side" },
      button("Clear", () => this.clear()),
      seen,
    );
    return element("div", { class: "touch-drawing" }, canvas, side);
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (this.finger !== null) return;
    this.finger = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.byKeys = false;
    this.lower();
    this.pen = placeOf(event, this.canvas);
    this.line(this.pen);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    if (!this.down || this.byKeys || event.pointerId !== this.finger) return;
    // a fast finger moves several times a frame: take every place that it touched
    const between = event.getCoalescedEvents?.() ?? [];
    for (const point of between.length ? between : [event]) this.line(placeOf(point, this.canvas));
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (event.pointerId !== this.finger) return;
    this.finger = null;
    this.lift();
  }

  lift() {
    this.down = false;
  }

  lower() {
    if (this.showsImage) this.clear();
    this.down = true;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key in ARROWS) this.step(ARROWS[event.key]);
    else if (event.key === " ") event.repeat || this.tap();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    this.byKeys = true;
    event.preventDefault();
    this.read();
  }

  /** @param {Point} by */
  step(by) {
    const [right, down] = this.pen.map((value, axis) => Math.max(0, Math.min(SIZE, value + by[axis])));
    if (this.down) this.line([right, down]);
    this.pen = [right, down];
  }

  tap() {
    if (this.down) {
      this.lift();
    } else {
      this.lower();
      this.line(this.pen);
    }
  }

  leave() {
    this.down = false;
    this.finger = null;
    this.byKeys = false;
    this.read();
  }

  /** @param {Point} to */
  line(to) {
    this.ink.beginPath();
    this.ink.moveTo(...this.pen);
    this.ink.lineTo(...to);
    this.ink.stroke();
    this.pen = to;
    this.read();
  }

  clear() {
    this.ink.clearRect(0, 0, SIZE, SIZE);
    this.showsImage = false;
    this.read();
  }

  /** @param {ArrayLike<number>} pixels 784 numbers from 0 to 1 */
  show(pixels) {
    const small = element("canvas", { width: 28, height: 28 });
    contextOf(small).putImageData(grayImage(pixels, 28), 0, 0);
    this.clear();
    this.ink.drawImage(small, 0, 0, SIZE, SIZE);
    this.showsImage = true;
  }

  readNow() {
    const { context } = this;
    context.fillStyle = "#000000";
    context.fillRect(0, 0, SIZE, SIZE);
    context.drawImage(this.ink.canvas, 0, 0);
    if (this.byKeys) this.drawPen();
    const pixels = toDigit(this.levels(), SIZE);
    drawImage(this.seen, pixels ?? new Float32Array(784));
    this.change(pixels);
  }

  /** How much ink lies on each pixel, from 0 to 1. */
  levels() {
    const bytes = this.ink.getImageData(0, 0, SIZE, SIZE).data;
    return Float32Array.from({ length: SIZE * SIZE }, (_, i) => (bytes[4 * i] * bytes[4 * i + 3]) / 255 ** 2);
  }

  drawPen() {
    this.context.strokeStyle = this.down ? PEN_DOWN : PEN_UP;
    this.context.lineWidth = 3;
    this.context.beginPath();
    this.context.arc(...this.pen, PEN / 2, 0, 2 * Math.PI);
    this.context.stroke();
  }
}

/**
 * Test images to put on the pad.
 * @param {Pad} pad
 * @param {Uint8Array} images 784 gray levels each
 * @param {Uint8Array} labels
 * @returns {HTMLElement}
 */
export function choicesFor(pad, images, labels) {
  const row = element("div", {
    class: "touch-choices",
    role: "group",
    "aria-label": "Test images to choose from",
  });
  labels.forEach((label, index) => {
    const pixels = imageAt(images, index);
    const thumb = element("canvas");
    drawImage(thumb, pixels);
    const name = `A test image of the digit ${label}`;
    const made = button("", () => pad.show(pixels), { class: "touch-thumb", "aria-label": name });
    made.append(thumb);
    row.append(made);
  });
  return element("div", {}, element("p", { class: "touch-reading" }, "Or take a test image:"), row);
}

/**
 * @param {Uint8Array} images 784 gray levels each
 * @param {number} index
 * @returns {Float32Array} 784 numbers from 0 to 1
 */
export function imageAt(images, index) {
  return Float32Array.from(images.subarray(784 * index, 784 * (index + 1)), (level) => level / 255);
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

/** @param {PointerEvent} event @param {HTMLElement} canvas @returns {Point} */
function placeOf(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) * SIZE) / box.width, ((event.clientY - box.top) * SIZE) / box.height];
}
