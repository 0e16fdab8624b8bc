// Networks that learn: dense layers, batch normalization, ReLU, sigmoid, and Adam.
//
//   const network = new Network(new Dense(2, 64, random), relu(), new Dense(64, 1, random));
//   const y = network.forward(x);  network.backward(dy);  new Adam(network.parameters, 0.9).step(0.001);
//
// A minibatch of N rows of D numbers is one Float32Array, row after row. `backward` takes the gradient with respect
// to a layer's output, adds to the gradients of its parameters and returns the gradient with respect to its input.

/**
 * @typedef {{ parameters: Parameter[], forward: (x: Float32Array) => Float32Array,
 *             backward: (dy: Float32Array, toInput: boolean) => Float32Array }} Layer
 * @typedef {{ values: Float32Array, row: number, column: number }} Matrix how far apart neighbors in a row or column lie
 */

/**
 * A matrix stored row after row.
 * @param {Float32Array} values
 * @param {number} width
 * @returns {Matrix}
 */
const matrix = (values, width) => ({ values, row: width, column: 1 });

/**
 * The same numbers with rows and columns exchanged.
 * @param {Float32Array} values
 * @param {number} width before the exchange
 * @returns {Matrix}
 */
const transposed = (values, width) => ({ values, row: 1, column: width });

/**
 * Add A times B transposed to `sum`. Most of it in blocks of 2 x 4: what they read is used several times.
 * @param {Float32Array} sum (rows, columns)
 * @param {Matrix} a (rows, depth)
 * @param {Matrix} b (columns, depth)
 * @param {number} rows
 * @param {number} columns
 * @param {number} depth
 */
export function addProduct(sum, a, b, rows, columns, depth) {
  const [evenRows, evenColumns] = [rows - (rows % 2), columns - (columns % 4)];
  for (let row = 0; row < evenRows; row += 2) {
    for (let column = 0; column < evenColumns; column += 4) addBlock(sum, a, b, row, column, columns, depth);
  }
  for (let row = 0; row < rows; row++) {
    for (let column = row < evenRows ? evenColumns : 0; column < columns; column++) {
      let total = 0;
      for (let k = 0; k < depth; k++) {
        total += a.values[row * a.row + k * a.column] * b.values[column * b.row + k * b.column];
      }
      sum[row * columns + column] += total;
    }
  }
}

/**
 * The 2 x 4 entries of `addProduct` that begin at (row, column).
 * @param {Float32Array} sum
 * @param {Matrix} a
 * @param {Matrix} b
 * @param {number} row
 * @param {number} column
 * @param {number} columns
 * @param {number} depth
 */
function addBlock(sum, a, b, row, column, columns, depth) {
  const [left, right, leftStep, rightStep] = [a.values, b.values, a.column, b.column];
  const [a1, b1, b2, b3] = [a.row, b.row, 2 * b.row, 3 * b.row];
  let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let k = 0, i = row * a1, j = column * b1; k < depth; k++, i += leftStep, j += rightStep) {
    const [x0, x1, y0, y1, y2, y3] = [
      left[i],
      left[i + a1],
      right[j],
      right[j + b1],
      right[j + b2],
      right[j + b3],
    ];
    s00 += x0 * y0;
    s01 += x0 * y1;
    s02 += x0 * y2;
    s03 += x0 * y3;
    s10 += x1 * y0;
    s11 += x1 * y1;
    s12 += x1 * y2;
    s13 += x1 * y3;
  }
  const at = row * columns + column;
  const below = at + columns;
  sum[at] += s00;
  sum[at + 1] += s01;
  sum[at + 2] += s02;
  sum[at + 3] += s03;
  sum[below] += s10;
  sum[below + 1] += s11;
  sum[below + 2] += s12;
  sum[below + 3] += s13;
}

