// Switching experts off, and the answer before and after side by side.
import { appendText, button, h } from "../shared/dom.js";

export class Ablation {
  constructor(scene, model) {
    [this.scene, this.model] = [scene, model];
    this.button = button({ class: "gl-do", "data-testid": "ablate", name: "Switch this expert off and run the prompt again" }, null, "Ablate");
    this.button.addEventListener("click", () => this.ablate());
    this.title = h("b", {});
    this.note = h("span", { class: "gl-where" });
    this.shown = button({ class: "gl-quiet", "data-testid": "shown", name: "Look at the routing with or without the edit" }, null, "Show the routing after");
    this.shown.addEventListener("click", () => model.send({ type: "show_edited", edited: !model.get("_comparison").showing_edited }));
    this.undo = button({ class: "gl-quiet", "data-testid": "restore", name: "Put every expert back" }, null, "Restore");
    this.undo.addEventListener("click", () => model.send({ type: "restore" }));
    this.sides = ["Before", "After"].map((name) => ({ name, text: h("div", { class: "gl-text", dir: "auto" }) }));
    const columns = this.sides.map(({ name, text }) => h("div", { class: "gl-side", "aria-label": name }, h("div", { class: "gl-role" }, name), text));
    this.node = h("section", { class: "gl-compare", "aria-label": "Before and after", "data-testid": "compare", hidden: true }, h("div", { class: "gl-compare-head" }, this.title, this.note, h("span", { class: "gl-gap" }), this.shown, this.undo), h("div", { class: "gl-sides" }, ...columns));
  }

  ablate() {
    const { scene } = this;
    if (this.button.disabled || !scene.experts.size) return;
    scene.flush();
    this.model.send({ type: "ablate", layer: scene.layer, experts: [...scene.experts] });
  }

  /** The button is there only where a model is, and acts on what is selected. */
  show() {
    const { scene, model } = this;
    this.button.hidden = !model.get("_can_run") || !scene.experts.size;
    this.button.disabled = model.get("busy");
    const off = new Set((model.get("_comparison").experts ?? []).filter(([layer]) => layer === scene.layer).map(([, expert]) => expert));
    if ([...scene.experts].every((expert) => off.has(expert))) this.button.hidden = true;
  }

  update(what) {
    if (what.has("comparison") || what.has("data")) this.compare();
    this.show();
  }

  compare() {
    const told = this.model.get("_comparison");
    this.node.hidden = !told.state;
    if (!told.state) return;
    this.title.replaceChildren(`Without ${told.edit}`);
    this.note.replaceChildren(told.state === "running" ? "running …" : told.note);
    this.node.setAttribute("aria-busy", String(told.state === "running"));
    this.undo.disabled = this.shown.disabled = told.state === "running";
    this.shown.lastChild.replaceChildren(told.showing_edited ? "Show the routing before" : "Show the routing after");
    this.shown.hidden = told.state !== "done";
    for (const [side, parts] of [[this.sides[0], told.before], [this.sides[1], told.after]]) {
      const spans = (parts ?? []).map(([text, changed]) => appendText(h("span", { class: changed ? "gl-changed" : "" }), text));
      side.text.replaceChildren(...(spans.length ? spans : [told.state === "running" ? "…" : "(no answer was generated)"]));
    }
  }
}
