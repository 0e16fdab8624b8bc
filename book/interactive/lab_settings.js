// The lab's switches and rates, and the experiments that set them.

import { DEFAULTS } from "./training.js";
import { element, slider, toggle } from "./ui.js";

/** @typedef {typeof DEFAULTS} Settings */

/**
 * What a reader may try with one click: what is changed in DEFAULTS, what to notice, and where to read on.
 * @type {{ label: string, change: Partial<Settings>, notice: string, page: string, title: string }[]}
 */
export const EXPERIMENTS = [
  {
    label: "Healthy game",
    change: {},
    notice:
      "The cloud of codes takes the shape of the prior within seconds, and then the digits find their places in it." +
      " The distance falls to two or three times the dashed line; samples of the prior itself come as near as that line.",
    page: "../notebooks/01_adversarial_autoencoder.html",
    title: "Chapter 1",
  },
  {
    label: "No adversary",
    change: { adversary: false },
    notice:
      "A plain autoencoder. The codes go where they like, far over the edge, and the places between them decode to" +
      " nothing. Both losses of the game lie still, not far from their dashed lines, although nothing has been won.",
    page: "what_goes_wrong.html#wrong-nothing",
    title: "The losses sit at chance and nothing happened",
  },
  {
    label: "No reconstruction",
    change: { reconstruction: false },
    notice:
      "The codes match the prior, and mean nothing: the decoder has learned nothing, so every place decodes to noise." +
      " The error stays far above that of the mean image, beyond the upper edge of its chart.",
    page: "what_goes_wrong.html#wrong-dead",
    title: "The reconstruction loss hardly falls",
  },
  {
    label: "Too much reconstruction",
    change: { reconstructionRate: 0.01, generatorRate: 0.0002 },
    notice:
      "The picture is sharp, but the discriminator wins more and more: its loss stays below 2 ln 2, the encoder's loss" +
      " climbs, and the digits drift over the edge.",
    page: "what_goes_wrong.html#wrong-balance",
    title: "The reconstruction outvotes the discriminator",
  },
  {
    label: "Batch normalization in D",
    change: { batchNorm: true },
    notice:
      "Samples and codes are normalized each by themselves, so the discriminator cannot see where the cloud lies nor" +
      " how wide it is. The losses look fine. The distance does not.",
    page: "what_goes_wrong.html#wrong-batch-norm",
    title: "Batch normalization in the discriminator",
  },
  {
    label: "Sleeping discriminator",
    change: { discriminatorRate: 0.00001 },
    notice:
      "The discriminator hardly learns, so the encoder climbs a hill that no longer says where the prior lies: the" +
      " codes run away together, come back, and settle beside the prior.",
    page: "what_goes_wrong.html#wrong-asleep",
    title: "The discriminator does not wake up",
  },
  {
    label: "Hasty encoder",
    change: { generatorRate: 0.02 },
    notice:
      "The encoder runs to wherever the discriminator points, the discriminator follows, and they chase each other in" +
      " circles. The losses swing, and the reconstruction stays at that of the mean image.",
    page: "what_goes_wrong.html#wrong-off-center",
    title: "Healthy losses, but q(z) is off-center",
  },
];

/**
 * The switches and sliders. `set` moves them to other settings without calling `change`.
 * @param {(settings: Settings) => void} change
 * @returns {{ node: HTMLElement, set: (settings: Settings) => void }}
 */
export function settingsPanel(change) {
  let settings = { ...DEFAULTS };
  const tell = () => change({ ...settings });
  const switches = [
    switchOf("Reconstruction", "reconstruction"),
    switchOf("Adversary", "adversary"),
    switchOf("Batch norm in D", "batchNorm"),
  ];
  const rates = [
    rateOf("Reconstruction", "reconstructionRate"),
    rateOf("Discriminator", "discriminatorRate"),
    rateOf("Encoder in the game", "generatorRate"),
  ];

  /** @param {string} label @param {"reconstruction" | "adversary" | "batchNorm"} name */
  function switchOf(label, name) {
    const made = toggle(label, settings[name], (on) => {
      settings[name] = on;
      tell();
    });
    return { node: made, show: () => made.setAttribute("aria-pressed", String(settings[name])) };
  }

  /** @param {string} label @param {"reconstructionRate" | "discriminatorRate" | "generatorRate"} name */
  function rateOf(label, name) {
    const { row, set } = slider({
      label,
      min: -5,
      max: -1,
      step: 0.1,
      value: Math.log10(settings[name]),
      format: (exponent) => String(Number((10 ** exponent).toPrecision(1))),
      change(exponent) {
        settings[name] = 10 ** exponent;
        tell();
      },
    });
    return { node: row, show: () => set(Math.log10(settings[name])) };
  }

  const node = element(
    "div",
    { role: "group", "aria-label": "Switches and learning rates" },
    element("div", { class: "touch-bar" }, ...switches.map(({ node }) => node)),
    ...rates.map(({ node }) => node),
  );
  return {
    node,
    set(wanted) {
      settings = { ...wanted };
      for (const { show } of [...switches, ...rates]) show();
    },
  };
}
