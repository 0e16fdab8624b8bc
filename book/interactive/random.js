// Random numbers that are the same for the same seed, in every browser.
//
//   const random = randomStream(0);
//   random.uniform();  random.normal();

/**
 * A stream of numbers (mulberry32, and Box and Muller's normal deviates).
 * @param {number} seed a whole number
 * @returns {{ uniform: () => number, normal: () => number }}
 */
export function randomStream(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}
