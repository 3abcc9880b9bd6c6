// Sampling controls: what they show is what Python holds; a change is asked for, never assumed.
import { button, h, textField } from "../shared/dom.js";

let fields = 0; // a number for the id of each field on the page

export class Settings {
  constructor(model) {
    this.model = model;
    this.controls = {};
    this.lock = h("span", { class: "gl-help" });
    this.node = h(
      "div",
      { class: "gl-settings", role: "group", "aria-label": "Settings", hidden: true },
      this.slider("temperature", "Temperature", { min: 0, max: 2, step: 0.05 }, (v) => (v === 0 ? "greedy" : v.toFixed(2))),
      this.slider("top_p", "Top-p", { min: 0.01, max: 1, step: 0.01 }, (v) => v.toFixed(2)),
      this.slider("top_k", "Top-k", { min: 0, max: 128, step: 1 }, (v) => (v === 0 ? "all" : String(v))),
      this.number("max_new_tokens", "Longest answer", { min: 1, step: 1 }, "tokens"),
      this.number("seed", "Seed", { min: 0, step: 1, placeholder: "new each time" }),
      this.check("thinking", "Think first"),
      this.area("system", "System prompt"),
    );
    this.show();
  }

  /** The button that opens and closes the panel. */
  opener() {
    const node = button({ name: "Settings", "aria-expanded": "false", "data-testid": "settings" }, "settings", "Settings");
    node.addEventListener("click", () => {
      this.node.hidden = !this.node.hidden;
      node.setAttribute("aria-expanded", String(!this.node.hidden));
    });
    return node;
  }

  ask(name, value) {
    this.model.send({ type: "change_settings", settings: { [name]: value } });
  }

  field(name, label, control, extra, className = "gl-field") {
    const id = `gl-field-${(fields += 1)}`;
    control.id = id;
    this.controls[name] = control;
    return h("div", { class: className }, h("label", { for: id }, label), extra, control);
  }

  slider(name, label, range, format) {
    const value = h("output", { class: "gl-value" });
    const control = h("input", { type: "range", ...range, onchange: () => this.ask(name, Number(control.value)) });
    control.addEventListener("input", () => value.replaceChildren(format(Number(control.value))));
    control.reveal = (held) => {
      control.value = held;
      value.replaceChildren(format(held));
    };
    return this.field(name, label, control, value);
  }

  number(name, label, range, unit) {
    const control = h("input", { type: "number", ...range, onchange: () => this.ask(name, control.value === "" ? null : Number(control.value)) });
    control.reveal = (held) => (control.value = held ?? "");
    return this.field(name, label, control, unit ? h("span", { class: "gl-value gl-help" }, unit) : null);
  }

  check(name, label) {
    const control = h("input", { type: "checkbox", role: "switch", onchange: () => this.ask(name, control.checked) });
    control.reveal = (held) => (control.checked = held);
    return this.field(name, label, control, null, "gl-field gl-switch");
  }

  area(name, label) {
    const control = textField({ rows: 2, placeholder: "None", onchange: () => this.ask(name, control.value) });
    control.addEventListener("keydown", (event) => event.key === "Enter" && event.stopPropagation());
    control.reveal = (held) => (control.value = held);
    return this.field(name, label, control, this.lock, "gl-field gl-wide");
  }

  show() {
    const held = this.model.get("settings");
    for (const [name, control] of Object.entries(this.controls)) {
      if (control !== document.activeElement || control.type !== "textarea") control.reveal(held[name]);
    }
    this.lock.replaceChildren(this.model.get("turns").length ? "holds from the next new conversation" : "");
  }
}
