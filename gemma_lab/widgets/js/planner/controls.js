// @ts-check
// The planner's controls: models, hardware, bits, runtime, cache, context, batch, and what owning costs.

import { h } from "../shared/dom.js";
import { formatsOf, named, runtimesOn } from "./choices.js";
import { tokenCount } from "./format.js";

/** @import { Facts } from "./arithmetic.js" */
/** @import { PlannerState as State } from "../shared/wire_types.js" */

const OWNED = /** @type {const} */ ([
  ["price_usd", "Price, USD"],
  ["power_w", "Power, W"],
  ["usd_per_kwh", "USD/kWh"],
  ["years", "Years"],
]);
const DATES = [
  ["", "newest build"],
  ["2026-07", "mid 2026"],
  ["2026-04", "April 2026"],
];
let lists = 0; // a number for the id of each control on the page

export class PlannerControls {
  /**
   * @param {Facts} facts
   * @param {(change: Partial<State>) => void} change
   */
  constructor(facts, change) {
    this.facts = facts;
    this.change = change;
    /** @type {State|null} */
    this.held = null;
    this.chips = h("div", { class: "gl-plan-chips", role: "group", "aria-label": "Models" });
    this.selects = {
      hardware: this.select("Hardware", "hardware"),
      runtime: this.select("Runtime", "runtime"),
      quantization: this.select("Weights", "quantization"),
      cache: this.select("Cache", "cache"),
      runtime_date: this.select("Build", "runtime_date"),
    };
    /** @type {HTMLInputElement} */
    this.context = h("input", {
      type: "range",
      min: 10,
      max: 18,
      step: 0.25,
      "aria-label": "Context in tokens",
      "data-testid": "planner-context",
      oninput: () => change({ context: contextOf(Number(this.context.value)) }),
    });
    this.contextValue = h("output", { class: "gl-value" });
    /** @type {HTMLInputElement} */
    this.batch = h("input", {
      type: "number",
      min: 1,
      max: 1024,
      step: 1,
      "aria-label": "Sequences at once",
      oninput: () => this.number("batch", this.batch, 1),
    });
    this.owned = Object.fromEntries(
      OWNED.map(([name, label]) => [
        name,
        h("input", {
          type: "number",
          min: 0,
          step: "any",
          "aria-label": label,
          oninput: () => this.own(name),
        }),
      ]),
    );
    /** @type {HTMLInputElement} */
    this.ratio = h("input", {
      type: "number",
      min: 0,
      step: "any",
      "aria-label": "Prompt tokens for each token of an answer",
      oninput: () => this.number("prompt_per_answer", this.ratio, 0),
    });
    this.top = h(
      "div",
      { class: "gl-plan-controls" },
      this.chips,
      ...Object.values(this.selects).map(({ node }) => node),
      h(
        "label",
        { class: "gl-plan-field gl-plan-wide" },
        h("span", {}, "Context ", this.contextValue),
        this.context,
      ),
      h("label", { class: "gl-plan-field" }, h("span", {}, "Sequences"), this.batch),
    );
    this.costs = h(
      "div",
      { class: "gl-plan-controls" },
      ...OWNED.map(([name, label]) =>
        h("label", { class: "gl-plan-field" }, h("span", {}, label), this.owned[name]),
      ),
      h("label", { class: "gl-plan-field" }, h("span", {}, "Prompt ÷ answer"), this.ratio),
    );
  }

  /**
   * @param {string} label
   * @param {keyof State} name
   */
  select(label, name) {
    lists += 1;
    const id = `gl-plan-${lists}`;
    /** @type {HTMLSelectElement} */
    const control = h("select", {
      id,
      "data-testid": `planner-${name}`,
      onchange: () => this.change({ [name]: control.value }),
    });
    return { control, node: h("div", { class: "gl-plan-field" }, h("label", { for: id }, label), control) };
  }

  /**
   * @param {"batch"|"prompt_per_answer"} name
   * @param {HTMLInputElement} control
   * @param {number} least
   */
  number(name, control, least) {
    const value = Number(control.value);
    if (control.value !== "" && Number.isFinite(value) && value >= least)
      this.change({ [name]: name === "batch" ? Math.round(value) : value });
  }

  /** @param {string} name */
  own(name) {
    const value = Number(this.owned[name].value);
    if (this.owned[name].value === "" || !(value >= 0) || (name === "years" && value === 0)) return;
    this.change({ ownership: { ...this.held?.ownership, [name]: value } });
  }

  /**
   * Show a state; a control that is being typed in keeps its text.
   * @param {State} state
   */
  show(state) {
    this.held = state;
    const { facts } = this;
    const hardware = named(facts.hardware, state.hardware);
    this.fillChips(state);
    fill(
      this.selects.hardware.control,
      facts.hardware.map((each) => [each.name, each.name]),
      state.hardware,
    );
    fill(
      this.selects.runtime.control,
      runtimesOn(facts, hardware.kind).map(({ name }) => [name, name]),
      state.runtime,
    );
    fill(
      this.selects.quantization.control,
      formatsOf(facts, state.runtime).map(({ name }) => [name, name]),
      state.quantization,
    );
    fill(
      this.selects.cache.control,
      facts.caches
        .filter((each) => each.runtimes.includes(state.runtime))
        .map((each) => [each.name, `${each.name}, ${each.bits} bits`]),
      state.cache,
    );
    const dates = DATES.some(([date]) => date === state.runtime_date)
      ? DATES
      : [[state.runtime_date, state.runtime_date], ...DATES];
    fill(this.selects.runtime_date.control, dates, state.runtime_date);
    this.context.value = String(Math.log2(state.context));
    this.contextValue.replaceChildren(`${tokenCount(state.context)} tokens`);
    put(this.batch, state.batch);
    put(this.ratio, state.prompt_per_answer);
    const owned = {
      price_usd: hardware.price_usd ?? "",
      power_w: hardware.power_w ?? "",
      usd_per_kwh: 0.25,
      years: 3,
      ...state.ownership,
    };
    for (const [name] of OWNED) put(this.owned[name], owned[name]);
  }

  /** @param {State} state */
  fillChips(state) {
    const keys = Object.keys(this.facts.models);
    if (this.chips.children.length !== keys.length) {
      this.chips.replaceChildren(
        ...keys.map((key) =>
          h("button", { type: "button", "data-key": key, onclick: () => this.toggle(key) }, key),
        ),
      );
    }
    for (const chip of this.chips.children)
      chip.setAttribute(
        "aria-pressed",
        String(state.models.includes(/** @type {HTMLElement} */ (chip).dataset.key ?? "")),
      );
  }

  /** @param {string} key */
  toggle(key) {
    const models = this.held?.models ?? [];
    const next = models.includes(key)
      ? models.filter((/** @type {string} */ each) => each !== key)
      : Object.keys(this.facts.models).filter((each) => each === key || models.includes(each));
    if (next.length) this.change({ models: next });
  }
}

/** @param {number} power */
const contextOf = (power) => Math.round(2 ** power / 256) * 256;

/**
 * @param {HTMLSelectElement} control
 * @param {string[][]} options
 * @param {string} value
 */
function fill(control, options, value) {
  const known = [...control.options].map((option) => option.value).join("\n");
  if (known !== options.map(([each]) => each).join("\n"))
    control.replaceChildren(...options.map(([each, label]) => h("option", { value: each }, label)));
  control.value = value;
}

/**
 * @param {HTMLInputElement} control
 * @param {string|number} value
 */
function put(control, value) {
  if (control !== document.activeElement) control.value = String(value);
}
