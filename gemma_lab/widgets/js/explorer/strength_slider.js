// The strength of a direction: moving the slider runs the prompt again.
import { appendText, h, labelled } from "../shared/dom.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { ExplorerModel } from "../shared/wire_types.js" */

/**
 * Format a strength with its sign: "+2", "−0.5", "0".
 * @param {number} strength
 */
export function signed(strength) {
  const size = Number(Math.abs(strength).toPrecision(4));
  if (size === 0) return "0";
  return `${strength < 0 ? "−" : "+"}${size}`;
}

export class StrengthSlider {
  /** @param {ExplorerModel} model */
  constructor(model) {
    this.model = model;
    const { name = "", max = 0, step = 1 } = model.get("_steering") ?? {};
    this.offered = max > 0;
    const bounds = { min: String(-max), max: String(max), step: String(step) };
    this.input = h("input", { type: "range", "data-testid": "strength", ...bounds });
    this.input.addEventListener("input", () => this.say(Number(this.input.value)));
    this.input.addEventListener("change", () => this.steer());
    this.input.addEventListener("keydown", (event) => event.stopPropagation()); // the arrows are its own
    this.value = h("output", { "data-testid": "strength-value" });
    const direction = appendText(h("bdi", { class: "gl-direction", dir: "auto" }), name);
    this.node = h(
      "div",
      { class: "gl-strength", hidden: !this.offered },
      labelled("Steering strength", this.input),
      this.value,
      h("span", { class: "gl-where" }, "along ", direction),
    );
    this.show();
  }

  /** @param {number} strength */
  say(strength) {
    this.value.textContent = signed(strength);
    this.input.setAttribute("aria-valuetext", `strength ${signed(strength)}`);
  }

  steer() {
    const strength = Number(this.input.value);
    if (this.model.get("busy") || strength === this.model.get("strength")) return;
    this.model.send({ type: "steer", strength });
  }

  show() {
    const strength = this.model.get("strength") ?? 0;
    this.input.value = String(strength);
    this.say(strength);
    this.input.disabled = this.model.get("busy") || !this.model.get("_can_run");
  }

  /** @param {Changes} what */
  update(what) {
    if (this.offered && (what.has("busy") || what.has("data"))) this.show();
  }
}
