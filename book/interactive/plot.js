// Drawing on a canvas in the sharpness of the screen: a square plane of codes, gray images, lines.
//
//   const plane = new Plane(canvas, limit);           // from -limit to limit on both axes
//   plane.clear(); plane.heat(picture); plane.dots(codes, labels, colors); plane.axes();
//   plane.toCode(event)                               // where the pointer is, as a code
//
//   const picture = heatPicture(values, size, color)  // values row by row, lowest second coordinate first
//   drawImage(canvas, pixels)                         // 784 numbers from 0 to 1 on a canvas of 28 x 28

/** @typedef {[number, number]} Point */

/**
 * Give a canvas as many pixels as the screen has in its place. Call it again when it was resized.
 * @param {HTMLCanvasElement} canvas
 * @returns {{ context: CanvasRenderingContext2D, width: number, height: number }} sizes in CSS pixels
 */
export function fitCanvas(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || Number(canvas.dataset.width) || 300;
  const height = canvas.clientHeight || Number(canvas.dataset.height) || width;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/**
 * Call `draw` now and then, when the element's size or the page's theme has changed.
 * @param {HTMLElement} target
 * @param {() => void} draw
 */
export function redrawOnChange(target, draw) {
  new ResizeObserver(draw).observe(target);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}

/**
 * A color of `interactive.css`, as it is in the theme of the moment.
 * @param {Element} target
 * @param {string} name such as "--touch-ink"
 * @returns {string}
 */
export function cssColor(target, name) {
  return getComputedStyle(target).getPropertyValue(name).trim() || "#808080";
}

/**
 * Red, green and blue of "#rrggbb".
 * @param {string} color
 * @returns {[number, number, number]}
 */
export function rgb(color) {
  const value = Number.parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/**
 * A square picture of numbers from 0 to 255: transparent at 0, `color` at 255.
 * With `below`, 128 is transparent and the numbers below it turn to that color.
 * @param {ArrayLike<number>} values size x size, the lowest second coordinate first
 * @param {number} size
 * @param {string} color
 * @param {string} [below]
 * @returns {HTMLCanvasElement}
 */
export function heatPicture(values, size, color, below) {
  const picture = document.createElement("canvas");
  picture.width = size;
  picture.height = size;
  const context = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
  const image = context.createImageData(size, size);
  const above = rgb(color);
  const under = below ? rgb(below) : above;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const value = values[row * size + column];
      const strength = below ? Math.abs(value - 127.5) / 127.5 : value / 255;
      const [red, green, blue] = below && value < 127.5 ? under : above;
      image.data.set([red, green, blue, 255 * strength], 4 * ((size - 1 - row) * size + column));
    }
  }
  context.putImageData(image, 0, 0);
  return picture;
}

/**
 * Draw a gray image on a canvas of its own size; CSS enlarges it.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} pixels side x side numbers
 * @param {number} [white] the number that is drawn white
 */
export function drawImage(canvas, pixels, white = 1) {
  const side = Math.round(Math.sqrt(pixels.length));
  canvas.width = side;
  canvas.height = side;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.putImageData(grayImage(pixels, side, white), 0, 0);
}

/**
 * @param {ArrayLike<number>} pixels side x side numbers
 * @param {number} side
 * @param {number} [white] the number that is drawn white
 * @returns {ImageData}
 */
export function grayImage(pixels, side, white = 1) {
  const image = new ImageData(side, side);
  for (let i = 0; i < pixels.length; i++) {
    const shade = Math.round((255 * pixels[i]) / white);
    image.data.set([shade, shade, shade, 255], 4 * i);
  }
  return image;
}

