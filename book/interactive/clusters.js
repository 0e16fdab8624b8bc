// Section 6: clusters of the test images, each named by one validation image that the reader may choose.

import { loadData } from "./data.js";
import { drawImage } from "./plot.js";
import { announcer, button, element, expose, mount, withArticle } from "./ui.js";

mount("clusters", async (stage, config) => {
  const table = new Clusters(await loadData(config.shows[0].record));
  table.build(stage);
  expose(stage, { state: () => ({ ...table.errors(), open: table.open, named: [...table.named] }) });
});

/** The clusters' counts, and the names that the reader gives them. */
class Clusters {
  /** @param {import("./data.js").Data} data */
  constructor({ arrays }) {
    this.arrays = arrays;
    const [count, digits] = arrays.counts.shape;
    /** @type {number[][]} test images of each digit in each cluster */
    this.counts = rowsOf(arrays.counts.data, digits);
    /** @type {number[][]} labels of the validation images that each cluster is surest of, the surest first */
    this.candidates = rowsOf(arrays.candidate_labels.data, arrays.candidate_labels.shape[1]);
    this.starts = startsOf(arrays.member_counts.data);
    /** @type {number[]} which of its candidates names each cluster; the first one by the paper's rule */
    this.named = new Array(count).fill(0);
    this.open = largest(this.counts.map(sum));

    this.scores = element("div", { class: "touch-scores" });
    this.tiles = element("div", { class: "touch-tiles", role: "group", "aria-label": "Clusters" });
    this.detail = element("div", { class: "touch-detail" });
    this.spoken = announcer();
  }

  /** @param {HTMLElement} stage */
  build(stage) {
    const hint =
      "Each tile shows what the decoder draws for a cluster, the digit that the cluster is called, and how many of" +
      " its test images are that digit.";
    stage.append(
      this.scores,
      this.tiles,
      element("p", { class: "touch-hint" }, hint),
      this.detail,
      this.spoken.node,
    );
    this.draw();
  }

  /** @param {number} cluster @returns {number} the digit that it is called */
  label(cluster) {
    return this.candidates[cluster][this.named[cluster]];
  }

  /** Test errors in percent: by the paper's rule, by the majority vote, and with the reader's names. */
  errors() {
    return {
      rule: this.errorOf((cluster) => this.candidates[cluster][0]),
      majority: this.errorOf((cluster) => largest(this.counts[cluster])),
      yours: this.errorOf((cluster) => this.label(cluster)),
    };
  }

  /** @param {(cluster: number) => number} name */
  errorOf(name) {
    const right = sum(this.counts.map((row, cluster) => row[name(cluster)]));
    return 100 * (1 - right / sum(this.counts.map(sum)));
  }

  draw() {
    this.drawScores();
    withFocusKept(this.tiles, () =>
      this.tiles.replaceChildren(...this.counts.map((_, cluster) => this.tile(cluster))),
    );
    withFocusKept(this.detail, () => this.drawDetail());
  }

  drawScores() {
    const { rule, majority, yours } = this.errors();
    this.scores.replaceChildren(
      score(rule, "test error by the paper's rule"),
      score(majority, "by the majority vote, which looks at the test labels"),
    );
    if (this.named.every((choice) => choice === 0)) return;
    this.scores.append(
      score(yours, "with the names you chose"),
      button("Back to the paper's rule", () => this.reset()),
    );
    this.spoken.say(`Test error with the names you chose: ${percent(yours)}`);
  }

  reset() {
    this.named.fill(0);
    this.draw();
  }

  /** @param {number} cluster */
  tile(cluster) {
    const [all, label] = [sum(this.counts[cluster]), this.label(cluster)];
    const share = Math.round((100 * this.counts[cluster][label]) / all);
    const tile = button("", () => this.choose(cluster), {
      class: "touch-tile",
      "aria-pressed": String(cluster === this.open),
      "aria-label": `Cluster ${cluster}, named ${label}, ${all} test images`,
    });
    tile.append(
      image(this.arrays.heads.data, cluster, `What the decoder draws for cluster ${cluster}`),
      element("span", { class: "touch-digit" }, `= ${label}`),
      all ? `${share} % of ${all.toLocaleString("en-US")}` : "empty",
    );
    return tile;
  }

