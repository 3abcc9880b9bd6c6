// In numbers: where the token that is read looks, and how exactly that is known.
import { button, h } from "../shared/dom.js";
import { overlaid } from "./painting.js";
import { far, part } from "./attention_store.js";

const ROWS = 8;
const LONG = 1000; // tokens from which a word stands too often to say which of them is meant
const HELP = [["↑ ↓", "tokens"], ["← →", "keys"], ["PgUp PgDn", "layers"], ["[ ]", "heads"], ["+ − 0", "zoom"], ["Enter", "keep"]];

/** The token that is read, and its heaviest keys. */
export class RowCard {
  constructor(side) {
    [this.side, this.store] = [side, side.store];
    this.name = h("bdi", { class: "gl-subject", dir: "auto" });
    this.where = h("span", { class: "gl-where" });
    this.rows = Array.from({ length: ROWS }, () => this.line());
    this.grid = h("div", { class: "gl-weights" }, ...this.rows.map(({ node }) => node));
    this.note = h("div", { class: "gl-note" });
    this.help = h("span", {}, ...HELP.flatMap(([keys, does]) => [h("kbd", {}, keys), ` ${does}   `]));
    this.node = h("section", { class: "gl-inspect gl-row-card", "aria-label": "Where the token looks", "data-testid": "row" }, h("div", { class: "gl-inspect-head" }, this.name, this.where), this.grid, this.note);
  }

  line() {
    const [label, number, fill, weight] = [h("bdi", { dir: "auto" }), h("span", { class: "gl-number" }), h("i", {}), h("span", {})];
    const node = h("div", { class: "gl-weight" }, h("span", { class: "gl-looked-at" }, number, label), h("span", { class: "gl-track" }, fill), weight);
    const one = { node, label, number, fill, weight, key: -1 };
    node.addEventListener("click", () => this.side.scene.follow(this.side, one.key));
    return one;
  }

  update() {
    const { side, store } = this;
    const token = side.reading;
    const { looks } = side;
    this.node.classList.toggle("gl-idle", token < 0);
    if (token < 0) {
      this.name.replaceChildren("Point at a token");
      this.where.replaceChildren("in the text, the picture or the map, to see where it looks");
      return this.note.replaceChildren(this.help);
    }
    this.name.replaceChildren(store.label(token));
    this.where.replaceChildren(this.place(token));
    this.rows.forEach((one, at) => this.fill(one, looks, looks?.list[at]));
    this.note.replaceChildren(this.said(token, looks));
  }

  fill(one, looks, found) {
    one.node.hidden = !found;
    if (!found) return;
    const { side, store } = this;
    one.key = found.key;
    const name = found.bin === undefined ? store.label(found.key) : `tokens ${store.span(found.bin)}`;
    one.label.textContent = [...name].slice(0, 22).join("");
    one.number.textContent = found.bin === undefined && store.facts.tokens >= LONG ? found.key.toLocaleString("en") : "";
    one.node.title = `token ${found.key.toLocaleString("en")}`;
    one.fill.style.width = `${100 * Math.min(1, found.weight / Math.max(looks.list[0].weight, 1e-9))}%`;
    one.fill.style.backgroundColor = found.key === 0 && !side.scene.toward ? side.inks.sink : side.ramp.of(Math.min(1, found.weight / looks.top));
    one.weight.textContent = part(found.weight);
    one.node.classList.toggle("gl-lit", found.key === side.key);
  }

  place(token) {
    const { store, side } = this;
    const place = store.places.get(token);
    const words = [`token ${token.toLocaleString("en")}`, store.name("role", token), store.name("modality", token)];
    if (place?.box[0] >= 0) words.push(`pixels ${place.box[0]}–${place.box[2]} × ${place.box[1]}–${place.box[3]}`);
    if (place?.time[0] >= 0) words.push(`${(place.time[0] / 1000).toFixed(2)} s`);
    if (store.codes.generated[token]) words.push("generated");
    words.push(side.scene.toward ? "is looked at by" : "looks at");
    return words.filter(Boolean).join(" · ");
  }

