// The trace behind a cell: next tokens and logit lens of the clean, the corrupted and the patched run.
import { appendText, h, visibleText } from "../shared/dom.js";
import { weightPercentage } from "../shared/format.js";

/** @import { CausalScene } from "./causal_scene.js" */

export class RunPanel {
  /** @param {CausalScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.node = h("div", { class: "gl-causal-runs", "data-testid": "causal-runs" });
  }

  update() {
    const { model } = this.scene;
    const opened = model.get("_opened");
    if (model.get("busy")) {
      this.node.replaceChildren(h("div", { class: "gl-causal-note" }, "Tracing the patched run …"));
      return;
    }
    if (!opened.sides) {
      const note = model.get("_can_run")
        ? "Select a cell to trace the patched run."
        : "Without a model, cells are shown but not traced.";
      this.node.replaceChildren(h("div", { class: "gl-causal-note" }, note));
      return;
    }
    const title = appendText(h("div", { class: "gl-causal-title", dir: "auto" }), `Patched: ${opened.label}`);
    const sides = opened.sides.map((side) => this.side(side));
    this.node.replaceChildren(title, h("div", { class: "gl-cells-sides" }, ...sides));
  }

  /**
   * @param {import("../shared/wire_types.js").CausalRun} side
   */
  side(side) {
    const next = side.top.map(([text, probability]) => row(visibleText(text), probability));
    const lens = [...side.lens].reverse().map(([layer, text, probability]) => {
      return row(visibleText(text), probability, `${layer}`);
    });
    const answer = visibleText(this.scene.facts.answer);
    return h(
      "div",
      { class: "gl-cells-side" },
      h("div", { class: "gl-cells-name" }, side.name),
      h("div", { class: "gl-cells-kind" }, "next token"),
      ...next,
      h(
        "div",
        { class: "gl-cells-kind" },
        "logit lens: first token, and probability of ",
        h("bdi", {}, answer),
      ),
      ...lens,
    );
  }
}

/**
 * @param {string} text
 * @param {number} share
 * @param {string} [layer]
 */
function row(text, share, layer) {
  const inner = h("i", { style: `width:${Math.round(100 * Math.min(1, share))}%` });
  const name = layer === undefined ? null : h("span", { class: "gl-causal-layer" }, layer);
  return h(
    "div",
    { class: layer === undefined ? "gl-cells-row" : "gl-cells-row gl-causal-lens" },
    name,
    h("bdi", {}, text),
    h("span", { class: "gl-cells-bar" }, inner),
    h("span", {}, weightPercentage(share)),
  );
}
