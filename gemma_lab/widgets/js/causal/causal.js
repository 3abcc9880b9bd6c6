// The explorer of a causal map: its heat map, what a cell does, and the trace behind it.
import { CellsView } from "../shared/cells_view.js";
import { appendText, h, labelled, listen, visibleText } from "../shared/dom.js";
import { CausalScene } from "./causal_scene.js";
import { EffectMap } from "./effect_map.js";
import { RunPanel } from "./run_panel.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { Buffer, CausalModel } from "../shared/wire_types.js" */

/** @type {Record<string, string>} */
const PART_NAMES = {
  residual: "residual stream",
  attention: "attention",
  mlp: "dense MLP",
  experts: "sum of experts",
  head: "single heads",
  expert: "single experts",
};

/**
 * Format a log-probability in nats.
 * @param {number} value
 */
function nats(value) {
  return value.toFixed(2).replace("-", "−").replace("−0.00", "0.00");
}

/** @extends {CellsView<CausalScene, CausalModel>} */
class CausalView extends CellsView {
  /**
   * @param {CausalModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    super(model, element, { label: "Causal map", kind: "gl-causal" });
  }

  /** @param {Buffer} [cells] Of another part than Python shows, in a saved page. */
  begin(cells) {
    const { model } = this;
    const scene = new CausalScene(model, cells ?? model.get("_cells"));
    const map = new EffectMap(scene);
    this.map = map;
    const runs = new RunPanel(scene);
    this.runs = runs;
    const behind = h("div", { class: "gl-cells-cell", "data-testid": "causal-cell" });
    const legend = h("div", { class: "gl-cells-legend" });
    const part = { update: (/** @type {Changes} */ what) => this.describe(scene, behind, legend, what) };
    scene.parts = [map, runs, part];
    const { facts } = scene;
    const answer = h("bdi", {}, visibleText(facts.answer));
    const heading = h(
      "div",
      { class: "gl-heading" },
      appendText(h("span", { class: "gl-name", dir: "auto" }), facts.model),
      h(
        "span",
        { class: "gl-causal-facts" },
        `${facts.patching}, log p of `,
        answer,
        `: ${nats(facts.corrupted)} corrupted, ${nats(facts.clean)} clean`,
      ),
    );
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, heading, this.partChoice(scene)),
      this.notice,
      map.node,
      legend,
      behind,
      runs.node,
      this.status,
    );
    return scene;
  }

  /** @param {CausalScene} scene */
  partChoice(scene) {
    const options = scene.facts.parts.map((name) => h("option", { value: name }, PART_NAMES[name] ?? name));
    const choice = h("select", { "data-testid": "causal-part" }, ...options);
    this.choice = choice;
    choice.value = scene.part;
    choice.addEventListener("change", () => this.model.send({ type: "show", part: choice.value }));
    return labelled("Patched", choice);
  }

  /**
   * Say what is in the cell that is described, and what the colours mean.
   * @param {CausalScene} scene
   * @param {HTMLElement} node
   * @param {HTMLElement} legend
   * @param {Changes} what
   */
  describe(scene, node, legend, what) {
    const ramp = h("span", { class: "gl-cells-ramp", style: `background:${scene.signed.gradient()}` });
    const { draws } = scene.facts;
    const framed = draws ? ` · framed: beyond all ${draws} controls` : " · no controls";
    const limit = scene.limit.toPrecision(3);
    legend.replaceChildren(ramp, `log p of the answer: −${limit} … +${limit} nats${framed}`);
    const { shown } = scene;
    if (!shown || shown.column < 0 || shown.column >= scene.length) {
      const keys = " ← → along columns, ↑ ↓ along layers, Enter opens";
      node.replaceChildren(h("b", {}, "Point at a cell"), keys);
      return;
    }
    const said = this.map?.words() ?? "";
    const label = visibleText(scene.labels[shown.column]);
    const column = ["head", "expert"].includes(scene.part) ? scene.part : "column";
    const name = column === "column" ? h("bdi", {}, label) : `${column} ${label}`;
    node.replaceChildren(h("b", {}, name), ` ${said}`);
    if (what.has("hover") && this.root.contains(document.activeElement)) {
      this.speak(() => [label, ": ", said]);
    }
  }

  get chooser() {
    return this.choice;
  }

  listen() {
    const sync = () => this.scene.syncFromModel();
    const stop = listen(this.model, {
      "change:cell": sync,
      "change:_ack": sync,
      "change:_cells": () => this.restart(),
      "change:_opened": () => this.runs?.update(),
      "change:busy": () => {
        this.showBusy();
        this.runs?.update();
      },
      "change:_notice": () => this.showNotice(this.model.get("_notice")),
      "msg:custom": (/** @type {any} */ message, /** @type {Buffer[]} */ buffers) => {
        if (message.type === "show") this.restart(buffers[0]);
      },
    });
    return this.ending(stop);
  }
}

/** @param {{ model: CausalModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new CausalView(model, el).listen();
}

export default { render };
