// The state of a routing view: the layer, the pointer, the selection, the filter. Every part draws from it.
import { toggled } from "../shared/dom.js";
import { Scene, sameValues } from "../shared/scene.js";
import { FRACTION_STEPS } from "../shared/wire.js";

/** @import { RoutingModel } from "../shared/wire_types.js" */
/** @import { NamedColumn } from "../shared/token_store.js" */
/** @import { Facet, RoutingStore } from "./routing_store.js" */
/** @typedef {"modality" | "role" | "script"} FilterColumn */

export const LABELS = 132; // width of the tokens' labels left of the heat map, in pixels
/** @type {FilterColumn[]} */
export const FILTER_COLUMNS = ["modality", "role", "script"];

/** The experts, side by side, at the same place in every part. */
export class Axis {
  /** @param {number} experts */
  constructor(experts) {
    this.experts = experts;
    this.width = 600;
    this.right = 12;
  }

  /** The width of an expert's column, in pixels. */
  get cell() {
    return (this.width - LABELS - this.right) / this.experts;
  }

  /**
   * Return the left edge of an expert, on a device pixel, so that columns stay crisp.
   * @param {number} expert
   */
  x(expert) {
    const ratio = window.devicePixelRatio || 1;
    return Math.round((LABELS + expert * this.cell) * ratio) / ratio;
  }

  /**
   * Return the expert at a position, or -1.
   * @param {number} x
   */
  expert(x) {
    const at = Math.floor((x - LABELS) / this.cell);
    return x >= LABELS && at < this.experts ? at : -1;
  }

  /** The distance of labelled experts. */
  get tickStep() {
    return this.experts > 32 ? 16 : this.experts > 8 ? 4 : 1;
  }
}

export class RoutingScene extends Scene {
  /**
   * @param {RoutingStore} store
   * @param {RoutingModel} model
   */
  constructor(store, model) {
    super();
    this.store = store;
    this.model = model;
    this.axis = new Axis(store.experts);
    this.layerIndex = 0;
    this.token = -1; // under the pointer
    this.expert = -1;
    /** @type {Set<number>} */
    this.tokens = new Set();
    /** @type {Set<number>} */
    this.experts = new Set();
    /** @type {Record<FilterColumn, string | null>} */
    this.filter = { modality: null, role: null, script: null };
    /** @type {Uint8Array | null} */
    this.keep = null; // 1 for the tokens that the filter lets through
    /** @type {Uint32Array | null} */
    this.shown = null; // those tokens
    /** @type {Set<number>} */
    this.requested = new Set(); // layers asked of Python
    this.tone = "entropy"; // what tints the text while no expert is focused: a facet, "plain" or one of TINTS
    this.epoch = store.facts.epoch;
    this.live = false;
    this.peakLoad = 1; // the largest load of the overview
    /** @type {(token: number) => void} */
    this.reveal = () => {};
  }

  /**
   * The facet of the router that tints the text, or null.
   * @returns {Facet | null}
   */
  get facet() {
    return this.tone === "entropy" || this.tone === "expert_fraction" ? this.tone : null;
  }

  /** The number of the layer in the model. */
  get layer() {
    return this.store.facts.layers[this.layerIndex];
  }

  /** How many tokens the filter lets through. */
  get length() {
    return this.shown ? this.shown.length : this.store.count;
  }

  /**
   * Return the token at a place among those shown.
   * @param {number} place
   */
  at(place) {
    return this.shown ? this.shown[place] : place;
  }

