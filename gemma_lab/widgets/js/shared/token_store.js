// The trace in the browser: the tokens, and of each layer that has arrived its experts and weights.
import { strings, unpack } from "./wire.js";

/** A typed array that grows at its end. */
function joined(known, start, added) {
  if (!known || start === 0) return added.slice();
  if (start + added.length > known.length) {
    const longer = new known.constructor(Math.max(start + added.length, 2 * known.length));
    longer.set(known);
    known = longer;
  }
  known.set(added, start);
  return known;
}

/** Controls that would act, also on a canvas, by their code. Joiners and marks that text needs stay. */
const ACTING = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const NAMES = { "\n": "⏎", "\t": "⇥", "\r": "␍" };

/** A token's text where it stands alone: spaces and line breaks seen, controls by their code. */
export function alone(text) {
  const seen = text.replace(ACTING, (sign) => NAMES[sign] ?? `U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return seen.replaceAll("▁", "␣").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length)) || "∅";
}

export class Store {
  constructor(facts) {
    this.facts = facts;
    [this.count, this.k, this.experts] = [0, facts.top_k, facts.experts];
    [this.texts, this.labels, this.layers] = [[], [], new Map()];
    this.codes = {};
    this.places = new Map(); // token -> where it lies in its medium
    this.scale = new Float32Array(facts.layers.length * facts.experts).fill(1);
    this.served = null; // [layers × experts] tokens, over everything
  }

  addTokens(buffer) {
    const part = unpack(buffer);
    const { start, count } = part.meta;
    [this.texts.length, this.labels.length] = [start, start];
    // concat, as a call takes no more than some 100,000 arguments
    this.texts = this.texts.concat(strings(part.text, part.text_ends));
    this.labels = this.labels.concat(strings(part.label, part.label_ends));
    this.readCodes(part, start);
    for (let at = 0; at < part.media_tokens.length; at++) {
      const [box, time] = [part.box.subarray(4 * at, 4 * at + 4), part.time_ms.subarray(2 * at, 2 * at + 2)];
      this.places.set(start + part.media_tokens[at], { medium: part.media_index[at], frame: part.frame[at], box, time });
    }
    this.count = start + count;
  }

  readCodes(part, start) {
    this.names ??= { modality: part.meta.modalities, role: part.meta.roles, direction: part.meta.directions, script: [] };
    for (const name of part.meta.scripts) if (!this.names.script.includes(name)) this.names.script.push(name);
    const script = part.script.map((code) => this.names.script.indexOf(part.meta.scripts[code]));
    for (const name of ["modality", "role", "direction", "generated", "cluster"]) this.codes[name] = joined(this.codes[name], start, part[name]);
    this.codes.script = joined(this.codes.script, start, script);
  }

  addLoads(buffer) {
    const part = unpack(buffer);
    [this.served, this.scale, this.servedTokens] = [part.token_counts, part.expert_scale, part.meta.tokens];
  }

  /** Take in layers, or the newest tokens of layers; returns the rows that changed. */
  addLayers(buffer) {
    const part = unpack(buffer);
    const { start, count } = part.meta;
    const [each, k] = [count * this.k, this.k];
    part.layer_indices.forEach((row, at) => {
      const known = this.layers.get(row);
      if (start > 0 && (known?.count ?? 0) < start) return; // older tokens of this layer are still to come
      const ids = part.expert_ids.subarray(at * each, (at + 1) * each);
      const weights = new Float32Array(each);
      part.gate_weights.subarray(at * each, (at + 1) * each).forEach((steps, place) => {
        weights[place] = (steps / 65535) * this.scale[row * this.experts + ids[place]];
      });
      this.layers.set(row, {
        count: start + count,
        ids: joined(known?.ids, start * k, ids),
        weights: joined(known?.weights, start * k, weights),
        entropy: joined(known?.entropy, start, part.entropy.subarray(at * count, (at + 1) * count)),
        expert_fraction: joined(known?.expert_fraction, start, part.expert_fraction.subarray(at * count, (at + 1) * count)),
      });
    });
    return [...part.layer_indices];
  }

  name(kind, token) {
    return this.names[kind][this.codes[kind][token]];
  }

  /** What a token is called where it stands alone: a picture's by where it lies, a sound's by when it is. */
  label(token) {
    const place = this.places.get(token);
    if (!place) return alone(this.labels[token] || this.texts[token]);
    const [x0, y0, x1, y1] = place.box;
    if (x0 >= 0 && x1 > x0 && y1 > y0) return `column ${Math.round(x0 / (x1 - x0)) + 1}, row ${Math.round(y0 / (y1 - y0)) + 1}`;
    return place.time[0] >= 0 ? `${(place.time[0] / 1000).toFixed(2)} s` : alone(this.labels[token]);
  }

  has(row) {
    return (this.layers.get(row)?.count ?? 0) >= this.count && this.count > 0;
  }

  /** The experts of a token, heaviest first, or null while its layer has not arrived. */
  chosen(row, token) {
    const layer = this.layers.get(row);
    if (!layer || token >= layer.count) return null;
    const found = [];
    for (let at = token * this.k; at < (token + 1) * this.k; at++) found.push({ expert: layer.ids[at], weight: layer.weights[at] });
    return found.sort((one, other) => other.weight - one.weight);
  }

  /** The weight that a layer gave one expert, or a set of them, on a token. */
  weight(row, token, experts) {
    const layer = this.layers.get(row);
    if (!layer || token >= layer.count) return 0;
    let sum = 0;
    for (let at = token * this.k; at < (token + 1) * this.k; at++) if (experts.has(layer.ids[at])) sum += layer.weights[at];
    return sum;
  }

  /** Entropy in bits and the experts' share of the output, 0 … 1. */
  facets(row, token) {
    const layer = this.layers.get(row);
    if (!layer || token >= layer.count) return null;
    return { entropy: (layer.entropy[token] / 65535) * Math.log2(Math.max(this.experts, 2)), expert_fraction: layer.expert_fraction[token] / 65535 };
  }

  /** The tokens of every expert of a layer, as one array and where each expert's begin. */
  index(row) {
    const layer = this.layers.get(row);
    if (!layer) return null;
    if (layer.index?.count === layer.count) return layer.index;
    const { ids, count } = layer;
    const starts = new Uint32Array(this.experts + 1);
    for (let at = 0; at < count * this.k; at++) starts[ids[at] + 1] += 1;
    for (let expert = 0; expert < this.experts; expert++) starts[expert + 1] += starts[expert];
    const [next, places] = [starts.slice(), new Uint32Array(count * this.k)];
    for (let at = 0; at < count * this.k; at++) places[next[ids[at]]++] = at;
    layer.index = { count, starts, places };
    return layer.index;
  }

  /** Call `hear` with each token that an expert served in a layer and its weight there, in reading order. */
  eachToken(row, expert, hear) {
    const index = this.index(row);
    if (!index) return;
    const { weights } = this.layers.get(row);
    for (let at = index.starts[expert]; at < index.starts[expert + 1]; at++) {
      const place = index.places[at];
      hear(Math.floor(place / this.k), weights[place]);
    }
  }

  /** How many of the tokens that `keep` lets through each expert of a layer served; null before it has arrived. */
  loads(row, keep) {
    if (!keep && this.served && this.servedTokens === this.count) return this.served.subarray(row * this.experts, (row + 1) * this.experts);
    const layer = this.layers.get(row);
    if (!layer) return null;
    const counts = new Uint32Array(this.experts);
    for (let token = 0, at = 0; token < layer.count; token++) {
      if (keep && !keep[token]) at += this.k;
      else for (let rank = 0; rank < this.k; rank++) counts[layer.ids[at++]] += 1;
    }
    return counts;
  }
}
