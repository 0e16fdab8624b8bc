// A drawing of lines in the plane, from pointer, finger or keyboard: the reader's own prior.
//
//   const drawing = new Drawing();  drawing.begin(point);  drawing.extend(point);  drawing.undo();

/** @typedef {[number, number]} Point */

const SPACING = 0.06; // points closer together than this add nothing

export class Drawing {
  /** @type {Point[][]} */
  strokes = [];

  /** @param {Point} point */
  begin(point) {
    this.strokes.push([point]);
  }

  /** @param {Point} point */
  extend(point) {
    const stroke = this.strokes[this.strokes.length - 1];
    const [x, y] = stroke[stroke.length - 1];
    if (Math.hypot(point[0] - x, point[1] - y) >= SPACING) stroke.push(point);
  }

  undo() {
    this.strokes.pop();
  }

  clear() {
    this.strokes.length = 0;
  }

  /**
   * Draw the lines over a plane.
   * @param {import("./plot.js").Plane} plane
   * @param {string} color
   */
  show(plane, color) {
    const { context } = plane;
    context.strokeStyle = color;
    context.lineWidth = 3;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      for (const point of [stroke[0], ...stroke]) context.lineTo(...plane.toScreen(...point));
      context.stroke();
    }
  }
}