/** A square canvas that shows the plane of codes from -limit to limit. */
export class Plane {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} limit
   */
  constructor(canvas, limit) {
    this.canvas = canvas;
    this.limit = limit;
    this.size = 0;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  }

  /** Empty paper, in the size that the canvas has now. */
  clear() {
    const { context, width } = fitCanvas(this.canvas);
    this.context = context;
    this.size = width;
    context.fillStyle = cssColor(this.canvas, "--touch-paper");
    context.fillRect(0, 0, width, width);
  }

  /**
   * Where a code lies on the canvas, in CSS pixels.
   * @param {number} first
   * @param {number} second
   * @returns {Point}
   */
  toScreen(first, second) {
    const unit = this.size / (2 * this.limit);
    return [(first + this.limit) * unit, (this.limit - second) * unit];
  }

  /**
   * The code under a pointer event, kept inside the plane.
   * @param {{ clientX: number, clientY: number }} event
   * @returns {Point}
   */
  toCode(event) {
    const box = this.canvas.getBoundingClientRect();
    const first = ((event.clientX - box.left) / box.width) * 2 - 1;
    const second = 1 - ((event.clientY - box.top) / box.height) * 2;
    const inside = (/** @type {number} */ share) => Math.max(-1, Math.min(1, share)) * this.limit;
    return [inside(first), inside(second)];
  }

  /**
   * Lay a picture over the whole plane.
   * @param {CanvasImageSource} picture
   * @param {number} [opacity]
   */
  heat(picture, opacity = 1) {
    this.context.globalAlpha = opacity;
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(picture, 0, 0, this.size, this.size);
    this.context.globalAlpha = 1;
  }

  /**
   * Dots at codes, each in the color of its label.
   * @param {ArrayLike<number>} codes first, second, first, second, ...
   * @param {ArrayLike<number> | null} labels
   * @param {string[]} colors one a label
   * @param {{ radius?: number, opacity?: number, only?: number | null }} [look] `only`: the label that is not faded
   */
  dots(codes, labels, colors, { radius = 2.6, opacity = 0.85, only = null } = {}) {
    const { context } = this;
    for (let i = 0; i < codes.length / 2; i++) {
      const label = labels ? labels[i] : 0;
      const [x, y] = this.toScreen(codes[2 * i], codes[2 * i + 1]);
      context.globalAlpha = only === null || only === label ? opacity : 0.08;
      context.fillStyle = colors[label];
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** Two thin lines through zero and the numbers at the ends. */
  axes() {
    const { context, size } = this;
    context.strokeStyle = cssColor(this.canvas, "--touch-line");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(size / 2, 0);
    context.lineTo(size / 2, size);
    context.moveTo(0, size / 2);
    context.lineTo(size, size / 2);
    context.stroke();
    context.fillStyle = cssColor(this.canvas, "--touch-faint");
    context.font = "11px system-ui, sans-serif";
    const end = String(Math.round(this.limit * 10) / 10);
    context.fillText(`−${end}`, 4, size / 2 - 4);
    const width = context.measureText(end).width;
    context.fillText(end, size - width - 4, size / 2 - 4);
    context.fillText(end, size / 2 + 4, 12);
  }

  /**
   * A filled ring around a code.
   * @param {Point} code
   * @param {number} radius in pixels
   * @param {string} fill
   * @param {string} stroke
   * @returns {Point} its middle on the canvas
   */
  ring(code, radius, fill, stroke) {
    const { context } = this;
    const [x, y] = this.toScreen(...code);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = stroke;
    context.stroke();
    return [x, y];
  }

  /**
   * A few words in the lower left corner.
   * @param {string} text
   */
  note(text) {
    this.context.fillStyle = cssColor(this.canvas, "--touch-faint");
    this.context.font = "11px system-ui, sans-serif";
    this.context.fillText(text, 6, this.size - 7);
  }

  /**
   * A cross hair with a ring.
   * @param {number} first
   * @param {number} second
   */
  cursor(first, second) {
    const { context } = this;
    const [x, y] = this.toScreen(first, second);
    for (const [color, width] of /** @type {[string, number][]} */ ([
      ["#ffffff", 5],
      ["#16181c", 2],
    ])) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, 8, 0, 2 * Math.PI);
      context.moveTo(x - 13, y);
      context.lineTo(x - 4, y);
      context.moveTo(x + 4, y);
      context.lineTo(x + 13, y);
      context.moveTo(x, y - 13);
      context.lineTo(x, y - 4);
      context.moveTo(x, y + 4);
      context.lineTo(x, y + 13);
      context.stroke();
    }
  }
}

/**
 * @typedef {{ y: number, name?: string }} Mark a dashed line, with its name unless that stands elsewhere
 * @typedef {{ x: ArrayLike<number>, lines: { name: string, color: string, y: ArrayLike<number> }[], at?: number,
 *             logarithmic?: boolean, low?: number, high?: number, marks?: Mark[],
 *             label?: string }} Chart `at`: the x of the cursor; `label`: the name of the horizontal axis
 */

const MARGIN = { left: 44, right: 10, top: 16, bottom: 22 };

/**
 * Lines over a common horizontal axis, with a cursor: losses of a training, likelihoods of a width.
 * What lies above the chart is drawn along its upper edge.
 * @param {HTMLCanvasElement} canvas
 * @param {Chart} chart
 */
