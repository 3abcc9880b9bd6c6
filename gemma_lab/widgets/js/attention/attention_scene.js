// The state of an attention view: one layer and head for all, and per trace the pointer, selection and zoom.
import { toggled } from "../shared/dom.js";
import { Scene } from "../shared/scene.js";
import { scaledRow } from "./attention_store.js";

/** @import { AttentionModel, LayerLayout } from "../shared/wire_types.js" */
/** @import { Changes } from "../shared/scene.js" */
/** @import { AttentionStore, ScaledRow } from "./attention_store.js" */
/** @import { AttentionText } from "./tinted_text.js" */
/** @import { HeadMap } from "./head_map.js" */
/**
 * A part of a view that draws what changed, in one trace or in all (null).
 * @typedef {{ update(changes: Changes, side: AttentionSide | null): void }} SharedPart
 */
/**
 * What the text tinted by attention needs of a scene.
 * @typedef {import("../shared/scene.js").TokenScene & AttentionSource} AttentionTextScene
 */
/**
 * @typedef {object} AttentionSource
 * @property {ScaledRow | null} row Where the token that is shown attends to.
 * @property {boolean} toward Whether it is shown which queries attend to it, instead.
 * @property {number} key
 * @property {{ shares: Map<number, number>, top: number }} [featureShares] Of the feature that tints the text.
 */

const CLOSEST = 8; // tokens across the closest view
const KEPT_CHUNKS = 4; // chunks across, up to which top keys are requested

/** One trace: what its text, map and cards draw from. */
export class AttentionSide {
  /**
   * @param {AttentionScene} scene
   * @param {number} index
   * @param {AttentionStore} store
   */
  constructor(scene, index, store) {
    this.scene = scene;
    this.index = index;
    this.store = store;
    this.token = -1; // under the pointer
    this.key = -1; // under the pointer, in the map
    /** @type {Set<number>} */
    this.tokens = new Set();
    /** @type {import("../shared/scene.js").Part[]} */
    this.parts = [];
    /** @type {AttentionText | null} */
    this.text = null;
    /** @type {HeadMap | null} */
    this.map = null;
    /** @type {Set<string>} */
    this.requested = new Set();
    /** @type {{ name: string, row: ScaledRow | null }} */
    this.cached = { name: "", row: null };
    this.query0 = 0; // the zoomed view, in tokens
    this.key0 = 0;
    this.wide = Math.max(1, store.facts.tokens);
  }

  get layerIndex() {
    return this.scene.layerIndex;
  }

  get head() {
    return this.scene.head;
  }

  get theme() {
    return this.scene.theme;
  }

  get ramp() {
    return this.scene.ramp;
  }

  get toward() {
    return this.scene.toward;
  }

  /** What tints the text. */
  get tone() {
    return this.scene.tone;
  }

  get layout() {
    return this.store.layouts[this.layerIndex];
  }

  /** The token that is shown: the one under the pointer, or else the one selected last. */
  get reading() {
    if (this.token >= 0) return this.token;
    return [...this.tokens].at(-1) ?? -1;
  }

  /** Where the shown token attends to, or which queries attend to it; null before that has arrived. */
  get row() {
    const { store, layerIndex, head, reading, toward } = this;
    if (reading < 0) return null;
    const name = `${layerIndex}:${head}:${reading}:${toward}:${store.version}`;
    if (this.cached.name !== name) {
      const row = toward ? store.columnOf(layerIndex, head, reading) : store.rowOf(layerIndex, head, reading);
      this.cached = { name, row: row && scaledRow(row, toward) };
    }
    return this.cached.row;
  }

  /** @param {...string} what */
  notify(...what) {
    if (!this.scene.ready) return;
    const changes = new Set(what);
    for (const part of this.parts) part.update(changes);
    for (const part of this.scene.sharedParts) part.update(changes, this);
  }

  /**
   * @param {number} token
   * @param {number} [key]
   */
  point(token, key = -1) {
    if (token === this.token && key === this.key) return;
    this.token = token;
    this.key = key;
    if (this.reading >= 0) this.requestKeys(this.reading, this.reading + 1);
    this.notify("hover");
  }

