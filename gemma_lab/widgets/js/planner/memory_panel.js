// @ts-check
// Stacked bars of the memory by part, against what the device leaves free.

import { h } from "../shared/dom.js";
import { fits, GIB, longestContext, memoryParts, total } from "./arithmetic.js";
import { explained, gib, tokenCount } from "./format.js";

/** @import { Choice, Facts, Part, Rules } from "./arithmetic.js" */

/**
 * Draw the panel anew.
 * @param {HTMLElement} node
 * @param {Choice[]} choices
 * @param {Facts} facts
 */
export function drawMemory(node, choices, facts) {
  /** @type {Rules} */
  const rules = facts.rules;
  const rows = choices.map((choice) => ({ choice, parts: memoryParts(choice, rules) }));
  const usable = choices[0]?.hardware.usable_bytes ?? null;
  const most = 1.08 * Math.max(usable ?? 0, ...rows.map(({ parts }) => total(parts)));
  const line =
    usable === null
      ? null
      : h("div", { class: "gl-plan-limit", style: `inset-inline-start:${(100 * usable) / most}%` });
  const limit = usable === null ? "memory unknown" : `${gib(usable)} free on ${choices[0].hardware.name}`;
  node.replaceChildren(
    h(
      "div",
      { class: "gl-plan-bars" },
      ...rows.map((row) => bar(row.choice, row.parts, most, facts)),
      h("div", { class: "gl-plan-over" }, line),
    ),
    h(
      "div",
      { class: "gl-plan-axis" },
      h("span", {}, "0 GiB"),
      h("span", { class: "gl-plan-key" }, usable === null ? "" : "▏", limit),
      h("span", {}, `${(most / GIB).toFixed(0)} GiB`),
    ),
    legend(
      rows.flatMap(({ parts }) => parts),
      facts,
    ),
  );
}

/**
 * @param {Choice} choice
 * @param {Part[]} parts
 * @param {number} most
 * @param {Facts} facts
 */
function bar(choice, parts, most, facts) {
  const fit = fits(choice, facts.rules);
  const sum = total(parts);
  const host = total(parts, "host");
  const state = fit === null ? "" : fit ? "fits" : "does not fit";
  const longest = longestContext(choice, facts.rules);
  const context =
    longest === null ? "" : longest ? `, at most ${tokenCount(longest)} tokens` : ", at no context";
  const label = `${choice.model.name}: ${gib(sum)}${state && ` ${state}`}${context}`;
  const formula = parts
    .filter((part) => part.place === "device")
    .map((part) => `${part.label} ${gib(part.bytes)}`)
    .join(" + ");
  const beside = host ? ` Beside it ${gib(host)} in main memory.` : "";
  return h(
    "div",
    { class: "gl-plan-row" },
    h("div", { class: "gl-plan-name" }, choice.model.key),
    h(
      "div",
      { class: "gl-plan-bar" },
      ...parts
        .filter((part) => part.place === "device")
        .map((part) =>
          h("div", {
            class: "gl-plan-part",
            style: `width:${(100 * part.bytes) / most}%;background:${facts.colors[part.key]}`,
            ...explained(
              `${choice.model.key}, ${part.label}: ${gib(part.bytes)}`,
              `${part.formula}. ${part.source}.`,
            ),
          }),
        ),
    ),
    h(
      "div",
      {
        class: `gl-plan-sum${fit === false ? " gl-plan-not" : ""}`,
        ...explained(label, `${formula}.${beside}`),
      },
      h("b", {}, gib(sum)),
      ` ${state}`,
      h("small", {}, longest === null ? "" : longest ? `up to ${tokenCount(longest)}` : ""),
    ),
  );
}

/**
 * @param {Part[]} parts
 * @param {Facts} facts
 */
function legend(parts, facts) {
  const seen = new Map(
    parts.filter((part) => part.place === "device").map((part) => [part.label, facts.colors[part.key]]),
  );
  return h(
    "div",
    { class: "gl-plan-legend" },
    ...[...seen].map(([label, color]) => h("span", {}, h("i", { style: `background:${color}` }), label)),
  );
}
