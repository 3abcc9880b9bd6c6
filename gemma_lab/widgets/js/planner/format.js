// @ts-check
// Numbers with units, and nodes of SVG.

import { svg } from "../shared/dom.js";
import { GIB } from "./arithmetic.js";

/** @param {number} bytes */
export const gib = (bytes) =>
  bytes >= 99.95 * GIB
    ? `${Math.round(bytes / GIB)} GiB`
    : bytes >= 0.1 * GIB
      ? `${(bytes / GIB).toFixed(bytes < 9.995 * GIB ? 2 : 1)} GiB`
      : `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** @param {number} value */
export const short = (value) =>
  value >= 99.95
    ? Math.round(value).toLocaleString("en-US")
    : value >= 9.995
      ? value.toFixed(1)
      : value.toFixed(2);

/** @param {number} count */
export const tokenCount = (count) =>
  count >= 1024 && count % 1024 === 0 ? `${count / 1024}K` : count.toLocaleString("en-US");

/** @param {number} value */
export const dollars = (value) =>
  value >= 1000
    ? `$${Math.round(value).toLocaleString("en-US")}`
    : value >= 10
      ? `$${value.toFixed(0)}`
      : value >= 0.1
        ? `$${value.toFixed(2)}`
        : `$${value.toPrecision(2)}`;

/** @param {number} count */
export const amount = (count) =>
  count >= 1e9
    ? `${short(count / 1e9)} billion`
    : count >= 1e6
      ? `${short(count / 1e6)} million`
      : Math.round(count).toLocaleString("en-US");

/**
 * Build a node of a chart; numbers among the attributes are written out, strings become text.
 * @param {keyof SVGElementTagNameMap} tag
 * @param {Record<string, string|number>} [attributes]
 * @param {...(Node|string)} children
 */
export function chartNode(tag, attributes = {}, ...children) {
  const texts = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, String(value)]));
  const node = svg(tag, texts);
  node.append(...children);
  return node;
}

/** Properties of a part of a chart that can be pointed at and focused: its name, and what it explains. */
export function explained(/** @type {string} */ label, /** @type {string} */ text) {
  return { tabindex: 0, role: "img", "aria-label": label, "data-explain": text, "data-title": label };
}
