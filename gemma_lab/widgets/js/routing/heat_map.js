// Tokens × experts of one layer on a canvas: only the rows in sight are drawn, so length costs nothing.
import { h } from "../shared/dom.js";
import { MODALITY, fresh } from "../shared/colors.js";
import { Minimap } from "./minimap.js";
import { LABELS } from "./routing_scene.js";

const [ROW, TALLEST, MAP] = [18, 396, 58];

export class Heat {
  constructor(scene) {
    [this.scene, this.store, this.axis] = [scene, scene.store, scene.axis];
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.spacer = h("div", {});
    this.scroller = h("div", { class: "gl-scroller", tabindex: 0, role: "application", "aria-roledescription": "heat map", "data-testid": "heat" }, this.spacer);
    this.map = new Minimap(scene, this);
    this.node = h("div", { class: "gl-heat" }, this.base, this.over, this.map.node, this.scroller);
    [this.cursor, this.last] = [0, 0]; // the keyboard's place, and the place last scrolled to
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroller.addEventListener("pointermove", (event) => this.point(event));
    this.scroller.addEventListener("pointerleave", () => scene.point(-1, -1));
    this.scroller.addEventListener("click", (event) => this.pick(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.scroller.addEventListener("blur", () => scene.point(-1, -1));
  }

  get height() {
    return Math.max(3 * ROW, Math.min(TALLEST, this.scene.length * ROW));
  }

  get top() {
    return this.scroller.scrollTop;
  }

  /** Whether there is more than fits, so that a map of the whole is of use. */
  get long() {
    return this.scene.length * ROW > TALLEST;
  }

  layout() {
    this.node.style.height = `${this.height}px`;
    this.spacer.style.height = `${this.scene.length * ROW}px`;
    this.axis.right = this.long ? MAP : 12;
    this.map.node.hidden = !this.long;
  }

  update(what) {
    if (what.has("filter") || what.has("data") || what.has("size")) this.layout();
    if (["layer", "filter", "data", "size", "theme"].some((one) => what.has(one))) {
      this.draw();
      this.map.draw();
      this.name();
    }
    this.drawOver();
  }

  name() {
    const { length, layer } = this.scene;
    this.scroller.setAttribute("aria-label", `Layer ${layer}: ${length} tokens by ${this.store.experts} experts. Up and down move along tokens, left and right along a token's experts, Page Up and Page Down along layers; Enter selects the token, Space the expert, Escape lets go.`);
  }

  /** Rows in sight: the first, and one past the last. */
  span() {
    const first = Math.max(0, Math.floor(this.top / ROW));
    return [first, Math.min(this.scene.length, Math.ceil((this.top + this.height) / ROW))];
  }

  draw() {
    const { scene, store, axis } = this;
    const paint = fresh(this.base, axis.width, this.height);
    const [first, end] = this.span();
    this.grid(paint);
    paint.textBaseline = "middle";
    paint.font = `12px ${scene.inks.font}`;
    for (let place = first; place < end; place++) {
      const [token, y] = [scene.at(place), place * ROW - this.top];
      this.label(paint, token, y);
      const chosen = store.chosen(scene.row, token);
      for (const { expert, weight } of chosen ?? []) {
        const x = axis.x(expert);
        paint.fillStyle = scene.ramp.of(scene.share(weight));
        paint.fillRect(x, y + 1, Math.max(1, axis.x(expert + 1) - x - (axis.cell > 5 ? 1 : 0)), ROW - 2);
      }
    }
    if (!store.layers.has(scene.row)) this.waiting(paint);
  }

  /** Every sixteenth expert, so that a column can be followed from the axis down. */
  grid(paint) {
    paint.fillStyle = this.scene.inks.line;
    const every = this.axis.experts > 32 ? 16 : this.axis.experts > 8 ? 4 : 1;
    for (let expert = 0; expert <= this.axis.experts; expert += every) paint.fillRect(this.axis.x(expert) - 0.5, 0, 0.5, this.height);
  }

  /** The text of a token beside its row, against the heat, in its own direction; then its kind as a stripe. */
  label(paint, token, y) {
    const { scene, store } = this;
    const special = store.name("modality", token) !== "text";
    paint.direction = store.name("direction", token) === "rtl" ? "rtl" : "ltr";
    paint.textAlign = "right";
    paint.fillStyle = special ? scene.inks.muted : scene.inks.text;
    paint.save();
    paint.beginPath();
    paint.rect(0, y, LABELS - 14, ROW);
    paint.clip();
    paint.fillText(store.label(token), LABELS - 16, y + ROW / 2 + 0.5);
    paint.restore();
    const colour = MODALITY[store.name("modality", token)];
    if (!colour) return;
    paint.fillStyle = colour;
    paint.fillRect(LABELS - 9, y, 3, ROW);
  }

  waiting(paint) {
    paint.fillStyle = this.scene.inks.muted;
    paint.textAlign = "center";
    paint.direction = "ltr";
    paint.fillText(`Layer ${this.scene.layer} is on its way …`, (LABELS + this.axis.width) / 2, this.height / 2);
  }

  drawOver() {
    const { scene, axis } = this;
    const paint = fresh(this.over, axis.width, this.height);
    const right = axis.x(axis.experts);
    const [first, end] = this.span();
    paint.fillStyle = scene.inks.soft;
    const experts = scene.focus;
    for (const expert of experts) paint.fillRect(axis.x(expert) - 1, 0, Math.max(2, axis.cell) + 2, this.height);
    for (let place = first; place < end; place++) {
      const token = scene.at(place);
      const y = place * ROW - this.top;
      if (token === scene.token || scene.tokens.has(token)) this.frame(paint, y, right, token === scene.token);
      if (experts.size) this.ring(paint, token, experts, y);
    }
    this.map.drawOver();
  }

  /** The row that is read, or that is selected. */
  frame(paint, y, right, read) {
    paint.fillStyle = this.scene.inks.soft;
    paint.fillRect(0, y, right, ROW);
    paint.fillStyle = this.scene.inks.accent;
    if (!read) paint.fillRect(0, y, 3, ROW);
    else for (const at of [y, y + ROW - 1]) paint.fillRect(0, at, right, 1);
  }

  /** What an expert that stands out did for a token: its cell, outlined. */
  ring(paint, token, experts, y) {
    for (const expert of experts) {
      if (!this.store.weight(this.scene.row, token, new Set([expert]))) continue;
      paint.strokeStyle = this.scene.inks.accent;
      paint.lineWidth = 1.5;
      paint.strokeRect(this.axis.x(expert) - 1.25, y + 0.75, Math.max(1, this.axis.cell) + 2.5, ROW - 1.5);
    }
  }

  scrolled() {
    this.draw();
    if (this.pointer) this.pointAt(this.pointer);
    this.drawOver();
  }

  /** The token and the expert under a pointer, -1 where there is none. */
  under({ clientX, clientY }) {
    const box = this.scroller.getBoundingClientRect();
    const place = Math.floor((clientY - box.top + this.top) / ROW);
    return [place >= 0 && place < this.scene.length ? this.scene.at(place) : -1, this.axis.expert(clientX - box.left)];
  }

  point(event) {
    this.pointer = { clientX: event.clientX, clientY: event.clientY };
    this.pointAt(event);
  }

  pointAt(event) {
    this.scene.point(...this.under(event));
  }

  pick(event) {
    const [token, expert] = this.under(event);
    const adding = event.shiftKey || event.ctrlKey || event.metaKey;
    if (token >= 0) this.cursor = this.scene.place(token);
    // A cell that is lit says: this expert. Anything else in the row says: this token.
    if (expert >= 0 && this.store.weight(this.scene.row, token, new Set([expert]))) this.scene.toggle("experts", expert, adding);
    else if (token >= 0) this.scene.toggle("tokens", token, adding);
  }

  /** Bring a token into sight. */
  reveal(token) {
    const place = this.scene.place(token);
    if (place < 0) return;
    this.cursor = place;
    if (place * ROW < this.top) this.scroller.scrollTop = place * ROW;
    else if ((place + 1) * ROW > this.top + this.height) this.scroller.scrollTop = (place + 1) * ROW - this.height;
  }

  key(event) {
    const { scene } = this;
    const page = Math.max(1, Math.floor(this.height / ROW) - 1);
    const step = { ArrowDown: event.ctrlKey ? page : 1, ArrowUp: event.ctrlKey ? -page : -1, Home: -Infinity, End: Infinity }[event.key];
    const layer = { PageDown: 1, PageUp: -1, "]": 1, "[": -1 }[event.key];
    const token = scene.at(Math.min(this.cursor, scene.length - 1));
    if (step !== undefined) this.walk(step);
    else if (layer !== undefined) scene.goTo(scene.row + layer);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") this.along(token, event.key === "ArrowRight" ? 1 : -1);
    else if (event.key === "Enter") scene.toggle("tokens", token, event.shiftKey);
    else if (event.key === " " && scene.expert >= 0) scene.toggle("experts", scene.expert, event.shiftKey);
    else if (event.key === "Escape") scene.select({ tokens: new Set(), experts: new Set() });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  walk(step) {
    const { scene } = this;
    const from = scene.token < 0 ? this.cursor - Math.sign(step) : this.cursor;
    this.cursor = Math.max(0, Math.min(scene.length - 1, from + step));
    this.pointer = null;
    const token = scene.at(this.cursor);
    this.reveal(token);
    scene.point(token, -1);
  }

  /** To the next of the experts that serve the token. */
  along(token, direction) {
    const experts = (this.store.chosen(this.scene.row, token) ?? []).map(({ expert }) => expert).sort((one, other) => direction * (one - other));
    const next = experts.find((expert) => this.scene.expert < 0 || direction * (expert - this.scene.expert) > 0) ?? experts[0];
    this.pointer = null;
    if (next !== undefined) this.scene.point(token, next);
  }
}
