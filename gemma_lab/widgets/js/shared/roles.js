// The roles of tokens: their names, and the colours of those of tools.
import { h } from "./dom.js";

/** @import { TokenStore } from "./token_store.js" */

/** @type {Record<string, string>} */
const NAMES = { tool: "tool declaration", tool_call: "tool call", tool_response: "tool response" };

/**
 * Return the name of a role in words.
 * @param {string} role
 */
export function roleName(role) {
  return NAMES[role] ?? role;
}

/**
 * Return the class that gives a role of tools its bar and colour; "" for the others.
 * @param {string} role
 */
export function roleClass(role) {
  return role in NAMES ? `gl-of-${role.replace("_", "-")}` : "";
}

/**
 * Build the legend of the roles of tools that occur; null if none does.
 * @param {TokenStore[]} stores
 */
export function roleLegend(stores) {
  const present = new Set();
  for (const { codes, names, count } of stores) {
    for (let token = 0; token < count; token++) present.add(names.role[codes.role[token]]);
  }
  const rows = Object.keys(NAMES)
    .filter((role) => present.has(role))
    .map((role) =>
      h("span", { class: "gl-key-row" }, h("i", { class: `gl-bar-key ${roleClass(role)}` }), NAMES[role]),
    );
  return rows.length ? h("div", { class: "gl-role-legend", "data-testid": "role-legend" }, ...rows) : null;
}
