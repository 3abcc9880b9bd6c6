// An answer: thought, text, the value that a schema binds, calls and their cards, notes below.
import { appendText, h, icon } from "../shared/dom.js";
import { jsonView } from "../shared/json_view.js";
import { Cards } from "./call_card.js";
import { AnswerText } from "./tokens.js";

/** @import { AnswerToken, CallCard, ChatModel, Notice, Turn } from "../shared/wire_types.js" */
/** @import { Readout } from "./tokens.js" */

/** @type {Record<string, string>} */
const FINISH = { length: "cut off at the longest answer allowed", stopped: "stopped" };
const KEYS_HELP = "arrow keys read one token at a time";

/**
 * Build the text of an error and of its hint.
 * @param {Notice} notice
 */
export function errorText({ what = "", hint = "" }) {
  const words = h("div", {}, appendText(h("div", { class: "gl-text", dir: "auto" }), what));
  if (hint) words.append(appendText(h("div", { class: "gl-text gl-hint", dir: "auto" }), hint));
  return words;
}

/** A text of tokens that is folded under a summary. */
class FoldedText {
  /**
   * @param {Readout} readout
   * @param {{ label: string, className: string, tint: string }} options
   */
  constructor(readout, { label, className, tint }) {
    this.text = new AnswerText(readout, `${label}; ${KEYS_HELP}`, tint);
    this.summary = h("summary", {}, label);
    this.node = h("details", { class: className }, this.summary, this.text.node);
  }
}

/** An answer, or one reply of it if tools are called. It grows while it is being generated. */
export class Answer {
  /**
   * @param {Turn} turn
   * @param {ChatModel} model
   * @param {Readout} readout
   */
  constructor(turn, model, readout) {
    this.turn = turn;
    this.model = model;
    this.readout = readout;
    this.count = 0; // tokens drawn so far
    const { name, schema } = model.get("_facts");
    this.tint = model.get("settings").tint;
    /** @type {FoldedText | null} */
    this.json = null; // the text of an answer that a schema binds, under its value
    this.text = new AnswerText(readout, `Answer; ${KEYS_HELP}`, this.tint);
    if (schema) {
      const options = { label: "JSON as written", className: "gl-written", tint: this.tint };
      this.json = new FoldedText(readout, options);
      this.text = this.json.text;
    }
    /** @type {FoldedText | null} */
    this.thought = null;
    /** @type {FoldedText | null} */
    this.written = null; // calls as the model wrote them
    this.value = h("div", { class: "gl-value-of", hidden: true, "data-testid": "value" });
    this.cards = new Cards(model);
    this.foot = h("div", { class: "gl-foot" });
    this.caret = h("span", { class: "gl-caret", "aria-hidden": "true" });
    const props = { class: "gl-turn gl-model", "aria-label": name };
    const body = this.json ? [this.value, this.json.node] : [this.text.node];
    this.node = h("article", props, ...body, this.caret, this.cards.node, this.foot);
    this.update(turn);
  }

  /** @param {AnswerToken[]} tokens */
  add(tokens) {
    for (const token of tokens) {
      this.count += 1;
      this.textOf(token[2]).add(token);
    }
    const live = this.turn.state === "live";
    const thinking = live && !this.text.pieces.size;
    this.thought?.summary.replaceChildren(thinking ? "Thinking …" : "Thought");
    this.written?.summary.replaceChildren(live ? "Writing a call …" : "Call as written");
    this.text.node.hidden = !this.text.pieces.size && Boolean(this.written);
  }

  /**
   * Return the text that tokens of a kind belong to.
   * @param {string} kind
   */
  textOf(kind) {
    if (kind === "thought") {
      if (!this.thought) {
        const options = { label: "Thought", className: "gl-thought", tint: this.tint };
        this.thought = new FoldedText(this.readout, options);
        this.node.prepend(this.thought.node);
      }
      return this.thought.text;
    }
    if (kind === "tool") {
      if (!this.written) {
        const options = { label: "Call as written", className: "gl-written gl-call-text", tint: this.tint };
        this.written = new FoldedText(this.readout, options);
        this.caret.before(this.written.node);
      }
      return this.written.text;
    }
    return this.text;
  }

  /**
   * Show the turn as Python holds it; tokens that were drawn already stay.
   * @param {Turn} turn
   */
  update(turn) {
    this.turn = turn;
    this.node.classList.toggle("gl-live", turn.state === "live");
    this.add(turn.tokens.slice(this.count));
    if ("value" in turn) this.showValue(turn.value);
    this.foot.replaceChildren(...this.notes(turn));
  }

  /**
   * Show the value of an answer that a schema binds, as far as it is known.
   * @param {unknown} value
   */
  showValue(value) {
    const { invalid } = this.turn;
    const parts = value === null && invalid ? [] : [jsonView(value)];
    if (invalid) parts.push(h("div", { class: "gl-failed" }, icon("warn"), errorText(invalid)));
    this.value.replaceChildren(...parts);
    this.value.hidden = false;
  }

  /**
   * Tint all tokens.
   * @param {string} tint
   */
  paint(tint) {
    this.tint = tint;
    for (const text of [this.text, this.thought?.text, this.written?.text]) text?.paint(tint);
    if (tint !== "none" && this.json) this.json.node.open = true;
  }

  /**
   * Show the cards of the calls; return those that began to wait for a decision.
   * @param {CallCard[]} calls
   */
  showCalls(calls) {
    return this.cards.update(calls);
  }

  /** @param {Turn} turn */
  notes(turn) {
    if (turn.error) return [h("div", { class: "gl-failed" }, icon("warn"), errorText(turn.error))];
    if (turn.state !== "done") return [];
    const { speed, seed, note, finish_reason: reason = "" } = turn;
    const facts = [`${turn.tokens.length} ${turn.tokens.length === 1 ? "token" : "tokens"}`];
    if (typeof speed === "number") facts.push(`${speed < 10 ? speed : Math.round(speed)} tokens/s`);
    if (typeof seed === "number") facts.push(`seed ${seed}`);
    if (FINISH[reason]) facts.push(FINISH[reason]);
    if (note) facts.push(note);
    return facts.map((fact) => h("span", {}, fact));
  }
}
