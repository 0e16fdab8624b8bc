// The lab's worker: it trains and reports, so that the page stays free for the reader's hand.
//
// To it:   { type: "reset" | "settings" | "prior" | "view" | "run" | "pause" | "advance", ... }, see HANDLERS.
// From it: a Report, some times a second while it trains and after each message that changes something.

import { randomStream } from "./random.js";
import { PIXELS, Training } from "./training.js";
import { Distance } from "./training_distance.js";
import { EXTENT, samplePrior } from "./training_priors.js";

/**
 * @typedef {{ step: number, reconstruction: number, discriminator: number, generator: number, distance: number }} Moment
 * @typedef {{ generation: number, steps: number, codes: Float32Array, decoder: Float32Array[],
 *             discriminator: Uint8Array | null, moments: Moment[], distance: number, floor: number, speed: number,
 *             diverged: boolean }} Report
 */

const EVERY = 20; // steps from one moment of the curves to the next
const PLANE_GRID = 40;
const SHIFT = 60; // milliseconds of training before the worker looks for messages
const SLOW_PAUSE = 150; // milliseconds after each step in slow motion
const NOTHING = { reconstruction: 0, discriminator: 0, generator: 0 };

/** @type {Training} */
let training;
/** @type {Distance} */
let distance;
let held = new Float32Array(0);
let generation = 0; // counts the resets, so that the page can drop what came too late
let view = { discriminator: false, slow: false, pause: 0 };
let [running, diverged, speed, reported, timer] = [false, false, 0, 0, 0];
let sums = { ...NOTHING };
/** @type {Moment[]} */
let moments = [];

/** @type {Record<string, (message: any) => void>} */
const HANDLERS = {
  reset({ images, held: shown, prior, settings, seed }) {
    held = shown;
    training = new Training(images, prior, settings, seed);
    distance = new Distance(prior, held.length / PIXELS);
    clearTimeout(timer);
    [running, diverged, speed, moments, sums] = [false, false, 0, [], { ...NOTHING }];
    generation += 1;
    report();
  },
  settings({ settings }) {
    training.settings = settings;
  },
  prior({ prior }) {
    training.prior = prior;
    distance = new Distance(prior, held.length / PIXELS);
    if (!running) report();
  },
  view({ view: wanted }) {
    view = wanted;
    if (!running) report();
  },
  run() {
    if (running || diverged) return;
    running = true;
    work();
  },
  pause() {
    clearTimeout(timer);
    running = false;
    report();
  },
  advance({ steps }) {
    for (let i = 0; i < steps && !diverged; i++) advance();
    report();
  },
};

self.onmessage = ({ data }) => HANDLERS[data.type](data);

/** Train for a while, or one step in slow motion, then look for messages before going on. */
function work() {
  const [start, before] = [performance.now(), training.steps];
  do advance();
  while (!view.slow && !diverged && performance.now() - start < SHIFT);
  if (diverged) running = false;
  const rest = view.slow ? SLOW_PAUSE : 0;
  const now = (1000 * (training.steps - before)) / (performance.now() - start + rest);
  speed = speed ? 0.8 * speed + 0.2 * now : now;
  if (!running || performance.now() - reported >= view.pause) report();
  if (running) timer = setTimeout(work, rest);
}

/** One step, and a moment for the curves where one is due. */
function advance() {
  const losses = training.step();
  diverged = !Object.values(losses).every(Number.isFinite);
  sums.reconstruction += losses.reconstruction / EVERY;
  sums.discriminator += losses.discriminator / EVERY;
  sums.generator += losses.generator / EVERY;
  if (training.steps % EVERY) return;
  moments.push({
    step: training.steps,
    ...sums,
    distance: distance.of(training.model.encoder.forward(held)),
  });
  sums = { ...NOTHING };
}

function report() {
  const { encoder, decoder } = training.model;
  const codes = encoder.forward(held);
  /** @type {Report} */
  const news = {
    ...{ generation, steps: training.steps, codes, moments, speed, diverged },
    ...{ distance: distance.of(codes), floor: distance.floor },
    decoder: decoder.parameters.map(({ values }) => values),
    discriminator: view.discriminator ? discriminatorOverPlane() : null,
  };
  moments = [];
  reported = performance.now();
  postMessage(news);
}

/** D(z) over the plane as 255 D, the lowest second coordinate first. */
function discriminatorOverPlane() {
  const { discriminator, norms } = training.model;
  const centers = Array.from({ length: PLANE_GRID }, (_, i) => EXTENT * ((2 * i + 1) / PLANE_GRID - 1));
  const grid = Float32Array.from(centers.flatMap((second) => centers.flatMap((first) => [first, second])));
  // With batch normalization D has no answer for a point by itself: it gets the company of samples of the prior.
  discriminator.forward(samplePrior(training.prior, 256, randomStream(0)));
  for (const norm of norms) norm.frozen = true;
  const answers = Uint8Array.from(discriminator.forward(grid), (logit) =>
    Math.round(255 / (1 + Math.exp(-logit))),
  );
  for (const norm of norms) norm.frozen = false;
  return answers;
}
