// How far codes lie from a prior: the sliced 2-Wasserstein distance, as the book measures it everywhere.
//
//   const distance = new Distance(prior, 500);
//   distance.of(codes);  distance.floor

import { randomStream } from "./random.js";
import { samplePrior } from "./training_priors.js";

const DIRECTIONS = 32;
const DENSER = 8;
const REPEATS = 5;

/** @typedef {import("./training_priors.js").PriorChoice} PriorChoice */

export class Distance {
  /**
   * @param {PriorChoice} prior
   * @param {number} count of codes that will be compared with it
   */
  constructor(prior, count) {
    const random = randomStream(0);
    // Of more samples than there are codes, every DENSER-th in order: a reference with little noise of its own.
    const middle = DENSER / 2;
    this.reference = sortedShadows(samplePrior(prior, DENSER * count, random)).map((shadow) =>
      Float32Array.from(
        { length: count },
        (_, i) => (shadow[DENSER * i + middle - 1] + shadow[DENSER * i + middle]) / 2,
      ),
    );
    const repeats = Array.from({ length: REPEATS }, () => this.of(samplePrior(prior, count, random)));
    /** The distance of as many samples of the prior itself. */
    this.floor = repeats.reduce((sum, value) => sum + value / REPEATS, 0);
  }

  /**
   * The root of the mean squared distance between codes and prior, both in order along each of the directions.
   * @param {Float32Array} codes (count, 2)
   */
  of(codes) {
    let total = 0;
    for (const [direction, shadow] of sortedShadows(codes).entries()) {
      const reference = this.reference[direction];
      for (let i = 0; i < shadow.length; i++) total += (shadow[i] - reference[i]) ** 2 / shadow.length;
    }
    return Math.sqrt(total / DIRECTIONS);
  }
}

/**
 * Points seen along each of the directions, in order.
 * @param {Float32Array} points (N, 2)
 * @returns {Float32Array[]}
 */
function sortedShadows(points) {
  return Array.from({ length: DIRECTIONS }, (_, direction) => {
    const angle = (Math.PI * direction) / DIRECTIONS;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const shadow = Float32Array.from(
      { length: points.length / 2 },
      (_, i) => cos * points[2 * i] + sin * points[2 * i + 1],
    );
    return shadow.sort();
  });
}
