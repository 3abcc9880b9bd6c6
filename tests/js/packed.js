// Buffers as gemma_lab/widgets/shared/wire.py packs them, written independently of the code under test.

/** @typedef {Uint8Array | Uint16Array | Uint32Array | Int16Array | Int32Array | Float32Array} Values */

/** @type {Record<string, string>} */
const NAMES = {
  Uint8Array: "uint8",
  Uint16Array: "uint16",
  Uint32Array: "uint32",
  Int16Array: "int16",
  Int32Array: "int32",
  Float32Array: "float32",
};

/**
 * @param {Record<string, [values: Values, shape: number[]]>} arrays
 * @param {object} meta
 * @param {number} [shift] Bytes before the buffer in its memory: a kernel's message aligns nothing.
 * @returns {DataView<ArrayBuffer>}
 */
export function packed(arrays, meta, shift = 0) {
  /** @type {Record<string, [string, number[], number]>} */
  const header = {};
  /** @type {[number, Uint8Array][]} */
  const chunks = [];
  let offset = 0;
  for (const [name, [values, shape]] of Object.entries(arrays)) {
    header[name] = [NAMES[values.constructor.name], shape, offset];
    chunks.push([offset, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]);
    offset += Math.ceil(values.byteLength / 8) * 8;
  }
  let text = JSON.stringify({ arrays: header, meta });
  while ((text.length + 4) % 8) text += " ";
  const bytes = new Uint8Array(shift + 4 + text.length + offset);
  new DataView(bytes.buffer).setUint32(shift, text.length, true);
  bytes.set(new TextEncoder().encode(text), shift + 4);
  for (const [at, chunk] of chunks) bytes.set(chunk, shift + 4 + text.length + at);
  return new DataView(bytes.buffer, shift);
}

/**
 * @param {string[]} values
 * @returns {[text: Uint8Array, ends: Uint32Array]}
 */
export function utf8(values) {
  const parts = values.map((value) => new TextEncoder().encode(value));
  let end = 0;
  const ends = parts.map((part) => {
    end += part.length;
    return end;
  });
  return [Uint8Array.from(parts.flatMap((part) => [...part])), Uint32Array.from(ends)];
}

/**
 * How generated tokens were drawn, as arrays.
 * @typedef {object} Draws
 * @property {number[]} tokens
 * @property {number[]} logprob
 * @property {number[]} forbidden
 * @property {number[]} overruled
 * @property {number[]} drafted
 * @property {string[]} first
 */

/**
 * @param {Draws} draws
 * @returns {Record<string, [any, number[]]>}
 */
function packedDraws({ tokens: rows, logprob, forbidden, overruled, drafted, first }) {
  const [text, ends] = utf8(first);
  const count = rows.length;
  return {
    draw_tokens: [Uint32Array.from(rows), [count]],
    logprob: [Float32Array.from(logprob), [count]],
    forbidden: [Float32Array.from(forbidden), [count]],
    overruled: [Uint8Array.from(overruled), [count]],
    drafted: [Uint8Array.from(drafted), [count]],
    first_choice: [text, [text.length]],
    first_choice_ends: [ends, [count]],
  };
}

/**
 * Pack a token buffer of words.
 * @param {string[]} texts
 * @param {{
 *   start?: number, generated?: number[], scripts?: string[], media?: number[], draws?: Draws
 * }} [options]
 */
export function tokens(texts, { start = 0, generated = [], scripts = ["Latn"], media = [], draws } = {}) {
  const count = texts.length;
  const [text, ends] = utf8(texts);
  const [label, labelEnds] = utf8(texts.map((value) => (value ? "" : "<piece>")));
  const boxes = media.flatMap((_, at) => [16 * at, 0, 16 * (at + 1), 16]);
  const zeros = () => new Uint8Array(count);
  return packed(
    {
      text: [text, [text.length]],
      text_ends: [ends, [count]],
      label: [label, [label.length]],
      label_ends: [labelEnds, [count]],
      modality: [Uint8Array.from(texts, (_, at) => (media.includes(at) ? 1 : 0)), [count]],
      role: [zeros(), [count]],
      script: [zeros(), [count]],
      direction: [zeros(), [count]],
      generated: [Uint8Array.from(texts, (_, at) => (generated.includes(at) ? 1 : 0)), [count]],
      cluster: [Int32Array.from(texts, (_, at) => start + at), [count]],
      media_tokens: [Uint32Array.from(media), [media.length]],
      media_index: [new Int16Array(media.length), [media.length]],
      box: [Int32Array.from(boxes), [media.length, 4]],
      time_ms: [new Int32Array(2 * media.length).fill(-1), [media.length, 2]],
      frame: [new Int16Array(media.length).fill(-1), [media.length]],
      ...(draws ? packedDraws(draws) : {}),
    },
    {
      start,
      count,
      modalities: ["text", "image"],
      roles: ["user"],
      scripts,
      directions: ["ltr"],
    },
  );
}

/** A widget model that answers from a table and keeps what it was sent. */
export class FakeModel {
  /** @param {{ [trait: string]: any }} traits */
  constructor(traits) {
    this.traits = traits;
    /** @type {any[]} */
    this.sent = [];
  }

  /** @param {string} name */
  get(name) {
    return this.traits[name];
  }

  /** @param {any} message */
  send(message) {
    this.sent.push(message);
  }

  on() {}

  off() {}
}
