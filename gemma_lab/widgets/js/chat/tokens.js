// Text made of tokens: tinted, read one by one with the pointer or the arrow keys.
import { appendText, h, percent, visibleText } from "../shared/dom.js";
import { explained, isTint, setMark, strongest, tintBackground, tintMark } from "../shared/tints.js";

/** @import { AnswerToken } from "../shared/wire_types.js" */
/** @import { Draw } from "../shared/tints.js" */

const TEXT = 0; // fields of a token
const LOGPROB = 1;
const KIND = 2;
const ENTROPY = 3;
const ALTERNATIVES = 4;
const RANK = 5;
const EFFECT = 6;
const DRAFTED = 7;
let cardCount = 0;

/**
 * Return how a token was generated, as tints read it.
 * @param {AnswerToken} token
 * @returns {Draw}
 */
export function drawOf(token) {
  const [forbidden, firstChoice, overruled] = token[EFFECT] ?? [null, "", false];
  return { logprob: token[LOGPROB], forbidden, firstChoice, overruled, drafted: token[DRAFTED] };
}

/**
 * Return the name of a token; a control token has no text, its name is among the alternatives.
 * @param {AnswerToken} token
 */
function nameOf(token) {
  return token[ALTERNATIVES][token[RANK]]?.[0] ?? (token[TEXT] || "control token");
}

/**
 * Build a line of the readout: an alternative, a bar, its probability.
 * @param {string} text
 * @param {number | null} logprob
 * @param {boolean} chosen
 */
function line(text, logprob, chosen) {
  const share = logprob === null ? 0 : Math.exp(logprob);
  const fill = h("span", { class: "gl-fill", style: `inline-size: ${100 * share}%` });
  return h(
    "div",
    { class: chosen ? "gl-row gl-chosen" : "gl-row" },
    h("bdi", { class: "gl-what", dir: "auto" }, visibleText(text)),
    h("span", { class: "gl-bar" }, fill),
    h("span", { class: "gl-share" }, percent(logprob)),
  );
}

/** The card that shows a token's probability and its alternatives. */
export class Readout {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    cardCount += 1;
    this.card = h("div", { class: "gl-card", role: "tooltip", id: `gl-card-${cardCount}` });
    this.isPopover = typeof this.card.showPopover === "function";
    if (this.isPopover) this.card.setAttribute("popover", "manual");
    else this.card.hidden = true;
    root.append(this.card);
    /** @type {HTMLElement | null} */
    this.anchor = null;
  }

  /**
   * Show the tokens that make up a piece of text.
   * @param {HTMLElement} anchor
   * @param {AnswerToken[]} tokens
   */
  show(anchor, tokens) {
    if (this.anchor === anchor) return;
    this.hide();
    this.anchor = anchor;
    anchor.classList.add("gl-read");
    anchor.setAttribute("aria-describedby", this.card.id);
    this.fill(tokens);
    if (this.isPopover) this.card.showPopover();
    else this.card.hidden = false;
    this.place(anchor);
  }

  /** @param {AnswerToken[]} tokens */
  fill(tokens) {
    const first = tokens[0];
    const last = tokens[tokens.length - 1];
    const text = last[KIND] === "special" ? nameOf(last) : visibleText(last[TEXT]);
    const token = appendText(h("bdi", { class: "gl-card-token", dir: "auto" }), text);
    const share = h("span", { class: "gl-card-share" }, percent(jointLogprob(tokens)));
    this.card.replaceChildren(h("div", { class: "gl-card-head" }, token, share));
    if (tokens.length > 1) this.note(`Made of ${tokens.length} tokens. For the first:`);
    if (first[ALTERNATIVES].length) {
      const lines = first[ALTERNATIVES].map(([other, logprob], at) =>
        line(other, logprob, at === first[RANK]),
      );
      // An unlikely token is not among the likeliest: it gets a line of its own below them.
      if (first[RANK] < 0) lines.push(line(nameOf(first), first[LOGPROB], true));
      this.card.append(h("div", { class: "gl-rows" }, ...lines));
    }
    for (const words of explained(drawOf(first))) this.note(...words);
    const entropy = first[ENTROPY];
    if (entropy !== null) this.note(`Entropy ${(entropy / Math.LN2).toFixed(2)} bits`);
  }

  /** @param {...(string | Node)} words */
  note(...words) {
    this.card.append(h("div", { class: "gl-card-note" }, ...words));
  }

  /**
   * Place the card above the token, or below it where it does not fit; never outside the widget's width.
   * @param {HTMLElement} anchor
   */
  place(anchor) {
    const box = anchor.getClientRects()[0] ?? anchor.getBoundingClientRect();
    const card = this.card.getBoundingClientRect();
    const widget = this.root.getBoundingClientRect();
    const origin = this.isPopover ? { left: 0, top: 0 } : widget;
    const first = Math.max(8, widget.left + 8);
    const last = Math.min(innerWidth, widget.right) - card.width - 8;
    const left = Math.max(first, Math.min(box.left + box.width / 2 - card.width / 2, last));
    const above = box.top - card.height - 8;
    const top = above > 8 ? above : box.bottom + 8;
    this.card.style.left = `${left - origin.left}px`;
    this.card.style.top = `${top - origin.top}px`;
  }

  /**
   * After `scroller` moved: stay with the token, or hide when it is out of sight.
   * @param {HTMLElement} scroller
   */
  follow(scroller) {
    if (!this.anchor) return;
    const token = this.anchor.getBoundingClientRect();
    const seen = scroller.getBoundingClientRect();
    if (token.bottom < seen.top || token.top > seen.bottom) this.hide();
    else this.place(this.anchor);
  }

  /** Hide the card; return whether it was shown. */
  hide() {
    if (!this.anchor) return false;
    this.anchor.classList.remove("gl-read");
    this.anchor.removeAttribute("aria-describedby");
    this.anchor = null;
    if (this.isPopover) this.card.hidePopover();
    else this.card.hidden = true;
    return true;
  }
}

