// What the views of a trace share: who draws what changed, the theme, and the selection that Python holds.
import { Ramp, themeColors } from "./colors.js";

/** @import { Ack } from "./wire_types.js" */
/** @import { ThemeColors } from "./colors.js" */
/** @import { TokenStore } from "./token_store.js" */

/**
 * What changed: "data", "layer", "head", "hover", "selection", "filter", "tone", "theme", "size", "zoom", ….
 * @typedef {Set<string>} Changes
 */
/**
 * A part of a view, which draws what changed.
 * @typedef {{ update(changes: Changes): void }} Part
 */
/**
 * What the text and its media need of a scene.
 * @typedef {object} TokenScene
 * @property {TokenStore} store
 * @property {ThemeColors} theme
 * @property {Ramp} ramp
 * @property {number} token The token under the pointer, or -1.
 * @property {number} [key] The key under the pointer, or -1.
 * @property {Set<number>} tokens The selected tokens.
 * @property {Uint8Array | null} [keep] 1 for every token that the filter lets through.
 * @property {number} [epoch] Changes with the trace.
 * @property {boolean} [live] Whether tokens are being appended.
 * @property {string} [tone] What tints the text, of the view's own tints or of TINTS.
 * @property {(token: number) => void} point
 * @property {(token: number, adding: boolean) => void} toggleToken
 * @property {() => void} clearSelection
 * @property {(step: number) => void} stepLayer
 */

const POST_DELAY = 60; // milliseconds without a change, after which the selection is sent
let viewCount = 0;

/** @type {ThemeColors} */
const NO_COLORS = {
  text: "",
  muted: "",
  line: "",
  soft: "",
  accent: "",
  page: "",
  empty: "",
  font: "",
  veil: "",
  sink: "",
};

/** The state of one view: its parts, its theme, and how far Python knows its selection. */
export class Scene {
  constructor() {
    /** @type {Part[]} */
    this.parts = [];
    this.theme = NO_COLORS;
    this.ramp = new Ramp("light");
    this.ready = false; // whether the theme is known: before the view is on a page nothing is drawn
    viewCount += 1;
    this.view = `${Date.now()}-${viewCount}`;
    this.seq = 0;
    this.acknowledged = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.posting = undefined;
  }

  /**
   * Let every part draw what changed.
   * @param {...string} what
   */
  notify(...what) {
    if (!this.ready) return;
    const changes = new Set(what);
    for (const part of this.parts) part.update(changes);
  }

  /**
   * Read the theme's colours from the page.
   * @param {HTMLElement} root
   */
  readTheme(root) {
    this.ramp = new Ramp(root.dataset.theme ?? "light");
    this.theme = themeColors(root);
    this.ready = true;
  }

  /** Send the selection to Python, once it has stopped changing. */
  post() {
    clearTimeout(this.posting);
    this.posting = setTimeout(() => this.postNow(), POST_DELAY);
  }

  /** Send the selection to Python. */
  postNow() {
    clearTimeout(this.posting);
    this.posting = undefined;
    this.seq += 1;
    this.sendSelection(this.view, this.seq);
  }

  /**
   * Implemented by each scene.
   * @param {string} _view
   * @param {number} _seq
   */
  sendSelection(_view, _seq) {}

  /**
   * Return whether Python has received the latest selection of this view, so that its own may replace it.
   * @param {Ack} ack
   */
  isCurrent(ack) {
    if (ack.view === this.view) this.acknowledged = ack.seq ?? 0;
    return this.posting === undefined && this.acknowledged >= this.seq;
  }
}

/**
 * Return whether a set holds exactly the values of a list.
 * @param {Set<number>} set
 * @param {number[]} list
 */
export function sameValues(set, list) {
  return set.size === list.length && list.every((value) => set.has(value));
}

/**
 * Return whether two lists hold the same numbers in the same order.
 * @param {number[]} one
 * @param {number[]} other
 */
export function sameList(one, other) {
  return one.length === other.length && one.every((value, index) => value === other[index]);
}
