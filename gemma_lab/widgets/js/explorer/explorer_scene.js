// The state of a combined explorer: the token that is shown, and the summary of the row behind it.
import { heaviest, scaledRow } from "../attention/attention_store.js";
import { toggled } from "../shared/dom.js";
import { Scene, sameValues } from "../shared/scene.js";
import { TokenStore } from "../shared/token_store.js";
import { FRACTION_STEPS, unpack } from "../shared/wire.js";

/** @import { ExplorerModel, SummaryBuffer } from "../shared/wire_types.js" */
/** @import { ScaledRow } from "../attention/attention_store.js" */
/** @typedef {{ layer: number, head: number, key: number, weight: number }} Edge */
/** @typedef {{ expert: number, share: number }} ExpertShare */
/** @typedef {{ list: { word: string, probability: number }[], rank: number }} LensWords */

export class ExplorerScene extends Scene {
  /** @param {ExplorerModel} model */
  constructor(model) {
    super();
    this.model = model;
    this.facts = model.get("_facts");
    this.store = new TokenStore();
    this.store.addTokens(model.get("_tokens"));
    /** @type {SummaryBuffer} */
    this.summary = unpack(model.get("_summary"));
    this.indices = indexOf(this.summary.rows);
    this.lensIndices = indexOf(this.summary.lens_positions ?? new Uint32Array());
    this.token = -1; // under the pointer
    this.key = -1;
    this.layer = -1; // under the pointer, by its number
    this.tokens = new Set(model.get("selected_tokens"));
    this.epoch = this.facts.epoch;
    this.tone = "attention"; // what tints the text
    this.feature = model.get("feature") ?? -1; // of an SAE, or none
    if (this.feature >= 0) this.tone = "feature";
    /** @type {{ feature: number, shares: Map<number, number>, top: number } | null} */
    this.tinted = null;
    this.toward = false;
    /** @type {{ name: string, row: ScaledRow | null }} */
    this.cached = { name: "", row: null };
    /** @type {(token: number) => void} */
    this.reveal = () => {};
  }

  /** The token that is shown: the one under the pointer, or else the one selected last. */
  get reading() {
    if (this.token >= 0) return this.token;
    return [...this.tokens].at(-1) ?? -1;
  }

  /**
   * Return the row that decided a token: of a generated one, the row before it.
   * @param {number} token
   */
  rowBehind(token) {
    return this.store.codes.generated[token] ? Math.max(0, token - 1) : token;
  }

  /** The index of the row behind the token that is shown, or -1. */
  get rowIndex() {
    return this.reading < 0 ? -1 : (this.indices.get(this.rowBehind(this.reading)) ?? -1);
  }

  /** The indices of the layers that are shown: the one under the pointer, or all. */
  get shownLayers() {
    const layers = this.summary.meta.attention?.layers ?? [];
    const at = layers.indexOf(this.layer);
    return at >= 0 ? [at] : [...layers.keys()];
  }

  /** The mean attention of the row behind the token, over the heads of the shown layers, from top keys. */
  get row() {
    const { summary, rowIndex: at, shownLayers } = this;
    const { keys, key_weights: weights } = summary;
    if (at < 0 || !keys || !weights) return null;
    const name = `${at}:${this.layer}`;
    if (this.cached.name === name) return this.cached.row;
    const count = summary.rows.length;
    const k = summary.shapes.keys[2];
    /** @type {Map<number, number>} */
    const sums = new Map();
    for (const layerIndex of shownLayers) {
      const from = (layerIndex * count + at) * k;
      for (let place = from; place < from + k; place++) {
        const weight = weights[place] / FRACTION_STEPS / shownLayers.length;
        if (weight) sums.set(keys[place], (sums.get(keys[place]) ?? 0) + weight);
      }
    }
    const known = [...sums].sort((one, other) => one[0] - other[0]);
    const list = heaviest(known.length, (index) => known[index][1]);
    const named = list.map(({ key, weight }) => ({ key: known[key][0], weight }));
    /** @param {number} key */
    const weight = (key) => sums.get(key) ?? 0;
    const row = scaledRow({ source: "top", list: named, weight }, false);
    this.cached = { name, row };
    return row;
  }

  /** The heaviest single weights of the row, in any head of any layer, without the first token. */
  get edges() {
    const { summary, rowIndex: at } = this;
    const { top_edges: edges, edge_weights: weights, meta } = summary;
    if (at < 0 || !edges || !weights || !meta.attention) return [];
    const { layers, heads } = meta.attention;
    const count = summary.shapes.top_edges[1];
    /** @type {Edge[]} */
    const list = [];
    for (let place = at * count; place < (at + 1) * count; place++) {
      const [layerIndex, head, key] = edges.subarray(3 * place, 3 * place + 3);
      const weight = weights[place] / FRACTION_STEPS;
      if (weight) list.push({ layer: layers[layerIndex], head: heads[head], key, weight });
    }
    return list;
  }

  /**
   * Return the experts of the row in a layer, with their shares of the colour scale.
   * @param {number} layerIndex
   * @returns {ExpertShare[]}
   */
  experts(layerIndex) {
    const { summary, rowIndex: at } = this;
    const { expert_ids: ids, expert_weights: weights } = summary;
    if (at < 0 || !ids || !weights) return [];
    const k = summary.shapes.expert_ids[2];
    const from = (layerIndex * summary.rows.length + at) * k;
    return Array.from({ length: k }, (_, rank) => {
      return { expert: ids[from + rank], share: weights[from + rank] / FRACTION_STEPS };
    });
  }

