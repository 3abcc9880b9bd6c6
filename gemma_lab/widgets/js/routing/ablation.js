// Ablating experts, and the answer before and after side by side.
import { appendText, button, h } from "../shared/dom.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { AnswerSide, RoutingModel } from "../shared/wire_types.js" */
/** @import { RoutingScene } from "./routing_scene.js" */

export class Ablation {
  /**
   * @param {RoutingScene} scene
   * @param {RoutingModel} model
   */
  constructor(scene, model) {
    this.scene = scene;
    this.model = model;
    const ablate = "Ablate this expert and run the prompt again";
    this.button = button({ class: "gl-do", "data-testid": "ablate", name: ablate }, null, "Ablate");
    this.button.addEventListener("click", () => this.ablate());
    this.title = h("b", {});
    this.note = h("span", { class: "gl-where" });
    this.shownLabel = h("span", { class: "gl-label" });
    const show = "Show the routing with or without the edit";
    this.shown = button({ class: "gl-quiet", "data-testid": "shown", name: show }, null);
    this.shown.append(this.shownLabel);
    this.shown.addEventListener("click", () => {
      model.send({ type: "show_edited", edited: !model.get("_comparison").showing_edited });
    });
    const restore = "Remove the ablation of every expert";
    this.undo = button({ class: "gl-quiet", "data-testid": "restore", name: restore }, null, "Restore");
    this.undo.addEventListener("click", () => model.send({ type: "restore" }));
    this.before = h("div", { class: "gl-text", dir: "auto" });
    this.after = h("div", { class: "gl-text", dir: "auto" });
    this.node = h(
      "section",
      { class: "gl-compare", "aria-label": "Before and after", "data-testid": "compare", hidden: true },
      h(
        "div",
        { class: "gl-compare-head" },
        this.title,
        this.note,
        h("span", { class: "gl-gap" }),
        this.shown,
        this.undo,
      ),
      h("div", { class: "gl-sides" }, column("Before", this.before), column("After", this.after)),
    );
  }

  ablate() {
    const { scene } = this;
    if (this.button.disabled || !scene.experts.size) return;
    scene.postNow();
    this.model.send({ type: "ablate", layer: scene.layer, experts: [...scene.experts] });
  }

  /** Show the button where there is a model, and experts that are not ablated yet. */
  showButton() {
    const { scene, model } = this;
    const ablated = new Set(
      (model.get("_comparison").experts ?? [])
        .filter(([layer]) => layer === scene.layer)
        .map(([, expert]) => expert),
    );
    const useful = [...scene.experts].some((expert) => !ablated.has(expert));
    this.button.hidden = !model.get("_can_run") || !useful;
    this.button.disabled = model.get("busy");
  }

  /** @param {Changes} what */
  update(what) {
    if (what.has("comparison") || what.has("data")) this.compare();
    this.showButton();
  }

  compare() {
    const { state, edit, note = "", showing_edited: edited, before, after } = this.model.get("_comparison");
    const running = state === "running";
    this.node.hidden = !state;
    if (!state) return;
    this.title.replaceChildren(`Without ${edit}`);
    this.note.replaceChildren(running ? "running …" : note);
    this.node.setAttribute("aria-busy", String(running));
    this.undo.disabled = running;
    this.shown.disabled = running;
    this.shown.hidden = running;
    this.shownLabel.replaceChildren(edited ? "Show the routing before" : "Show the routing after");
    const placeholder = running ? "…" : "(no answer was generated)";
    fillSide(this.before, before ?? [], placeholder);
    fillSide(this.after, after ?? [], placeholder);
  }
}

/**
 * @param {string} name
 * @param {HTMLElement} text
 */
function column(name, text) {
  return h("div", { class: "gl-side", "aria-label": name }, h("div", { class: "gl-role" }, name), text);
}

/**
 * @param {HTMLElement} node
 * @param {AnswerSide} parts
 * @param {string} placeholder
 */
function fillSide(node, parts, placeholder) {
  const spans = parts.map(([text, changed]) => {
    return appendText(h("span", { class: changed ? "gl-changed" : "" }), text);
  });
  node.replaceChildren(...(spans.length ? spans : [placeholder]));
}
