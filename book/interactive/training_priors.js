// Priors p(z) in the plane. A prior needs no density, only a way to draw samples from it.
//
//   const samples = samplePrior({ name: "ring" }, 64, random);
//   const own = samplePrior({ name: "own", strokes: [[[0, 0], [1, 1]]] }, 64, random);

/**
 * @typedef {[number, number]} Point
 * @typedef {{ uniform: () => number, normal: () => number }} Random
 * @typedef {{ name: string, strokes?: Point[][] }} PriorChoice `strokes`: the lines of a drawing, in place of a name
 */

/** Codes and priors have their place between -EXTENT and EXTENT. */
export const EXTENT = 3;

const PEN_STD = 0.09;

/**
 * @param {number} radius
 * @param {number} angle
 * @returns {Point}
 */
const polar = (radius, angle) => [radius * Math.cos(angle), radius * Math.sin(angle)];

/**
 * A point with normal noise around it.
 * @param {Point} point
 * @param {number} std
 * @param {Random} random
 * @returns {Point}
 */
const blurred = ([x, y], std, random) => [x + std * random.normal(), y + std * random.normal()];

/** @type {Record<string, (random: Random) => Point>} */
const SAMPLERS = {
  gaussian: (random) => blurred([0, 0], 1, random),
  ring: (random) => blurred(polar(2, 2 * Math.PI * random.uniform()), 0.12, random),
  // the square root spreads samples evenly over the length of the spiral
  spiral(random) {
    const angle = 3 * Math.PI * Math.sqrt(random.uniform());
    return blurred(polar(0.27 * angle, angle), 0.09, random);
  },
  // ten normal densities on a circle with the long axis outwards, as in Figure 2B of the paper
  spokes(random) {
    const [cos, sin] = polar(1, (2 * Math.PI * Math.floor(10 * random.uniform())) / 10);
    const [along, across] = [1.75 + 0.4 * random.normal(), 0.13 * random.normal()];
    return [along * cos - across * sin, along * sin + across * cos];
  },
  moons(random) {
    const [x, y] = polar(1.5, Math.PI * random.uniform());
    return blurred(random.uniform() < 0.5 ? [x - 0.75, y - 0.4] : [0.75 - x, 0.4 - y], 0.12, random);
  },
};

/**
 * A prior that lies along the lines of a drawing, everywhere equally dense. A dot counts as a short line.
 * @param {Point[][]} strokes
 * @returns {(random: Random) => Point}
 */
function along(strokes) {
  const pieces = strokes.flatMap((points) =>
    points.slice(Math.min(1, points.length - 1)).map((to, i) => ({ from: points[i], to })),
  );
  const lengths = pieces.map(({ from, to }) => Math.hypot(to[0] - from[0], to[1] - from[1]) || 2 * PEN_STD);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  return (random) => {
    let rest = random.uniform() * total;
    const found = lengths.findIndex((length) => {
      rest -= length;
      return rest < 0;
    });
    const { from, to } = pieces.at(found) ?? pieces[0];
    const share = random.uniform();
    const [x, y] = [0, 1].map((axis) => from[axis] + share * (to[axis] - from[axis]));
    return blurred([x, y], PEN_STD, random);
  };
}

/**
 * @param {PriorChoice} prior
 * @param {number} count
 * @param {Random} random
 * @returns {Float32Array} (count, 2)
 */
export function samplePrior(prior, count, random) {
  const draw = prior.strokes ? along(prior.strokes) : SAMPLERS[prior.name];
  const samples = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) samples.set(draw(random), 2 * i);
  return samples;
}
