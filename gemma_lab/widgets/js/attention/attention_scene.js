// What is looked at: one layer and head for all, and of each trace its pointer, its selection and its zoom.
import { toggled } from "../shared/dom.js";

let lookers = 0; // a number for each view on the page
const LEAST = 8; // tokens across the closest view

/** One trace: what the text, the map and the cards of that side draw from. */
export class Side {
  constructor(scene, index, store) {
    [this.scene, this.index, this.store] = [scene, index, store];
    [this.token, this.key] = [-1, -1]; // under the pointer: a token, and in the map the key
    [this.tokens, this.keep, this.live, this.epoch] = [new Set(), null, false, 0];
    [this.parts, this.wishes] = [[], new Set()];
    this.whole();
  }

  get row() {
    return this.scene.row;
  }

  get head() {
    return this.scene.head;
  }

  get inks() {
    return this.scene.inks;
  }

  get ramp() {
    return this.scene.ramp;
  }

  get layout() {
    return this.store.layouts[this.row];
  }

  /** What the text's parts ask of the routing explorer's scene: here, that something tints them. */
  get focus() {
    return this.reading >= 0 ? new Set([this.reading]) : new Set();
  }

  /** The token that is read: the one under the pointer, or else the one selected last. */
  get reading() {
    if (this.token >= 0) return this.token;
    return this.tokens.size ? [...this.tokens].at(-1) : -1;
  }

  /** Where the token that is read looks, or who looks at it; null while that has not arrived. */
  get looks() {
    const { store, row, head, reading, scene } = this;
    if (reading < 0) return null;
    const name = `${row}:${head}:${reading}:${scene.toward}:${store.version}`;
    if (this.named !== name) {
      const found = scene.toward ? store.lookers(row, head, reading) : store.looks(row, head, reading);
      // The first token is most heads' sink: the others get a scale of their own.
      const top = found?.list.find(({ key }) => key > 0 || scene.toward)?.weight || found?.list[0]?.weight || 1;
      const spread = found?.how === "pooled" ? found.weight(found.list.find(({ key }) => key > 0)?.key ?? 0) || 1 : top;
      [this.named, this.found] = [name, found && { ...found, top, share: (key) => Math.min(1, found.weight(key) / spread) }];
    }
    return this.found;
  }

  tell(...what) {
    if (!this.inks) return;
    const said = new Set(what);
    for (const one of this.parts) one.update(said);
    for (const one of this.scene.parts) one.update(said, this);
  }

  point(token, key = -1) {
    if (token === this.token && key === this.key) return;
    [this.token, this.key] = [token, key];
    if (this.reading >= 0) this.wantKeys(this.reading, this.reading + 1);
    this.tell("hover");
  }

  /** What the text and the pictures call. */
  goTo(row) {
    this.scene.open(row, this.head);
  }

  toggle(_kind, token, adding) {
    this.select({ tokens: toggled(this.tokens, token, adding) });
  }

  select({ tokens }) {
    this.tokens = tokens;
    this.tell("selection");
    if (this.index === 0) this.scene.post();
  }

  // ── zoom, in tokens ──

  whole() {
    const { tokens } = this.store.facts;
    [this.query0, this.key0, this.wide] = [0, 0, Math.max(1, tokens)];
  }

  get zoomed() {
    return this.wide < this.store.facts.tokens;
  }

  /** Look closer, or from further away, at a query and a key that stay where they are. */
  zoom(factor, query, key) {
    const { tokens } = this.store.facts;
    const wide = Math.max(Math.min(LEAST, tokens), Math.min(tokens, this.wide / factor));
    const ratio = wide / this.wide;
    this.look(query - (query - this.query0) * ratio, key - (key - this.key0) * ratio, wide);
  }

  look(query0, key0, wide = this.wide) {
    const most = this.store.facts.tokens - wide;
    const inside = (at) => Math.max(0, Math.min(most, at));
    [this.query0, this.key0, this.wide] = [inside(query0), inside(key0), wide];
    this.gather();
    this.tell("zoom");
  }