  /**
   * Return the place of a token among those shown, or -1.
   * @param {number} token
   */
  place(token) {
    if (!this.shown) return token < this.store.count ? token : -1;
    let low = 0;
    let high = this.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shown[middle] < token) low = middle + 1;
      else high = middle;
    }
    return this.shown[low] === token ? low : -1;
  }

  /** The focused experts: the one under the pointer, or else the selected ones. */
  get focus() {
    return this.expert >= 0 ? new Set([this.expert]) : this.experts;
  }

  /**
   * Return a weight as a share of the colour scale.
   * @param {number} weight
   */
  share(weight) {
    return weight / this.store.facts.scale_max;
  }

  /**
   * Return the 5th and the 95th percentile of the facet that tints the text, in this layer.
   * @returns {[number, number] | null}
   */
  toneRange() {
    const { facet: tone, store } = this;
    const layer = store.layers.get(this.layerIndex);
    if (!layer || !tone) return null;
    const known = layer.ranges?.[tone];
    if (known?.count === layer.count) return known.range;
    const sorted = layer[tone].slice(0, layer.count).sort();
    const unit = (tone === "expert_fraction" ? 1 : store.maxEntropy) / FRACTION_STEPS;
    /** @param {number} share */
    const percentile = (share) => sorted[Math.floor(share * (sorted.length - 1))] * unit;
    /** @type {[number, number]} */
    const range = [percentile(0.05), percentile(0.95)];
    layer.ranges = { ...layer.ranges, [tone]: { count: layer.count, range } };
    return range;
  }

  /**
   * Return where a token's facet lies between the two, 0 … 1.
   * @param {number} token
   */
  toneOf(token) {
    const { facet } = this;
    const range = this.toneRange();
    const facets = this.store.facets(this.layerIndex, token);
    if (!range || !facets || !facet || range[1] <= range[0]) return 0;
    return Math.max(0, Math.min(1, (facets[facet] - range[0]) / (range[1] - range[0])));
  }

  /**
   * @param {number} token
   * @param {number} [expert]
   */
  point(token, expert = -1) {
    if (token === this.token && expert === this.expert) return;
    this.token = token;
    this.expert = expert;
    this.notify("hover");
  }

  /** @param {number} layerIndex */
  goTo(layerIndex) {
    const to = Math.max(0, Math.min(this.store.facts.layers.length - 1, layerIndex));
    if (to === this.layerIndex) return;
    this.layerIndex = to;
    this.experts = new Set(); // the experts of another layer are others
    this.expert = -1;
    this.requestLayers([to]);
    this.notify("layer", "selection");
    this.post();
  }

  /** @param {number} step */
  stepLayer(step) {
    this.goTo(this.layerIndex + step);
  }

  /** @param {{ tokens?: Set<number>, experts?: Set<number> }} selection */
  select({ tokens = this.tokens, experts = this.experts }) {
    this.tokens = tokens;
    this.experts = experts;
    this.notify("selection");
    this.post();
  }

  clearSelection() {
    this.select({ tokens: new Set(), experts: new Set() });
  }

  /**
   * @param {number} token
   * @param {boolean} adding
   */
  toggleToken(token, adding) {
    this.select({ tokens: toggled(this.tokens, token, adding) });
  }

  /**
   * @param {number} expert
   * @param {boolean} adding
   */
  toggleExpert(expert, adding) {
    this.select({ experts: toggled(this.experts, expert, adding) });
  }

  /**
   * @param {FilterColumn} column
   * @param {string | null} value
   */
  setFilter(column, value) {
    this.filter = { ...this.filter, [column]: value };
    this.applyFilter();
    this.notify("filter");
  }

  /** Find the tokens that the filter lets through. */
  applyFilter() {
    const { codes, names, count } = this.store;
    /** @type {[NamedColumn, number][]} */
    const rules = [];
    for (const column of FILTER_COLUMNS) {
      const value = this.filter[column];
      if (value !== null) rules.push([column, names[column].indexOf(value)]);
    }
    this.keep = null;
    this.shown = null;
    if (!rules.length) return;
    this.keep = new Uint8Array(count);
    const shown = [];
    for (let token = 0; token < count; token++) {
      if (!rules.every(([column, code]) => codes[column][token] === code)) continue;
      this.keep[token] = 1;
      shown.push(token);
    }
    this.shown = Uint32Array.from(shown);
  }

  /**
   * Ask Python for layers that have not arrived.
   * @param {number[]} layerIndices
   */
  requestLayers(layerIndices) {
    const missing = layerIndices.filter((index) => !this.store.has(index) && !this.requested.has(index));
    if (!missing.length) return;
    for (const index of missing) this.requested.add(index);
    this.model.send({ type: "layers", layer_indices: missing });
  }

  /**
   * @param {string} view
   * @param {number} seq
   */
  sendSelection(view, seq) {
    const { layer } = this;
    const tokens = sorted(this.tokens);
    const experts = sorted(this.experts);
    this.model.send({ type: "select", view, seq, layer, tokens, experts });
  }

  /** Take the selection that Python holds, unless it has not received this view's latest one. */
  syncFromModel() {
    if (!this.isCurrent(this.model.get("_ack"))) return;
    const layerIndex = this.store.facts.layers.indexOf(this.model.get("layer"));
    const tokens = this.model.get("selected_tokens");
    const experts = this.model.get("selected_experts");
    const moved = layerIndex >= 0 && layerIndex !== this.layerIndex;
    if (!moved && sameValues(this.tokens, tokens) && sameValues(this.experts, experts)) return;
    if (moved) this.layerIndex = layerIndex;
    this.tokens = new Set(tokens);
    this.experts = new Set(experts);
    this.requestLayers([this.layerIndex]);
    this.notify("selection", ...(moved ? ["layer"] : []));
  }
}

/** @param {Set<number>} values */
function sorted(values) {
  return [...values].sort((one, other) => one - other);
}
