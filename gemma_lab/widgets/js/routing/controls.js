// The explorer's controls: the layer, what is shown of the tokens, what tints the text; and the keys to the colours.
import { h } from "../shared/dom.js";
import { scriptName } from "./inspector.js";
import { percentage } from "./overview.js";

const KINDS = { modality: "Kind", role: "Role", script: "Script" };
const TONES = { entropy: "router entropy", expert_fraction: "experts’ share of output", plain: "nothing" };
let controls = 0; // a number for the id of each control on the page

function labelled(label, control) {
  control.id = `gl-control-${(controls += 1)}`;
  return h("div", { class: "gl-choice" }, h("label", { for: control.id }, label), control);
}

export class LayerControl {
  constructor(scene) {
    this.scene = scene;
    const last = scene.store.facts.layers.length - 1;
    this.slider = h("input", { type: "range", min: 0, max: last, step: 1, value: 0, "data-testid": "layer" });
    this.slider.addEventListener("input", () => scene.goTo(Number(this.slider.value)));
    this.value = h("output", {});
    this.node = h("div", { class: "gl-layer" }, labelled("Layer", this.slider), this.value);
    this.node.hidden = last === 0;
  }

  update(what) {
    if (!what.has("layer") && !what.has("data")) return;
    const { scene } = this;
    const { layers } = scene.store.facts;
    this.slider.value = scene.row;
    this.slider.setAttribute("aria-valuetext", `layer ${scene.layer}`);
    this.value.replaceChildren(h("b", {}, String(scene.layer)), ` of ${layers[0]}–${layers.at(-1)}`);
  }
}

export class Filters {
  constructor(scene) {
    this.scene = scene;
    this.choices = Object.keys(KINDS).map((kind) => [kind, h("select", { "data-testid": kind, onchange: (event) => scene.setFilter(kind, event.target.value || null) })]);
    this.tone = h("select", { onchange: () => this.setTone() }, ...Object.entries(TONES).map(([value, name]) => h("option", { value }, name)));
    this.count = h("span", { class: "gl-count", role: "status" });
    this.node = h("div", { class: "gl-filters", role: "group", "aria-label": "What is shown" }, ...this.choices.map(([kind, select]) => labelled(KINDS[kind], select)), this.count, h("span", { class: "gl-gap" }), labelled("Tint text by", this.tone));
  }

  setTone() {
    this.scene.tone = this.tone.value;
    this.scene.tell("tone");
  }

  update(what) {
    if (what.has("data")) this.offer();
    if (!what.has("data") && !what.has("filter")) return;
    const { scene } = this;
    this.count.replaceChildren(scene.keep ? `${scene.length.toLocaleString("en")} of ${scene.store.count.toLocaleString("en")} tokens` : "");
  }

  /** Offer each value that occurs, with how many tokens have it. One that all have is no choice. */
  offer() {
    const { store, filter } = this.scene;
    for (const [kind, select] of this.choices) {
      const counts = new Map();
      for (let token = 0; token < store.count; token++) counts.set(store.codes[kind][token], (counts.get(store.codes[kind][token]) ?? 0) + 1);
      const options = [...counts].sort((one, other) => other[1] - one[1]).map(([code, count]) => this.option(kind, store.names[kind][code], count));
      select.replaceChildren(h("option", { value: "" }, "all"), ...options.filter(Boolean));
      select.value = filter[kind] ?? "";
      select.parentNode.hidden = options.length < 2 && filter[kind] === null;
    }
  }

  option(kind, value, count) {
    if (value === "") return null;
    return h("option", { value }, `${kind === "script" ? scriptName(value) : value} · ${count.toLocaleString("en")}`);
  }
}

/** What the colours mean, with their units. */
export class Keys {
  constructor(scene) {
    this.scene = scene;
    this.scale = h("span", { class: "gl-key-scale" });
    this.top = h("span", {});
    this.overTop = h("span", {});
    this.weights = h("div", { class: "gl-key-row" }, "heat: weight applied (share × expert scale)", h("span", { class: "gl-key-ends" }, "0"), this.scale, this.top);
    this.served = h("div", { class: "gl-key-row" }, "all layers: tokens served", this.overTop);
    this.tint = h("div", { class: "gl-key-row" });
    this.node = h("div", { class: "gl-legends" }, this.weights, this.served, this.tint);
  }

  update(what) {
    const { scene } = this;
    if (what.has("theme") || what.has("data")) this.scale.style.background = scene.ramp.gradient();
    if (what.has("data")) this.top.replaceChildren(`≥ ${scene.store.facts.scale_max.toFixed(2)}`);
    if (what.has("data") || what.has("filter")) this.overTop.replaceChildren(`0 – ${scene.overview.peak.toLocaleString("en")}, same colours`);
    if (!["hover", "selection", "layer", "tone", "data"].some((one) => what.has(one))) return;
    const said = scene.focus.size ? "text: weight of the expert" : this.tone();
    if (said !== this.said) this.tint.replaceChildren((this.said = said));
  }

  tone() {
    const { scene } = this;
    const range = scene.toneRange();
    if (!range) return "";
    const show = scene.tone === "expert_fraction" ? percentage : (bits) => `${bits.toFixed(2)} bits`;
    return `text: ${TONES[scene.tone]}, plain ≤ ${show(range[0])}, deep ≥ ${show(range[1])}`;
  }
}
