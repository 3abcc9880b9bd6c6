// In numbers: where the token that is shown attends to, and how exactly that is known.
import { button, h, keyHelp } from "../shared/dom.js";
import { distance, number, weightPercentage } from "../shared/format.js";
import { drawNote } from "../shared/tints.js";
import { showsRows } from "./painting.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { AttentionSide } from "./attention_scene.js" */
/** @import { ScaledRow, WeightedKey } from "./attention_store.js" */
/** @import { HeadMap } from "./head_map.js" */
/**
 * @typedef {object} KeyLine
 * @property {HTMLElement} node
 * @property {HTMLElement} label
 * @property {HTMLElement} number
 * @property {HTMLElement} fill
 * @property {HTMLElement} weight
 * @property {number} key
 */

const LISTED_KEYS = 8;
const LONG = 1000; // tokens from which a word alone does not say which token is meant
const FETCHED = 48; // most rows that one request fetches
/** @type {[string, string][]} */
const KEY_HELP = [
  ["↑ ↓", "tokens"],
  ["← →", "keys"],
  ["PgUp PgDn", "layers"],
  ["[ ]", "heads"],
  ["+ − 0", "zoom"],
  ["Enter", "select"],
];

/** The token that is shown, and its heaviest keys. */
export class RowCard {
  /** @param {AttentionSide} side */
  constructor(side) {
    this.side = side;
    this.store = side.store;
    this.name = h("bdi", { class: "gl-subject", dir: "auto" });
    this.where = h("span", { class: "gl-where" });
    this.lines = Array.from({ length: LISTED_KEYS }, () => this.createLine());
    this.note = h("div", { class: "gl-note" });
    this.help = keyHelp(KEY_HELP);
    this.node = h(
      "section",
      { class: "gl-inspect gl-row-card", "aria-label": "Attention of the token", "data-testid": "row" },
      h("div", { class: "gl-inspect-head" }, this.name, this.where),
      h("div", { class: "gl-weights" }, ...this.lines.map(({ node }) => node)),
      this.note,
    );
  }

  /** @returns {KeyLine} */
  createLine() {
    const label = h("bdi", { dir: "auto" });
    const token = h("span", { class: "gl-number" });
    const fill = h("i", {});
    const weight = h("span", {});
    const node = h(
      "div",
      { class: "gl-weight" },
      h("span", { class: "gl-looked-at" }, token, label),
      h("span", { class: "gl-track" }, fill),
      weight,
    );
    const line = { node, label, number: token, fill, weight, key: -1 };
    node.addEventListener("click", () => {
      const { side } = this;
      side.reveal(side.reading, line.key);
      side.text?.scrollToToken(line.key);
    });
    return line;
  }

  update() {
    const { side, store } = this;
    const { row, reading: token } = side;
    this.node.classList.toggle("gl-idle", token < 0);
    if (token < 0) {
      this.name.replaceChildren("Point at a token");
      this.where.replaceChildren("in the text, an image or the map, to see where it attends to");
      this.note.replaceChildren(this.help);
      return;
    }
    this.name.replaceChildren(store.label(token));
    const verb = side.toward ? "is attended to by" : "attends to";
    this.where.replaceChildren([...store.describe(token), verb].join(" · "));
    this.lines.forEach((line, at) => {
      this.fill(line, row, row?.list[at]);
    });
    this.note.replaceChildren(
      row ? this.rowWords(token, row) : "This layer’s rows are being loaded …",
      drawNote(store.draws.get(token)) ?? "",
    );
  }

  /**
   * @param {KeyLine} line
   * @param {ScaledRow | null} row
   * @param {WeightedKey | undefined} entry
   */
  fill(line, row, entry) {
    line.node.hidden = !entry;
    if (!entry || !row) return;
    const { side, store } = this;
    const isToken = entry.bin === undefined;
    const share = entry.weight / Math.max(row.list[0].weight, 1e-9);
    const sink = entry.key === 0 && !side.toward;
    line.key = entry.key;
    line.label.textContent =
      entry.bin === undefined ? store.shortLabel(entry.key, 22) : `tokens ${store.span(entry.bin)}`;
    line.number.textContent = isToken && store.facts.tokens >= LONG ? number(entry.key) : "";
    line.node.title = `token ${number(entry.key)}`;
    line.fill.style.width = `${100 * Math.min(1, share)}%`;
    line.fill.style.backgroundColor = sink ? side.theme.sink : side.ramp.of(entry.weight / row.top);
    line.weight.textContent = weightPercentage(entry.weight);
    line.node.classList.toggle("gl-lit", entry.key === side.key);
  }

  /**
   * Return how exactly a row is known, and its statistics.
   * @param {number} token
   * @param {ScaledRow} row
   */
  rowWords(token, row) {
    const { side, store } = this;
    const words = [];
    if (side.key >= 0 && !side.toward) words.push(this.pairWords(token, side.key, row));
    words.push(sourceWords(row));
    const known = side.toward ? null : store.statistics(side.layerIndex, side.head, token);
    if (known) {
      words.push(
        `entropy ${known.entropy.toFixed(2)} nats`,
        `first token ${weightPercentage(known.first)}`,
        `mean distance ${distance(known.distance)}`,
      );
      const masses = known.masses.map(([label, mass]) => `${label} ${weightPercentage(mass)}`);
      if (masses.length > 1) words.push(masses.join(", "));
    }
    return words.join(" · ");
  }

