// A question put to the model from here; its routing arrives while the answer is written.
import { button, h, textField } from "./dom.js";

export class Ask {
  constructor(scene, model) {
    [this.scene, this.model] = [scene, model];
    this.field = textField({ rows: 1, placeholder: "Ask the model and watch its experts …", "aria-label": "Prompt" });
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.send = button({ name: "Ask", "data-testid": "ask", onclick: () => this.ask() }, "send");
    this.stop = button({ name: "Stop", "data-testid": "stop", hidden: true, onclick: () => model.send({ type: "stop" }) }, "stop");
    this.node = h("div", { class: "gl-ask" }, this.field, this.send, this.stop);
  }

  key(event) {
    event.stopPropagation();
    if (event.key === "Escape") this.model.send({ type: "stop" });
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.ask();
  }

  ask() {
    const text = this.field.value;
    if (!text.trim() || this.model.get("busy")) return;
    this.model.send({ type: "ask", text });
    this.field.value = "";
  }

  update(what) {
    if (!what.has("busy") && !what.has("data")) return;
    const busy = this.model.get("busy");
    this.node.hidden = !this.model.get("_can_run");
    [this.send.hidden, this.stop.hidden] = [busy, !busy];
  }
}
