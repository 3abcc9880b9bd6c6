// A prompt sent to the model from a view.
import { button, h, textField } from "./dom.js";

/** @import { Changes } from "./scene.js" */
/** @import { WidgetModel } from "./wire_types.js" */
/** @typedef {WidgetModel<{ busy: boolean, _can_run: boolean }, any>} RunningModel */

export class Ask {
  /**
   * @param {RunningModel} model
   * @param {{ placeholder: string, stoppable?: boolean }} options
   */
  constructor(model, { placeholder, stoppable = true }) {
    this.model = model;
    this.field = textField({ rows: 1, placeholder, "aria-label": "Prompt" });
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.send = button({ name: "Ask", "data-testid": "ask", onclick: () => this.ask() }, "send");
    const stop = () => model.send({ type: "stop" });
    this.stop = stoppable
      ? button({ name: "Stop", "data-testid": "stop", hidden: true, onclick: stop }, "stop")
      : null;
    this.node = h("div", { class: "gl-ask" }, this.field, this.send, this.stop);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    event.stopPropagation();
    if (event.key === "Escape" && this.stop) this.model.send({ type: "stop" });
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

  /** @param {Changes} what */
  update(what) {
    if (!what.has("busy") && !what.has("data")) return;
    const busy = this.model.get("busy");
    this.node.hidden = !this.model.get("_can_run");
    this.send.hidden = busy;
    if (this.stop) this.stop.hidden = !busy;
  }
}