export function drawLines(canvas, chart) {
  const { context, width, height } = fitCanvas(canvas);
  const scale = scaleOf(chart, width, height);
  const ink = cssColor(canvas, "--touch-paper-ink");
  context.fillStyle = cssColor(canvas, "--touch-paper");
  context.fillRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 1;
  context.strokeStyle = cssColor(canvas, "--touch-line");
  context.strokeRect(scale.left, scale.top, scale.right - scale.left, scale.bottom - scale.top);
  context.fillStyle = ink;
  context.strokeStyle = ink;
  writeEnds(context, chart, scale);
  for (const mark of chart.marks ?? []) drawMark(context, mark, scale);
  context.save();
  context.beginPath();
  context.rect(scale.left, scale.top - 1, scale.right - scale.left, scale.bottom - scale.top + 2);
  context.clip();
  for (const line of chart.lines) drawLine(context, chart.x, line, scale);
  context.restore();
  for (const mark of chart.marks ?? []) nameMark(context, mark, scale);
  if (chart.at !== undefined)
    strokeBetween(context, scale.toX(chart.at), scale.top - 6, scale.toX(chart.at), scale.bottom);
}

/** @typedef {ReturnType<typeof scaleOf>} Scale */

/** @param {Chart} chart @param {number} width @param {number} height */
function scaleOf({ x, lines, logarithmic, low, high }, width, height) {
  const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
  const values = lines.flatMap((line) => Array.from(line.y)).filter(Number.isFinite);
  const [floor, ceiling] = [low ?? Math.min(...values), high ?? Math.max(...values)];
  const inner = (/** @type {number} */ value) => (logarithmic ? Math.log(value) : value);
  const [start, end] = [inner(x[0]), inner(x[x.length - 1])];
  return {
    ...{ left, right, top, bottom, floor, ceiling },
    toX: (/** @type {number} */ value) =>
      left + ((right - left) * (inner(value) - start)) / (end - start || 1),
    toY: (/** @type {number} */ value) =>
      bottom - ((bottom - top) * (value - floor)) / (ceiling - floor || 1),
  };
}

/** @param {CanvasRenderingContext2D} context @param {Chart} chart @param {Scale} scale */
function writeEnds(context, { x, label = "" }, { left, right, top, bottom, floor, ceiling }) {
  context.textAlign = "right";
  context.fillText(shortNumber(ceiling), left - 4, top + 8);
  context.fillText(shortNumber(floor), left - 4, bottom);
  context.fillText(shortNumber(x[x.length - 1]), right, bottom + 15);
  context.textAlign = "center";
  context.fillText(label, (left + right) / 2, bottom + 15);
  context.textAlign = "left";
  context.fillText(shortNumber(x[0]), left, bottom + 15);
}

/**
 * A dashed line across the chart.
 * @param {CanvasRenderingContext2D} context @param {Mark} mark @param {Scale} scale
 */
function drawMark(context, { y }, { left, right, toY }) {
  context.setLineDash([4, 4]);
  strokeBetween(context, left, toY(y), right, toY(y));
  context.setLineDash([]);
}

/**
 * Its name, edged with paper so that it can be read over a curve.
 * @param {CanvasRenderingContext2D} context @param {Mark} mark @param {Scale} scale
 */
function nameMark(context, { y, name = "" }, { right, top, toY }) {
  const above = toY(y) - 4;
  const baseline = above > top + 9 ? above : above + 15;
  context.save();
  context.textAlign = "right";
  context.lineJoin = "round";
  context.lineWidth = 3;
  context.strokeStyle = cssColor(context.canvas, "--touch-paper");
  context.strokeText(name, right - 4, baseline);
  context.fillText(name, right - 4, baseline);
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context @param {ArrayLike<number>} x @param {Chart["lines"][0]} line
 * @param {Scale} scale
 */
function drawLine(context, x, { color, y }, { toX, toY, top, ceiling }) {
  context.strokeStyle = color;
  context.lineWidth = 1.6;
  context.beginPath();
  for (let i = 0; i < x.length; i++) {
    const [from, to] = [toX(x[i - 1]), toX(x[i])];
    if (y[i - 1] > ceiling !== y[i] > ceiling)
      context.lineTo(from + ((to - from) * (ceiling - y[i - 1])) / (y[i] - y[i - 1]), top);
    context.lineTo(to, toY(Math.min(y[i], ceiling)));
  }
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} fromX @param {number} fromY @param {number} toX @param {number} toY
 */
function strokeBetween(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

/**
 * A number in few characters.
 * @param {number} value
 * @returns {string}
 */
export function shortNumber(value) {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US").replace("-", "−");
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(0).replace(/-/g, "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}