  /** @param {number} cluster */
  choose(cluster) {
    this.open = cluster;
    this.draw();
  }

  drawDetail() {
    const { open } = this;
    const words =
      ` is called ${this.label(open)} by the marked image. These are the validation images that it is surest of,` +
      " the surest first:";
    this.detail.replaceChildren(
      element("p", {}, element("strong", {}, `Cluster ${open}`), words),
      this.choices(),
      element("p", {}, memberWords(this.counts[open])),
      this.members(),
    );
  }

  choices() {
    const row = element("div", {
      class: "touch-choices",
      role: "group",
      "aria-label": "Images that could name it",
    });
    this.candidates[this.open].forEach((label, candidate, labels) => {
      const made = button("", () => this.name(candidate), {
        class: "touch-thumb",
        "aria-pressed": String(candidate === this.named[this.open]),
        "aria-label": `Name the cluster by this image of the digit ${label}`,
      });
      made.append(image(this.arrays.candidates.data, this.open * labels.length + candidate, ""));
      row.append(made);
    });
    return row;
  }

  /** @param {number} candidate */
  name(candidate) {
    this.named[this.open] = candidate;
    this.draw();
  }

  members() {
    const members = element("div", { class: "touch-members" });
    for (let index = this.starts[this.open]; index < this.starts[this.open + 1]; index++) {
      const digit = this.arrays.member_labels.data[index];
      const member = image(this.arrays.members.data, index, withArticle(digit));
      if (digit !== this.label(this.open)) member.classList.add("touch-other");
      members.append(member);
    }
    return members;
  }
}

/** @param {number[]} counts test images of each digit in one cluster */
function memberWords(counts) {
  const all = sum(counts);
  if (!all) return "No test image falls into this cluster.";
  const parts = counts
    .map((count, digit) => ({ count, digit }))
    .filter(({ count }) => count)
    .sort((a, b) => b.count - a.count)
    .slice(0, 3)
    .map(({ count, digit }, place) => {
      const verb = place ? "" : count === 1 ? " is" : " are";
      return `${count.toLocaleString("en-US")}${verb} ${withArticle(digit)}`;
    });
  return (
    `Of its ${all.toLocaleString("en-US")} test images, ${parts.join(", ")}.` +
    " Here are some, framed where the name is wrong:"
  );
}

/**
 * Replace what a place holds; if one of its buttons had the keyboard's focus, the new one in its stead gets it.
 * @param {HTMLElement} place
 * @param {() => void} replace
 */
function withFocusKept(place, replace) {
  const focused = /** @type {any} */ (document.activeElement);
  const position = [...place.querySelectorAll("button")].indexOf(focused);
  replace();
  if (position >= 0) place.querySelectorAll("button")[position]?.focus();
}

/** @param {ArrayLike<number>} values @param {number} columns */
function rowsOf(values, columns) {
  const all = Array.from(values);
  return Array.from({ length: all.length / columns }, (_, row) =>
    all.slice(row * columns, (row + 1) * columns),
  );
}

/** @param {ArrayLike<number>} counts */
function startsOf(counts) {
  const starts = [0];
  for (let k = 0; k < counts.length; k++) starts.push(starts[k] + counts[k]);
  return starts;
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** @param {number[]} values @returns {number} the index of the largest, of the first one if several are */
function largest(values) {
  return values.indexOf(Math.max(...values));
}

/** @param {Uint8Array} images @param {number} index @param {string} name */
function image(images, index, name) {
  const canvas = element("canvas", { class: "touch-image", role: "img", "aria-label": name });
  drawImage(canvas, images.subarray(784 * index, 784 * (index + 1)), 255);
  return canvas;
}

/** @param {number} error @param {string} words */
function score(error, words) {
  return element("p", {}, element("strong", {}, percent(error)), words);
}

/** @param {number} value */
function percent(value) {
  return `${value.toFixed(2)} %`;
}
