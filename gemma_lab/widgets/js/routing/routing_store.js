// The routing of a trace in the browser: of each layer that has arrived its experts and their weights.
import { joined, TokenStore } from "../shared/token_store.js";
import { FRACTION_STEPS, unpack } from "../shared/wire.js";

/** @import { Buffer, LayerBuffer, LoadBuffer, RoutingFacts } from "../shared/wire_types.js" */
/** @typedef {{ expert: number, weight: number }} Choice */
/** @typedef {"entropy" | "expert_fraction"} Facet */
/**
 * One layer: [tokens, k] experts and weights, [tokens] facets in steps of 1/65535.
 * @typedef {object} Layer
 * @property {number} count
 * @property {Uint8Array | Uint16Array} ids
 * @property {Float32Array} weights
 * @property {Uint16Array} entropy
 * @property {Uint16Array} expert_fraction
 * @property {ExpertIndex} [index]
 * @property {Partial<Record<Facet, { count: number, range: [number, number] }>>} [ranges]
 */
/**
 * The choices of every expert: their places in a layer's arrays, and where each expert's begin.
 * @typedef {{ count: number, starts: Uint32Array, places: Uint32Array }} ExpertIndex
 */

export class RoutingStore extends TokenStore {
  /** @param {RoutingFacts} facts */
  constructor(facts) {
    super();
    this.facts = facts;
    this.k = facts.top_k;
    this.experts = facts.experts;
    /** @type {Map<number, Layer>} */
    this.layers = new Map();
    /** @type {Float32Array} */
    this.scale = new Float32Array(facts.layers.length * facts.experts).fill(1);
    /** @type {Uint32Array | null} */
    this.tokenCounts = null; // [layers × experts], over all tokens
    this.countedTokens = 0;
  }

  /** @param {Buffer} buffer */
  addLoads(buffer) {
    /** @type {LoadBuffer} */
    const part = unpack(buffer);
    this.tokenCounts = part.token_counts;
    this.scale = part.expert_scale;
    this.countedTokens = part.meta.tokens;
  }

  /**
   * Add layers, or the newest tokens of layers; return the indices of the layers that changed.
   * @param {Buffer} buffer
   * @returns {number[]}
   */
  addLayers(buffer) {
    /** @type {LayerBuffer} */
    const part = unpack(buffer);
    const { start, count } = part.meta;
    const { k } = this;
    part.layer_indices.forEach((layerIndex, at) => {
      const known = this.layers.get(layerIndex);
      if (start > 0 && (known?.count ?? 0) < start) return; // earlier tokens of this layer have not arrived
      const choices = at * count * k;
      const ids = part.expert_ids.subarray(choices, choices + count * k);
      const weights = new Float32Array(count * k);
      for (let place = 0; place < weights.length; place++) {
        const scale = this.scale[layerIndex * this.experts + ids[place]];
        weights[place] = (part.gate_weights[choices + place] / FRACTION_STEPS) * scale;
      }
      const entropy = part.entropy.subarray(at * count, (at + 1) * count);
      const fraction = part.expert_fraction.subarray(at * count, (at + 1) * count);
      this.layers.set(layerIndex, {
        count: start + count,
        ids: joined(known?.ids, start * k, ids),
        weights: joined(known?.weights, start * k, weights),
        entropy: joined(known?.entropy, start, entropy),
        expert_fraction: joined(known?.expert_fraction, start, fraction),
      });
    });
    return [...part.layer_indices];
  }

  /**
   * Return whether a layer has arrived for all tokens.
   * @param {number} layerIndex
   */
  has(layerIndex) {
    return (this.layers.get(layerIndex)?.count ?? 0) >= this.count && this.count > 0;
  }

  /**
   * Return a layer if it has arrived for a token.
   * @param {number} layerIndex
   * @param {number} token
   */
  layerOf(layerIndex, token) {
    const layer = this.layers.get(layerIndex);
    return layer && token < layer.count ? layer : null;
  }

