// @ts-check
// The planner: memory, speed and cost of models on hardware, computed in the page.

import { appendText, everyFrame, followTheme, h, listen } from "../shared/dom.js";
import { choicesOf, completed, STATE } from "./choices.js";
import { PlannerControls } from "./controls.js";
import { drawCost } from "./cost_panel.js";
import { drawMemory } from "./memory_panel.js";
import { drawSpeed } from "./speed_panel.js";

/** @import { PlannerModel, PlannerState as State } from "../shared/wire_types.js" */

class PlannerView {
  /**
   * @param {PlannerModel} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.facts = model.get("_facts");
    /** @type {State} */
    this.state = this.held();
    /** @type {number|undefined} Number of the last error that was shown. */
    this.noticed = 0;
    this.controls = new PlannerControls(this.facts, (change) => this.change(change));
    this.memory = h("div", { "data-testid": "planner-memory" });
    this.speed = h("div", { "data-testid": "planner-speed" });
    this.cost = h("div", { "data-testid": "planner-cost" });
    this.explanation = h(
      "div",
      { class: "gl-plan-why", role: "status", "aria-live": "polite" },
      "Point at a number or move to it with Tab and the arrow keys: its formula and source appear here.",
    );
    this.root = h(
      "section",
      {
        class: "gl gl-plan",
        "aria-label": "Planner",
        "data-lm-suppress-shortcuts": "true",
        onpointerover: (/** @type {Event} */ event) => this.explain(event),
        onfocusin: (/** @type {Event} */ event) => this.explain(event),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.walk(event),
      },
      this.controls.top,
      panel("Memory on the device", this.memory),
      panel("Answer speed of one sequence", this.speed),
      panel("Cost of a month", this.cost, this.controls.costs),
      this.explanation,
    );
    el.append(this.root);
    this.draw = everyFrame(() => this.drawNow());
    const take = () => this.take();
    const handlers = Object.fromEntries(
      [...STATE.map((name) => `change:${name}`), "change:_facts", "change:_notice"].map((event) => [
        event,
        take,
      ]),
    );
    this.stop = listen(model, handlers);
    this.endTheme = followTheme(this.root);
    this.drawNow();
  }

  /** Return what Python holds. */
  held() {
    return /** @type {State} */ (Object.fromEntries(STATE.map((name) => [name, this.model.get(name)])));
  }

  /** Take over what Python holds, and show an error that a change caused. */
  take() {
    this.facts = this.model.get("_facts");
    this.controls.facts = this.facts;
    this.state = this.held();
    const notice = this.model.get("_notice");
    if (notice?.what && notice.count !== this.noticed) {
      this.noticed = notice.count;
      this.explanation.replaceChildren(
        appendText(h("b", {}), notice.what),
        " ",
        appendText(h("span", {}), notice.hint ?? ""),
      );
    }
    this.draw();
  }

  /**
   * Draw a change at once, and send it to Python, which holds the state.
   * @param {Partial<State>} change
   */
  change(change) {
    const full = completed(this.facts, this.state, change);
    this.state = { ...this.state, ...full };
    this.draw();
    this.model.send({ type: "set_values", values: full });
  }

  drawNow() {
    const choices = choicesOf(this.facts, this.state);
    this.controls.show(this.state);
    const focused = document.activeElement?.getAttribute?.("data-title") ?? null;
    drawMemory(this.memory, choices, this.facts);
    drawSpeed(this.speed, choices, this.facts);
    drawCost(this.cost, choices, this.facts, this.state);
    if (focused !== null)
      /** @type {HTMLElement|undefined} */ (
        this.stops().find((node) => node.getAttribute("data-title") === focused)
      )?.focus();
  }

  /** @param {Event} event */
  explain(event) {
    const node = /** @type {Element} */ (event.target).closest?.("[data-explain]");
    if (!node) return;
    this.explanation.replaceChildren(
      appendText(h("b", {}), node.getAttribute("data-title") ?? ""),
      " ",
      appendText(h("span", {}), node.getAttribute("data-explain") ?? ""),
    );
  }

  /** Every number that explains itself, in reading order. */
  stops() {
    return /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll("[data-explain]")]);
  }

  /** @param {KeyboardEvent} event */
  walk(event) {
    const ways = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const here = this.stops().indexOf(/** @type {HTMLElement} */ (event.target));
    if (here < 0 || !(event.key in ways)) return;
    event.preventDefault();
    this.stops()[here + ways[/** @type {keyof typeof ways} */ (event.key)]]?.focus();
  }

  /** Stop listening. */
  end() {
    this.stop();
    this.endTheme();
    this.draw.cancel();
  }
}

/**
 * @param {string} title
 * @param {...HTMLElement} content
 */
function panel(title, ...content) {
  return h("div", { class: "gl-plan-panel" }, h("h3", {}, title), ...content);
}

/** Draw the widget; returns what ends it. */
export function render(/** @type {{ model: PlannerModel, el: HTMLElement }} */ { model, el }) {
  const view = new PlannerView(model, el);
  return () => view.end();
}

export default { render };