  /**
   * Return the logit lens of a layer at the row, most probable first; null where it was not recorded.
   * @param {number} layerIndex
   * @returns {LensWords | null}
   */
  lensWords(layerIndex) {
    const { lens_positions: positions, top_words: words, probabilities, final_ranks: ranks } = this.summary;
    const lens = this.summary.meta.logit_lens;
    const at = this.reading < 0 ? undefined : this.lensIndices.get(this.rowBehind(this.reading));
    if (at === undefined || !lens || !positions || !words || !probabilities || !ranks) return null;
    const place = layerIndex * positions.length + at;
    const list = Array.from({ length: lens.k }, (_, rank) => ({
      word: lens.words[words[place * lens.k + rank]],
      probability: probabilities[place * lens.k + rank] / FRACTION_STEPS,
    }));
    return { list, rank: ranks[place] };
  }

  /**
   * Return the strongest features of a row, with their shares of the largest activation.
   * @param {number} row
   */
  featuresOf(row) {
    const { feature_ids: ids, feature_values: values, meta } = this.summary;
    const kept = meta.features?.kept ?? 0;
    if (row < 0 || !ids || !values) return [];
    const found = Array.from({ length: kept }, (_, rank) => {
      return { feature: ids[row * kept + rank], share: values[row * kept + rank] / FRACTION_STEPS };
    });
    return found.filter(({ share }) => share > 0);
  }

  /** The shares of the tinting feature by token, and the largest of them. */
  get featureShares() {
    const { feature_ids: ids, feature_values: values, meta } = this.summary;
    const kept = meta.features?.kept ?? 0;
    if (this.tinted?.feature === this.feature) return this.tinted;
    /** @type {Map<number, number>} */
    const shares = new Map();
    let top = 0;
    if (ids && values && this.feature >= 0) {
      ids.forEach((id, at) => {
        if (id !== this.feature || !values[at]) return;
        const share = values[at] / FRACTION_STEPS;
        shares.set(Math.floor(at / kept), share);
        top = Math.max(top, share);
      });
    }
    this.tinted = { feature: this.feature, shares, top };
    return this.tinted;
  }

  /** The largest share of the tinting feature, and how many tokens have it. */
  get featureRange() {
    const { shares, top } = this.featureShares;
    return { top, tokens: shares.size };
  }

  /**
   * Return the share of the tinting feature at a token.
   * @param {number} token
   */
  featureAt(token) {
    return this.featureShares.shares.get(token) ?? 0;
  }

  /**
   * Tint the text by a feature; by attention if it is the one that tints it already.
   * @param {number} feature
   */
  tintByFeature(feature) {
    const off = feature === this.feature && this.tone === "feature";
    this.feature = off ? -1 : feature;
    this.tone = off ? "attention" : "feature";
    this.notify("feature", "tone");
    this.post();
  }

  /** The keys that the row attends to most, in words. */
  describe() {
    const keys = (this.row?.list ?? []).filter(({ key }) => key > 0).slice(0, 3);
    const names = keys.map(({ key }) => this.store.label(key));
    return names.length ? `attends to ${names.join(", ")}` : "nothing is known of its row";
  }

  /**
   * @param {number} token
   * @param {number} [key]
   */
  point(token, key = -1) {
    if (token === this.token && key === this.key) return;
    this.token = token;
    this.key = key;
    this.notify("hover");
  }

  /**
   * Show only the heads, experts and words of one layer, by its number; -1 for all.
   * @param {number} layer
   */
  pointLayer(layer) {
    if (layer === this.layer) return;
    this.layer = layer;
    this.notify("layer");
  }

  stepLayer() {}

  /**
   * @param {number} token
   * @param {boolean} adding
   */
  toggleToken(token, adding) {
    this.select(toggled(this.tokens, token, adding));
  }

  clearSelection() {
    this.select(new Set());
  }

  /** @param {Set<number>} tokens */
  select(tokens) {
    this.tokens = tokens;
    this.notify("selection");
    this.post();
  }

  /**
   * @param {string} view
   * @param {number} seq
   */
  sendSelection(view, seq) {
    this.model.send({ type: "select", view, seq, tokens: [...this.tokens], feature: this.feature });
  }

  /** Take the selection that Python holds, unless it has not received this view's latest one. */
  syncFromModel() {
    if (!this.isCurrent(this.model.get("_ack"))) return;
    const feature = this.model.get("feature");
    if (feature !== this.feature) {
      this.feature = feature;
      this.tone = feature >= 0 ? "feature" : "attention";
      this.notify("feature", "tone");
    }
    const tokens = this.model.get("selected_tokens");
    if (sameValues(this.tokens, tokens) && [...this.tokens].at(-1) === tokens.at(-1)) return;
    this.tokens = new Set(tokens);
    this.notify("selection");
  }
}

/** @param {Uint32Array} values */
function indexOf(values) {
  return new Map(Array.from(values, (value, at) => [value, at]));
}
