// Sampling controls: they show what Python holds; a change is requested, never assumed.
import { button, h, textField } from "../shared/dom.js";

/** @import { Child } from "../shared/dom.js" */
/** @import { ChatModel, ChatSettings } from "../shared/wire_types.js" */
/** @typedef {{ node: HTMLElement, show: (value: any) => void }} Control */

let fieldCount = 0;

export class Settings {
  /** @param {ChatModel} model */
  constructor(model) {
    this.model = model;
    /** @type {Map<keyof ChatSettings, Control>} */
    this.controls = new Map();
    this.lock = h("span", { class: "gl-help" });
    /** @param {number} value */
    const twoDigits = (value) => value.toFixed(2);
    this.node = h(
      "div",
      { class: "gl-settings", role: "group", "aria-label": "Settings", hidden: true },
      this.slider("temperature", "Temperature", { min: 0, max: 2, step: 0.05 }, (value) =>
        value === 0 ? "greedy" : twoDigits(value),
      ),
      this.slider("top_p", "Top-p", { min: 0.01, max: 1, step: 0.01 }, twoDigits),
      this.slider("top_k", "Top-k", { min: 0, max: 128, step: 1 }, (value) =>
        value === 0 ? "all" : String(value),
      ),
      this.number("max_new_tokens", "Longest answer", { min: 1, step: 1 }, "tokens"),
      this.number("seed", "Seed", { min: 0, step: 1, placeholder: "new each time" }),
      this.check("thinking", "Think first"),
      this.area("system", "System prompt"),
      model.get("_facts").tools.length ? this.approvals() : null,
    );
    this.show();
  }

  /** Build the button that opens and closes the panel. */
  opener() {
    const props = { name: "Settings", "aria-expanded": "false", "data-testid": "settings" };
    const node = button(props, "settings", "Settings");
    node.addEventListener("click", () => {
      this.node.hidden = !this.node.hidden;
      node.setAttribute("aria-expanded", String(!this.node.hidden));
    });
    return node;
  }

  /** @param {Partial<ChatSettings>} settings */
  request(settings) {
    this.model.send({ type: "change_settings", settings });
  }

  /**
   * @param {keyof ChatSettings} name
   * @param {string} label
   * @param {Control} control
   * @param {Child} extra
   * @param {string} [className]
   */
  field(name, label, control, extra, className = "gl-field") {
    fieldCount += 1;
    control.node.id = `gl-field-${fieldCount}`;
    this.controls.set(name, control);
    return h("div", { class: className }, h("label", { for: control.node.id }, label), extra, control.node);
  }

  /**
   * @param {keyof ChatSettings} name
   * @param {string} label
   * @param {{ min: number, max: number, step: number }} range
   * @param {(value: number) => string} format
   */
  slider(name, label, range, format) {
    const output = h("output", { class: "gl-value" });
    const node = h("input", { type: "range", ...range });
    node.addEventListener("change", () => this.request({ [name]: Number(node.value) }));
    node.addEventListener("input", () => output.replaceChildren(format(Number(node.value))));
    /** @param {number} value */
    const show = (value) => {
      node.value = String(value);
      output.replaceChildren(format(value));
    };
    return this.field(name, label, { node, show }, output);
  }

  /**
   * @param {keyof ChatSettings} name
   * @param {string} label
   * @param {{ min: number, step: number, placeholder?: string }} range
   * @param {string} [unit]
   */
  number(name, label, range, unit) {
    const node = h("input", { type: "number", ...range });
    node.addEventListener("change", () => {
      this.request({ [name]: node.value === "" ? null : Number(node.value) });
    });
    /** @param {number | null} value */
    const show = (value) => {
      node.value = value === null ? "" : String(value);
    };
    const extra = unit ? h("span", { class: "gl-value gl-help" }, unit) : null;
    return this.field(name, label, { node, show }, extra);
  }

  /**
   * @param {keyof ChatSettings} name
   * @param {string} label
   */
  check(name, label) {
    const node = h("input", { type: "checkbox", role: "switch" });
    node.addEventListener("change", () => this.request({ [name]: node.checked }));
    /** @param {boolean} value */
    const show = (value) => {
      node.checked = value;
    };
    return this.field(name, label, { node, show }, null, "gl-field gl-switch");
  }

  /**
   * @param {keyof ChatSettings} name
   * @param {string} label
   */
  area(name, label) {
    const node = textField({ rows: 2, placeholder: "None" });
    node.addEventListener("change", () => this.request({ [name]: node.value }));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.stopPropagation();
    });
    /** @param {string} value */
    const show = (value) => {
      if (node !== document.activeElement) node.value = value; // what is being written stays
    };
    return this.field(name, label, { node, show }, this.lock, "gl-field gl-wide");
  }

  /** Build the choice of the tools whose calls wait for a decision. */
  approvals() {
    const { tools, decides } = this.model.get("_facts");
    const help = h("span", { class: "gl-value gl-help" }, decides ? "a function of Python decides" : "");
    /** @type {[string, HTMLInputElement][]} */
    const boxes = tools.map(({ name }) => [name, h("input", { type: "checkbox", disabled: decides })]);
    const chosen = () => boxes.filter(([, box]) => box.checked).map(([name]) => name);
    const labels = boxes.map(([name, box], at) => {
      box.addEventListener("change", () => this.request({ ask: chosen() }));
      return h("label", { title: tools[at].description }, box, h("bdi", {}, name));
    });
    const node = h("div", { class: "gl-ask-tools", "data-testid": "ask-tools" }, ...labels);
    /** @param {string[]} ask */
    const show = (ask) => {
      for (const [name, box] of boxes) box.checked = ask.includes(name);
    };
    this.controls.set("ask", { node, show });
    const title = h("span", { class: "gl-field-name" }, "Ask before running");
    const props = { class: "gl-field gl-wide", role: "group", "aria-label": "Tools that ask before running" };
    return h("div", props, title, help, node);
  }

  show() {
    const settings = this.model.get("settings");
    for (const [name, { show }] of this.controls) show(settings[name]);
    const started = this.model.get("turns").length > 0;
    this.lock.replaceChildren(started ? "applies from the next new conversation" : "");
  }
}
