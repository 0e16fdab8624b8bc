// An adversarial autoencoder of the plane and its training: the two phases of section 2 of the paper.
//
//   const training = new Training(images, { name: "ring" }, { ...DEFAULTS }, seed);
//   const losses = training.step();

import { randomStream } from "./random.js";
import { Adam, BatchNorm, Dense, Network, relu, sigmoid } from "./training_network.js";
import { samplePrior } from "./training_priors.js";

export const PIXELS = 14 * 14;
export const BATCH = 64;
const LEAK = 0.2; // slope of the discriminator's units below zero: none of them falls silent
const START_STD = 0.5;

/** What a reader can change while a training runs; rates are those of Adam. */
export const DEFAULTS = {
  reconstructionRate: 0.001,
  discriminatorRate: 0.004,
  generatorRate: 0.001,
  reconstruction: true,
  adversary: true,
  batchNorm: false,
};

/**
 * @typedef {{ loss: number, gradient: Float32Array }} Judged a loss and its gradient with respect to what it judges
 * @typedef {import("./training_priors.js").PriorChoice} PriorChoice
 * @typedef {ReturnType<typeof randomStream>} Random
 */

/** The logarithm of 1 + exp(x), also where exp(x) is too large. */
const softplus = (/** @type {number} */ x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x)));

/**
 * The mean of -log D where the answer should be "from the prior" (sign 1), of -log(1 - D) otherwise (sign -1).
 * @param {Float32Array} logits of D, (N, 1)
 * @param {1 | -1} sign
 * @returns {Judged}
 */
export function crossEntropy(logits, sign) {
  const loss = logits.reduce((sum, logit) => sum + softplus(-sign * logit), 0) / logits.length;
  return { loss, gradient: logits.map((logit) => -sign / (1 + Math.exp(sign * logit)) / logits.length) };
}

/**
 * Half the squared error, summed over pixels and averaged over the minibatch.
 * @param {Float32Array} pictures (N, PIXELS)
 * @param {Float32Array} images (N, PIXELS)
 * @returns {Judged}
 */
export function squaredError(pictures, images) {
  const rows = images.length / PIXELS;
  const gradient = pictures.map((value, i) => (value - images[i]) / rows);
  return { loss: (rows / 2) * gradient.reduce((sum, error) => sum + error * error, 0), gradient };
}

/** Encoder q(z|x), decoder p(x|z) and discriminator D, with the gradients of their three losses. */
export class AdversarialAutoencoder {
  /**
   * @param {Random} random
   * @param {number} [wide] units of the layer at the image
   * @param {number} [narrow] units of all other hidden layers
   */
  constructor(random, wide = 128, narrow = 64) {
    const hidden = (/** @type {number} */ inputs, /** @type {number} */ outputs, biasStd = 0) => [
      new Dense(inputs, outputs, random, biasStd),
      relu(),
    ];
    this.code = new Dense(narrow, 2, random);
    this.encoder = new Network(...hidden(PIXELS, wide), ...hidden(wide, narrow), this.code);
    const picture = [new Dense(wide, PIXELS, random), sigmoid()];
    this.decoder = new Network(...hidden(2, narrow, 2), ...hidden(narrow, wide), ...picture);
    this.norms = [new BatchNorm(narrow), new BatchNorm(narrow)];
    this.discriminator = new Network(
      ...[new Dense(2, narrow, random, 2), this.norms[0], relu(LEAK)],
      ...[new Dense(narrow, narrow, random), this.norms[1], relu(LEAK)],
      new Dense(narrow, 1, random, 0, 0.05), // its first answers lie near one half
    );
  }

  /**
   * Reconstruction phase: the loss, and its gradients in encoder and decoder.
   * @param {Float32Array} images (N, PIXELS)
   */
  reconstruct(images) {
    const { loss, gradient } = squaredError(this.decoder.forward(this.encoder.forward(images)), images);
    this.encoder.backward(this.decoder.backward(gradient), false);
    return loss;
  }

