// Numbers as the build packs them: base64, deflate, 16-bit floats, 8-bit rows.
//
//   const bytes = await inflate(fromBase64(text));
//   const weights = fromHalf(new Uint16Array(bytes.buffer, start, count));

/**
 * Bytes of a base64 text.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/**
 * Undo raw deflate.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Values of IEEE 754 half-precision floats.
 * @param {Uint16Array} halves
 * @returns {Float32Array}
 */
export function fromHalf(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31;
    const fraction = halves[i] & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24;
    values[i] = halves[i] >> 15 ? -size : size;
  }
  return values;
}

/**
 * Values of a matrix whose rows are 8-bit whole numbers times one scale each.
 * @param {Int8Array} whole rows x columns numbers from -127 to 127
 * @param {Float32Array} scales one a row
 * @returns {Float32Array}
 */
export function fromRows(whole, scales) {
  const columns = whole.length / scales.length;
  const values = new Float32Array(whole.length);
  for (let i = 0; i < whole.length; i++) values[i] = whole[i] * scales[(i / columns) | 0];
  return values;
}
