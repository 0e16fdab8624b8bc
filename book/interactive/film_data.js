// A film as a run recorded it, made ready to be drawn: codes, pictures of D(z), curves.

import { loadData } from "./data.js";
import { heatPicture } from "./plot.js";
import { remembered } from "./ui.js";

/**
 * @typedef {{ name: string, color: string, y: Float32Array }} Line
 * @typedef {{ limit: number, steps: Float32Array, codes: Float32Array[], labels: Uint8Array, colors: string[],
 *             discriminator: HTMLCanvasElement[], distance: Float32Array, losses: Line[] }} Film
 * @typedef {{ lines: Line[], low?: number, high?: number, marks?: { y: number, name: string }[] }} Curve
 */

const LN_2 = Math.log(2);
/** @type {Map<string, Promise<Film>>} */
const films = new Map();

/**
 * @param {string} record
 * @returns {Promise<Film>} the same one for the same record
 */
export function loadFilm(record) {
  return remembered(films, record, async () => readFilm(await loadData(record)));
}

/**
 * @param {import("./data.js").Data} data
 * @returns {Film}
 */
function readFilm({ arrays, meta }) {
  const [moments, images] = arrays.codes.shape;
  const places = summed(arrays.codes.data, 2 * images);
  const frames = split(places, moments).map((frame) =>
    Float32Array.from(frame, (value) => ((2 * value) / meta.places - 1) * meta.limit),
  );
  const grid = arrays.discriminator?.shape[1];
  const discriminator = arrays.discriminator
    ? split(summed(arrays.discriminator.data, grid * grid), moments)
    : [];
  return {
    limit: meta.limit,
    steps: arrays.steps.data,
    codes: frames,
    labels: arrays.labels.data,
    colors: meta.colors,
    discriminator: discriminator.map((values) =>
      heatPicture(
        Uint8Array.from(values, (shade) => (shade * 255) / (meta.shades - 1)),
        grid,
        meta.parts.prior,
        meta.parts.discriminator,
      ),
    ),
    distance: arrays.distance.data,
    losses: meta.losses.map((/** @type {string} */ name, /** @type {number} */ index) => ({
      name: name.replaceAll("_", " "),
      color: colorOf(name, meta.parts),
      y: Float32Array.from(arrays.steps.data, (_, i) => arrays.losses.data[i * meta.losses.length + index]),
    })),
  };
}

/**
 * Undo the differences between one frame and the next; whole numbers without a sign wrap around by themselves.
 * @template {Uint8Array | Uint16Array} Values
 * @param {Values} values
 * @param {number} size of a frame
 * @returns {Values}
 */
function summed(values, size) {
  for (let i = size; i < values.length; i++) values[i] += values[i - size];
  return values;
}

/**
 * @template {Uint8Array | Uint16Array} Values
 * @param {Values} values
 * @param {number} count
 * @returns {Values[]}
 */
function split(values, count) {
  const size = values.length / count;
  return Array.from(
    { length: count },
    (_, i) => /** @type {Values} */ (values.subarray(i * size, (i + 1) * size)),
  );
}

/** @param {string} name @param {Record<string, string>} parts */
function colorOf(name, parts) {
  if (name.includes("discriminator")) return parts.discriminator;
  if (name.includes("generator")) return parts.encoder;
  return name.includes("reconstruction") ? parts.decoder : parts.prior;
}

/**
 * The charts beside a film; all leave out the moment before the first step, which has no losses.
 * @param {Film} film
 * @returns {Curve[]}
 */
export function curvesOf(film) {
  const losses = film.losses.map((loss) => ({ ...loss, y: loss.y.subarray(1) }));
  const players = losses.filter((loss) => /discriminator|generator/.test(loss.name));
  const others = losses.filter((loss) => !players.includes(loss));
  const distance = { name: "distance to the prior", color: "#4a4f57", y: film.distance.subarray(1) };
  const high = Math.max(2.2 * LN_2, ...players.flatMap((loss) => Array.from(loss.y)));
  const marks = [
    { y: 2 * LN_2, name: "2 ln 2" },
    { y: LN_2, name: "ln 2" },
  ];
  return [
    { lines: [distance], low: 0 },
    ...others.map((loss) => ({ lines: [loss], low: 0 })),
    ...(players.length ? [{ lines: players, low: 0, high, marks }] : []),
  ];
}
