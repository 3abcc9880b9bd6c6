// The attention of a trace in the browser: maps of the layers that arrived, chunks of top keys, full rows.
import { number } from "../shared/format.js";
import { TokenStore } from "../shared/token_store.js";
import { FRACTION_STEPS, unpack } from "../shared/wire.js";

/** @import { AttentionFacts, Buffer, GridBuffer, KeyBuffer } from "../shared/wire_types.js" */
/** @import { MapBuffer, RowBuffer } from "../shared/wire_types.js" */
/** @typedef {{ key: number, weight: number, bin?: number }} WeightedKey */
/**
 * Where a token attends to (or which queries attend to it), as exactly as it is known.
 * @typedef {object} AttentionRow
 * @property {"full" | "map" | "top" | "pooled"} source Full rows, maps of one token per bin, top keys, bins.
 * @property {(key: number) => number} weight The weight of any key.
 * @property {WeightedKey[]} list The heaviest keys.
 * @property {boolean} [listed] Of maps: whether the list is of top keys, exact.
 */
/**
 * An attention row with the weight at which its colour scale ends, and any key's share of that scale.
 * @typedef {AttentionRow & { top: number, share: (key: number) => number }} ScaledRow
 */
/**
 * @typedef {object} RowStatistics
 * @property {number} entropy In nats.
 * @property {number} distance In tokens.
 * @property {number} first The weight of the first token.
 * @property {[label: string, mass: number][]} masses
 */

const RANKED_KEYS = 8;
const NO_BUFFER = { meta: { side: 1, measures: [] }, shapes: {} };

export class AttentionStore extends TokenStore {
  /** @param {AttentionFacts} facts */
  constructor(facts) {
    super();
    this.facts = facts;
    this.heads = facts.heads;
    this.layouts = facts.layers;
    this.edges = facts.bin_edges;
    this.bins = facts.bin_edges.length - 1;
    /** @type {GridBuffer} */
    this.grid = { ...NO_BUFFER, thumbnails: new Uint8Array(), means: new Float32Array() };
    /** @type {Map<number, MapBuffer>} */
    this.maps = new Map(); // by layer index
    /** @type {Map<string, KeyBuffer>} */
    this.chunks = new Map(); // by layer index and first query
    /** @type {Map<string, { weights: Uint16Array, keys: number }>} */
    this.fullRows = new Map(); // by layer index and query
    this.version = 0; // grows with everything that arrives
  }

  /**
   * Return the key-value head that a head reads from; `head` is its index among those recorded.
   * @param {number} layerIndex
   * @param {number} head
   */
  kvHead(layerIndex, head) {
    const { heads, kv_heads: kvHeads } = this.layouts[layerIndex];
    return Math.floor((this.heads[head] * kvHeads) / heads);
  }

  /** Whether every bin is one token, so that the map holds every row. */
  get isUnbinned() {
    return this.bins === this.facts.tokens;
  }

  /** @param {Buffer} buffer */
  addGrid(buffer) {
    this.grid = unpack(buffer);
  }

  /** @param {Buffer} buffer */
  addMaps(buffer) {
    /** @type {MapBuffer} */
    const part = unpack(buffer);
    this.maps.set(part.meta.layer_index, part);
    this.version += 1;
  }

  /** @param {Buffer} buffer */
  addKeys(buffer) {
    /** @type {KeyBuffer} */
    const part = unpack(buffer);
    this.chunks.set(`${part.meta.layer_index}:${part.meta.start}`, part);
    this.version += 1;
  }

  /** @param {Buffer} buffer */
  addRows(buffer) {
    /** @type {RowBuffer} */
    const part = unpack(buffer);
    for (const [name, shape] of Object.entries(part.shapes)) {
      const query = Number(name.slice("row_".length));
      const weights = part[`row_${query}`];
      this.fullRows.set(`${part.meta.layer_index}:${query}`, { weights, keys: shape[1] });
    }
    this.version += 1;
  }

