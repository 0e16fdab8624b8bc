// The forward pass of the networks: dense layers on Float32Array. Weights are (outputs, inputs), as torch has them.
//
//   const image = forward(layers, z);      layers: [{ weight, bias, activation }, ...]

/**
 * @typedef {"linear" | "relu" | "sigmoid" | "softmax"} Activation
 * @typedef {{ weight: { shape: number[], data: Float32Array }, bias?: Float32Array, activation: Activation }} Layer
 */

/**
 * weight x + bias.
 * @param {{ shape: number[], data: Float32Array }} weight (outputs, inputs)
 * @param {Float32Array | undefined} bias (outputs)
 * @param {Float32Array} x (inputs)
 * @returns {Float32Array} (outputs)
 */
export function dense(weight, bias, x) {
  const [outputs, inputs] = weight.shape;
  const w = weight.data;
  const y = new Float32Array(outputs);
  const even = inputs - (inputs % 4);
  for (let row = 0, start = 0; row < outputs; row++, start += inputs) {
    // four sums side by side: the processor need not wait for one to add to it again
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    let i = 0;
    for (; i < even; i += 4) {
      a += w[start + i] * x[i];
      b += w[start + i + 1] * x[i + 1];
      c += w[start + i + 2] * x[i + 2];
      d += w[start + i + 3] * x[i + 3];
    }
    for (; i < inputs; i++) a += w[start + i] * x[i];
    y[row] = a + b + c + d + (bias ? bias[row] : 0);
  }
  return y;
}

/**
 * Apply layers one after the other.
 * @param {Layer[]} layers
 * @param {Float32Array} x
 * @returns {Float32Array}
 */
export function forward(layers, x) {
  return layers.reduce(
    (values, { weight, bias, activation }) => ACTIVATIONS[activation](dense(weight, bias, values)),
    x,
  );
}

/** @type {Record<Activation, (x: Float32Array) => Float32Array>} */
const ACTIVATIONS = {
  linear: (x) => x,
  relu: (x) => x.map((value) => Math.max(value, 0)),
  sigmoid: (x) => x.map((value) => 1 / (1 + Math.exp(-value))),
  softmax,
};

/**
 * @param {Float32Array} x
 * @returns {Float32Array} positive numbers with the sum 1
 */
export function softmax(x) {
  const highest = x.reduce((a, b) => Math.max(a, b));
  const powers = x.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((value) => value / sum);
}
