// One trace and the token that is read in it: what stands behind it, in all layers or in the one pointed at.
import { toggled } from "../shared/dom.js";
import { Store } from "../shared/token_store.js";
import { unpack } from "../shared/wire.js";

const [STEPS_IN_ONE, LISTED] = [65535, 8];
let glances = 0; // a number for each view on the page

export class Glance {
  constructor(model) {
    this.model = model;
    this.facts = model.get("_facts");
    this.store = new Store({ layers: [], experts: 0, top_k: 0 });
    this.store.addTokens(model.get("_tokens"));
    this.part = unpack(model.get("_summary"));
    this.places = new Map(Array.from(this.part.rows, (row, at) => [row, at]));
    this.seen = new Map(Array.from(this.part.lens_positions ?? [], (row, at) => [row, at]));
    [this.token, this.key, this.layer] = [-1, -1, -1]; // under the pointer: a token, and a layer by its number
    [this.tokens, this.keep, this.live, this.epoch, this.parts] = [new Set(model.get("selected_tokens")), null, false, 0, []];
    [this.view, this.seq] = [`${Date.now()}-${(glances += 1)}`, 0];
    this.scene = { toward: false }; // what the text asks of the attention explorer's scene
  }

  get reading() {
    if (this.token >= 0) return this.token;
    return this.tokens.size ? [...this.tokens].at(-1) : -1;
  }

  get focus() {
    return this.reading >= 0 ? new Set([this.reading]) : new Set();
  }

  /** The row behind a token: of one that the model wrote, the row before it. */
  behind(token) {
    return this.store.codes.generated[token] ? Math.max(0, token - 1) : token;
  }

  index(row) {
    return this.places.get(row) ?? -1;
  }

  /** The layers whose heads are meant, as places: the one pointed at, or all. */
  get meant() {
    const { layers } = this.part.meta.attention;
    const at = layers.indexOf(this.layer);
    return at >= 0 ? [at] : layers.map((_, place) => place);
  }

  /** What the row behind the token looked at: the mean of all heads that are meant, from their heaviest keys. */
  get looks() {
    const at = this.reading < 0 || !this.part.keys ? -1 : this.index(this.behind(this.reading));
    if (at < 0) return null;
    const name = `${at}:${this.layer}`;
    if (this.named !== name) {
      const [count, k] = [this.part.rows.length, this.part.shapes.keys[2]];
      const found = new Map();
      const { meant } = this;
      for (const place of meant) {
        for (let rank = 0, from = (place * count + at) * k; rank < k; rank++, from++) {
          const share = this.part.key_weights[from] / STEPS_IN_ONE / meant.length;
          if (share) found.set(this.part.keys[from], (found.get(this.part.keys[from]) ?? 0) + share);
        }
      }
      const list = [...found].map(([key, weight]) => ({ key, weight })).sort((one, other) => other.weight - one.weight || one.key - other.key);
      const top = list.find(({ key }) => key > 0)?.weight || 1;
      const weight = (key) => found.get(key) ?? 0;
      [this.named, this.found] = [name, { how: "heaviest", list: list.slice(0, LISTED), top, weight, share: (key) => Math.min(1, weight(key) / top) }];
    }
    return this.found;
  }

  /** The strongest single looks of the row, in the layers that are meant. */
  get singles() {
    const at = this.reading < 0 || !this.part.top_edges ? -1 : this.index(this.behind(this.reading));
    if (at < 0) return [];
    const { layers, heads } = this.part.meta.attention;
    const [found, many] = [[], this.part.shapes.top_edges[1]];
    for (let rank = 0; rank < many; rank++) {
      const weight = this.part.edge_weights[at * many + rank] / STEPS_IN_ONE;
      const [place, head, key] = this.part.top_edges.subarray(3 * (at * many + rank), 3 * (at * many + rank) + 3);
      if (weight) found.push({ layer: layers[place], head: heads[head], key, weight });
    }
    return found;
  }

  /** The experts of the row in a layer, by its place: expert and share of the heaviest weight. */
  experts(place) {
    const at = this.reading < 0 ? -1 : this.index(this.behind(this.reading));
    if (at < 0) return [];
    const [count, k] = [this.part.rows.length, this.part.shapes.expert_ids[2]];
    const from = (place * count + at) * k;
    return Array.from({ length: k }, (_, rank) => ({ expert: this.part.expert_ids[from + rank], share: this.part.expert_weights[from + rank] / STEPS_IN_ONE }));
  }

  /** What a layer would have said there, likeliest first; null if the lens did not look. */
  said(place) {
    const at = this.reading < 0 ? undefined : this.seen.get(this.behind(this.reading));
    if (at === undefined) return null;
    const { words, k } = this.part.meta.logit_lens;
    const [count, from] = [this.part.lens_positions.length, (place * this.part.lens_positions.length + at) * k];
    const list = Array.from({ length: k }, (_, rank) => ({ word: words[this.part.top_words[from + rank]], chance: this.part.probabilities[from + rank] / STEPS_IN_ONE }));
    return { list, rank: this.part.final_ranks[place * count + at] };
  }

  inWords() {
    const names = (this.looks?.list ?? []).filter(({ key }) => key > 0).slice(0, 3).map(({ key }) => this.store.label(key));
    return names.length ? `looked at ${names.join(", ")}` : "nothing is known of its row";
  }

  tell(...what) {
    if (!this.inks) return;
    const told = new Set(what);
    for (const part of this.parts) part.update(told);
  }

  point(token, key = -1) {
    if (token === this.token && key === this.key) return;
    [this.token, this.key] = [token, key];
    this.tell("hover");
  }

  /** Only this layer's heads, experts and words, by its number; -1 for all. */
  pointLayer(layer) {
    if (layer === this.layer) return;
    this.layer = layer;
    this.tell("layer");
  }

  goTo() {}

  toggle(_kind, token, adding) {
    this.select({ tokens: toggled(this.tokens, token, adding) });
  }

  select({ tokens }) {
    this.tokens = tokens;
    this.tell("selection");
    clearTimeout(this.posting);
    this.posting = setTimeout(() => {
      this.posting = 0;
      this.seq += 1;
      this.model.send({ type: "select", view: this.view, seq: this.seq, tokens: [...this.tokens] });
    }, 60);
  }

  /** Take over what Python holds, unless it has yet to hear what was chosen here last. */
  adopt() {
    const ack = this.model.get("_ack") ?? {};
    if (ack.view === this.view) this.known = ack.seq;
    if (this.posting || (this.known ?? 0) < this.seq) return;
    const tokens = this.model.get("selected_tokens");
    if (String([...this.tokens]) === String(tokens)) return;
    this.tokens = new Set(tokens);
    this.tell("selection");
  }
}
