// Section 4: all ten digits in the style of a drawing, and sliders along the strongest directions of style.

import { loadData } from "./data.js";
import { forward } from "./matrix.js";
import { layersOf } from "./networks.js";
import { choicesFor, imageAt, Pad } from "./pad.js";
import { drawImage } from "./plot.js";
import { announcer, button, element, expose, mount, oncePerFrame, slider } from "./ui.js";

const SLIDERS = 4;
const REACH = 4; // standard deviations to each side, more where a drawing needs it
const FIRST_SHOWN = 4; // of the test images: a 2

mount("draw-style", async (stage, config) => {
  const { arrays, meta } = await loadData(config.shows[0].record);
  const styles = new Styles(arrays, meta);
  const pad = new Pad((pixels) => styles.set(pixels ? styles.encode(pixels) : styles.center));
  const hint =
    "The encoder reads the style z from the drawing and never learns which digit it is; the decoder gets z and one of" +
    " the ten labels. The sliders move z along the directions in which the styles of the test images differ most.";
  stage.append(
    element("div", { class: "touch-columns" }, pad.node, styles.node),
    choicesFor(pad, arrays.images.data, arrays.labels.data),
    element("p", { class: "touch-hint" }, hint),
    styles.spoken.node,
  );
  expose(stage, {
    decode: (/** @type {number[]} */ style, /** @type {number} */ digit) =>
      Array.from(styles.decode(style, digit)),
    encode: (/** @type {number[]} */ pixels) => Array.from(styles.encode(Float32Array.from(pixels))),
    state: () => ({ z: Array.from(styles.z) }),
  });
  pad.show(imageAt(arrays.images.data, FIRST_SHOWN));
});

/** A style z, the ten digits in it, and sliders that change it. */
class Styles {
  /**
   * @param {import("./data.js").Data["arrays"]} arrays
   * @param {{ classes: number, label_scale: number }} meta
   */
  constructor(arrays, meta) {
    this.encoder = layersOf(arrays, "encoder", "linear");
    this.decoder = layersOf(arrays, "decoder", "sigmoid");
    this.meta = meta;
    /** @type {Float32Array} the mean of the styles of the test images */
    this.center = arrays.center.data;
    const { data, shape } = arrays.directions;
    this.directions = Array.from({ length: SLIDERS }, (_, i) =>
      data.subarray(i * shape[1], (i + 1) * shape[1]),
    );
    /** @type {Float32Array} standard deviations of those styles in each direction */
    this.widths = arrays.widths.data;
    /** @type {Float32Array} */
    this.z = this.center;
    this.digits = Array.from({ length: meta.classes }, (_, digit) => digitCanvas(digit));
    this.sliders = this.directions.map((_, direction) => this.slider(direction));
    this.spoken = announcer();
    this.draw = oncePerFrame(() => this.drawNow());
    this.node = this.build();
  }

  build() {
    const ten = this.digits.map((canvas, digit) =>
      element("div", { class: "touch-named" }, canvas, element("span", {}, String(digit))),
    );
    return element(
      "div",
      { class: "touch-side" },
      element("p", { class: "touch-reading" }, "All ten digits in that style:"),
      element("div", { class: "touch-ten" }, ...ten),
      ...this.sliders.map(({ row }) => row),
      button("Middle of all styles", () => this.set(this.center)),
    );
  }

  /** @param {number} direction */
  slider(direction) {
    return slider({
      label: `Direction ${direction + 1}`,
      min: -REACH,
      max: REACH,
      step: 0.05,
      value: 0,
      format: (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} std`,
      change: (value) => this.move(direction, value),
    });
  }

  /** @param {Float32Array} pixels @returns {Float32Array} the style of a drawing */
  encode(pixels) {
    return forward(this.encoder, pixels);
  }

  /** @param {ArrayLike<number>} style @param {number} digit */
  decode(style, digit) {
    const input = new Float32Array(this.meta.classes + style.length);
    input[digit] = this.meta.label_scale;
    input.set(style, this.meta.classes);
    return forward(this.decoder, input);
  }

  /** @param {Float32Array} z */
  set(z) {
    this.z = z;
    this.sliders.forEach(({ input, set }, direction) => {
      const position = this.position(direction);
      const reach = Math.max(REACH, Math.ceil(Math.abs(position)));
      [input.min, input.max] = [String(-reach), String(reach)];
      set(position);
    });
    this.draw();
  }

  /** @param {number} direction @returns {number} where z lies along it, in standard deviations from the middle */
  position(direction) {
    const along = this.directions[direction];
    return (
      this.z.reduce((sum, value, i) => sum + (value - this.center[i]) * along[i], 0) / this.widths[direction]
    );
  }

  /** @param {number} direction @param {number} to in standard deviations from the middle */
  move(direction, to) {
    const by = (to - this.position(direction)) * this.widths[direction];
    this.z = this.z.map((value, i) => value + by * this.directions[direction][i]);
    this.draw();
  }

  drawNow() {
    this.digits.forEach((canvas, digit) => {
      drawImage(canvas, this.decode(this.z, digit));
    });
    this.spoken.say("Ten digits drawn in this style.");
  }
}

/** @param {number} digit */
function digitCanvas(digit) {
  return element("canvas", {
    class: "touch-image",
    role: "img",
    "aria-label": `The digit ${digit} in this style`,
  });
}