/** Numbers that training changes, and the gradient of the loss with respect to them. */
export class Parameter {
  /** @param {Float32Array} values */
  constructor(values) {
    this.values = values;
    this.gradient = new Float32Array(values.length);
  }
}

/** W x + b for each row. */
export class Dense {
  /** @type {Float32Array} what was read last */
  x = new Float32Array(0);

  /**
   * Weights start as N(0, 2 / inputs), which keeps the scale of ReLU units from layer to layer. Biases start as
   * N(0, biasStd^2): of points of a plane, the units then bend along lines all over it.
   * @param {number} inputs
   * @param {number} outputs
   * @param {{ normal: () => number }} random
   * @param {number} [biasStd]
   * @param {number} [gain] makes the weights smaller or larger
   */
  constructor(inputs, outputs, random, biasStd = 0, gain = 1) {
    this.inputs = inputs;
    this.outputs = outputs;
    const draw = (/** @type {number} */ length, /** @type {number} */ std) =>
      new Parameter(Float32Array.from({ length }, () => std * random.normal()));
    this.weight = draw(outputs * inputs, gain * Math.sqrt(2 / inputs));
    this.bias = draw(outputs, biasStd);
    this.parameters = [this.weight, this.bias];
  }

  /** @param {Float32Array} x (N, inputs) */
  forward(x) {
    const [{ inputs, outputs }, rows] = [this, x.length / this.inputs];
    this.x = x;
    const y = new Float32Array(rows * outputs);
    for (let row = 0; row < rows; row++) y.set(this.bias.values, row * outputs);
    addProduct(y, matrix(x, inputs), matrix(this.weight.values, inputs), rows, outputs, inputs);
    return y;
  }

  /**
   * @param {Float32Array} dy (N, outputs)
   * @param {boolean} toInput without it nothing is returned
   */
  backward(dy, toInput) {
    const [{ inputs, outputs }, rows] = [this, dy.length / this.outputs];
    const [errors, read] = [transposed(dy, outputs), transposed(this.x, inputs)];
    addProduct(this.weight.gradient, errors, read, outputs, inputs, rows);
    for (let i = 0; i < dy.length; i++) this.bias.gradient[i % outputs] += dy[i];
    if (!toInput) return new Float32Array(0);
    const dx = new Float32Array(rows * inputs);
    const weights = transposed(this.weight.values, inputs);
    addProduct(dx, matrix(dy, outputs), weights, rows, inputs, outputs);
    return dx;
  }
}

/** A function of each number by itself, whose slope follows from its value. */
class Activation {
  /** @type {Parameter[]} */
  parameters = [];
  y = new Float32Array(0);

  /**
   * @param {(x: number) => number} value
   * @param {(y: number) => number} slope
   */
  constructor(value, slope) {
    this.value = value;
    this.slope = slope;
  }

  /** @param {Float32Array} x */
  forward(x) {
    this.y = x.map(this.value);
    return this.y;
  }

  /** @param {Float32Array} dy */
  backward(dy) {
    return dy.map((value, i) => value * this.slope(this.y[i]));
  }
}

const logistic = (/** @type {number} */ x) => 1 / (1 + Math.exp(-x));

export const relu = (leak = 0) =>
  new Activation(
    (x) => Math.max(leak * x, x),
    (y) => (y > 0 ? 1 : leak),
  );
export const sigmoid = () => new Activation(logistic, (y) => y * (1 - y));

/**
 * Batch normalization by the mean and variance of the minibatch at hand, or by those of the one before where it is
 * `frozen`. It does nothing until it is switched `on`.
 */
export class BatchNorm {
  on = false;
  frozen = false;
  normal = new Float32Array(0);
  mean = new Float64Array(0);
  inverseStd = new Float64Array(0);

  /** @param {number} units */
  constructor(units) {
    this.units = units;
    this.scale = new Parameter(new Float32Array(units).fill(1));
    this.shift = new Parameter(new Float32Array(units));
    this.parameters = [this.scale, this.shift];
  }