  /**
   * Return the experts of a token, heaviest first; null before its layer has arrived.
   * @param {number} layerIndex
   * @param {number} token
   * @returns {Choice[] | null}
   */
  chosen(layerIndex, token) {
    const layer = this.layerOf(layerIndex, token);
    if (!layer) return null;
    /** @type {Choice[]} */
    const choices = [];
    for (let at = token * this.k; at < (token + 1) * this.k; at++) {
      choices.push({ expert: layer.ids[at], weight: layer.weights[at] });
    }
    return choices.sort((one, other) => other.weight - one.weight);
  }

  /**
   * Return the weight that a layer gave to some experts on a token.
   * @param {number} layerIndex
   * @param {number} token
   * @param {Set<number>} experts
   */
  weight(layerIndex, token, experts) {
    const layer = this.layerOf(layerIndex, token);
    if (!layer) return 0;
    let sum = 0;
    for (let at = token * this.k; at < (token + 1) * this.k; at++) {
      if (experts.has(layer.ids[at])) sum += layer.weights[at];
    }
    return sum;
  }

  /**
   * Return the router's entropy in bits and the experts' fraction of the output, 0 … 1.
   * @param {number} layerIndex
   * @param {number} token
   * @returns {Record<Facet, number> | null}
   */
  facets(layerIndex, token) {
    const layer = this.layerOf(layerIndex, token);
    if (!layer) return null;
    return {
      entropy: (layer.entropy[token] / FRACTION_STEPS) * this.maxEntropy,
      expert_fraction: layer.expert_fraction[token] / FRACTION_STEPS,
    };
  }

  /** The entropy of an even choice among all experts, in bits. */
  get maxEntropy() {
    return Math.log2(Math.max(this.experts, 2));
  }

  /**
   * Return the choices of every expert of a layer; null before it has arrived.
   * @param {number} layerIndex
   * @returns {ExpertIndex | null}
   */
  expertIndex(layerIndex) {
    const layer = this.layers.get(layerIndex);
    if (!layer) return null;
    if (layer.index?.count === layer.count) return layer.index;
    const { ids, count } = layer;
    const starts = new Uint32Array(this.experts + 1);
    for (let at = 0; at < count * this.k; at++) starts[ids[at] + 1] += 1;
    for (let expert = 0; expert < this.experts; expert++) starts[expert + 1] += starts[expert];
    const next = starts.slice();
    const places = new Uint32Array(count * this.k);
    for (let at = 0; at < count * this.k; at++) {
      places[next[ids[at]]] = at;
      next[ids[at]] += 1;
    }
    layer.index = { count, starts, places };
    return layer.index;
  }

  /**
   * Call `visit` with each token that a layer routed to an expert, and its weight there, in reading order.
   * @param {number} layerIndex
   * @param {number} expert
   * @param {(token: number, weight: number) => void} visit
   */
  eachToken(layerIndex, expert, visit) {
    const index = this.expertIndex(layerIndex);
    const layer = this.layers.get(layerIndex);
    if (!index || !layer) return;
    for (let at = index.starts[expert]; at < index.starts[expert + 1]; at++) {
      const place = index.places[at];
      visit(Math.floor(place / this.k), layer.weights[place]);
    }
  }

  /**
   * Return how many of the tokens in `keep` a layer routed to each expert; null before it has arrived.
   * @param {number} layerIndex
   * @param {Uint8Array | null} keep
   * @returns {Uint32Array | null}
   */
  loads(layerIndex, keep) {
    if (!keep && this.tokenCounts && this.countedTokens === this.count) {
      return this.tokenCounts.subarray(layerIndex * this.experts, (layerIndex + 1) * this.experts);
    }
    const layer = this.layers.get(layerIndex);
    if (!layer) return null;
    const counts = new Uint32Array(this.experts);
    for (let token = 0; token < layer.count; token++) {
      if (keep && !keep[token]) continue;
      for (let at = token * this.k; at < (token + 1) * this.k; at++) counts[layer.ids[at]] += 1;
    }
    return counts;
  }
}
