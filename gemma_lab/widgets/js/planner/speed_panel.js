// @ts-check
// Tokens/s with 80 % intervals, and measured runs as dots.

import { h } from "../shared/dom.js";
import { decodeSpeed, decodeTerms, promptSpeed } from "./arithmetic.js";
import { DEPTH, PROMPT } from "./choices.js";
import { explained, short, tokenCount } from "./format.js";

/** @import { Choice, Estimate, Facts, Run } from "./arithmetic.js" */

const NEAREST = 3;

/**
 * Draw the panel anew.
 * @param {HTMLElement} node
 * @param {Choice[]} choices
 * @param {Facts} facts
 */
export function drawSpeed(node, choices, facts) {
  if (!choices.length || !choices[0].hardware.bandwidth) {
    node.replaceChildren(
      h(
        "p",
        { class: "gl-plan-none" },
        "The bandwidth of this hardware is unknown, so no speed is predicted.",
      ),
    );
    return;
  }
  const rows = choices.map((choice) => {
    const depth = Math.min(DEPTH, choice.context);
    return {
      choice,
      depth,
      speed: /** @type {Estimate} */ (decodeSpeed(choice, facts.rules, depth)),
      full: /** @type {Estimate} */ (decodeSpeed(choice, facts.rules, choice.context)),
      prompt: promptSpeed(choice, facts.rules, Math.min(PROMPT, choice.context)),
      runs: nearest(choice, facts),
    };
  });
  const most =
    1.06 *
    Math.max(
      ...rows.flatMap(({ speed, runs }) => [
        speed.high,
        ...runs.filter((run) => run.same).map((run) => run.speed),
      ]),
    );
  node.replaceChildren(
    ...rows.map((row) => speedRow(row, most, facts)),
    h(
      "div",
      { class: "gl-plan-axis" },
      h("span", {}, "0"),
      h(
        "span",
        { class: "gl-plan-key" },
        "band: 80 % interval at 1K tokens · ◆ full context · ● measured on this hardware",
      ),
      h("span", {}, `${short(most)} tokens/s`),
    ),
  );
}

/**
 * @param {{ choice: Choice, depth: number, speed: Estimate, full: Estimate, prompt: Estimate|null, runs: any[] }} row
 * @param {number} most
 * @param {Facts} facts
 */
function speedRow({ choice, depth, speed, full, prompt, runs }, most, facts) {
  const at = (/** @type {number} */ value) => (100 * Math.min(value, most)) / most;
  const rules = facts.rules;
  const { spilled } = decodeTerms(choice, rules, depth) ?? { spilled: false };
  const shown = runs.filter((run) => run.same);
  const near = shown.length
    ? ""
    : ` Nearest measured: ${runs.map((run) => `${short(run.speed)} on ${run.hardware} (${run.quantization}, ${run.runtime})`).join("; ") || "none of this model"}.`;
  const first = prompt
    ? ` First token of ${PROMPT.toLocaleString("en-US")} after ${short(PROMPT / prompt.value)} s (${short(PROMPT / prompt.high)} to ${short(PROMPT / prompt.low)}).`
    : "";
  const each = choice.batch > 1 ? ` for each of ${choice.batch} sequences` : "";
  return h(
    "div",
    { class: "gl-plan-row" },
    h("div", { class: "gl-plan-name" }, choice.model.key),
    h(
      "div",
      { class: "gl-plan-track" },
      h("div", {
        class: "gl-plan-band",
        style: `inset-inline-start:${at(speed.low)}%;width:${at(speed.high) - at(speed.low)}%`,
        ...explained(
          `${choice.model.key}: ${short(speed.value)} tokens/s${each}, ${short(speed.low)} to ${short(speed.high)}`,
          `${formula(choice, facts, depth)} Constants fitted to ${rules.fitted_to}.${near}${first}`,
        ),
      }),
      h("div", { class: "gl-plan-tick", style: `inset-inline-start:${at(speed.value)}%` }),
      h(
        "div",
        {
          class: "gl-plan-full",
          style: `inset-inline-start:${at(full.value)}%`,
          ...explained(
            `${choice.model.key} at ${tokenCount(choice.context)} tokens: ${short(full.value)} tokens/s`,
            formula(choice, facts, choice.context),
          ),
        },
        "◆",
      ),
      ...shown.map((run) =>
        h("div", {
          class: "gl-plan-dot",
          style: `inset-inline-start:${at(run.speed)}%`,
          ...explained(
            `Measured: ${short(run.speed)} tokens/s`,
            `${run.model} ${run.quantization}, ${run.hardware}, ${run.runtime}, ${run.date}, depth ${run.depth.toLocaleString("en-US")}. ${run.source}.`,
          ),
        }),
      ),
    ),
    h(
      "div",
      { class: "gl-plan-sum" },
      h("b", {}, short(speed.value)),
      " tokens/s",
      h("small", {}, `${short(speed.low)} to ${short(speed.high)}`),
      spilled ? h("small", { class: "gl-plan-not" }, "partly in main memory") : null,
    ),
  );
}

/**
 * @param {Choice} choice
 * @param {Facts} facts
 * @param {number} depth
 */
function formula(choice, facts, depth) {
  const terms = decodeTerms(choice, facts.rules, depth);
  if (!terms) return "";
  const ms = (/** @type {number} */ seconds) => `${(seconds * 1000).toFixed(2)} ms`;
  const host = terms.spilled
    ? ` + ${(terms.bytes.host / 1e9).toFixed(2)} GB from main memory in ${ms(terms.fetching)}`
    : "";
  return `${(terms.bytes.weights / 1e9).toFixed(2)} GB of weights in ${ms(terms.reading)} + ${choice.model.layers} layers in ${ms(terms.starting)} + ${(terms.bytes.cache / 1e9).toFixed(3)} GB of cache in ${ms(terms.cache)}${host} at ${(/** @type {number} */ (choice.hardware.bandwidth) / 1e9).toLocaleString("en-US")} GB/s = ${ms(terms.seconds)} a token.`;
}

/**
 * Return the measured runs of a model: those on the same hardware, or the nearest by bandwidth.
 * @param {Choice} choice
 * @param {Facts} facts
 */
function nearest(choice, facts) {
  const runs = facts.runs.filter((run) => run.model === choice.model.key);
  const same = runs
    .filter((run) => run.hardware === choice.hardware.name)
    .map((run) => ({ ...run, same: true }));
  if (same.length) return same;
  const own = Math.log(/** @type {number} */ (choice.hardware.bandwidth));
  const far = (/** @type {Run} */ run) =>
    Math.abs(Math.log(facts.hardware.find((each) => each.name === run.hardware)?.bandwidth ?? 1) - own);
  const seen = new Set();
  return runs
    .sort((one, other) => far(one) - far(other))
    .filter((run) => !seen.has(run.hardware) && seen.add(run.hardware))
    .slice(0, NEAREST)
    .map((run) => ({ ...run, same: false }));
}