/**
 * Return the log-probability of several tokens together; null if one of them is unknown.
 * @param {AnswerToken[]} tokens
 * @returns {number | null}
 */
function jointLogprob(tokens) {
  let sum = 0;
  for (const token of tokens) {
    const logprob = token[LOGPROB];
    if (logprob === null) return null;
    sum += logprob;
  }
  return sum;
}

/** @type {Record<string, string>} */
const CLASSES = { special: "gl-token gl-end", tool: "gl-token gl-tool" };

/** A growing text of tokens. One token at a time is in the tab order; arrow keys move along the text. */
export class AnswerText {
  /**
   * @param {Readout} readout
   * @param {string} label
   * @param {string} tint
   */
  constructor(readout, label, tint) {
    this.readout = readout;
    this.tint = tint;
    this.node = h("div", {
      class: "gl-text gl-tokens",
      dir: "auto",
      role: "group",
      "aria-label": label,
      "data-lm-suppress-shortcuts": "true",
    });
    /** @type {Map<HTMLElement, AnswerToken[]>} */
    this.pieces = new Map(); // element -> the tokens that make it up
    /** @type {AnswerToken[]} */
    this.incomplete = []; // tokens without a text of their own yet: the next one that has text completes them
    this.node.addEventListener("pointerover", (event) => this.read(event));
    this.node.addEventListener("pointerleave", () => readout.hide());
    this.node.addEventListener("focusin", (event) => this.read(event));
    this.node.addEventListener("focusout", () => readout.hide());
    this.node.addEventListener("keydown", (event) => this.move(event));
  }

  /** @param {AnswerToken} token */
  add(token) {
    this.incomplete.push(token);
    if (token[TEXT] === "" && token[KIND] !== "special") return;
    const className = CLASSES[token[KIND]] ?? "gl-token";
    const span = h("span", { class: className, tabindex: this.pieces.size ? -1 : 0 });
    if (token[KIND] === "special") span.setAttribute("aria-label", nameOf(token));
    else appendText(span, token[TEXT]);
    this.pieces.set(span, this.incomplete);
    this.paintOne(span, this.incomplete);
    this.incomplete = [];
    this.node.append(span);
  }

  /**
   * Tint all tokens.
   * @param {string} tint
   */
  paint(tint) {
    this.tint = tint;
    for (const [span, tokens] of this.pieces) this.paintOne(span, tokens);
  }

  /**
   * @param {HTMLElement} span
   * @param {AnswerToken[]} tokens
   */
  paintOne(span, tokens) {
    const draw = isTint(this.tint) ? strongest(this.tint, tokens.map(drawOf)) : undefined;
    span.style.background = tintBackground(this.tint, draw);
    setMark(span, tintMark(this.tint, draw));
  }

  /** @param {Event} event */
  read(event) {
    const span = tokenOf(event);
    const tokens = span && this.pieces.get(span);
    if (tokens) this.readout.show(span, tokens);
    else this.readout.hide();
  }

  /** @param {KeyboardEvent} event */
  move(event) {
    const span = tokenOf(event);
    if (!span) return;
    const rtl = getComputedStyle(this.node).direction === "rtl";
    const { previousElementSibling: previous, nextElementSibling: next } = span;
    /** @type {Record<string, Element | null>} */
    const targets = {
      ArrowRight: rtl ? previous : next,
      ArrowLeft: rtl ? next : previous,
      Home: this.node.firstElementChild,
      End: this.node.lastElementChild,
    };
    const target = targets[event.key];
    if (event.key === "Escape" && this.readout.hide()) event.stopPropagation();
    if (!(target instanceof HTMLElement)) return;
    event.preventDefault();
    span.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }
}

/**
 * Return the token's element that an event is about.
 * @param {Event} event
 */
function tokenOf({ target }) {
  const span = target instanceof Element ? target.closest(".gl-token") : null;
  return span instanceof HTMLElement ? span : null;
}
