// What is looked at: the layer, the pointer, the selection, the filter. Every part of the explorer draws from here.
import { toggled } from "../shared/dom.js";

export const LABELS = 118; // room for a token's text left of its row, in pixels

let views = 0; // a number for each view on the page

/** The experts, side by side, at the same place in every part. */
export class Axis {
  constructor(experts) {
    [this.experts, this.width, this.right] = [experts, 600, 12];
  }

  get cell() {
    return (this.width - LABELS - this.right) / this.experts;
  }

  /** The left edge of an expert, on a device pixel, so that columns stay crisp. */
  x(expert) {
    const ratio = window.devicePixelRatio || 1;
    return Math.round((LABELS + expert * this.cell) * ratio) / ratio;
  }

  /** The expert at a place, or -1. */
  expert(x) {
    const at = Math.floor((x - LABELS) / this.cell);
    return x >= LABELS && at < this.experts ? at : -1;
  }
}

export class Scene {
  constructor(store, model) {
    [this.store, this.model] = [store, model];
    this.axis = new Axis(store.experts);
    [this.row, this.token, this.expert] = [0, -1, -1]; // the pointer's token and expert
    [this.tokens, this.experts] = [new Set(), new Set()];
    this.filter = { modality: null, role: null, script: null };
    [this.keep, this.shown] = [null, null];
    [this.parts, this.wishes] = [[], new Set()];
    this.tone = "entropy"; // what tints the text while no expert is looked at
    [this.view, this.seq] = [`${Date.now()}-${(views += 1)}`, 0]; // who speaks, and how often it has
  }

  get layer() {
    return this.store.facts.layers[this.row];
  }

  /** How many tokens are shown, and which is the one at a place. */
  get length() {
    return this.shown ? this.shown.length : this.store.count;
  }

  at(place) {
    return this.shown ? this.shown[place] : place;
  }

  /** The place of a token among those shown, or -1. */
  place(token) {
    if (!this.shown) return token < this.store.count ? token : -1;
    let [low, high] = [0, this.shown.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shown[middle] < token) low = middle + 1;
      else high = middle;
    }
    return this.shown[low] === token ? low : -1;
  }

  /** The experts that stand out: the one under the pointer, or else the selected ones. */
  get focus() {
    return this.expert >= 0 ? new Set([this.expert]) : this.experts;
  }

  /** A weight as a share of the scale, 0 … 1. */
  share(weight) {
    return weight / this.store.facts.scale_max;
  }

  /** The facet that tints the text: its 5th and 95th percentile in this layer, or null. */
  toneRange() {
    const layer = this.store.layers.get(this.row);
    if (!layer || this.tone === "plain") return null;
    const known = layer.ranges?.[this.tone];
    if (known?.count === layer.count) return known.range;
    const sorted = layer[this.tone].slice(0, layer.count).sort();
    const unit = this.tone === "expert_fraction" ? 1 / 65535 : Math.log2(Math.max(this.store.experts, 2)) / 65535;
    const range = [0.05, 0.95].map((share) => sorted[Math.floor(share * (sorted.length - 1))] * unit);
    layer.ranges = { ...layer.ranges, [this.tone]: { count: layer.count, range } };
    return range;
  }

  /** Where a token stands between the two, 0 … 1. */
  toneOf(token) {
    const range = this.toneRange();
    const facets = range && this.store.facets(this.row, token);
    if (!facets || range[1] <= range[0]) return 0;
    return Math.max(0, Math.min(1, (facets[this.tone] - range[0]) / (range[1] - range[0])));
  }

  /** Let every part draw what changed. Before the view is on a page nothing is drawn; then everything is. */
  tell(...what) {
    if (!this.inks) return;
    for (const part of this.parts) part.update(new Set(what));
  }

  point(token, expert) {
    if (token === this.token && expert === this.expert) return;
    [this.token, this.expert] = [token, expert];
    this.tell("hover");
  }

  goTo(row) {
    const to = Math.max(0, Math.min(this.store.facts.layers.length - 1, row));
    if (to === this.row) return;
    this.row = to;
    this.experts = new Set(); // expert 17 of the next layer is somebody else
    this.expert = -1;
    this.want([to]);
    this.tell("layer", "selection");
    this.post();
  }

  select({ tokens = this.tokens, experts = this.experts }) {
    [this.tokens, this.experts] = [tokens, experts];
    this.tell("selection");
    this.post();
  }

  /** Add to a selection, or begin it anew; choosing the only chosen one again lets go of it. */
  toggle(kind, value, adding) {
    this.select({ [kind]: toggled(this[kind], value, adding) });
  }

  setFilter(kind, value) {
    this.filter = { ...this.filter, [kind]: value };
    this.sift();
    this.tell("filter");
  }

  /** Work out which tokens the filter lets through. */
  sift() {
    const { codes, names, count } = this.store;
    const rules = Object.entries(this.filter)
      .filter(([, value]) => value !== null)
      .map(([kind, value]) => [codes[kind], names[kind].indexOf(value)]);
    if (!rules.length) [this.keep, this.shown] = [null, null];
    else {
      this.keep = new Uint8Array(count);
      for (let token = 0; token < count; token++) this.keep[token] = rules.every(([column, code]) => column[token] === code) ? 1 : 0;
      this.shown = Uint32Array.from({ length: this.keep.reduce((sum, one) => sum + one, 0) });
      for (let token = 0, place = 0; token < count; token++) if (this.keep[token]) this.shown[place++] = token;
    }
  }

  /** Ask Python for layers that have not arrived. A page without a kernel has them all, or does without. */
  want(rows) {
    const missing = rows.filter((row) => !this.store.has(row) && !this.wishes.has(row));
    if (!missing.length) return;
    missing.forEach((row) => this.wishes.add(row));
    this.model.send({ type: "layers", layer_indices: missing });
  }

  /** Tell Python what is selected, once the hand rests. */
  post() {
    clearTimeout(this.posting);
    this.posting = setTimeout(() => this.flush(), 60);
  }

  flush() {
    clearTimeout(this.posting);
    this.posting = 0;
    const said = { layer: this.layer, tokens: [...this.tokens].sort((a, b) => a - b), experts: [...this.experts].sort((a, b) => a - b) };
    this.seq += 1;
    this.model.send({ type: "select", view: this.view, seq: this.seq, ...said });
  }

  /** Take over what Python holds, unless it has yet to hear what was chosen here last. */
  adopt() {
    const ack = this.model.get("_ack") ?? {};
    if (ack.view === this.view) this.known = ack.seq;
    if (this.posting || (this.known ?? 0) < this.seq) return;
    const row = this.store.facts.layers.indexOf(this.model.get("layer"));
    const [tokens, experts] = [this.model.get("selected_tokens"), this.model.get("selected_experts")];
    const same = (set, list) => set.size === list.length && list.every((value) => set.has(value));
    const moved = row >= 0 && row !== this.row;
    if (!moved && same(this.tokens, tokens) && same(this.experts, experts)) return;
    if (moved) this.row = row;
    [this.tokens, this.experts] = [new Set(tokens), new Set(experts)];
    this.want([this.row]);
    this.tell("selection", ...(moved ? ["layer"] : []));
  }
}