  /**
   * Return the bin of a token.
   * @param {number} token
   */
  bin(token) {
    let low = 0;
    let high = this.bins - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.edges[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /**
   * Return how many tokens a bin holds.
   * @param {number} bin
   */
  binSize(bin) {
    return this.edges[bin + 1] - this.edges[bin];
  }

  /**
   * Return the tokens of a bin, in words.
   * @param {number} bin
   */
  span(bin) {
    const first = this.edges[bin];
    const last = this.edges[bin + 1] - 1;
    return first === last ? number(first) : `${number(first)}–${number(last)}`;
  }

  /**
   * Return the mean weight that a bin of queries gives a bin of keys, without the first token.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   * @param {number} key
   */
  cell(layerIndex, head, query, key) {
    const part = this.maps.get(layerIndex);
    return part ? (part.maps[(head * this.bins + query) * this.bins + key] / 255) ** 2 : 0;
  }

  /**
   * Return the mean weight that a bin of queries gives the first token.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   */
  firstToken(layerIndex, head, query) {
    const part = this.maps.get(layerIndex);
    return part ? part.first_token[head * this.bins + query] / FRACTION_STEPS : 0;
  }

  /**
   * Return the chunk of a query, and the query's index in its arrays, [heads, queries]; null if not here.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   */
  chunkOf(layerIndex, head, query) {
    const part = this.chunks.get(`${layerIndex}:${query - (query % this.facts.chunk)}`);
    const within = part ? query - part.meta.start : 0;
    return part && within < part.meta.count ? { part, at: head * part.meta.count + within } : null;
  }

  /**
   * Return the top keys of a row, exact, heaviest first; null if they have not arrived.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   * @returns {WeightedKey[] | null}
   */
  topKeys(layerIndex, head, query) {
    const { part, at } = this.chunkOf(layerIndex, head, query) ?? {};
    if (!part?.keys || !part.key_weights || at === undefined) return null;
    const { keys, key_weights: weights } = part;
    const { k } = part.meta;
    const none = keys.BYTES_PER_ELEMENT === 2 ? 65535 : 4294967295;
    /** @type {WeightedKey[]} */
    const list = [];
    for (let place = at * k; place < (at + 1) * k; place++) {
      if (keys[place] !== none && weights[place]) {
        list.push({ key: keys[place], weight: weights[place] / FRACTION_STEPS });
      }
    }
    return list;
  }

  /**
   * Return a full row in steps of 1/65535, or null.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   */
  fullRow(layerIndex, head, query) {
    const row = this.fullRows.get(`${layerIndex}:${query}`);
    return row ? row.weights.subarray(head * row.keys, (head + 1) * row.keys) : null;
  }

  /**
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   * @returns {RowStatistics | null}
   */
  statistics(layerIndex, head, query) {
    const { part, at } = this.chunkOf(layerIndex, head, query) ?? {};
    if (!part || at === undefined) return null;
    const { entropy, distance, first_token: first, mass } = part;
    if (!entropy || !distance || !first || !mass) return null;
    const total = this.facts.tokens;
    return {
      entropy: (entropy[at] / FRACTION_STEPS) * Math.log(total + 1),
      distance: (distance[at] / FRACTION_STEPS) * total,
      first: first[at] / FRACTION_STEPS,
      masses: part.meta.labels.map((label, index) => [label, mass[index * entropy.length + at] / 255]),
    };
  }

  /**
   * Return where a token attends to, as exactly as it is known here; null before its layer has arrived.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   * @returns {AttentionRow | null}
   */
  rowOf(layerIndex, head, query) {
    const list = this.topKeys(layerIndex, head, query) ?? [];
    const listed = new Map(list.map(({ key, weight }) => [key, weight]));
    const full = this.fullRow(layerIndex, head, query);
    if (full) {
      /** @param {number} key */
      const weight = (key) => (full[key] ?? 0) / FRACTION_STEPS;
      return { source: "full", weight, list: list.length ? list : heaviest(full.length, weight) };
    }
    const hasMap = this.maps.has(layerIndex);
    if (this.isUnbinned && hasMap) {
      /** @param {number} key */
      const weight = (key) => listed.get(key) ?? this.weightOf(layerIndex, head, query, key);
      const top = list.length ? list : heaviest(this.bins, weight);
      return { source: "map", weight, list: top, listed: list.length > 0 };
    }
    if (list.length) return { source: "top", weight: (key) => listed.get(key) ?? 0, list };
    if (!hasMap) return null;
    const bin = this.bin(query);
    /** @param {number} key */
    const cell = (key) => this.cell(layerIndex, head, bin, key);
    return this.pooledRow(cell, (key) => this.binSize(key));
  }

  /**
   * Return which queries attend to a token, from the map; of bins, each query has an even part of its cell.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} key
   * @returns {AttentionRow | null}
   */
  columnOf(layerIndex, head, key) {
    if (!this.maps.has(layerIndex)) return null;
    const bin = this.bin(key);
    /** @param {number} query */
    const weight = (query) =>
      key ? this.cell(layerIndex, head, query, bin) : this.firstToken(layerIndex, head, query);
    if (this.isUnbinned) return { source: "map", weight, list: heaviest(this.bins, weight) };
    return this.pooledRow(weight, () => (key ? this.binSize(bin) : 1));
  }

  /**
   * Return the weight of a key in a map of one token per bin.
   * @param {number} layerIndex
   * @param {number} head
   * @param {number} query
   * @param {number} key
   */
  weightOf(layerIndex, head, query, key) {
    return key ? this.cell(layerIndex, head, query, key) : this.firstToken(layerIndex, head, query);
  }

  /**
   * Return a row of bins; the weight of a bin is spread evenly over its tokens.
   * @param {(bin: number) => number} weight
   * @param {(bin: number) => number} size
   * @returns {AttentionRow}
   */
  pooledRow(weight, size) {
    const list = heaviest(this.bins, weight).map((one) => ({
      ...one,
      bin: one.key,
      key: this.edges[one.key],
    }));
    /** @param {number} token */
    const spread = (token) => weight(this.bin(token)) / size(this.bin(token));
    return { source: "pooled", list, weight: spread };
  }
}

/**
 * Return the heaviest of `count` weights, heaviest first.
 * @param {number} count
 * @param {(key: number) => number} weight
 * @returns {WeightedKey[]}
 */
export function heaviest(count, weight) {
  /** @type {WeightedKey[]} */
  const list = [];
  for (let key = 0; key < count; key++) {
    const value = weight(key);
    if (!(value > 0) || (list.length === RANKED_KEYS && value <= list[RANKED_KEYS - 1].weight)) continue;
    let rank = list.length;
    while (rank > 0 && list[rank - 1].weight < value) rank -= 1;
    list.splice(rank, 0, { key, weight: value });
    if (list.length > RANKED_KEYS) list.pop();
  }
  return list;
}

/**
 * Give a row a colour scale. The first token is most heads' sink: the others get a scale of their own.
 * @param {AttentionRow} row
 * @param {boolean} toward
 * @returns {ScaledRow}
 */
export function scaledRow(row, toward) {
  const second = row.list.find(({ key }) => key > 0);
  const top = (toward ? row.list[0] : second)?.weight || row.list[0]?.weight || 1;
  const unit = row.source === "pooled" ? row.weight(second?.key ?? 0) || 1 : top;
  return { ...row, top, share: (key) => Math.min(1, row.weight(key) / unit) };
}
