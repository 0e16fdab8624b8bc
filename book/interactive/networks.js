// Networks of the package as the build writes them: three dense layers, named NAME.0 to NAME.2.

/**
 * Layers for `forward` of matrix.js.
 * @param {Record<string, { shape: number[], data: any }>} arrays of a record
 * @param {string} name
 * @param {import("./matrix.js").Activation} last activation of the last layer
 * @returns {import("./matrix.js").Layer[]}
 */
export function layersOf(arrays, name, last) {
  return [0, 1, 2].map((index) => ({
    weight: arrays[`${name}.${index}.weight`],
    bias: arrays[`${name}.${index}.bias`].data,
    activation: index < 2 ? "relu" : last,
  }));
}
