// The controls of a routing view: the layer, the filter, what tints the text; and the legend of the colours.
import { h, labelled } from "../shared/dom.js";
import { number, percentage } from "../shared/format.js";
import { roleName } from "../shared/roles.js";
import { TintChoice } from "../shared/tint_choice.js";
import { scriptName } from "./inspector.js";
import { FILTER_COLUMNS } from "./routing_scene.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { FilterColumn, RoutingScene } from "./routing_scene.js" */
/** @typedef {{ column: FilterColumn, select: HTMLSelectElement, node: HTMLElement }} FilterChoice */

const COLUMN_NAMES = { modality: "Kind", role: "Role", script: "Script" };
const TONES = {
  entropy: "router entropy",
  expert_fraction: "experts’ share of output",
  plain: "nothing",
};

export class LayerControl {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    const last = scene.store.facts.layers.length - 1;
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: last,
      step: 1,
      value: 0,
      "data-testid": "layer",
    });
    this.slider.addEventListener("input", () => scene.goTo(Number(this.slider.value)));
    this.value = h("output", {});
    this.node = h("div", { class: "gl-layer" }, labelled("Layer", this.slider), this.value);
    this.node.hidden = last === 0;
  }

  /** @param {Changes} what */
  update(what) {
    if (!what.has("layer") && !what.has("data")) return;
    const { scene } = this;
    const { layers } = scene.store.facts;
    this.slider.value = String(scene.layerIndex);
    this.slider.setAttribute("aria-valuetext", `layer ${scene.layer}`);
    this.value.replaceChildren(h("b", {}, String(scene.layer)), ` of ${layers[0]}–${layers.at(-1)}`);
  }
}

export class Filters {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.choices = FILTER_COLUMNS.map((column) => this.createChoice(column));
    this.tint = new TintChoice(scene, TONES, () => [scene.store]);
    this.count = h("span", { class: "gl-count", role: "status" });
    this.node = h(
      "div",
      { class: "gl-filters", role: "group", "aria-label": "What is shown" },
      ...this.choices.map(({ node }) => node),
      this.count,
      h("span", { class: "gl-gap" }),
      this.tint.node,
    );
  }

  /**
   * @param {FilterColumn} column
   * @returns {FilterChoice}
   */
  createChoice(column) {
    const select = h("select", { "data-testid": column });
    select.addEventListener("change", () => this.scene.setFilter(column, select.value || null));
    return { column, select, node: labelled(COLUMN_NAMES[column], select) };
  }

  /** @param {Changes} what */
  update(what) {
    this.tint.update(what);
    if (what.has("data")) this.offer();
    if (!what.has("data") && !what.has("filter")) return;
    const { scene } = this;
    const count = `${number(scene.length)} of ${number(scene.store.count)} tokens`;
    this.count.replaceChildren(scene.keep ? count : "");
  }

  /** Offer each value that occurs, with its number of tokens. A value that all tokens have is no choice. */
  offer() {
    const { store, filter } = this.scene;
    for (const { column, select, node } of this.choices) {
      /** @type {Map<number, number>} */
      const counts = new Map();
      const codes = store.codes[column].subarray(0, store.count);
      for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
      const ranked = [...counts].sort((one, other) => other[1] - one[1]);
      const options = ranked.map(([code, count]) => optionOf(column, store.names[column][code], count));
      select.replaceChildren(h("option", { value: "" }, "all"), ...options.flat());
      select.value = filter[column] ?? "";
      node.hidden = options.length < 2 && filter[column] === null;
    }
  }
}

/**
 * @param {FilterColumn} column
 * @param {string} value
 * @param {number} count
 * @returns {HTMLOptionElement[]}
 */
function optionOf(column, value, count) {
  if (value === "") return [];
  const name = column === "script" ? scriptName(value) : roleName(value);
  return [h("option", { value }, `${name} · ${number(count)}`)];
}

/** What the colours mean, with their units. */
export class ColorKeys {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.shown = "";
    this.scale = h("span", { class: "gl-key-scale" });
    this.top = h("span", {});
    this.overTop = h("span", {});
    this.tint = h("div", { class: "gl-key-row" });
    this.node = h(
      "div",
      { class: "gl-legends" },
      h(
        "div",
        { class: "gl-key-row" },
        "heat: weight applied (gate weight × expert scale)",
        h("span", { class: "gl-key-ends" }, "0"),
        this.scale,
        this.top,
      ),
      h("div", { class: "gl-key-row" }, "all layers: tokens served", this.overTop),
      this.tint,
    );
  }

  /** @param {Changes} what */
  update(what) {
    const { scene } = this;
    if (what.has("theme") || what.has("data")) this.scale.style.background = scene.ramp.gradient();
    if (what.has("data")) this.top.replaceChildren(`≥ ${scene.store.facts.scale_max.toFixed(2)}`);
    if (what.has("data") || what.has("filter")) {
      this.overTop.replaceChildren(`0 – ${number(scene.peakLoad)}, same colours`);
    }
    const tint = scene.focus.size ? "text: weight of the expert" : this.tone();
    if (tint === this.shown) return;
    this.shown = tint;
    this.tint.replaceChildren(tint);
  }

  tone() {
    const { scene } = this;
    const { facet } = scene;
    const range = scene.toneRange();
    if (!range || !facet) return "";
    /** @param {number} bits */
    const entropy = (bits) => `${bits.toFixed(2)} bits`;
    const format = facet === "expert_fraction" ? percentage : entropy;
    return `text: ${TONES[facet]}, plain ≤ ${format(range[0])}, deep ≥ ${format(range[1])}`;
  }
}