  /** @param {number} step */
  stepLayer(step) {
    this.scene.open(this.layerIndex + step, this.head);
  }

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
    if (this.index === 0) this.scene.post();
  }

  // ── zoom, in tokens ──

  resetZoom() {
    this.query0 = 0;
    this.key0 = 0;
    this.wide = Math.max(1, this.store.facts.tokens);
    this.notify("zoom");
  }

  get isZoomed() {
    return this.wide < this.store.facts.tokens;
  }

  /**
   * Zoom in or out around a query and a key, which stay where they are.
   * @param {number} factor
   * @param {number} query
   * @param {number} key
   */
  zoom(factor, query, key) {
    const { tokens } = this.store.facts;
    const wide = Math.max(Math.min(CLOSEST, tokens), Math.min(tokens, this.wide / factor));
    const ratio = wide / this.wide;
    this.moveTo(query - (query - this.query0) * ratio, key - (key - this.key0) * ratio, wide);
  }

  /**
   * @param {number} query0
   * @param {number} key0
   * @param {number} [wide]
   */
  moveTo(query0, key0, wide = this.wide) {
    const most = this.store.facts.tokens - wide;
    this.query0 = Math.max(0, Math.min(most, query0));
    this.key0 = Math.max(0, Math.min(most, key0));
    this.wide = wide;
    this.requestVisible();
    this.notify("zoom");
  }

  /**
   * Move a query, and a key if there is one, into the zoomed view.
   * @param {number} query
   * @param {number} [key]
   */
  reveal(query, key = -1) {
    if (!this.isZoomed) return;
    /**
     * @param {number} from
     * @param {number} at
     */
    const into = (from, at) => (at < 0 || (at >= from && at < from + this.wide) ? from : at - this.wide / 2);
    const query0 = into(this.query0, query);
    const key0 = into(this.key0, key);
    if (query0 !== this.query0 || key0 !== this.key0) this.moveTo(query0, key0);
  }

  /** The queries in sight, at most. */
  get queries() {
    const first = Math.floor(this.query0);
    const end = Math.min(this.store.facts.tokens, Math.ceil(this.query0 + this.wide));
    return Array.from({ length: Math.max(0, end - first) }, (_, at) => first + at);
  }

  // ── requests ──

  /** Request the maps of the open layer, its full rows, and the top keys of what is in sight. */
  requestVisible() {
    const { store, layerIndex, index: side } = this;
    if (!store.maps.has(layerIndex)) {
      this.request(`maps:${layerIndex}`, () => ({ type: "maps", side, layer_index: layerIndex }));
    }
    this.request(`rows:${layerIndex}`, () => ({ type: "rows", side, layer_index: layerIndex }));
    if (!store.isUnbinned && this.wide <= KEPT_CHUNKS * store.facts.chunk) {
      this.requestKeys(Math.floor(this.query0), Math.ceil(this.query0 + this.wide));
    }
  }

  /**
   * Request the top keys of a range of queries.
   * @param {number} from
   * @param {number} to
   */
  requestKeys(from, to) {
    const { layerIndex, index: side } = this;
    const { chunk, tokens } = this.store.facts;
    for (let start = from - (from % chunk); start < Math.min(to, tokens); start += chunk) {
      const name = `${layerIndex}:${start}`;
      if (this.store.chunks.has(name)) continue;
      this.request(`keys:${name}`, () => ({ type: "keys", side, layer_index: layerIndex, start }));
    }
  }

  /**
   * Send a request once.
   * @param {string} name
   * @param {() => import("../shared/wire_types.js").AttentionMessage} message
   */
  request(name, message) {
    if (this.requested.has(name)) return;
    this.requested.add(name);
    this.scene.model.send(message());
  }
}

/** What all sides share: the open layer and head. */
export class AttentionScene extends Scene {
  /** @param {AttentionModel} model */
  constructor(model) {
    super();
    this.model = model;
    this.layerIndex = 0;
    this.head = 0; // index among the recorded heads
    this.toward = false;
    this.tone = "attention"; // what tints the text
    this.measure = "map"; // what the grid of heads shows
    /** @type {AttentionSide[]} */
    this.sides = [];
    /** @type {SharedPart[]} */
    this.sharedParts = [];
  }

  /** @returns {LayerLayout[]} */
  get layouts() {
    return this.sides[0].store.layouts;
  }

  get layout() {
    return this.layouts[this.layerIndex];
  }

  /** The numbers of the recorded heads. */
  get heads() {
    return this.sides[0].store.heads;
  }

  get headNumber() {
    return this.heads[this.head];
  }

  /** @param {...string} what */
  notify(...what) {
    if (!this.ready) return;
    const changes = new Set(what);
    for (const side of this.sides) for (const part of side.parts) part.update(changes);
    for (const part of this.sharedParts) part.update(changes, null);
  }

  /**
   * Open a head.
   * @param {number} layerIndex
   * @param {number} head
   */
  open(layerIndex, head) {
    const layer = Math.max(0, Math.min(this.layouts.length - 1, layerIndex));
    const which = Math.max(0, Math.min(this.heads.length - 1, head));
    if (layer === this.layerIndex && which === this.head) return;
    this.layerIndex = layer;
    this.head = which;
    this.showHead();
    this.post();
  }

  showHead() {
    for (const side of this.sides) {
      side.requestVisible();
      if (side.reading >= 0) side.requestKeys(side.reading, side.reading + 1);
    }
    this.notify("head");
  }

  /** Show which queries attend to a token instead of where it attends to, or the reverse. */
  toggleDirection() {
    this.toward = !this.toward;
    this.notify("toward");
  }

  /** @param {string} measure */
  showMeasure(measure) {
    this.measure = measure;
    this.notify("measure");
  }

  /**
   * @param {string} view
   * @param {number} seq
   */
  sendSelection(view, seq) {
    const { layer } = this.layout;
    const tokens = [...this.sides[0].tokens];
    this.model.send({ type: "select", view, seq, layer, head: this.headNumber, tokens });
  }

  /** Take the selection that Python holds, unless it has not received this view's latest one. */
  syncFromModel() {
    if (!this.isCurrent(this.model.get("_ack"))) return;
    const layerIndex = this.layouts.findIndex(({ layer }) => layer === this.model.get("layer"));
    const head = this.heads.indexOf(this.model.get("head"));
    const tokens = this.model.get("selected_tokens");
    const [side] = this.sides;
    const moved = layerIndex >= 0 && (layerIndex !== this.layerIndex || head !== this.head);
    if (moved) {
      this.layerIndex = layerIndex;
      this.head = head;
    }
    if (String([...side.tokens]) !== String(tokens)) {
      side.tokens = new Set(tokens);
      if (side.reading >= 0) side.requestKeys(side.reading, side.reading + 1);
      side.notify("selection");
    }
    if (moved) this.showHead();
  }
}