  said(token, looks) {
    const { side, store } = this;
    if (!looks) return "This layer’s rows are on their way …";
    const words = [];
    if (side.key >= 0 && !side.scene.toward) words.push(this.pair(token, looks));
    if (looks.how === "heaviest") words.push(`its ${looks.list.length} heaviest keys, exact: ${part(looks.list.reduce((sum, { weight }) => sum + weight, 0))} of the row`);
    else if (looks.how === "pooled") words.push("pooled: bins of several tokens");
    else words.push(looks.how === "whole" ? "the whole row, exact" : looks.listed ? "every token of the row" : "every token of the row, within 0.4 %");
    const known = side.scene.toward ? null : store.facts_of(side.row, side.head, token);
    if (known) {
      words.push(`entropy ${known.entropy.toFixed(2)} nats`, `first token ${part(known.first)}`, `mean distance ${far(known.distance)}`);
      if (known.masses.length > 1) words.push(known.masses.map(([label, mass]) => `${label} ${part(mass)}`).join(", "));
    }
    return words.join(" · ");
  }

  /** What the query under the pointer gives the key under it. */
  pair(token, looks) {
    const { side, store } = this;
    const key = side.key;
    const named = `→ ${store.label(key)} (token ${key.toLocaleString("en")})`;
    const listed = looks.list.find((one) => one.key === key && one.bin === undefined);
    if (listed) return `${named} ${part(listed.weight)}`;
    if (looks.how === "whole" || looks.how === "map") return `${named} ${part(looks.weight(key))}`;
    const [down, across] = [store.bin(token), store.bin(key)];
    const cell = store.cell(side.row, side.head, down, across);
    if (looks.how === "heaviest" && overlaid(side.map)) return `${named} less than ${part(looks.list.at(-1).weight)}`;
    return cell === null ? named : `tokens ${store.span(down)} → ${store.span(across)}: ${part(cell)} of a row on average${across ? "" : ", the first token left out"}`;
  }
}

/** What the map shows: how exact it is, its scale, and the buttons that bring one closer. */
export class MapBar {
  constructor(side) {
    [this.side, this.store] = [side, side.store];
    this.words = h("span", { class: "gl-how", role: "status", "data-testid": "how" });
    const act = (name, text, work, more = {}) => button({ name, class: "gl-quiet", onclick: work, ...more }, null, text);
    const centre = () => [side.query0 + side.wide / 2, side.key0 + side.wide / 2];
    this.closer = act("Zoom in (double-click, or Ctrl and the wheel)", "+", () => side.zoom(2, ...centre()));
    this.further = act("Zoom out", "−", () => side.zoom(0.5, ...centre()));
    this.whole = act("Show the whole map", "whole", () => side.map.whole0());
    this.fetch = act("Read the rows in sight from the model once more, exactly", "exact rows", () => this.ask(), { "data-testid": "fetch" });
    this.node = h("div", { class: "gl-map-bar" }, this.words, this.closer, this.further, this.whole, this.fetch);
  }

  ask() {
    const { side } = this;
    const queries = [];
    for (let query = Math.floor(side.query0); query < Math.min(this.store.facts.tokens, side.query0 + side.wide); query++) queries.push(query);
    side.scene.model.send({ type: "fetch", side: side.index, layer_index: side.row, queries: queries.slice(0, 48) });
  }

  update(what) {
    const { side, store } = this;
    if (!["zoom", "head", "arrived", "size", "data", "busy", "theme"].some((one) => what.has(one))) return;
    const close = overlaid(side.map);
    this.further.disabled = this.whole.disabled = !side.zoomed;
    this.closer.disabled = side.wide <= 8;
    this.fetch.hidden = !side.scene.model.get("_can_fetch") || store.fine;
    this.fetch.disabled = !close || side.scene.model.get("busy");
    this.words.replaceChildren(this.said(close));
  }

  said(close) {
    const { side, store } = this;
    const last = (from) => (Math.min(store.facts.tokens, Math.ceil(from + side.wide)) - 1).toLocaleString("en");
    const range = side.zoomed ? `tokens ${Math.floor(side.query0).toLocaleString("en")}–${last(side.query0)} × ${Math.floor(side.key0).toLocaleString("en")}–${last(side.key0)} · ` : "";
    if (!store.maps.has(side.row)) return "";
    if (store.fine) return `${range}every cell is one query and one key`;
    const size = store.edges[1] - store.edges[0];
    if (!close) return `${range}pooled: a cell is ${size.toLocaleString("en")} queries (their mean) × ${size.toLocaleString("en")} keys (their sum)`;
    const { whole = 0, heaviest = 0, missing = 0 } = side.map.exact ?? {};
    const words = [];
    const rows = (count) => `${count} ${count === 1 ? "row" : "rows"}`;
    if (whole) words.push(`all of ${rows(whole)}`);
    if (heaviest) words.push(`of ${rows(heaviest)} the heaviest keys`);
    if (missing) words.push(`${rows(missing)} not here`);
    return `${range}${words.join(", ")}; behind them, pale, the pooled map`;
  }
}
