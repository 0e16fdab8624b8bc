// A drawing as MNIST would hold it: fitted into 20 x 20 pixels, its center of mass in the middle of 28 x 28.
//
//   const image = toDigit(ink, 280);        280 x 280 numbers from 0 to 1 -> 784 numbers from 0 to 1

const SIDE = 28;
const BOX = 20;
const FAINT = 0.01;

/**
 * @param {ArrayLike<number>} ink size x size numbers from 0 (paper) to 1 (ink)
 * @param {number} size
 * @returns {Float32Array | null} (784), or null where nothing was drawn
 */
export function toDigit(ink, size) {
  const box = boundsOf(ink, size);
  if (!box) return null;
  const scale = BOX / Math.max(box.right - box.left, box.bottom - box.top);
  const width = Math.max(1, Math.round((box.right - box.left) * scale));
  const height = Math.max(1, Math.round((box.bottom - box.top) * scale));
  const small = shrunk(ink, size, box, width, height);
  return centered(small, width, height);
}

/**
 * The smallest box around the ink.
 * @param {ArrayLike<number>} ink
 * @param {number} size
 */
function boundsOf(ink, size) {
  const box = { left: size, right: 0, top: size, bottom: 0 };
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (ink[y * size + x] <= FAINT) continue;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
    }
  }
  return box.right ? box : null;
}

/**
 * Each new pixel is the mean of the old ones that it covers, those at its edges in part.
 * @param {ArrayLike<number>} ink
 * @param {number} size
 * @param {{ left: number, right: number, top: number, bottom: number }} box
 * @param {number} width
 * @param {number} height
 */
function shrunk(ink, size, box, width, height) {
  const columns = coverage(box.left, box.right, width);
  const rows = coverage(box.top, box.bottom, height);
  const small = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (const [row, high] of rows[y]) {
        for (const [column, wide] of columns[x]) sum += high * wide * ink[row * size + column];
      }
      small[y * width + x] = sum;
    }
  }
  return small;
}

/**
 * For each of `count` parts of a range, the old pixels that it covers and their shares, which add up to one.
 * @param {number} start
 * @param {number} end
 * @param {number} count
 * @returns {[number, number][][]}
 */
function coverage(start, end, count) {
  const length = (end - start) / count;
  return Array.from({ length: count }, (_, part) => {
    const [from, to] = [start + part * length, start + (part + 1) * length];
    /** @type {[number, number][]} */
    const shares = [];
    for (let pixel = Math.floor(from); pixel < Math.min(end, Math.ceil(to - 1e-9)); pixel++) {
      shares.push([pixel, (Math.min(to, pixel + 1) - Math.max(from, pixel)) / length]);
    }
    return shares;
  });
}

/**
 * Move whole pixels, so that the center of mass comes to pixel 14, counted from 0 as MNIST does it.
 * @param {Float32Array} small
 * @param {number} width
 * @param {number} height
 */
function centered(small, width, height) {
  let [mass, right, down] = [0, 0, 0];
  for (let i = 0; i < small.length; i++) {
    mass += small[i];
    right += small[i] * (i % width);
    down += small[i] * Math.floor(i / width);
  }
  const inside = (/** @type {number} */ shift, /** @type {number} */ length) =>
    Math.max(0, Math.min(SIDE - length, Math.round(shift)));
  const left = inside(SIDE / 2 - right / mass, width);
  const top = inside(SIDE / 2 - down / mass, height);
  const image = new Float32Array(SIDE * SIDE);
  for (let i = 0; i < small.length; i++) {
    image[(top + Math.floor(i / width)) * SIDE + left + (i % width)] = small[i];
  }
  return image;
}
