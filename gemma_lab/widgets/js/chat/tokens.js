// Text made of tokens: tinted by probability, read one by one with the pointer or the arrow keys.
import { appendText, h, percent } from "../shared/dom.js";

let cards = 0; // a number for the id of each card on the page
const [TEXT, LOGPROB, KIND, ENTROPY, OTHERS, PLACE] = [0, 1, 2, 3, 4, 5];

/** Where a token stands on the scale: 0 is certain, 1 is a chance of one in a hundred or less. */
export function doubt(logprob) {
  return logprob === null ? 1 : Math.min(1, -logprob / Math.log(100));
}

/** Make spaces and line breaks visible where a token stands alone. */
function alone(text) {
  if (text === "") return "∅";
  return text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

/** A control token has no text; its name stands among the top_logprobs. */
function ownName(token) {
  return token[OTHERS][token[PLACE]]?.[0] ?? (token[TEXT] || "control token");
}

function bits(nats) {
  return `${(nats / Math.LN2).toFixed(2)} bits`;
}

/** One line of the read-out: what could have stood here, a bar, its probability. */
function row(text, logprob, chosen) {
  const share = logprob === null ? 0 : Math.exp(logprob);
  const bar = h("span", { class: "gl-bar" }, h("span", { class: "gl-fill", style: `inline-size: ${100 * share}%` }));
  return h(
    "div",
    { class: chosen ? "gl-row gl-chosen" : "gl-row" },
    appendText(h("bdi", { class: "gl-what", dir: "auto" }), alone(text)),
    bar,
    h("span", { class: "gl-share" }, percent(logprob)),
  );
}

/** The card that shows one token's probability and what could have stood in its place. */
export class Readout {
  constructor(root) {
    this.root = root;
    this.card = h("div", { class: "gl-card", role: "tooltip", id: `gl-card-${(cards += 1)}` });
    if (this.card.showPopover) this.card.setAttribute("popover", "manual");
    else this.card.hidden = true;
    root.append(this.card);
    this.anchor = null;
  }

  show(anchor, pieces) {
    if (this.anchor === anchor) return;
    this.hide();
    this.anchor = anchor;
    anchor.classList.add("gl-read");
    anchor.setAttribute("aria-describedby", this.card.id);
    this.fill(pieces);
    if (this.card.showPopover) this.card.showPopover();
    else this.card.hidden = false;
    this.place(anchor);
  }

  fill(pieces) {
    const [first, last] = [pieces[0], pieces[pieces.length - 1]];
    const joint = pieces.some((piece) => piece[LOGPROB] === null) ? null : pieces.reduce((sum, piece) => sum + piece[LOGPROB], 0);
    const token = appendText(h("bdi", { class: "gl-card-token", dir: "auto" }), last[KIND] === "special" ? ownName(last) : alone(last[TEXT]));
    this.card.replaceChildren(h("div", { class: "gl-card-head" }, token, h("span", { class: "gl-card-share" }, percent(joint))));
    if (pieces.length > 1) this.card.append(h("div", { class: "gl-card-note" }, `Made of ${pieces.length} tokens. For the first:`));
    if (first[OTHERS].length) {
      const rows = first[OTHERS].map(([text, logprob], at) => row(text, logprob, at === first[PLACE]));
      // An unlikely draw is not among the likeliest: it gets a line of its own below them.
      if (first[PLACE] < 0) rows.push(row(ownName(first), first[LOGPROB], true));
      this.card.append(h("div", { class: "gl-rows" }, ...rows));
    }
    if (first[ENTROPY] !== null) this.card.append(h("div", { class: "gl-card-note" }, `Entropy ${bits(first[ENTROPY])}`));
  }

  /** Above the token, or below it where there is no room; never outside the widget's width. */
  place(anchor) {
    const box = anchor.getClientRects()[0] ?? anchor.getBoundingClientRect();
    const card = this.card.getBoundingClientRect();
    const origin = this.card.showPopover ? { left: 0, top: 0 } : this.root.getBoundingClientRect();
    const room = this.root.getBoundingClientRect();
    const [first, last] = [Math.max(8, room.left + 8), Math.min(innerWidth, room.right) - card.width - 8];
    const left = Math.max(first, Math.min(box.left + box.width / 2 - card.width / 2, last));
    const above = box.top - card.height - 8;
    const top = above > 8 ? above : box.bottom + 8;
    this.card.style.left = `${left - origin.left}px`;
    this.card.style.top = `${top - origin.top}px`;
  }

  /** After `scroller` moved: stay with the token, or go when it went out of sight. */
  follow(scroller) {
    if (!this.anchor) return;
    const [token, seen] = [this.anchor.getBoundingClientRect(), scroller.getBoundingClientRect()];
    if (token.bottom < seen.top || token.top > seen.bottom) this.hide();
    else this.place(this.anchor);
  }

  hide() {
    if (!this.anchor) return false;
    this.anchor.classList.remove("gl-read");
    this.anchor.removeAttribute("aria-describedby");
    this.anchor = null;
    if (this.card.hidePopover) this.card.hidePopover();
    else this.card.hidden = true;
    return true;
  }
}

/** A growing text of tokens. One token at a time is in the tab order; arrow keys move along the text. */
export class TokenText {
  constructor(readout, label) {
    this.readout = readout;
    this.node = h("div", { class: "gl-text gl-tokens", dir: "auto", role: "group", "aria-label": label, "data-lm-suppress-shortcuts": "true" });
    this.pieces = new Map(); // span -> the tokens that make it up
    this.waiting = []; // tokens without a text of their own yet: the next one that has text completes them
    this.node.addEventListener("pointerover", (event) => this.read(event.target));
    this.node.addEventListener("pointerleave", () => readout.hide());
    this.node.addEventListener("focusin", (event) => this.read(event.target));
    this.node.addEventListener("focusout", () => readout.hide());
    this.node.addEventListener("keydown", (event) => this.move(event));
  }

  add(token) {
    this.waiting.push(token);
    if (token[TEXT] === "" && token[KIND] !== "special") return;
    const look = { special: "gl-token gl-end", tool: "gl-token gl-tool" }[token[KIND]] ?? "gl-token";
    const span = h("span", { class: look, tabindex: this.pieces.size ? -1 : 0 });
    if (token[KIND] === "special") span.setAttribute("aria-label", ownName(token));
    else appendText(span, token[TEXT]);
    const worst = this.waiting.reduce((most, piece) => Math.max(most, doubt(piece[LOGPROB])), 0);
    span.style.setProperty("--doubt", worst.toFixed(3));
    this.pieces.set(span, this.waiting);
    this.waiting = [];
    this.node.append(span);
  }

  read(target) {
    const span = target.closest(".gl-token");
    if (this.pieces.has(span)) this.readout.show(span, this.pieces.get(span));
    else this.readout.hide();
  }

  move(event) {
    const here = event.target.closest(".gl-token");
    if (!here) return;
    const rtl = getComputedStyle(this.node).direction === "rtl";
    const to = {
      ArrowRight: rtl ? here.previousElementSibling : here.nextElementSibling,
      ArrowLeft: rtl ? here.nextElementSibling : here.previousElementSibling,
      Home: this.node.firstElementChild,
      End: this.node.lastElementChild,
    }[event.key];
    if (event.key === "Escape" && this.readout.hide()) event.stopPropagation();
    if (!to) return;
    event.preventDefault();
    here.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }
}

/** The key to the colours. */
export function legend() {
  const ticks = [["100 %", 0], ["10 %", 0.5], ["≤ 1 %", 1]];
  return h(
    "div",
    { class: "gl-legend", role: "img", "aria-label": "Colour shows the probability of a token: plain is certain, deep orange is one per cent or less" },
    h("span", {}, "Probability"),
    h("span", { class: "gl-scale" }, ...ticks.map(([text, at]) => h("span", { class: "gl-tick", style: `left: ${100 * at}%` }, text))),
  );
}