  /** Bring a query, and a key if there is one, into the zoomed view. */
  reveal(query, key = -1) {
    if (!this.zoomed) return;
    const into = (from, at) => (at < 0 || (at >= from && at < from + this.wide) ? from : at - this.wide / 2);
    const [query0, key0] = [into(this.query0, query), into(this.key0, key)];
    if (query0 !== this.query0 || key0 !== this.key0) this.look(query0, key0);
  }

  // ── what is still to come ──

  /** Ask for the maps of the open layer, its whole rows, and the keys of what is in sight. */
  gather() {
    const { store, row } = this;
    if (!store.maps.has(row)) this.wish("maps", { layer_index: row });
    this.wish("rows", { layer_index: row });
    const close = this.wide <= 4 * store.facts.chunk;
    if (!store.fine && close) this.wantKeys(Math.floor(this.query0), Math.ceil(this.query0 + this.wide));
  }

  wantKeys(from, to) {
    const { chunk, tokens } = this.store.facts;
    for (let start = from - (from % chunk); start < Math.min(to, tokens); start += chunk) {
      if (!this.store.chunks.has(`${this.row}:${start}`)) this.wish("keys", { layer_index: this.row, start });
    }
  }

  wish(type, more) {
    const name = `${type}:${more.layer_index}:${more.start ?? ""}`;
    if (this.wishes.has(name)) return;
    this.wishes.add(name);
    this.scene.model.send({ type, side: this.index, ...more });
  }
}

/** What all sides share. */
export class Scene {
  constructor(model) {
    this.model = model;
    [this.row, this.head, this.toward, this.measure] = [0, 0, false, "map"];
    [this.sides, this.parts] = [[], []];
    [this.view, this.seq] = [`${Date.now()}-${(lookers += 1)}`, 0];
  }

  get layouts() {
    return this.sides[0].store.layouts;
  }

  get layout() {
    return this.layouts[this.row];
  }

  /** The numbers of the heads that were captured; `head` is a place among them. */
  get heads() {
    return this.sides[0].store.heads;
  }

  get headNumber() {
    return this.heads[this.head];
  }

  tell(...what) {
    if (!this.inks) return;
    const said = new Set(what);
    for (const side of this.sides) for (const one of side.parts) one.update(said);
    for (const one of this.parts) one.update(said, null);
  }

  /** Open a head. */
  open(row, head) {
    const to = Math.max(0, Math.min(this.layouts.length - 1, row));
    const which = Math.max(0, Math.min(this.heads.length - 1, head));
    if (to === this.row && which === this.head) return;
    [this.row, this.head] = [to, which];
    this.arrive();
    this.post();
  }

  arrive() {
    for (const side of this.sides) {
      side.gather();
      if (side.reading >= 0) side.wantKeys(side.reading, side.reading + 1);
    }
    this.tell("head");
  }

  turnRound() {
    this.toward = !this.toward;
    this.tell("toward");
  }

  show(measure) {
    this.measure = measure;
    this.tell("measure");
  }

  /** Tell Python what is chosen, once the hand rests. */
  post() {
    clearTimeout(this.posting);
    this.posting = setTimeout(() => {
      this.posting = 0;
      this.seq += 1;
      this.model.send({ type: "select", view: this.view, seq: this.seq, layer: this.layout.layer, head: this.headNumber, tokens: [...this.sides[0].tokens] });
    }, 60);
  }

  /** Take over what Python holds, unless it has yet to hear what was chosen here last. */
  adopt() {
    const ack = this.model.get("_ack") ?? {};
    if (ack.view === this.view) this.known = ack.seq;
    if (this.posting || (this.known ?? 0) < this.seq) return;
    const row = this.layouts.findIndex(({ layer }) => layer === this.model.get("layer"));
    const [head, tokens, side] = [this.heads.indexOf(this.model.get("head")), this.model.get("selected_tokens"), this.sides[0]];
    const moved = row >= 0 && (row !== this.row || head !== this.head);
    if (moved) [this.row, this.head] = [row, head];
    if (String([...side.tokens]) !== String(tokens)) {
      side.tokens = new Set(tokens);
      if (side.reading >= 0) side.wantKeys(side.reading, side.reading + 1);
      side.tell("selection");
    }
    if (moved) this.arrive();
  }
}
