// Tokens × experts of one layer on a canvas: only the rows in sight are drawn, so length costs nothing.
import { fitCanvas, MODALITY_COLORS } from "../shared/colors.js";
import { h } from "../shared/dom.js";
import { Minimap } from "./minimap.js";
import { LABELS } from "./routing_scene.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { RoutingScene } from "./routing_scene.js" */

const ROW = 18; // height of a token's row, in pixels
const TALLEST = 396;
const MINIMAP = 58; // width of the minimap and its ticks

export class HeatMap {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.store = scene.store;
    this.axis = scene.axis;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.spacer = h("div", {});
    this.scroller = h(
      "div",
      {
        class: "gl-scroller",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "heat map",
        "data-testid": "heat",
      },
      this.spacer,
    );
    this.minimap = new Minimap(scene, this);
    this.node = h("div", { class: "gl-heat" }, this.base, this.over, this.minimap.node, this.scroller);
    this.cursor = 0; // the keyboard's place among the tokens shown
    /** @type {{ clientX: number, clientY: number } | null} */
    this.pointer = null;
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroller.addEventListener("pointermove", (event) => this.point(event));
    this.scroller.addEventListener("pointerleave", () => scene.point(-1));
    this.scroller.addEventListener("click", (event) => this.pick(event));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.scroller.addEventListener("blur", () => scene.point(-1));
  }

  get height() {
    return Math.max(3 * ROW, Math.min(TALLEST, this.scene.length * ROW));
  }

  get top() {
    return this.scroller.scrollTop;
  }

  /** Whether there are more rows than fit. */
  get isLong() {
    return this.scene.length * ROW > TALLEST;
  }

  layOut() {
    this.node.style.height = `${this.height}px`;
    this.spacer.style.height = `${this.scene.length * ROW}px`;
    this.axis.right = this.isLong ? MINIMAP : 12;
    this.minimap.node.hidden = !this.isLong;
  }

  /** @param {Changes} what */
  update(what) {
    if (what.has("filter") || what.has("data") || what.has("size")) this.layOut();
    if (["layer", "filter", "data", "size", "theme"].some((one) => what.has(one))) {
      this.draw();
      this.minimap.draw();
      this.describe();
    }
    this.drawOver();
  }

  describe() {
    const { length, layer } = this.scene;
    const label =
      `Layer ${layer}: ${length} tokens by ${this.store.experts} experts. Up and down move along tokens, ` +
      "left and right along a token's experts, Page Up and Page Down along layers; Enter selects the " +
      "token, Space the expert, Escape clears the selection.";
    this.scroller.setAttribute("aria-label", label);
  }

  /**
   * Return the first row in sight, and one past the last.
   * @returns {[number, number]}
   */
  inSight() {
    const first = Math.max(0, Math.floor(this.top / ROW));
    return [first, Math.min(this.scene.length, Math.ceil((this.top + this.height) / ROW))];
  }

  draw() {
    const { scene, store, axis } = this;
    const ctx = fitCanvas(this.base, axis.width, this.height);
    const [first, end] = this.inSight();
    this.drawGrid(ctx);
    ctx.textBaseline = "middle";
    ctx.font = `12px ${scene.theme.font}`;
    for (let place = first; place < end; place++) {
      const token = scene.at(place);
      const y = place * ROW - this.top;
      this.drawLabel(ctx, token, y);
      for (const { expert, weight } of store.chosen(scene.layerIndex, token) ?? []) {
        const x = axis.x(expert);
        const width = axis.x(expert + 1) - x - (axis.cell > 5 ? 1 : 0);
        ctx.fillStyle = scene.ramp.of(scene.share(weight));
        ctx.fillRect(x, y + 1, Math.max(1, width), ROW - 2);
      }
    }
    if (!store.layers.has(scene.layerIndex)) this.drawWaiting(ctx);
  }

  /**
   * Mark every sixteenth expert or so, so that a column can be followed from the axis down.
   * @param {CanvasRenderingContext2D} ctx
   */
  drawGrid(ctx) {
    const { axis } = this;
    ctx.fillStyle = this.scene.theme.line;
    for (let expert = 0; expert <= axis.experts; expert += axis.tickStep) {
      ctx.fillRect(axis.x(expert) - 0.5, 0, 0.5, this.height);
    }
  }

  /**
   * Draw a token's text beside its row, in its own direction, and its modality as a stripe.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} token
   * @param {number} y
   */
  drawLabel(ctx, token, y) {
    const { scene, store } = this;
    const modality = store.name("modality", token);
    ctx.direction = store.name("direction", token) === "rtl" ? "rtl" : "ltr";
    ctx.textAlign = "right";
    ctx.fillStyle = modality === "text" ? scene.theme.text : scene.theme.muted;
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, y, LABELS - 14, ROW);
    ctx.clip();
    ctx.fillText(store.label(token), LABELS - 16, y + ROW / 2 + 0.5);
    ctx.restore();
    const color = MODALITY_COLORS[modality];
    if (!color) return;
    ctx.fillStyle = color;
    ctx.fillRect(LABELS - 9, y, 3, ROW);
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawWaiting(ctx) {
    ctx.fillStyle = this.scene.theme.muted;
    ctx.textAlign = "center";
    ctx.direction = "ltr";
    const text = `Layer ${this.scene.layer} is being loaded …`;
    ctx.fillText(text, (LABELS + this.axis.width) / 2, this.height / 2);
  }

  drawOver() {
    const { scene, axis } = this;
    const ctx = fitCanvas(this.over, axis.width, this.height);
    const right = axis.x(axis.experts);
    const [first, end] = this.inSight();
    const experts = scene.focus;
    ctx.fillStyle = scene.theme.soft;
    for (const expert of experts) {
      ctx.fillRect(axis.x(expert) - 1, 0, Math.max(2, axis.cell) + 2, this.height);
    }
    for (let place = first; place < end; place++) {
      const token = scene.at(place);
      const y = place * ROW - this.top;
      const pointed = token === scene.token;
      if (pointed || scene.tokens.has(token)) this.drawFrame(ctx, y, right, pointed);
      this.drawRings(ctx, token, experts, y);
    }
    this.minimap.drawOver();
  }

  /**
   * Mark the row of the token under the pointer, or of a selected one.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} y
   * @param {number} right
   * @param {boolean} pointed
   */
  drawFrame(ctx, y, right, pointed) {
    ctx.fillStyle = this.scene.theme.soft;
    ctx.fillRect(0, y, right, ROW);
    ctx.fillStyle = this.scene.theme.accent;
    if (pointed) {
      ctx.fillRect(0, y, right, 1);
      ctx.fillRect(0, y + ROW - 1, right, 1);
    } else ctx.fillRect(0, y, 3, ROW);
  }

  /**
   * Outline the cells of the focused experts that ran for a token.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} token
   * @param {Set<number>} experts
   * @param {number} y
   */
  drawRings(ctx, token, experts, y) {
    for (const expert of experts) {
      if (!this.store.weight(this.scene.layerIndex, token, new Set([expert]))) continue;
      ctx.strokeStyle = this.scene.theme.accent;
      ctx.lineWidth = 1.5;
      const width = Math.max(1, this.axis.cell) + 2.5;
      ctx.strokeRect(this.axis.x(expert) - 1.25, y + 0.75, width, ROW - 1.5);
    }
  }

  scrolled() {
    this.draw();
    if (this.pointer) this.scene.point(...this.under(this.pointer));
    this.drawOver();
  }

  /**
   * Return the token and the expert under a pointer, -1 where there is none.
   * @param {{ clientX: number, clientY: number }} pointer
   * @returns {[token: number, expert: number]}
   */
  under({ clientX, clientY }) {
    const box = this.scroller.getBoundingClientRect();
    const place = Math.floor((clientY - box.top + this.top) / ROW);
    const token = place >= 0 && place < this.scene.length ? this.scene.at(place) : -1;
    return [token, this.axis.expert(clientX - box.left)];
  }

  /** @param {PointerEvent} event */
  point(event) {
    this.pointer = { clientX: event.clientX, clientY: event.clientY };
    this.scene.point(...this.under(event));
  }

  /** @param {MouseEvent} event */
  pick(event) {
    const { scene } = this;
    const [token, expert] = this.under(event);
    const adding = event.shiftKey || event.ctrlKey || event.metaKey;
    if (token >= 0) this.cursor = scene.place(token);
    // A filled cell selects its expert, anything else in the row its token.
    const filled = expert >= 0 && this.store.weight(scene.layerIndex, token, new Set([expert])) > 0;
    if (filled) scene.toggleExpert(expert, adding);
    else if (token >= 0) scene.toggleToken(token, adding);
  }

  /**
   * Scroll a token into sight.
   * @param {number} token
   */
  reveal(token) {
    const place = this.scene.place(token);
    if (place < 0) return;
    this.cursor = place;
    const bottom = (place + 1) * ROW;
    if (place * ROW < this.top) this.scroller.scrollTop = place * ROW;
    else if (bottom > this.top + this.height) this.scroller.scrollTop = bottom - this.height;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { scene } = this;
    const token = scene.at(Math.min(this.cursor, scene.length - 1));
    const page = event.ctrlKey ? Math.max(1, Math.floor(this.height / ROW) - 1) : 1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowDown: () => this.walk(page),
      ArrowUp: () => this.walk(-page),
      Home: () => this.walk(Number.NEGATIVE_INFINITY),
      End: () => this.walk(Number.POSITIVE_INFINITY),
      PageDown: () => scene.stepLayer(1),
      PageUp: () => scene.stepLayer(-1),
      "]": () => scene.stepLayer(1),
      "[": () => scene.stepLayer(-1),
      ArrowRight: () => this.walkExperts(token, 1),
      ArrowLeft: () => this.walkExperts(token, -1),
      Enter: () => scene.toggleToken(token, event.shiftKey),
      Escape: () => scene.clearSelection(),
    };
    if (scene.expert >= 0) actions[" "] = () => scene.toggleExpert(scene.expert, event.shiftKey);
    if (!Object.hasOwn(actions, event.key)) return;
    actions[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} step */
  walk(step) {
    const { scene } = this;
    const from = scene.token < 0 ? this.cursor - Math.sign(step) : this.cursor;
    this.cursor = Math.max(0, Math.min(scene.length - 1, from + step));
    this.pointer = null;
    const token = scene.at(this.cursor);
    this.reveal(token);
    scene.point(token);
  }

  /**
   * Move to the next of the experts that ran for the token.
   * @param {number} token
   * @param {number} direction
   */
  walkExperts(token, direction) {
    const { scene } = this;
    const experts = (this.store.chosen(scene.layerIndex, token) ?? [])
      .map(({ expert }) => expert)
      .sort((one, other) => direction * (one - other));
    const beyond = experts.find((expert) => scene.expert < 0 || direction * (expert - scene.expert) > 0);
    const next = beyond ?? experts[0];
    this.pointer = null;
    if (next !== undefined) scene.point(token, next);
  }
}
