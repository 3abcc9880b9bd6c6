// A JSON value as nested lists of names and values; text is never parsed as HTML.
import { appendText, h } from "./dom.js";

const MOST = 400; // entries that are drawn
const DEEPEST = 12;

/**
 * Build the view of a value.
 * @param {unknown} value
 * @returns {HTMLElement}
 */
export function jsonView(value) {
  const budget = { left: MOST };
  return h("div", { class: "gl-json", dir: "auto" }, node(value, budget, 0));
}

/**
 * @param {unknown} value
 * @param {{ left: number }} budget
 * @param {number} depth
 * @returns {HTMLElement}
 */
function node(value, budget, depth) {
  budget.left -= 1;
  if (value === null || typeof value !== "object") return scalar(value);
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  if (!entries.length) return h("span", { class: "gl-json-value" }, isList ? "empty list" : "empty object");
  if (depth >= DEEPEST) return h("span", { class: "gl-json-value" }, "…");
  const rows = [];
  for (const [name, item] of entries) {
    if (budget.left <= 0) {
      rows.push(h("div", { class: "gl-json-row gl-hint" }, `… ${entries.length - rows.length} more`));
      break;
    }
    const key = appendText(h("bdi", { class: "gl-json-key" }), isList ? `${Number(name) + 1}.` : name);
    rows.push(h("div", { class: "gl-json-row", role: "listitem" }, key, node(item, budget, depth + 1)));
  }
  return h("div", { class: "gl-json-rows", role: "list" }, ...rows);
}

/** @param {unknown} value */
function scalar(value) {
  const kind = value === null ? "null" : typeof value;
  const span = h("span", { class: `gl-json-value gl-json-${kind}`, dir: "auto" });
  return appendText(span, value === "" ? "empty text" : String(value));
}