  /** @param {Float32Array} x (N, units) */
  forward(x) {
    if (!this.on) return x;
    if (!this.frozen) this.measure(x);
    const { units, mean, inverseStd } = this;
    this.normal = x.map((value, i) => (value - mean[i % units]) * inverseStd[i % units]);
    const [scale, shift] = [this.scale.values, this.shift.values];
    return this.normal.map((value, i) => scale[i % units] * value + shift[i % units]);
  }

  /** @param {Float32Array} x (N, units) */
  measure(x) {
    const [{ units }, rows] = [this, x.length / this.units];
    const [mean, variance] = [new Float64Array(units), new Float64Array(units)];
    for (let i = 0; i < x.length; i++) mean[i % units] += x[i] / rows;
    for (let i = 0; i < x.length; i++) variance[i % units] += (x[i] - mean[i % units]) ** 2 / rows;
    this.mean = mean;
    this.inverseStd = variance.map((value) => 1 / Math.sqrt(value + 1e-5));
  }

  /** @param {Float32Array} dy (N, units) */
  backward(dy) {
    if (!this.on) return dy;
    const [{ units, normal, scale, shift, inverseStd }, rows] = [this, dy.length / this.units];
    const [sum, along] = [new Float64Array(units), new Float64Array(units)];
    for (let i = 0; i < dy.length; i++) {
      sum[i % units] += dy[i];
      along[i % units] += dy[i] * normal[i];
    }
    for (let unit = 0; unit < units; unit++) {
      scale.gradient[unit] += along[unit];
      shift.gradient[unit] += sum[unit];
    }
    // The mean and the variance hang on every row; this takes their share out of the gradient.
    return dy.map((value, i) => {
      const unit = i % units;
      return scale.values[unit] * inverseStd[unit] * (value - (sum[unit] + normal[i] * along[unit]) / rows);
    });
  }
}

/** Layers one after the other. */
export class Network {
  /** @param {...Layer} layers */
  constructor(...layers) {
    this.layers = layers;
    this.parameters = layers.flatMap((layer) => layer.parameters);
  }

  /** @param {Float32Array} x */
  forward(x) {
    return this.layers.reduce((values, layer) => layer.forward(values), x);
  }

  /**
   * @param {Float32Array} dy
   * @param {boolean} [toInput] whether the gradient with respect to the network's input is needed
   */
  backward(dy, toInput = true) {
    return this.layers.reduceRight((gradient, layer, i) => layer.backward(gradient, toInput || i > 0), dy);
  }
}

/** Adam (Kingma and Ba, 2015): each number moves at its own pace, whatever the scale of the loss. */
export class Adam {
  /**
   * @param {Parameter[]} parameters
   * @param {number} momentum share of the mean gradient that is kept at each step
   */
  constructor(parameters, momentum) {
    this.momentum = momentum;
    this.steps = 0;
    this.memory = parameters.map((parameter) => {
      const { length } = parameter.values;
      return { parameter, mean: new Float32Array(length), square: new Float32Array(length) };
    });
  }

  /**
   * Move against the gradients, then forget them.
   * @param {number} rate with 0 the gradients are only forgotten
   */
  step(rate) {
    this.steps += rate ? 1 : 0;
    // Both averages begin at zero; this makes up for it.
    const pace = (rate * Math.sqrt(1 - 0.999 ** this.steps)) / (1 - this.momentum ** this.steps);
    for (const { parameter, mean, square } of this.memory) {
      const { values, gradient } = parameter;
      for (let i = 0; rate && i < values.length; i++) {
        mean[i] += (1 - this.momentum) * (gradient[i] - mean[i]);
        square[i] += 0.001 * (gradient[i] ** 2 - square[i]);
        values[i] -= (pace * mean[i]) / (Math.sqrt(square[i]) + 1e-8);
      }
      gradient.fill(0);
    }
  }
}
