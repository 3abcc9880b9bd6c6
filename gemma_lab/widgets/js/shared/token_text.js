// The text of a trace, in blocks of which only those in sight exist; media are drawn where they came.
import { heightOf, layOut } from "./blocks.js";
import { appendText, h } from "./dom.js";
import { roleClass, roleName } from "./roles.js";
import { isTint, setMark, strongest, tintBackground, tintMark } from "./tints.js";

/** @import { Changes, TokenScene } from "./scene.js" */
/** @import { Block } from "./blocks.js" */
/** @import { Medium } from "./media.js" */
/** @typedef {{ node: HTMLElement, spans: Map<number, TokenSpan>, medium: Medium | null }} DrawnBlock */
/** @typedef {{ node: HTMLElement, tint: string, marks: number, line: string }} TokenSpan */

const MARGIN = 160; // pixels drawn beyond the visible part
const REST = 120; // milliseconds without a change before the text scrolls
const REPAINTED = ["hover", "layer", "selection", "filter", "data", "theme", "tone"];

/**
 * A subclass says what tints a token (`tintOf`) and what draws a medium (`createMedium`).
 * @template {TokenScene} S
 */
export class TokenText {
  /**
   * @param {S} scene
   * @param {string} label
   */
  constructor(scene, label) {
    this.scene = scene;
    this.store = scene.store;
    /** @type {Block[]} */
    this.blocks = [];
    /** @type {Map<number, DrawnBlock>} */
    this.drawn = new Map();
    /** @type {Set<number>} */
    this.folded = new Set(); // segments, by their first token
    this.scrollTarget = -1; // the token to scroll to once the selection rests
    /** @type {number | undefined} */
    this.epoch = -1; // the epoch of the tokens that are laid out
    this.inside = false; // whether the pointer in the text causes the change
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.scrolling = undefined;
    this.before = h("div", {});
    this.after = h("div", {});
    this.inner = h("div", { class: "gl-flow-inner" }, this.before, this.after);
    this.scroller = h(
      "div",
      {
        class: "gl-flow-scroller",
        tabindex: 0,
        role: "group",
        "aria-label": label,
        "data-testid": "flow",
      },
      this.inner,
    );
    this.node = h("div", { class: "gl-flow" }, this.scroller);
    this.scroller.addEventListener("scroll", () => this.show(), { passive: true });
    this.inner.addEventListener("pointerover", (event) => this.point(event));
    this.inner.addEventListener("pointerleave", () => scene.point(-1));
    this.inner.addEventListener("click", (event) => this.pick(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * Return background and text colour of a token, separated by "|"; "" for none.
   * @param {number} _token
   */
  tintOf(_token) {
    return "";
  }

  /**
   * Return what draws a medium.
   * @param {number[]} _tokens
   * @param {number} _width
   * @returns {Medium}
   */
  createMedium(_tokens, _width) {
    throw new Error("A token text says what draws its media.");
  }

  /** @param {Changes} what */
  update(what) {
    // not when tokens are appended: that would scroll away from what is being read
    if (what.has("selection") || (what.has("data") && this.epoch !== this.scene.epoch)) {
      const { tokens } = this.scene;
      this.scrollTarget = tokens.size === 1 ? [...tokens][0] : -1;
    }
    if (what.has("data")) this.rebuild();
    if (what.has("size")) this.redraw();
    if (REPAINTED.some((one) => what.has(one))) this.repaint();
  }

  /** Lay out new tokens; after tokens were appended, only the last block changes. */
  rebuild() {
    const end = this.blocks.at(-1)?.stop ?? 0;
    if (end > this.store.count || this.epoch !== this.scene.epoch) this.clear();
    else if (end < this.store.count && this.blocks.length) {
      this.forget(this.blocks.length - 1);
      this.blocks.pop();
    }
    this.epoch = this.scene.epoch;
    const { scroller } = this;
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 30;
    layOut(this.store, this.blocks);
    this.show();
    if (atEnd && this.scene.live) {
      scroller.scrollTop = scroller.scrollHeight;
      this.show();
    }
  }

  clear() {
    for (const index of [...this.drawn.keys()]) this.forget(index);
    this.blocks = [];
    this.folded.clear();
  }

  redraw() {
    for (const index of [...this.drawn.keys()]) this.forget(index);
    this.show();
    this.repaint();
  }

  /** @param {number} index */
  forget(index) {
    this.drawn.get(index)?.node.remove();
    this.drawn.delete(index);
  }

  /** Draw the blocks in sight and drop the others; heights are learnt as blocks are drawn. */
  show() {
    const [first, last] = this.inSight();
    for (const index of [...this.drawn.keys()]) if (index < first || index > last) this.forget(index);
    /** @type {[Block, DrawnBlock][]} */
    const added = [];
    /** @type {Node} */
    let next = this.after;
    for (let index = last; index >= first && first >= 0; index--) {
      if (!this.heightOf(this.blocks[index])) continue;
      let drawn = this.drawn.get(index);
      if (!drawn) {
        drawn = this.draw(this.blocks[index]);
        this.inner.insertBefore(drawn.node, next);
        this.drawn.set(index, drawn);
        added.push([this.blocks[index], drawn]);
      }
      next = drawn.node;
    }
    for (const [block, { node }] of added) {
      if (!this.folded.has(block.segment)) block.height = node.offsetHeight || block.height;
    }
    let above = 0;
    let below = 0;
    this.blocks.forEach((block, index) => {
      if (index < first) above += this.heightOf(block);
      if (index > last) below += this.heightOf(block);
    });
    this.before.style.height = `${above}px`;
    this.after.style.height = `${below}px`;
    for (const [, drawn] of added) this.paint(drawn);
  }

  /**
   * Return the height of a block in pixels, 0 in a folded segment.
   * @param {Block} block
   */
  heightOf(block) {
    return heightOf(block, this.folded);
  }

  /**
   * Fold or unfold the tokens of one role in a row.
   * @param {number} segment
   * @param {boolean} folding
   */
  fold(segment, folding) {
    if (this.folded.has(segment) === folding) return;
    if (folding) this.folded.add(segment);
    else this.folded.delete(segment);
    this.blocks.forEach((block, index) => {
      if (block.segment === segment) this.forget(index);
    });
    this.show();
    this.repaint();
  }

  /**
   * Return the first and the last block in sight, after placing all; -1 where there is none.
   * @returns {[number, number]}
   */
  inSight() {
    const top = this.scroller.scrollTop;
    const bottom = top + (this.scroller.clientHeight || 400);
    let y = 0;
    let first = -1;
    let last = -1;
    this.blocks.forEach((block, index) => {
      const height = this.heightOf(block);
      if (height && y + height > top - MARGIN && y < bottom + MARGIN) {
        if (first < 0) first = index;
        last = index;
      }
      block.top = y;
      y += height;
    });
    return [first, last];
  }

  /**
   * @param {Block} block
   * @returns {DrawnBlock}
   */
  draw(block) {
    const heading = block.heading ? this.heading(block) : null;
    const className = `gl-block ${roleClass(block.role)}`.trim();
    /** @type {Map<number, TokenSpan>} */
    const spans = new Map();
    if (this.folded.has(block.segment)) {
      return { node: h("div", { class: className }, heading), spans, medium: null };
    }
    if (block.isMedium && this.isFirstOfMedium(block)) {
      const width = Math.max(120, this.scroller.clientWidth - 28);
      const medium = this.createMedium(this.tokensOfMedium(block), width);
      return { node: h("div", { class: className }, heading, medium.node), spans, medium };
    }
    const text = h("div", { class: "gl-text", dir: "auto" });
    const stop = block.isMedium ? block.start + 1 : block.stop;
    for (let token = block.start; token < stop; token++) {
      const name = `${this.store.name("modality", block.start)} × ${block.stop - block.start}`;
      const node = block.isMedium ? this.chip(token, name) : this.span(token);
      if (!node) continue;
      spans.set(token, { node, tint: "", marks: 0, line: "" });
      text.append(node);
    }
    return { node: h("div", { class: className }, heading, text), spans, medium: null };
  }

  /**
   * Build the heading of a segment, which folds it.
   * @param {Block} block
   */
  heading({ segment, heading }) {
    const folded = this.folded.has(segment);
    const end = this.blocks.findLast((block) => block.segment === segment)?.stop ?? segment;
    const count = folded ? ` · ${end - segment} ${end - segment === 1 ? "token" : "tokens"}` : "";
    const props = { type: "button", class: "gl-role", "aria-expanded": String(!folded) };
    const node = h("button", props, `${roleName(heading)}${count}`);
    node.addEventListener("click", (event) => {
      event.stopPropagation();
      const focused = document.activeElement === node;
      this.fold(segment, !folded);
      if (focused) this.headingOf(segment)?.focus();
    });
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") event.stopPropagation(); // they press it, and select nothing
    });
    return node;
  }

  /**
   * Return the button of a segment that is drawn.
   * @param {number} segment
   */
  headingOf(segment) {
    const index = this.blocks.findIndex((block) => block.start === segment);
    const button = this.drawn.get(index)?.node.querySelector(".gl-role");
    return button instanceof HTMLElement ? button : null;
  }

  /**
   * Return the block's medium, as its modality and its number among the media of that modality.
   * @param {Block} block
   */
  mediumOf({ start }) {
    const position = this.store.positions.get(start);
    return position ? `${this.store.name("modality", start)}:${position.medium}` : null;
  }

  /**
   * Later frames of a video are drawn with the first.
   * @param {Block} block
   */
  isFirstOfMedium(block) {
    const medium = this.mediumOf(block);
    if (!medium) return false;
    return !this.blocks.some(
      (other) => other.isMedium && other.start < block.start && this.mediumOf(other) === medium,
    );
  }

  /**
   * @param {Block} block
   * @returns {number[]}
   */
  tokensOfMedium(block) {
    const medium = this.mediumOf(block);
    return this.blocks
      .filter((other) => other.isMedium && this.mediumOf(other) === medium)
      .flatMap(({ start, stop }) => Array.from({ length: stop - start }, (_, at) => start + at));
  }

  /**
   * Return a token's element; a token that only begins a character has none, the one that completes it has.
   * @param {number} token
   */
  span(token) {
    const { store } = this;
    const special = store.name("modality", token) === "special";
    const text = store.texts[token];
    if (!text) return special ? this.chip(token, store.label(token)) : null;
    return appendText(h("span", { class: special ? "gl-tok gl-format" : "gl-tok", "data-t": token }), text);
  }

  /**
   * @param {number} token
   * @param {string} label
   */
  chip(token, label) {
    return h("bdi", { class: "gl-tok gl-chip", "data-t": token, dir: "ltr" }, label);
  }

  repaint() {
    for (const drawn of this.drawn.values()) this.paint(drawn);
    clearTimeout(this.scrolling);
    // Only once the pointer rests: a text that jumps about cannot be read.
    const token = this.scene.token >= 0 && !this.inside ? this.scene.token : this.scrollTarget;
    if (this.scrollTarget >= 0) this.unfold(this.scrollTarget);
    if (token >= 0) this.scrolling = setTimeout(() => this.scrollToToken(token), REST);
  }

  /** @param {DrawnBlock} drawn */
  paint(drawn) {
    if (drawn.medium) {
      drawn.medium.draw();
      return;
    }
    drawn.spans.forEach((span, token) => {
      const tint = this.tintOf(token);
      if (span.tint !== tint) {
        span.tint = tint;
        const [background, color] = tint ? tint.split("|") : ["", ""];
        span.node.style.backgroundColor = background;
        span.node.style.color = color;
      }
      const line = this.lineOf(token);
      if (span.line !== line) {
        span.line = line;
        setMark(span.node, line);
      }
      const marks = this.marksOf(token);
      if (span.marks !== marks) {
        span.marks = marks;
        span.node.classList.toggle("gl-read", Boolean(marks & 1));
        span.node.classList.toggle("gl-picked", Boolean(marks & 2));
        span.node.classList.toggle("gl-dim", Boolean(marks & 4));
      }
    });
  }

  /**
   * Return the tint of how a token was drawn, as `tintOf` does; null while the view's own tint is chosen.
   * @param {number} token
   */
  drawTint(token) {
    const { tone = "" } = this.scene;
    if (!isTint(tone)) return null;
    const background = tintBackground(tone, strongest(tone, this.store.drawsOf(token)));
    return background ? `${background}|` : "";
  }

  /**
   * Return the class of the line under a token.
   * @param {number} token
   */
  lineOf(token) {
    const { tone = "" } = this.scene;
    return isTint(tone) ? tintMark(tone, strongest(tone, this.store.drawsOf(token))) : "";
  }

  /**
   * Return 1 for the token under the pointer, plus 2 if it is selected, plus 4 if the filter hides it.
   * @param {number} token
   */
  marksOf(token) {
    const { scene } = this;
    const pointed = token === scene.token ? 1 : 0;
    const selected = scene.tokens.has(token) ? 2 : 0;
    return pointed + selected + (scene.keep && !scene.keep[token] ? 4 : 0);
  }

  /**
   * Unfold the segment of a token.
   * @param {number} token
   */
  unfold(token) {
    const block = this.blocks.find(({ start, stop }) => token >= start && token < stop);
    if (block) this.fold(block.segment, false);
  }

  /**
   * Scroll a token into sight, or the heading of its folded segment.
   * @param {number} token
   */
  scrollToToken(token) {
    let index = this.blocks.findIndex(({ start, stop }) => token >= start && token < stop);
    this.scrollTarget = -1;
    if (index < 0) return;
    const { segment } = this.blocks[index];
    if (this.folded.has(segment)) index = this.blocks.findIndex(({ start }) => start === segment);
    if (!this.drawn.has(index)) {
      this.scroller.scrollTop = this.blocks[index].top;
      this.show();
    }
    const drawn = this.drawn.get(index);
    if (!drawn) return;
    const box = this.scroller.getBoundingClientRect();
    const own = (drawn.spans.get(token)?.node ?? drawn.node).getBoundingClientRect();
    const outside = own.top < box.top || own.bottom > box.bottom;
    if (outside) this.scroller.scrollTop += own.top - box.top - box.height / 3;
  }

  /** @param {PointerEvent} event */
  point(event) {
    const { target } = event;
    if (!(target instanceof Element)) return;
    const token = tokenAt(target);
    this.inside = true;
    if (token >= 0) this.scene.point(token);
    else if (target.tagName !== "CANVAS") this.scene.point(-1);
    this.inside = false;
  }

  /** @param {MouseEvent} event */
  pick(event) {
    const token = event.target instanceof Element ? tokenAt(event.target) : -1;
    if (token >= 0) this.scene.toggleToken(token, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  /**
   * Read the next or the previous token; a folded segment opens when it is reached.
   * @param {number} step
   */
  step(step) {
    const token = Math.max(0, Math.min(this.store.count - 1, this.scene.token + step));
    this.unfold(token);
    this.scene.point(token);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { scene } = this;
    const rtl = scene.token >= 0 && this.store.name("direction", scene.token) === "rtl";
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1 };
    const step = steps[event.key];
    if (step) this.step(step);
    else if (event.key === "ArrowDown") scene.stepLayer(1);
    else if (event.key === "ArrowUp") scene.stepLayer(-1);
    else if (event.key === "Enter" && scene.token >= 0) scene.toggleToken(scene.token, event.shiftKey);
    else if (event.key === "Escape") scene.clearSelection();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/**
 * Return the token that an element shows, or -1.
 * @param {Element} element
 */
function tokenAt(element) {
  const span = element.closest(".gl-tok");
  return span instanceof HTMLElement ? Number(span.dataset.t) : -1;
}
