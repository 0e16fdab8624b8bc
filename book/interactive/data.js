// Loads what the build wrote for a piece: `_static/interactive/data/NAME.js`, added to the page as a
// classic script when it is first asked for. Works from file:// too, where fetch does not.
//
//   const { meta, arrays } = await loadData("digits");
//   arrays.images.shape, arrays.images.data
//
// A source named X.worker.js becomes such a file as well, with its bundle as a text:
//
//   const worker = await startWorker("training.worker");

import { fromBase64, fromHalf, fromRows, inflate } from "./half.js";
import { remembered } from "./ui.js";

/**
 * @typedef {Float32Array | Uint8Array | Int8Array | Uint16Array} Numbers
 * @typedef {{ shape: number[], data: Float32Array }} Tensor
 * @typedef {{ meta: any, arrays: Record<string, { shape: number[], data: any }> }} Data
 */

const base = new URL(".", /** @type {HTMLScriptElement} */ (document.currentScript).src);
/** @type {Map<string, Promise<Data>>} */
const loaded = new Map();

/**
 * A record of the build, read once a page.
 * @param {string} name
 * @returns {Promise<Data>}
 */
export function loadData(name) {
  return remembered(loaded, name, async () => {
    await addScript(name);
    return unpack(/** @type {any} */ (window.AAE_DATA)[name]);
  });
}

/**
 * A worker that runs the bundle of `NAME.js`, a source whose name ends in ".worker".
 * @param {string} name
 * @returns {Promise<Worker>}
 */
export async function startWorker(name) {
  const { meta } = await loadData(name);
  return new Worker(URL.createObjectURL(new Blob([meta.source], { type: "text/javascript" })));
}

/**
 * @param {string} name
 * @returns {Promise<void>}
 */
function addScript(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(`data/${name}.js`, base).href;
    script.onload = () => resolve();
    script.onerror = () => reject(new Error(`The data of this figure (${name}) could not be read.`));
    document.head.append(script);
  });
}

/**
 * Arrays of a record, floats of any kind as Float32Array.
 * @param {DataRecord} record
 * @returns {Promise<Data>}
 */
export async function unpack(record) {
  const buffer = record.bytes ? (await inflate(fromBase64(record.bytes))).buffer : new ArrayBuffer(0);
  /** @type {Data["arrays"]} */
  const arrays = {};
  let start = 0;
  for (const [name, { type, shape }] of Object.entries(record.arrays)) {
    const count = shape.reduce((product, size) => product * size, 1);
    arrays[name] = { shape, data: READERS[type](buffer, start, count, shape[0]) };
    start += Math.ceil(BYTES[type](count, shape[0]) / 4) * 4;
  }
  record.bytes = ""; // the text is no longer needed, and it is long
  return { meta: record.meta, arrays };
}

/** @type {Record<string, (count: number, rows: number) => number>} */
const BYTES = {
  float32: (count) => 4 * count,
  float16: (count) => 2 * count,
  uint16: (count) => 2 * count,
  int8: (count) => count,
  uint8: (count) => count,
  rows8: (count, rows) => 4 * rows + count,
};

/** @type {Record<string, (buffer: ArrayBuffer, start: number, count: number, rows: number) => Numbers>} */
const READERS = {
  float32: (buffer, start, count) => new Float32Array(buffer, start, count),
  float16: (buffer, start, count) => fromHalf(new Uint16Array(buffer, start, count)),
  uint16: (buffer, start, count) => new Uint16Array(buffer, start, count),
  int8: (buffer, start, count) => new Int8Array(buffer, start, count),
  uint8: (buffer, start, count) => new Uint8Array(buffer, start, count),
  rows8: (buffer, start, count, rows) =>
    fromRows(new Int8Array(buffer, start + 4 * rows, count), new Float32Array(buffer, start, rows)),
};
