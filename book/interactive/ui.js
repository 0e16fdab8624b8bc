// Buttons, sliders and switches of the pieces, and how a piece gets onto its page.
//
//   mount("parzen", (stage, config) => { stage.append(button("Play", play), slider({ ... })); });
//
// Every control is at least 44 px high, has a name for screen readers, and takes its colors from
// `_static/interactive.css`, which follows html[data-theme].

/**
 * Start a piece in each figure of the page that asks for it, just before it comes into view.
 * `start` gets the empty stage, the figure's settings, and may return a promise. Whatever it throws is
 * said in the figure, in words.
 * @param {string} piece as in the directive's table, `book/_ext/interactive.py`
 * @param {(stage: HTMLElement, config: any) => void | Promise<void>} start
 */
export function mount(piece, start) {
  for (const figure of document.querySelectorAll(`figure.touch[data-piece="${piece}"]`)) {
    const stage = /** @type {HTMLElement} */ (figure.querySelector(".touch-stage"));
    whenNear(figure, async () => {
      stage.replaceChildren(element("p", { class: "touch-note" }, "Loading …"));
      try {
        const config = JSON.parse(/** @type {HTMLElement} */ (figure).dataset.config ?? "{}");
        const place = element("div", { class: `touch-body touch-${piece}` });
        await start(place, config);
        stage.replaceChildren(place);
        place.dispatchEvent(new Event("touch:shown"));
        figure.classList.add("touch-ready");
      } catch (error) {
        console.error(error);
        stage.replaceChildren(element("p", { class: "touch-note", role: "alert" }, reasonOf(error)));
      }
    });
  }
}

/**
 * A bar with a choice among things that have to be loaded. `show` gets the last one that was asked for; what cannot be
 * loaded is said beside the choice, which goes back to what is shown, so that it can be asked for again.
 * @template Value
 * @param {{ label: string, shows: { label: string, record: string }[], load: (record: string) => Promise<Value>,
 *           show: (value: Value) => void }} settings
 * @returns {HTMLElement}
 */
export function loadedChoice({ label, shows, load, show }) {
  const note = element("span", { class: "touch-note", role: "alert" });
  let [asked, shown] = [0, shows[0].record];
  const change = async (/** @type {string} */ record) => {
    const mine = ++asked;
    note.textContent = "";
    try {
      const value = await load(record);
      if (mine !== asked) return;
      shown = record;
      show(value);
    } catch (error) {
      if (mine !== asked) return;
      for (const input of row.querySelectorAll("input")) input.checked = input.value === shown;
      note.textContent = `${reasonOf(error)} Choose it again to try once more.`;
    }
  };
  const options = shows.map(({ label, record }) => ({ value: record, label }));
  const row = element("div", { class: "touch-bar" });
  row.append(choice({ label, options, value: shows[0].record, change }), note);
  return row;
}

/** @param {unknown} error */
function reasonOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The promise for a name, made once; one that fails is forgotten, so that it can be tried again.
 * @template Value
 * @param {Map<string, Promise<Value>>} known
 * @param {string} name
 * @param {() => Promise<Value>} make
 * @returns {Promise<Value>}
 */
export function remembered(known, name, make) {
  const there = known.get(name);
  if (there) return there;
  const made = make();
  known.set(name, made);
  made.catch(() => known.delete(name));
  return made;
}

/**
 * Call `action` once, when the element is less than a screen away from view.
 * @param {Element} target
 * @param {() => void} action
 */
export function whenNear(target, action) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      action();
    },
    { rootMargin: "100% 0px" },
  );
  observer.observe(target);
}

/**
 * Make an element. An attribute of value true is set without a value, one of false or undefined is left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * @param {string} label
 * @param {() => void} action
 * @param {Record<string, string | boolean>} [attributes]
 * @returns {HTMLButtonElement}
 */
export function button(label, action, attributes = {}) {
  const made = element("button", { type: "button", class: "touch-button", ...attributes }, label);
  made.addEventListener("click", action);
  return made;
}

/**
 * A button that is on or off.
 * @param {string} label
 * @param {boolean} on
 * @param {(on: boolean) => void} change
 * @returns {HTMLButtonElement}
 */
export function toggle(label, on, change) {
  const made = button(label, () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    change(now);
  });
  made.setAttribute("aria-pressed", String(on));
  return made;
}

// Each piece is a bundle with a copy of this module, and radio buttons of one name are one group in the whole page.
const GROUPS = `touch-${Math.random().toString(36).slice(2)}`;
let count = 0;

/**
 * A row of which one is chosen: real radio buttons, so that arrow keys move the choice.
 * @param {{ label: string, options: { value: string, label: string }[], value: string,
 *           change: (value: string) => void }} settings
 * @returns {HTMLElement}
 */
export function choice({ label, options, value, change }) {
  const name = `${GROUPS}-${count++}`;
  const row = element("div", { class: "touch-choice", role: "radiogroup", "aria-label": label });
  for (const option of options) {
    const input = element("input", {
      type: "radio",
      name,
      value: option.value,
      checked: option.value === value,
    });
    input.addEventListener("change", () => change(option.value));
    row.append(element("label", {}, input, element("span", {}, option.label)));
  }
  return row;
}

/**
 * A slider with its name and its value in words. `set` moves it without calling `change`.
 * @param {{ label: string, min: number, max: number, step: number, value: number,
 *           format?: (value: number) => string, change: (value: number) => void }} settings
 * @returns {{ row: HTMLElement, input: HTMLInputElement, set: (value: number) => void }}
 */
export function slider({ label, min, max, step, value, format = String, change }) {
  const input = element("input", { type: "range", min, max, step, value, "aria-label": label });
  const output = element("output", {}, format(value));
  const say = () => {
    output.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", format(Number(input.value)));
  };
  say();
  input.addEventListener("input", () => {
    say();
    change(Number(input.value));
  });
  const set = (/** @type {number} */ moved) => {
    input.value = String(moved);
    say();
  };
  return {
    row: element("label", { class: "touch-slider" }, element("span", {}, label), input, output),
    input,
    set,
  };
}

/**
 * What the colors of a chart's lines mean.
 * @param {{ name: string, color: string }[]} lines
 * @returns {HTMLElement}
 */
export function lineKey(lines) {
  const names = lines.map(({ name, color }) => {
    const mark = element("span", { class: "touch-mark" });
    mark.style.background = color;
    return element("span", {}, mark, name);
  });
  return element("p", { class: "touch-key" }, ...names);
}

/**
 * "a 7", "an 8"
 * @param {number} digit
 */
export function withArticle(digit) {
  return `${digit === 8 ? "an" : "a"} ${digit}`;
}

/**
 * Words that a screen reader says when they change, at most twice a second.
 * @returns {{ node: HTMLElement, say: (text: string) => void }}
 */
export function announcer() {
  const node = element("div", { class: "touch-spoken", "aria-live": "polite" });
  let timer = 0;
  return {
    node,
    say(text) {
      clearTimeout(timer);
      timer = window.setTimeout(() => {
        node.textContent = text;
      }, 500);
    },
  };
}

/**
 * Let tests, and curious readers with the console open, call functions of a piece:
 * `document.querySelector(".touch-explorer").touch.decode([0, 0])`.
 * @param {HTMLElement} stage
 * @param {Record<string, Function>} functions
 */
export function expose(stage, functions) {
  Object.assign(stage, { touch: functions });
}

/**
 * Whether the reader has asked for less motion.
 * @returns {boolean}
 */
export function reducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Call `draw` before the next frame, however often it is asked for before that.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}