  /**
   * Regularization phase, first half: -E_p[log D(z)] - E_q[log(1 - D(z))], and its gradients in D.
   * @param {Float32Array} samples of the prior, (N, 2)
   * @param {Float32Array} codes (N, 2)
   */
  discriminate(samples, codes) {
    return this.judge(samples, 1).loss + this.judge(codes, -1).loss;
  }

  /**
   * Regularization phase, second half: -E_q[log D(z)], and its gradients in the encoder.
   * @param {Float32Array} codes what the encoder has just made, (N, 2)
   */
  generate(codes) {
    const { loss, gradient } = this.judge(codes, 1);
    for (const parameter of this.discriminator.parameters) parameter.gradient.fill(0);
    this.encoder.backward(gradient, false);
    return loss;
  }

  /**
   * One side's loss and its gradient with respect to the codes. Each side is a minibatch of its own, which makes no
   * difference unless D has batch normalization.
   * @param {Float32Array} codes (N, 2)
   * @param {1 | -1} sign
   * @returns {Judged}
   */
  judge(codes, sign) {
    const { loss, gradient } = crossEntropy(this.discriminator.forward(codes), sign);
    return { loss, gradient: this.discriminator.backward(gradient) };
  }
}

/** The training of one model. The same seed and the same settings at the same steps give the same numbers. */
export class Training {
  /**
   * @param {Float32Array} images (N, PIXELS) from 0 to 1
   * @param {PriorChoice} prior
   * @param {typeof DEFAULTS} settings read at each step
   * @param {number} seed
   */
  constructor(images, prior, settings, seed) {
    this.images = images;
    this.prior = prior;
    this.settings = settings;
    this.random = randomStream(seed);
    this.model = new AdversarialAutoencoder(this.random);
    const { encoder, decoder, discriminator } = this.model;
    // One optimizer a phase: the momentum of one phase must not push along the other's direction.
    this.reconstruction = new Adam([...encoder.parameters, ...decoder.parameters], 0.9);
    this.discriminator = new Adam(discriminator.parameters, 0.5);
    this.generator = new Adam(encoder.parameters, 0.5);
    this.steps = 0;
    this.center();
  }

  /** Move and scale the last layer of the encoder so that codes begin as a small cloud in the middle. */
  center() {
    const { encoder, code } = this.model;
    const codes = encoder.forward(this.images.subarray(0, BATCH * PIXELS));
    for (const axis of [0, 1]) {
      const values = codes.filter((_, i) => i % 2 === axis);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const std = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      const row = code.weight.values.subarray(axis * code.inputs, (axis + 1) * code.inputs);
      row.set(row.map((weight) => (START_STD * weight) / std));
      code.bias.values[axis] = (-START_STD * mean) / std;
    }
  }

  /** One step: both phases on one minibatch. What is switched off is measured all the same. */
  step() {
    const { model, settings } = this;
    for (const norm of model.norms) norm.on = settings.batchNorm;
    const images = this.minibatch();
    const reconstruction = model.reconstruct(images);
    this.reconstruction.step(settings.reconstruction ? settings.reconstructionRate : 0);
    const codes = model.encoder.forward(images);
    const discriminator = model.discriminate(samplePrior(this.prior, BATCH, this.random), codes);
    this.discriminator.step(settings.adversary ? settings.discriminatorRate : 0);
    const generator = model.generate(codes);
    this.generator.step(settings.adversary ? settings.generatorRate : 0);
    this.steps += 1;
    return { reconstruction, discriminator, generator };
  }

  /** BATCH images, drawn at random. */
  minibatch() {
    const images = new Float32Array(BATCH * PIXELS);
    for (let row = 0; row < BATCH; row++) {
      const start = PIXELS * Math.floor((this.random.uniform() * this.images.length) / PIXELS);
      images.set(this.images.subarray(start, start + PIXELS), row * PIXELS);
    }
    return images;
  }
}
