// The curves beside the lab's plane: distance to the prior, the game's two losses, the reconstruction loss.

import { drawLines } from "./plot.js";
import { element, lineKey } from "./ui.js";

/**
 * @typedef {{ step: number, reconstruction: number, discriminator: number, generator: number, distance: number }} Moment
 * @typedef {{ name: "distance" | "discriminator" | "generator" | "reconstruction", words: string, color: string }} Line
 * @typedef {{ lines: Line[], dashed: string, canvas: HTMLCanvasElement }} Place a chart, and what its dashed line is
 */

const LN_2 = Math.log(2);
const DASHES = "repeating-linear-gradient(90deg, currentcolor 0 4px, transparent 4px 7px)";
const POINTS = 300; // more than a chart has pixels for

export class LabCharts {
  /** @type {Moment[]} */
  moments = [];

  /**
   * @param {Record<string, string>} colors of the parts of the model
   * @param {number} meanImage the reconstruction loss of the mean image
   */
  constructor(colors, meanImage) {
    this.meanImage = meanImage;
    /** @type {Place[]} */
    this.charts = [
      chart([{ name: "distance", words: "distance to the prior", color: "#4a4f57" }], "samples of the prior"),
      chart([
        { name: "discriminator", words: "discriminator", color: colors.discriminator },
        { name: "generator", words: "encoder in the game", color: colors.encoder },
      ]),
      chart([{ name: "reconstruction", words: "reconstruction", color: colors.decoder }], "mean image"),
    ];
    this.node = element(
      "div",
      { class: "touch-curves" },
      ...this.charts.map((place) => element("div", {}, keyOf(place), place.canvas)),
    );
  }

  /** @param {Moment[]} moments */
  add(moments) {
    this.moments.push(...moments);
  }

  clear() {
    this.moments = [];
  }

  /** @returns {Moment | undefined} */
  last() {
    return this.moments[this.moments.length - 1];
  }

  /** @param {number} floor the distance of samples of the prior itself */
  draw(floor) {
    const stride = Math.ceil(this.moments.length / POINTS) || 1;
    const rest = (this.moments.length - 1) % stride; // so that the newest is among them
    const shown = this.moments.filter((_, i) => i % stride === rest);
    const marks = [
      [{ y: floor }],
      [
        { y: 2 * LN_2, name: "2 ln 2" },
        { y: LN_2, name: "ln 2" },
      ],
      [{ y: this.meanImage }],
    ];
    const ends = [
      { least: 2.5 * floor, most: Number.POSITIVE_INFINITY },
      { least: 2.4, most: 4 },
      { least: 1.25 * this.meanImage, most: 2 * this.meanImage },
    ];
    for (const [index, { lines, canvas }] of this.charts.entries()) {
      const curves = lines.map((line) => ({
        ...line,
        y: shown.map((moment) => moment[line.name]),
      }));
      drawLines(canvas, {
        x: shown.length ? shown.map(({ step }) => step) : [0, 1],
        lines: shown.length ? curves : [],
        low: 0,
        high: end(
          curves.flatMap(({ y }) => y),
          ends[index],
        ),
        marks: marks[index],
        label: "steps",
      });
    }
  }
}

/**
 * The end of an axis: above all values, within limits.
 * @param {number[]} values
 * @param {{ least: number, most: number }} limits
 */
function end(values, { least, most }) {
  return Math.min(most, 1.1 * values.reduce((high, value) => Math.max(high, value), least / 1.1));
}

/** @param {Line[]} lines @param {string} [dashed] @returns {Place} */
function chart(lines, dashed = "") {
  const label = `Curve over the steps: ${lines.map(({ words }) => words).join(" and ")}`;
  return {
    ...{ lines, dashed },
    canvas: element("canvas", { class: "touch-chart", role: "img", "aria-label": label }),
  };
}

/** @param {Place} place */
function keyOf({ lines, dashed }) {
  const key = lineKey(lines.map(({ words, color }) => ({ name: words, color })));
  if (!dashed) return key;
  const mark = element("span", { class: "touch-mark" });
  Object.assign(mark.style, { background: DASHES, boxShadow: "none" });
  key.append(element("span", {}, mark, dashed));
  return key;
}
