// Section 5: what a network that saw a hundred labels answers to a drawing.

import { loadData } from "./data.js";
import { forward } from "./matrix.js";
import { layersOf } from "./networks.js";
import { choicesFor, imageAt, Pad } from "./pad.js";
import { announcer, element, expose, mount, withArticle } from "./ui.js";

const FIRST_SHOWN = 8; // of the test images: a 4

mount("draw-label", async (stage, config) => {
  const { arrays, meta } = await loadData(config.shows[0].record);
  const encoder = layersOf(arrays, "encoder", "softmax");
  const heading = element("p", { class: "touch-answer" });
  const bars = element("div", {
    class: "touch-bars",
    role: "list",
    "aria-label": "Probability of each digit",
  });
  const spoken = announcer();
  /** @type {{ seen: Float32Array | null, shares: Float32Array }} */
  let now = { seen: null, shares: new Float32Array(10) };

  const pad = new Pad((seen) => {
    const shares = seen ? forward(encoder, seen) : new Float32Array(10);
    const best = seen ? shares.indexOf(Math.max(...shares)) : -1;
    now = { seen, shares };
    heading.textContent = seen ? `The network reads ${withArticle(best)}` : "Nothing is drawn yet";
    bars.replaceChildren(...Array.from(shares, (share, digit) => bar(digit, share, digit === best)));
    spoken.say(seen ? `${heading.textContent}, with a probability of ${percent(shares[best])}` : "");
  });
  const hint =
    `It has learned from ${meta.images.toLocaleString("en-US")} images, of which it was told the labels of ${meta.labels}.` +
    " Draw a 4 that could be a 9, or a 7 with a bar, and see where it is unsure.";
  stage.append(
    element(
      "div",
      { class: "touch-columns" },
      pad.node,
      element("div", { class: "touch-side" }, heading, bars),
    ),
    choicesFor(pad, arrays.images.data, arrays.labels.data),
    element("p", { class: "touch-hint" }, hint),
    spoken.node,
  );
  expose(stage, {
    answer: (/** @type {number[]} */ pixels) => Array.from(forward(encoder, Float32Array.from(pixels))),
    show: (/** @type {number[]} */ pixels) => pad.show(pixels),
    state: () => ({ answered: Array.from(now.shares), seen: now.seen && Array.from(now.seen) }),
  });
  pad.show(imageAt(arrays.images.data, FIRST_SHOWN));
});

/** @param {number} digit @param {number} share @param {boolean} best */
function bar(digit, share, best) {
  const fill = element("span", { class: "touch-fill" });
  fill.style.width = `${100 * share}%`;
  return element(
    "div",
    { role: "listitem", class: best ? "touch-best" : "" },
    element("span", {}, String(digit)),
    element("span", { class: "touch-track" }, fill),
    element("span", {}, percent(share)),
  );
}

/** @param {number} share */
function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
