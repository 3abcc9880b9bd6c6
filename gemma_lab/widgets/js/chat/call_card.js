// A tool call as a card: its arguments, the decision about it, its result folded below.
import { appendText, button, h, icon, textField } from "../shared/dom.js";

/** @import { CallCard, ChatModel } from "../shared/wire_types.js" */

/**
 * What a card says about its state; of those that are not listed, the status itself.
 * @type {Record<string, string>}
 */
const STATES = {
  queued: "waits for the call before it",
  waiting: "waits for you",
  running: "running …",
  ran: "ran",
  denied: "denied",
  invalid: "not run: invalid call",
  unknown: "not run: no such tool",
  failed: "failed",
  "timed out": "timed out",
  "too long": "result too long",
  "not run": "not run: only declared",
  stopped: "stopped",
};
const OPEN = ["queued", "waiting", "running"];

/** The card of one call; it is updated in place, so that what is being written stays. */
export class Card {
  /**
   * @param {ChatModel} model
   * @param {CallCard} call
   */
  constructor(model, call) {
    this.model = model;
    this.id = call.id;
    this.editing = false;
    this.shown = ""; // the state that is shown
    this.state = h("span", { class: "gl-call-state", "data-testid": "call-state" });
    this.arguments = h("pre", { class: "gl-code", dir: "auto" });
    this.editor = textField({ class: "gl-code", "aria-label": `Arguments of ${call.name} as JSON`, rows: 3 });
    this.editor.addEventListener("keydown", (event) => this.key(event));
    this.problem = h("div", { class: "gl-call-problem gl-text", role: "alert", dir: "auto" });
    this.run = button({ name: `Run ${call.name}`, class: "gl-run", "data-testid": "run" }, "play", "Run");
    this.edit = button({ name: `Edit the arguments of ${call.name}`, "data-testid": "edit" }, "edit", "Edit");
    this.deny = button({ name: `Deny ${call.name}`, "data-testid": "deny" }, "remove", "Deny");
    this.cancel = button({ name: "Keep the arguments", "data-testid": "cancel" }, null, "Cancel");
    this.always = h("input", { type: "checkbox", "data-testid": "always" });
    const always = h("label", { class: "gl-always" }, this.always, "Always run this tool");
    this.run.addEventListener("click", () => this.accept());
    this.edit.addEventListener("click", () => this.startEditing());
    this.cancel.addEventListener("click", () => this.stopEditing());
    this.deny.addEventListener("click", () => this.decide("deny"));
    this.actions = h(
      "div",
      { class: "gl-call-actions", role: "group", "aria-label": `Decide about ${call.name}` },
      this.run,
      this.edit,
      this.cancel,
      this.deny,
      always,
    );
    this.alwaysBox = always;
    this.summary = h("summary", {});
    this.result = h("pre", { class: "gl-code", dir: "auto" });
    this.folded = h(
      "details",
      { class: "gl-call-result", "data-testid": "result" },
      this.summary,
      this.result,
    );
    this.error = h("div", { class: "gl-call-error" });
    const name = appendText(h("bdi", { class: "gl-call-name" }), call.name || "unreadable call");
    const source = call.source ? appendText(h("bdi", { class: "gl-call-source" }), call.source) : null;
    this.node = h(
      "section",
      { class: "gl-call-card", "aria-label": `Call of ${call.name || "a tool"}`, "data-testid": "call" },
      h("div", { class: "gl-call-head" }, icon("tool"), name, source, this.state),
      this.arguments,
      this.editor,
      this.problem,
      this.actions,
      this.error,
      this.folded,
    );
    this.update(call);
  }

