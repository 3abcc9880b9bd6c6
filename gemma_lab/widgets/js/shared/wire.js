// Reads the buffers that widgets/payload.py packs: a length, a JSON header, arrays at multiples of eight bytes.

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int16: Int16Array, int32: Int32Array, float32: Float32Array };

/** Return `{ meta, name: typed array, … }`; `shapes` holds the dimensions. */
export function unpack(view) {
  // A kernel's message puts a buffer anywhere: typed arrays need theirs aligned.
  const bytes = view.buffer ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : view;
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const found = { meta: header.meta, shapes: {} };
  for (const [name, [type, shape, offset]] of Object.entries(header.arrays)) {
    const size = shape.reduce((product, side) => product * side, 1);
    found[name] = new ARRAYS[type](bytes, 4 + length + offset, size);
    found.shapes[name] = shape;
  }
  return found;
}

/** Return the first token that a buffer is about. */
export function startOf(view) {
  return unpack(view).meta.start;
}

/** Return the strings whose UTF-8 is joined in `bytes` and ends at `ends`. */
export function strings(bytes, ends) {
  const decoder = new TextDecoder();
  let start = 0;
  return Array.from(ends, (end) => {
    const text = start === end ? "" : decoder.decode(bytes.subarray(start, end));
    start = end;
    return text;
  });
}
