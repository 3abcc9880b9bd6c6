// The text as it reads, in blocks of which only those in sight exist; pictures and sounds stand where they came.
import { appendText, h } from "./dom.js";
import { Medium } from "./media.js";

const [BLOCK, LONGEST, MARGIN] = [90, 220, 160]; // tokens of a block, at the most, and pixels drawn beyond the sight
const MEDIA = new Set(["image", "video", "audio"]);

export class Flow {
  constructor(scene) {
    [this.scene, this.store] = [scene, scene.store];
    [this.blocks, this.drawn, this.wanted] = [[], new Map(), -1];
    [this.before, this.after] = [h("div", {}), h("div", {})];
    this.inner = h("div", { class: "gl-flow-inner" }, this.before, this.after);
    this.scroller = h("div", { class: "gl-flow-scroller", tabindex: 0, role: "group", "aria-label": "Text; left and right read one token at a time, up and down change the layer, Enter selects", "data-testid": "flow" }, this.inner);
    this.node = h("div", { class: "gl-flow" }, this.scroller);
    this.scroller.addEventListener("scroll", () => this.show(), { passive: true });
    this.inner.addEventListener("pointerover", (event) => this.point(event));
    this.inner.addEventListener("pointerleave", () => scene.point(-1, -1));
    this.inner.addEventListener("click", (event) => this.pick(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  /** Cut the tokens from `from` on into blocks: at line ends and turns, else at a word after a while. */
  cut(from) {
    const { store } = this;
    let role = this.blocks.at(-1)?.role;
    for (let start = from; start < store.count; ) {
      const stop = this.end(start);
      const heading = store.name("role", start);
      const medium = MEDIA.has(store.name("modality", start));
      this.blocks.push({ start, stop, medium, role: heading, heading: heading && heading !== role ? heading : "", height: medium ? 200 : 22 * (1 + (stop - start) / 9) });
      role = heading;
      start = stop;
    }
  }

  end(start) {
    const { store } = this;
    const [kind, role, place] = [store.name("modality", start), store.codes.role[start], store.places.get(start)?.medium];
    const medium = MEDIA.has(kind);
    for (let at = start + 1; at < store.count; at++) {
      const here = store.name("modality", at);
      if (medium ? here !== kind || store.places.get(at)?.medium !== place : MEDIA.has(here) || store.codes.role[at] !== role) return at;
      if (medium) continue;
      const lineEnds = store.texts[at - 1].endsWith("\n") && at - start > BLOCK;
      const word = store.texts[at].startsWith(" ") && at - start > LONGEST;
      if (lineEnds || word || at - start > 2 * LONGEST) return at;
    }
    return store.count;
  }

  update(what) {
    // not when tokens are added: who reads along would be sent back
    if (what.has("selection") || (what.has("data") && this.epoch !== this.scene.epoch)) {
      const picked = this.scene.tokens ?? new Set();
      this.wanted = picked.size === 1 ? [...picked][0] : -1;
    }
    if (what.has("data")) this.rebuild();
    if (what.has("size")) this.redraw();
    if (["hover", "layer", "selection", "filter", "data", "theme", "tone"].some((one) => what.has(one))) this.tint(what);
  }

  /** After tokens were added, only the last block is cut anew. */
  rebuild() {
    const end = this.blocks.at(-1)?.stop ?? 0;
    if (end > this.store.count || this.epoch !== this.scene.epoch) this.clear();
    else if (end < this.store.count && this.blocks.length) this.forget(this.blocks.length - 1, this.blocks.pop());
    this.epoch = this.scene.epoch;
    const atEnd = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 30;
    this.cut(this.blocks.at(-1)?.stop ?? 0);
    this.show();
    if (atEnd && this.scene.live) {
      this.scroller.scrollTop = this.scroller.scrollHeight;
      this.show();
    }
  }

  clear() {
    for (const { node } of this.drawn.values()) node.remove();
    this.drawn.clear();
    this.blocks = [];
  }

  redraw() {
    for (const { node } of this.drawn.values()) node.remove();
    this.drawn.clear();
    this.show();
    this.tint(new Set(["layer"]));
  }

  forget(index) {
    this.drawn.get(index)?.node.remove();
    this.drawn.delete(index);
  }

  /** Draw the blocks in sight and drop the others; heights are learnt as blocks are seen. */
  show() {
    const [top, tall] = [this.scroller.scrollTop, this.scroller.clientHeight || 400];
    let [y, first, last] = [0, -1, -1];
    this.blocks.forEach((block, index) => {
      if (y + block.height > top - MARGIN && y < top + tall + MARGIN) {
        if (first < 0) first = index;
        last = index;
      }
      block.top = y;
      y += block.height;
    });
    for (const index of [...this.drawn.keys()]) if (index < first || index > last) this.forget(index);
    const fresh = [];
    for (let index = first; index >= 0 && index <= last; index++) {
      if (this.drawn.has(index)) continue;
      const drawn = this.build(this.blocks[index]);
      const next = [...this.drawn.keys()].filter((one) => one > index).sort((one, other) => one - other)[0];
      this.inner.insertBefore(drawn.node, next === undefined ? this.after : this.drawn.get(next).node);
      this.drawn.set(index, drawn);
      fresh.push(index);
    }
    for (const index of fresh) this.blocks[index].height = this.drawn.get(index).node.offsetHeight || this.blocks[index].height;
    let [above, below] = [0, 0];
    this.blocks.forEach(({ height }, index) => {
      if (index < first) above += height;
      if (index > last) below += height;
    });
    this.before.style.height = `${above}px`;
    this.after.style.height = `${below}px`;
    for (const index of fresh) this.paint(this.drawn.get(index), new Set(["layer"]));
  }

  build(block) {
    const drawn = { spans: new Map(), medium: null };
    const heading = block.heading ? h("div", { class: "gl-role" }, block.heading) : null;
    if (block.medium && this.store.places.has(block.start) && this.firstOfMedium(block)) {
      drawn.medium = this.medium(this.tokensOf(block), Math.max(120, this.scroller.clientWidth - 28));
      drawn.node = h("div", { class: "gl-block" }, heading, drawn.medium.node);
      return drawn;
    }
    const text = h("div", { class: "gl-text", dir: "auto" });
    for (let token = block.start; token < block.stop; token++) {
      if (block.medium && token > block.start) break;
      const span = block.medium ? this.chip(token, `${this.store.name("modality", block.start)} × ${block.stop - block.start}`) : this.span(token);
      if (!span) continue;
      drawn.spans.set(token, span);
      text.append(span);
    }
    drawn.node = h("div", { class: "gl-block" }, heading, text);
    return drawn;
  }

  /** What draws a medium; a subclass may draw something else on it. */
  medium(tokens, width) {
    return new Medium(this.scene, tokens, width);
  }

  /** Later frames of a video are drawn with the first. */
  firstOfMedium({ start }) {
    const { medium } = this.store.places.get(start);
    const kind = this.store.name("modality", start);
    return !this.blocks.some((other) => other.medium && other.start < start && this.store.name("modality", other.start) === kind && this.store.places.get(other.start)?.medium === medium);
  }

  tokensOf({ start }) {
    const [kind, { medium }] = [this.store.name("modality", start), this.store.places.get(start)];
    const tokens = [];
    for (const block of this.blocks) {
      if (!block.medium || this.store.name("modality", block.start) !== kind || this.store.places.get(block.start)?.medium !== medium) continue;
      for (let token = block.start; token < block.stop; token++) tokens.push(token);
    }
    return tokens;
  }

  /** A token's span; one that only begins a character has none, the token that completes it shows it. */
  span(token) {
    const { store } = this;
    const special = store.name("modality", token) === "special";
    if (store.texts[token]) return appendText(h("span", { class: special ? "gl-tok gl-format" : "gl-tok", "data-t": token }), store.texts[token]);
    return special ? this.chip(token, store.label(token)) : null;
  }

  chip(token, label) {
    return h("bdi", { class: "gl-tok gl-chip", "data-t": token, dir: "ltr" }, label);
  }

  tint(what) {
    for (const drawn of this.drawn.values()) this.paint(drawn, what);
    clearTimeout(this.waiting);
    // Only once the pointer rests: a text that jumps about cannot be read.
    const token = this.scene.token >= 0 && !this.inside ? this.scene.token : this.wanted;
    if (token >= 0) this.waiting = setTimeout(() => this.bring(token), 120);
  }

  paint(drawn, what) {
    if (drawn.medium) return drawn.medium.draw();
    const { scene } = this;
    const experts = scene.focus;
    const whole = !(what.size === 1 && what.has("hover")) || experts !== this.focus;
    drawn.spans.forEach((span, token) => {
      const look = whole || experts.size ? this.look(token, experts) : span.look;
      const marks = (token === scene.token ? 1 : 0) + (scene.tokens.has(token) ? 2 : 0) + (scene.keep && !scene.keep[token] ? 4 : 0);
      if (span.look !== look) {
        span.look = look;
        [span.style.backgroundColor, span.style.color] = look ? look.split("|") : ["", ""];
      }
      if (span.marks !== marks) {
        span.marks = marks;
        span.classList.toggle("gl-read", Boolean(marks & 1));
        span.classList.toggle("gl-picked", Boolean(marks & 2));
        span.classList.toggle("gl-dim", Boolean(marks & 4));
      }
    });
    drawn.focus = experts;
  }

  /** Background and ink of a token, as one string. */
  look(token, experts) {
    const { scene, store } = this;
    if (experts.size) {
      let weight = 0;
      // A character of several tokens is as bright as the brightest of them.
      for (let at = token; at >= 0 && store.codes.cluster[at] === store.codes.cluster[token]; at--) weight = Math.max(weight, store.weight(scene.row, at, experts));
      const step = scene.ramp.step(scene.share(weight));
      return weight ? `${scene.ramp.css[step]}|${scene.ramp.ink[step]}` : "";
    }
    const tone = scene.toneOf(token);
    return tone > 0.02 ? `color-mix(in srgb, var(--gl-warm) ${Math.round(tone * 46)}%, transparent)|` : "";
  }

  /** Bring a token into sight. */
  bring(token) {
    const index = this.blocks.findIndex(({ start, stop }) => token >= start && token < stop);
    this.wanted = -1;
    if (index < 0) return;
    if (!this.drawn.has(index)) {
      this.scroller.scrollTop = this.blocks[index].top;
      this.show();
    }
    const { spans, node } = this.drawn.get(index) ?? {};
    if (!node) return;
    const [span, box] = [spans.get(token) ?? node, this.scroller.getBoundingClientRect()];
    const own = span.getBoundingClientRect();
    if (own.top < box.top || own.bottom > box.bottom) this.scroller.scrollTop += own.top - box.top - box.height / 3;
  }

  point(event) {
    const span = event.target.closest?.(".gl-tok");
    this.inside = true;
    if (span) this.scene.point(Number(span.dataset.t), -1);
    else if (event.target.tagName !== "CANVAS") this.scene.point(-1, -1);
    this.inside = false;
  }

  pick(event) {
    const span = event.target.closest?.(".gl-tok");
    if (span) this.scene.toggle("tokens", Number(span.dataset.t), event.shiftKey || event.ctrlKey || event.metaKey);
  }

  key(event) {
    const { scene } = this;
    const rtl = scene.token >= 0 && this.store.name("direction", scene.token) === "rtl";
    const step = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1 }[event.key];
    const layer = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) scene.point(Math.max(0, Math.min(this.store.count - 1, scene.token + step)), -1);
    else if (layer) scene.goTo(scene.row + layer);
    else if (event.key === "Enter" && scene.token >= 0) scene.toggle("tokens", scene.token, event.shiftKey);
    else if (event.key === "Escape") scene.select({ tokens: new Set(), experts: new Set() });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
