// One trace's attention in the browser: maps of the layers that arrived, heaviest keys by the stretch, whole rows.
import { Store } from "../shared/token_store.js";
import { unpack } from "../shared/wire.js";

const FULL = 65535;
const HEAVIEST = 8;

export class Looks extends Store {
  constructor(facts) {
    super({ layers: facts.layers.map(({ layer }) => layer), experts: 0, top_k: 0 });
    this.facts = facts;
    [this.heads, this.edges, this.bins] = [facts.heads, facts.bin_edges, facts.bin_edges.length - 1];
    this.layouts = facts.layers;
    [this.maps, this.chunks, this.wholes] = [new Map(), new Map(), new Map()];
    this.version = 0; // grows with everything that arrives
  }

  /** The key-value head that a head of a layer reads from; `head` is its place among those captured. */
  group(row, head) {
    const { heads, kv_heads: pairs } = this.layouts[row];
    return Math.floor((this.heads[head] * pairs) / heads);
  }

  /** Whether a bin is a token, so that the map is every row. */
  get fine() {
    return this.bins === this.facts.tokens;
  }

  addGrid(buffer) {
    this.grid = unpack(buffer);
  }

  addMaps(buffer) {
    const part = unpack(buffer);
    this.maps.set(part.meta.layer_index, part);
    this.version += 1;
  }

  addKeys(buffer) {
    const part = unpack(buffer);
    this.chunks.set(`${part.meta.layer_index}:${part.meta.start}`, part);
    this.version += 1;
  }

  addRows(buffer) {
    const part = unpack(buffer);
    for (const [name, shape] of Object.entries(part.shapes)) {
      this.wholes.set(`${part.meta.layer_index}:${name.slice(4)}`, { weights: part[name], keys: shape[1] });
    }
    this.version += 1;
  }

  bin(token) {
    let [low, high] = [0, this.bins - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.edges[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Which tokens a bin holds, in words. */
  span(bin) {
    const [first, last] = [this.edges[bin], this.edges[bin + 1] - 1];
    return first === last ? first.toLocaleString("en") : `${first.toLocaleString("en")}–${last.toLocaleString("en")}`;
  }

  /** The mean share of a row that a bin of queries gives a bin of keys, the first token left out; null if not here. */
  cell(row, head, query, key) {
    const part = this.maps.get(row);
    if (!part) return null;
    return (part.maps[(head * this.bins + query) * this.bins + key] / 255) ** 2;
  }

  /** The mean share on the first token. */
  sink(row, head, query) {
    const part = this.maps.get(row);
    return part ? part.first_token[head * this.bins + query] / FULL : null;
  }

  chunkOf(row, query) {
    const { chunk } = this.facts;
    return this.chunks.get(`${row}:${query - (query % chunk)}`) ?? null;
  }

  /** The heaviest keys of a row, exact, heaviest first; null if they have not arrived. */
  heaviest(row, head, query) {
    const part = this.chunkOf(row, query);
    if (!part?.keys || query - part.meta.start >= part.meta.count) return null;
    const [k, found] = [part.meta.k, []];
    const from = (head * part.meta.count + query - part.meta.start) * k;
    const nothing = part.keys.BYTES_PER_ELEMENT === 2 ? 65535 : 4294967295;
    for (let at = from; at < from + k; at++) if (part.keys[at] !== nothing && part.key_weights[at]) found.push({ key: part.keys[at], weight: part.key_weights[at] / FULL });
    return found;
  }

  /** A whole row of sixteen-bit shares, or null. */
  whole(row, head, query) {
    const part = this.wholes.get(`${row}:${query}`);
    return part ? part.weights.subarray(head * part.keys, (head + 1) * part.keys) : null;
  }

  /** Entropy in nats, distance in tokens, the first token's share and each kind's; null if unknown. */
  facts_of(row, head, query) {
    const part = this.chunkOf(row, query);
    if (!part?.entropy || query - part.meta.start >= part.meta.count) return null;
    const { count, labels } = part.meta;
    const at = head * count + query - part.meta.start;
    const total = this.facts.tokens;
    const heads = part.entropy.length / count;
    return {
      entropy: (part.entropy[at] / FULL) * Math.log(total + 1),
      distance: (part.distance[at] / FULL) * total,
      first: part.first_token[at] / FULL,
      masses: labels.map((label, which) => [label, part.mass[which * heads * count + at] / 255]),
    };
  }

  /** Where a token looks, as exactly as it is known here: how, a weight for any key, and the heaviest keys. */
  looks(row, head, query) {
    const list = this.heaviest(row, head, query);
    const known = list && new Map(list.map(({ key, weight }) => [key, weight]));
    const whole = this.whole(row, head, query);
    if (whole) return { how: "whole", weight: (key) => (whole[key] ?? 0) / FULL, list: list?.length ? list : ranked(whole.length, (key) => whole[key] / FULL), end: whole.length };
    if (this.fine && this.maps.has(row)) {
      const read = (key) => known?.get(key) ?? (key ? this.cell(row, head, query, key) : this.sink(row, head, query));
      return { how: "map", weight: read, list: list?.length ? list : ranked(this.bins, read), listed: Boolean(list?.length), end: this.bins };
    }
    if (list?.length) return { how: "heaviest", weight: (key) => known.get(key) ?? 0, list };
    if (!this.maps.has(row)) return null;
    return this.pooled(row, head, this.bin(query), (bin, key) => this.cell(row, head, bin, key));
  }

  /** Who looks at a token: queries by what they give it, from the map; of bins of tokens, an even part of the cell. */
  lookers(row, head, key) {
    if (!this.maps.has(row)) return null;
    const column = this.bin(key);
    if (this.fine) {
      const read = (query) => (key ? this.cell(row, head, query, column) : this.sink(row, head, query));
      return { how: "map", weight: read, list: ranked(this.bins, read), end: this.bins };
    }
    return this.pooled(row, head, column, (bin, other) => (key ? this.cell(row, head, other, bin) : this.sink(row, head, other)), key);
  }

  /** Bins instead of tokens: each token has its bin's share, spread evenly. */
  pooled(row, head, bin, read, key = -1) {
    const list = ranked(this.bins, (other) => read(bin, other)).map(({ key: other, weight }) => ({ bin: other, key: this.edges[other], weight }));
    const size = (other) => (key >= 0 ? (key ? this.edges[bin + 1] - this.edges[bin] : 1) : this.edges[other + 1] - this.edges[other]);
    return { how: "pooled", list, weight: (token) => read(bin, this.bin(token)) / size(this.bin(token)) };
  }
}

/** The heaviest of `count` weights, heaviest first. */
function ranked(count, weight) {
  const found = [];
  for (let key = 0; key < count; key++) {
    const value = weight(key);
    if (!(value > 0) || (found.length === HEAVIEST && value <= found[HEAVIEST - 1].weight)) continue;
    let place = found.length;
    while (place > 0 && found[place - 1].weight < value) place -= 1;
    found.splice(place, 0, { key, weight: value });
    if (found.length > HEAVIEST) found.pop();
  }
  return found;
}

/** A share as a percentage of two or three digits. */
export function part(share) {
  const value = 100 * share;
  if (value === 0) return "0 %";
  return value >= 99.95 ? "100 %" : value >= 10 ? `${value.toFixed(1)} %` : value >= 0.01 ? `${value.toPrecision(2)} %` : "< 0.01 %";
}

/** A distance in tokens, with a digit after the point only where it tells something. */
export function far(tokens) {
  return `${tokens < 100 ? tokens.toFixed(1) : Math.round(tokens).toLocaleString("en")} tokens`;
}