  /**
   * Return the weight that a query gives a key, as exactly as it is known.
   * @param {number} query
   * @param {number} key
   * @param {ScaledRow} row
   */
  pairWords(query, key, row) {
    const { side, store } = this;
    const name = `→ ${store.label(key)} (token ${number(key)})`;
    const listed = row.list.find((one) => one.key === key && one.bin === undefined);
    if (listed) return `${name} ${weightPercentage(listed.weight)}`;
    if (row.source === "full" || row.source === "map") return `${name} ${weightPercentage(row.weight(key))}`;
    const lightest = row.list.at(-1);
    if (row.source === "top" && lightest && side.map && showsRows(side.map)) {
      return `${name} less than ${weightPercentage(lightest.weight)}`;
    }
    const from = store.bin(query);
    const to = store.bin(key);
    if (!store.maps.has(side.layerIndex)) return name;
    const cell = weightPercentage(store.cell(side.layerIndex, side.head, from, to));
    const rest = to ? "" : ", without the first token";
    return `tokens ${store.span(from)} → ${store.span(to)}: ${cell} of a row on average${rest}`;
  }
}

/** @param {ScaledRow} row */
function sourceWords(row) {
  if (row.source === "pooled") return "pooled: bins of several tokens";
  if (row.source === "full") return "the full row, exact";
  if (row.source === "map")
    return row.listed ? "every token of the row" : "every token of the row, within 0.4 %";
  const sum = row.list.reduce((total, { weight }) => total + weight, 0);
  return `its ${row.list.length} top keys, exact: ${weightPercentage(sum)} of the row`;
}

/** What the map shows: how exact it is, its range, and the buttons that zoom. */
export class MapBar {
  /**
   * @param {AttentionSide} side
   * @param {HeadMap} map
   */
  constructor(side, map) {
    this.side = side;
    this.store = side.store;
    this.map = map;
    this.words = h("span", { class: "gl-how", role: "status", "data-testid": "how" });
    /** @param {number} factor */
    const zoom = (factor) => side.zoom(factor, side.query0 + side.wide / 2, side.key0 + side.wide / 2);
    this.zoomIn = quiet("Zoom in (double-click, or Ctrl and the wheel)", "+", () => zoom(2));
    this.zoomOut = quiet("Zoom out", "−", () => zoom(0.5));
    this.reset = quiet("Show the whole map", "whole", () => side.resetZoom());
    this.fetch = quiet("Recompute the exact rows in sight", "exact rows", () => this.fetchRows());
    this.fetch.dataset.testid = "fetch";
    const buttons = [this.zoomIn, this.zoomOut, this.reset, this.fetch];
    this.node = h("div", { class: "gl-map-bar" }, this.words, ...buttons);
  }

  fetchRows() {
    const { side } = this;
    const queries = side.queries.slice(0, FETCHED);
    side.scene.model.send({ type: "fetch", side: side.index, layer_index: side.layerIndex, queries });
  }

  /** @param {Changes} what */
  update(what) {
    const { side, store } = this;
    if (!["zoom", "head", "arrived", "size", "data", "busy", "theme"].some((one) => what.has(one))) return;
    const { model } = side.scene;
    this.zoomOut.disabled = !side.isZoomed;
    this.reset.disabled = !side.isZoomed;
    this.zoomIn.disabled = side.wide <= 8;
    this.fetch.hidden = !model.get("_can_run") || store.isUnbinned;
    this.fetch.disabled = !showsRows(this.map) || model.get("busy");
    this.words.replaceChildren(this.rangeWords() + this.exactness());
  }

  rangeWords() {
    const { side, store } = this;
    if (!side.isZoomed || !store.maps.has(side.layerIndex)) return "";
    /** @param {number} from */
    const range = (from) => {
      const last = Math.min(store.facts.tokens, Math.ceil(from + side.wide)) - 1;
      return `${number(Math.floor(from))}–${number(last)}`;
    };
    return `tokens ${range(side.query0)} × ${range(side.key0)} · `;
  }

  exactness() {
    const { side, store } = this;
    if (!store.maps.has(side.layerIndex)) return "";
    if (store.isUnbinned) return "every cell is one query and one key";
    const size = number(store.binSize(0));
    if (!showsRows(this.map)) {
      return `pooled: a cell is ${size} queries (their mean) × ${size} keys (their sum)`;
    }
    const { full, top, missing } = this.map.rows;
    /** @param {number} count */
    const rows = (count) => `${count} ${count === 1 ? "row" : "rows"}`;
    const words = [];
    if (full) words.push(`all of ${rows(full)}`);
    if (top) words.push(`the top keys of ${rows(top)}`);
    if (missing) words.push(`${rows(missing)} not loaded`);
    return `${words.join(", ")}; behind them, pale, the pooled map`;
  }
}

/**
 * @param {string} name
 * @param {string} text
 * @param {() => void} onclick
 */
function quiet(name, text, onclick) {
  return button({ name, class: "gl-quiet", onclick }, null, text);
}
