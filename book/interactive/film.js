// q(z) during a training: codes over D(z), with losses and the distance to the prior under one cursor.

import { curvesOf, loadFilm } from "./film_data.js";
import { drawLines, Plane, redrawOnChange, shortNumber } from "./plot.js";
import {
  announcer,
  button,
  element,
  expose,
  lineKey,
  loadedChoice,
  mount,
  oncePerFrame,
  reducedMotion,
  slider,
} from "./ui.js";

const FRAME_SECONDS = 0.16;

mount("film", async (stage, config) => {
  const player = new Player(await loadFilm(config.shows[0].record));
  player.build(stage, config.shows);
  expose(stage, {
    state: () => ({ frame: player.frame, playing: player.playing !== 0, frames: player.last + 1 }),
    film: () => ({
      steps: Array.from(player.film.steps),
      codes: player.film.codes.map((frame) => Array.from(frame)),
      distance: Array.from(player.film.distance),
      losses: player.film.losses.map(({ name, y }) => ({ name, y: Array.from(y) })),
    }),
  });
});

/** A film and the moment of it that is shown. */
class Player {
  /** @param {import("./film_data.js").Film} film */
  constructor(film) {
    this.film = film;
    this.frame = 0;
    this.playing = 0; // the animation frame that is waited for, 0 while the film stands
    this.canvas = element("canvas", {
      class: "touch-plane touch-still",
      role: "img",
      "aria-label": "Codes in the plane",
    });
    this.plane = new Plane(this.canvas, film.limit);
    this.curves = element("div", { class: "touch-side" });
    this.reading = element("p", { class: "touch-reading" });
    this.hint = element("p", { class: "touch-hint" });
    this.spoken = announcer();
    this.play = button("Play", () => (this.playing ? this.pause() : this.start()));
    this.scrub = slider({
      label: "Moment",
      min: 0,
      max: this.last,
      step: 1,
      value: 0,
      format: (value) => `${value + 1} of ${this.last + 1}`,
      change: (value) => this.show(value),
    });
    this.draw = oncePerFrame(() => this.drawNow());
  }

  /** Index of the last moment. */
  get last() {
    return this.film.codes.length - 1;
  }

  /**
   * @param {HTMLElement} stage
   * @param {{ label: string, record: string }[]} shows
   */
  build(stage, shows) {
    const controls = element("div", { class: "touch-bar touch-film-bar" });
    if (!reducedMotion()) controls.append(this.play);
    controls.append(
      button("◀", () => this.show(this.frame - 1), { "aria-label": "One moment back" }),
      button("▶", () => this.show(this.frame + 1), { "aria-label": "One moment on" }),
      this.scrub.row,
    );
    const show = (/** @type {import("./film_data.js").Film} */ film) => this.setFilm(film);
    if (shows.length > 1) stage.append(loadedChoice({ label: "Run", shows, load: loadFilm, show }));
    const left = element("div", {}, this.canvas, controls, this.reading);
    stage.append(element("div", { class: "touch-columns" }, left, this.curves), this.hint, this.spoken.node);
    this.setFilm(this.film);
    redrawOnChange(this.canvas, this.draw);
  }

  /** @param {import("./film_data.js").Film} film */
  setFilm(film) {
    this.film = film;
    this.scrub.input.max = String(this.last);
    this.curves.replaceChildren(...curvesOf(film).map(curvePlace));
    this.hint.textContent =
      (film.discriminator.length
        ? "The ground is D(z): violet where the discriminator takes a point for a sample of the prior, orange where it" +
          " takes it for a code, plain where it cannot tell."
        : "A variational autoencoder has no discriminator: its KL term pulls each code to the prior.") +
      " The moments are spaced by the logarithm of the steps, since the codes move most in the beginning.";
    this.show(this.frame);
  }

  /**
   * Stop, and show one moment.
   * @param {number} frame
   */
  show(frame) {
    this.pause();
    this.go(frame);
  }

  /** @param {number} frame */
  go(frame) {
    this.frame = Math.max(0, Math.min(this.last, frame));
    this.scrub.set(this.frame);
    this.draw();
  }

  start() {
    if (this.frame === this.last) this.go(0);
    this.play.textContent = "Pause";
    let shown = performance.now();
    const advance = (/** @type {number} */ now) => {
      if (now - shown >= 1000 * FRAME_SECONDS) {
        shown = now;
        this.go(this.frame + 1);
      }
      if (this.frame === this.last) this.pause();
      else this.playing = requestAnimationFrame(advance);
    };
    this.playing = requestAnimationFrame(advance);
  }

  pause() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.textContent = "Play";
  }

  drawNow() {
    const { film, frame, plane } = this;
    plane.limit = film.limit;
    plane.clear();
    if (film.discriminator.length) plane.heat(film.discriminator[frame], 0.55);
    plane.axes();
    plane.dots(film.codes[frame], film.labels, film.colors, { radius: plane.size / 200 });
    this.drawCurves();
    this.reading.textContent =
      frame === 0
        ? "before the first step"
        : `after ${film.steps[frame].toLocaleString("en-US")} steps · distance to the prior ${hundredths(film.distance[frame])}`;
    this.spoken.say(this.reading.textContent);
  }

  drawCurves() {
    const { film } = this;
    const x = film.steps.subarray(1);
    const at = Math.max(film.steps[this.frame], x[0]);
    curvesOf(film).forEach((curve, index) => {
      const canvas = /** @type {HTMLCanvasElement} */ (this.curves.children[index].lastElementChild);
      drawLines(canvas, { ...curve, x, at, logarithmic: true });
    });
  }
}

/**
 * An empty chart under the names of its lines.
 * @param {import("./film_data.js").Curve} curve
 */
function curvePlace({ lines }) {
  const names = lines.map(({ name }) => name).join(", ");
  return element(
    "div",
    {},
    lineKey(lines),
    element("canvas", { class: "touch-chart", role: "img", "aria-label": names }),
  );
}

/** @param {number} value */
function hundredths(value) {
  return shortNumber(Math.round(value * 100) / 100);
}
