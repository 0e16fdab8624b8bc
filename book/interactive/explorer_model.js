// One position of the explorer's switch: a decoder, the codes of the test images, the density of the prior.
//
//   const model = await loadModel("plane-aae-gaussian");
//   model.decode([1, 2]); model.density([1, 2]); model.nearestDot([1, 2], reach);

import { loadData } from "./data.js";
import { forward } from "./matrix.js";
import { layersOf } from "./networks.js";
import { grayImage, heatPicture } from "./plot.js";
import { remembered } from "./ui.js";

export const GRID = 17;
const TILE = 29; // pixels of an image of the grid and of the gap after it

/** @type {Map<string, Promise<CodeModel>>} */
const models = new Map();

/**
 * @param {string} record
 * @returns {Promise<CodeModel>} the same one for the same record
 */
export function loadModel(record) {
  return remembered(models, record, async () => new CodeModel(await loadData(record)));
}

/** A plane of codes from -limit to limit and what lies in it. */
export class CodeModel {
  /** @param {import("./data.js").Data} data */
  constructor({ arrays, meta }) {
    /** @type {number} */
    this.limit = meta.limit;
    /** @type {Float32Array} first, second, first, second, ... */
    this.codes = arrays.codes.data;
    /** @type {{ places: Float32Array, labels: Int8Array } | null} */
    this.heads = arrays.heads ? { places: arrays.heads.data, labels: arrays.head_labels.data } : null;
    this.layers = layersOf(arrays, "decoder", "sigmoid");
    /** @type {Uint8Array} */
    this.densities = arrays.density.data;
    this.cells = arrays.density.shape[0];
    this.heat = heatPicture(this.densities, this.cells, meta.color);
    this.tiles = document.createElement("canvas");
    this.tiles.width = GRID * TILE;
    this.tiles.height = GRID * TILE;
    this.decodedTiles = 0;
  }

  /**
   * @param {ArrayLike<number>} code
   * @returns {Float32Array} 784 numbers from 0 to 1
   */
  decode(code) {
    return forward(this.layers, Float32Array.from(code));
  }

  /**
   * The prior's density at a code, as a share of its highest.
   * @param {[number, number]} code
   * @returns {number}
   */
  density(code) {
    const [column, row] = code.map((value) => {
      const cell = Math.round(((value / this.limit + 1) / 2) * (this.cells - 1));
      return Math.max(0, Math.min(this.cells - 1, cell));
    });
    return this.densities[row * this.cells + column] / 255;
  }

  /**
   * Index of the dot that is nearest to a code and passes `wanted`, or -1 where none is within `reach`.
   * @param {[number, number]} code
   * @param {number} reach
   * @param {(dot: number) => boolean} [wanted]
   * @returns {number}
   */
  nearestDot(code, reach, wanted = () => true) {
    let [best, least] = [-1, reach ** 2];
    for (let dot = 0; dot < this.codes.length / 2; dot++) {
      const [first, second] = this.dot(dot);
      const distance = (first - code[0]) ** 2 + (second - code[1]) ** 2;
      if (distance < least && wanted(dot)) [best, least] = [dot, distance];
    }
    return best;
  }

  /**
   * @param {number} dot
   * @returns {[number, number]} its code
   */
  dot(dot) {
    return [this.codes[2 * dot], this.codes[2 * dot + 1]];
  }

  /** How many dots lie outside of the plane. */
  outside() {
    let count = 0;
    for (let dot = 0; dot < this.codes.length / 2; dot++) {
      if (this.dot(dot).some((value) => Math.abs(value) > this.limit)) count++;
    }
    return count;
  }

  /**
   * Decode those images of the grid that are still missing in `tiles`, as many as fit into the time.
   * @param {number} milliseconds
   * @returns {boolean} whether all are there
   */
  fillTiles(milliseconds) {
    const end = performance.now() + milliseconds;
    const step = (2 * this.limit) / GRID;
    const context = /** @type {CanvasRenderingContext2D} */ (this.tiles.getContext("2d"));
    for (; this.decodedTiles < GRID * GRID && performance.now() < end; this.decodedTiles++) {
      const [row, column] = [Math.floor(this.decodedTiles / GRID), this.decodedTiles % GRID];
      const code = [(column + 0.5) * step - this.limit, this.limit - (row + 0.5) * step];
      context.putImageData(grayImage(this.decode(code), 28), column * TILE, row * TILE);
    }
    return this.decodedTiles === GRID * GRID;
  }
}
