// The tokens of a trace in the browser: texts, codes, positions in media.
import { visibleText } from "./dom.js";
import { number } from "./format.js";
import { roleName } from "./roles.js";
import { strings, unpack } from "./wire.js";

/** @import { Buffer, TokenBuffer } from "./wire_types.js" */
/** @import { OpenImage } from "./images.js" */
/** @import { Draw } from "./tints.js" */
/** @typedef {"modality" | "role" | "script" | "direction"} NamedColumn */
/** @typedef {NamedColumn | "generated" | "cluster"} Column */
/** @typedef {Uint8Array | Int32Array} Codes */
/**
 * Where a token lies in its medium: four pixels, or two milliseconds; -1 where there are none.
 * @typedef {{ medium: number, frame: number, box: Int32Array, time: Int32Array }} MediaPosition
 */

/** @type {Column[]} */
const COLUMNS = ["modality", "role", "script", "direction", "generated", "cluster"];

/**
 * Return an array that holds `added` from `start` on; it grows by doubling.
 * @template {Uint8Array | Uint16Array | Int32Array | Float32Array} T
 * @param {T | undefined} known
 * @param {number} start
 * @param {T} added
 * @returns {T}
 */
export function joined(known, start, added) {
  if (!known || start === 0) return /** @type {T} */ (added.slice());
  let array = known;
  if (start + added.length > known.length) {
    const Kind = /** @type {new (length: number) => T} */ (known.constructor);
    array = new Kind(Math.max(start + added.length, 2 * known.length));
    array.set(known);
  }
  array.set(added, start);
  return array;
}

export class TokenStore {
  constructor() {
    this.count = 0;
    /** @type {string[]} */
    this.texts = [];
    /** @type {string[]} */
    this.labels = []; // of tokens without a text
    /** @type {Record<Column, Codes>} */
    this.codes = {
      modality: new Uint8Array(),
      role: new Uint8Array(),
      script: new Uint8Array(),
      direction: new Uint8Array(),
      generated: new Uint8Array(),
      cluster: new Int32Array(),
    };
    /** @type {Record<NamedColumn, string[]>} */
    this.names = { modality: [], role: [], script: [], direction: [] };
    /** @type {Map<number, MediaPosition>} */
    this.positions = new Map(); // by token
    /** @type {Map<number, Draw>} */
    this.draws = new Map(); // how generated tokens were drawn, by token
    /** @type {OpenImage[]} */
    this.images = [];
  }

  /**
   * Add tokens, or replace those from the first of them on.
   * @param {Buffer} buffer
   */
  addTokens(buffer) {
    /** @type {TokenBuffer} */
    const part = unpack(buffer);
    const { start, count } = part.meta;
    // concat, as a call takes no more than some 100,000 arguments
    this.texts = this.texts.slice(0, start).concat(strings(part.text, part.text_ends));
    this.labels = this.labels.slice(0, start).concat(strings(part.label, part.label_ends));
    this.addCodes(part);
    part.media_tokens.forEach((token, at) => {
      this.positions.set(start + token, {
        medium: part.media_index[at],
        frame: part.frame[at],
        box: part.box.subarray(4 * at, 4 * at + 4),
        time: part.time_ms.subarray(2 * at, 2 * at + 2),
      });
    });
    this.addDraws(part);
    this.count = start + count;
  }

  /** @param {TokenBuffer} part */
  addDraws(part) {
    const { draw_tokens: tokens, logprob, forbidden, overruled, drafted, first_choice: first } = part;
    if (!tokens || !logprob || !forbidden || !overruled || !drafted || !first) return;
    const names = strings(first, part.first_choice_ends ?? new Uint32Array());
    tokens.forEach((token, at) => {
      this.draws.set(part.meta.start + token, {
        logprob: logprob[at],
        forbidden: Number.isNaN(forbidden[at]) ? null : forbidden[at],
        firstChoice: names[at] ?? "",
        overruled: overruled[at] === 1,
        drafted: drafted[at] === 0 ? null : drafted[at] === 2,
      });
    });
  }

  /**
   * Return how the tokens that make up a character were drawn.
   * @param {number} token
   */
  drawsOf(token) {
    /** @type {Draw[]} */
    const draws = [];
    this.eachOfCharacter(token, (at) => {
      const draw = this.draws.get(at);
      if (draw) draws.push(draw);
    });
    return draws;
  }

  /** @param {TokenBuffer} part */
  addCodes(part) {
    const { start, modalities, roles, directions, scripts } = part.meta;
    this.names.modality = modalities;
    this.names.role = roles;
    this.names.direction = directions;
    for (const name of scripts) if (!this.names.script.includes(name)) this.names.script.push(name);
    const script = part.script.map((code) => this.names.script.indexOf(scripts[code]));
    const added = { ...part, script };
    for (const column of COLUMNS) this.codes[column] = joined(this.codes[column], start, added[column]);
  }

  /**
   * @param {NamedColumn} column
   * @param {number} token
   * @returns {string}
   */
  name(column, token) {
    return this.names[column][this.codes[column][token]];
  }

  /**
   * Return the name of a token out of context: an image patch by its column and row, audio by its time.
   * @param {number} token
   * @returns {string}
   */
  label(token) {
    const position = this.positions.get(token);
    if (!position) return visibleText(this.labels[token] || this.texts[token]);
    const [x0, y0, x1, y1] = position.box;
    if (x0 >= 0 && x1 > x0 && y1 > y0) {
      return `column ${Math.round(x0 / (x1 - x0)) + 1}, row ${Math.round(y0 / (y1 - y0)) + 1}`;
    }
    const [start] = position.time;
    return start >= 0 ? `${(start / 1000).toFixed(2)} s` : visibleText(this.labels[token]);
  }

  /**
   * Return the first characters of a token's label.
   * @param {number} token
   * @param {number} length
   */
  shortLabel(token, length) {
    return [...this.label(token)].slice(0, length).join("");
  }

  /**
   * Return where a token is and what it is, in words.
   * @param {number} token
   * @returns {string[]}
   */
  describe(token) {
    const role = roleName(this.name("role", token));
    const words = [`token ${number(token)}`, role, this.name("modality", token)];
    const position = this.positions.get(token);
    if (position && position.box[0] >= 0) {
      const [x0, y0, x1, y1] = position.box;
      words.push(`pixels ${x0}–${x1} × ${y0}–${y1}`);
    }
    if (position && position.time[0] >= 0) words.push(`${(position.time[0] / 1000).toFixed(2)} s`);
    if (this.codes.generated[token]) words.push("generated");
    return words.filter(Boolean);
  }

  /**
   * Call `visit` with a token and those before it that make up the same character.
   * @param {number} token
   * @param {(token: number) => void} visit
   */
  eachOfCharacter(token, visit) {
    const { cluster } = this.codes;
    for (let at = token; at >= 0 && cluster[at] === cluster[token]; at--) visit(at);
  }
}
