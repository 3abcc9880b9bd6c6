// Reads the buffers that gemma_lab/widgets/shared/wire.py packs: a length, a JSON header, aligned arrays.

/** @import { Buffer } from "./wire_types.js" */
/** @typedef {[type: string, shape: number[], offset: number]} ArrayEntry */
/** @typedef {{ arrays: Record<string, ArrayEntry>, meta: any }} Header */

export const FRACTION_STEPS = 65535; // steps of a fraction of sixteen bits

/** @type {Record<string, new (buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView>} */
const ARRAYS = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  int16: Int16Array,
  int32: Int32Array,
  float32: Float32Array,
};

/**
 * Return the arrays of a buffer by their names, with its `meta` and with the dimensions, `shapes`.
 * @template T
 * @param {Buffer | ArrayBuffer} buffer
 * @returns {T}
 */
export function unpack(buffer) {
  // A kernel's message puts a buffer anywhere: typed arrays need theirs aligned.
  const bytes =
    buffer instanceof ArrayBuffer
      ? buffer
      : buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  const length = new DataView(bytes).getUint32(0, true);
  /** @type {Header} */
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  /** @type {Record<string, number[]>} */
  const shapes = {};
  /** @type {Record<string, unknown>} */
  const unpacked = { meta: header.meta, shapes };
  for (const [name, [type, shape, offset]] of Object.entries(header.arrays)) {
    const size = shape.reduce((product, side) => product * side, 1);
    unpacked[name] = new ARRAYS[type](bytes, 4 + length + offset, size);
    shapes[name] = shape;
  }
  return /** @type {T} */ (unpacked);
}

/**
 * Return the strings whose UTF-8 is joined in `bytes` and ends at `ends`.
 * @param {Uint8Array} bytes
 * @param {Uint32Array} ends
 * @returns {string[]}
 */
export function strings(bytes, ends) {
  const decoder = new TextDecoder();
  let start = 0;
  return Array.from(ends, (end) => {
    const text = start === end ? "" : decoder.decode(bytes.subarray(start, end));
    start = end;
    return text;
  });
}