  /** @param {CallCard} call */
  update(call) {
    const { state } = call;
    this.call = call;
    const focused = this.actions.contains(document.activeElement) || document.activeElement === this.editor;
    if (state !== "waiting") this.editing = false;
    this.node.dataset.state = state;
    this.state.replaceChildren(this.describe(call));
    this.arguments.replaceChildren();
    appendText(this.arguments, call.arguments);
    this.problem.replaceChildren();
    appendText(this.problem, call.problem);
    this.problem.hidden = !call.problem;
    this.actions.hidden = state !== "waiting";
    this.showEditor();
    this.showResult(call);
    if (focused && state !== "waiting") this.focusAfter();
    this.shown = state;
  }

  /** @param {CallCard} call */
  describe({ state, edited, seconds }) {
    const took =
      OPEN.includes(state) || !seconds
        ? ""
        : `, ${seconds < 10 ? seconds.toFixed(2) : Math.round(seconds)} s`;
    const limit = state === "running" ? ` at most ${this.model.get("_facts").timeout} s` : "";
    return `${STATES[state] ?? state}${limit}${took}${edited ? ", arguments edited" : ""}`;
  }

  /** @param {CallCard} call */
  showResult({ state, result }) {
    const ran = state === "ran";
    this.folded.hidden = !ran;
    this.error.hidden = ran || !result;
    if (ran) {
      const count = [...result].length;
      this.summary.replaceChildren(`Result · ${count} ${count === 1 ? "character" : "characters"}`);
      this.result.replaceChildren();
      appendText(this.result, result);
    } else if (result) {
      const words = appendText(h("div", { class: "gl-text", dir: "auto" }), result);
      this.error.replaceChildren(icon("warn"), words);
    }
  }

  showEditor() {
    this.arguments.hidden = this.editing;
    this.editor.hidden = !this.editing;
    this.edit.hidden = this.editing;
    this.cancel.hidden = !this.editing;
    this.alwaysBox.hidden = this.editing;
    const { name } = this.call ?? { name: "" };
    this.run.title = this.editing ? `Run ${name} with these arguments` : `Run ${name}`;
    this.run.setAttribute("aria-label", this.run.title);
  }

  startEditing() {
    this.editing = true;
    this.editor.value = this.call?.arguments ?? "";
    this.editor.rows = Math.min(12, this.editor.value.split("\n").length + 1);
    this.showEditor();
    this.editor.focus();
  }

  stopEditing() {
    this.editing = false;
    this.problem.hidden = true;
    this.showEditor();
    this.edit.focus();
  }

  accept() {
    if (this.editing) this.model.send({ type: "edit", call: this.id, arguments: this.editor.value });
    else this.decide("run");
  }

  /** @param {string} decision */
  decide(decision) {
    this.model.send({ type: "decide", call: this.id, decision, always: this.always.checked });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Enter") event.stopPropagation(); // JupyterLab would run the cell
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.accept();
    }
    if (event.key !== "Escape") return;
    event.stopPropagation(); // leaves the editor and stops nothing
    this.stopEditing();
  }

  /** Keep the keyboard where it was, now that the button under it is gone. */
  focusAfter() {
    this.node.tabIndex = -1;
    this.node.focus();
  }
}

/** The cards of one answer. */
export class Cards {
  /** @param {ChatModel} model */
  constructor(model) {
    this.model = model;
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    this.node = h("div", { class: "gl-calls", hidden: true, "data-lm-suppress-shortcuts": "true" });
  }

  /**
   * Show the calls as Python holds them; return those that began to wait for a decision.
   * @param {CallCard[]} calls
   */
  update(calls) {
    const began = [];
    const kept = new Set(calls.map(({ id }) => id));
    for (const [id, card] of this.cards) {
      if (kept.has(id)) continue;
      card.node.remove();
      this.cards.delete(id);
    }
    for (const call of calls) {
      const card = this.cards.get(call.id) ?? new Card(this.model, call);
      if (call.state === "waiting" && (card.shown !== "waiting" || !this.cards.has(call.id)))
        began.push(call);
      if (this.cards.has(call.id)) card.update(call);
      else this.node.append(card.node);
      this.cards.set(call.id, card);
    }
    this.node.hidden = !this.cards.size;
    return began;
  }
}
