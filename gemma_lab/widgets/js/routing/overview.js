// All layers at once (how many tokens each expert served), and the bars of the open layer.
import { fitCanvas } from "../shared/colors.js";
import { h } from "../shared/dom.js";
import { number, percentage } from "../shared/format.js";
import { LABELS } from "./routing_scene.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { RoutingScene } from "./routing_scene.js" */

const BARS = 58; // height of the bars, in pixels
const TICKS = 18; // height of the axis below them

/** Layers × experts: the tokens that each expert served. Pressing and dragging moves through the layers. */
export class Overview {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.store = scene.store;
    this.axis = scene.axis;
    this.base = h("canvas", { "data-testid": "overview" });
    this.over = h("canvas", {});
    this.node = h("div", { class: "gl-overview", "aria-hidden": "true" }, this.base, this.over);
    this.hint = h("span", {});
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.leave());
    this.node.addEventListener("pointerdown", (event) => this.press(event));
  }

  get layers() {
    return this.store.facts.layers;
  }

  /** The height of a layer, in pixels. */
  get unit() {
    return Math.max(4, Math.min(13, Math.floor(132 / this.layers.length)));
  }

  get height() {
    return this.unit * this.layers.length;
  }

  /** @param {Changes} what */
  update(what) {
    if (["filter", "data", "size", "theme"].some((one) => what.has(one))) this.draw();
    this.drawOver();
  }

  draw() {
    const { scene, store, axis, unit } = this;
    this.node.style.height = `${this.height}px`;
    const ctx = fitCanvas(this.base, axis.width, this.height);
    const loads = this.layers.map((_, layerIndex) => store.loads(layerIndex, scene.keep));
    scene.peakLoad = Math.max(1, ...loads.map((counts) => (counts ? largest(counts) : 0)));
    loads.forEach((counts, layerIndex) => {
      for (let expert = 0; expert < axis.experts; expert++) {
        const x = axis.x(expert);
        const count = counts?.[expert] ?? 0;
        ctx.fillStyle = count ? scene.ramp.of(count / scene.peakLoad) : scene.theme.empty;
        ctx.fillRect(x, layerIndex * unit, axis.x(expert + 1) - x, unit - (unit > 5 ? 1 : 0));
      }
    });
  }

  drawOver() {
    const { scene, axis, unit } = this;
    const ctx = fitCanvas(this.over, axis.width, this.height);
    /** @param {number} layerIndex */
    const middle = (layerIndex) => Math.max(6, Math.min(this.height - 6, (layerIndex + 0.5) * unit));
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    ctx.lineWidth = 1.5;
    ctx.font = `11px ${scene.theme.font}`;
    ctx.fillStyle = scene.theme.muted;
    for (const layerIndex of [0, this.layers.length - 1]) {
      if (Math.abs(layerIndex - scene.layerIndex) * unit <= 12) continue;
      ctx.fillText(String(this.layers[layerIndex]), LABELS - 10, middle(layerIndex));
    }
    ctx.fillStyle = scene.theme.accent;
    ctx.font = `600 11px ${scene.theme.font}`;
    ctx.fillText(`layer ${scene.layer} ▸`, LABELS - 6, middle(scene.layerIndex));
    ctx.strokeStyle = scene.theme.accent;
    const left = axis.x(0) - 1;
    ctx.strokeRect(left, scene.layerIndex * unit - 1, axis.x(axis.experts) - left + 1, unit + 1);
    this.drawPaths(ctx);
  }

  /**
   * Outline the experts of the token under the pointer, or of the selected ones, in every layer.
   * @param {CanvasRenderingContext2D} ctx
   */
  drawPaths(ctx) {
    const { scene, store, axis, unit } = this;
    const tokens = scene.token >= 0 ? [scene.token] : [...scene.tokens].slice(0, 64);
    ctx.strokeStyle = scene.theme.text;
    ctx.lineWidth = 1;
    const width = Math.max(2, axis.cell) - 1;
    for (const token of tokens) {
      for (let layerIndex = 0; layerIndex < this.layers.length; layerIndex++) {
        for (const { expert } of store.chosen(layerIndex, token) ?? []) {
          ctx.strokeRect(axis.x(expert) + 0.5, layerIndex * unit + 0.5, width, unit - 2);
        }
      }
    }
  }

  /**
   * @param {MouseEvent} event
   * @returns {[layerIndex: number, expert: number]}
   */
  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const layerIndex = Math.floor((clientY - box.top) / this.unit);
    const last = this.layers.length - 1;
    return [Math.max(0, Math.min(last, layerIndex)), this.axis.expert(clientX - box.left)];
  }

  /** @param {PointerEvent} event */
  point(event) {
    const { scene } = this;
    const [layerIndex, expert] = this.under(event);
    if (event.buttons & 1) scene.goTo(layerIndex);
    const counts = expert >= 0 ? this.store.loads(layerIndex, scene.keep) : null;
    const load = counts
      ? ` · expert ${expert}: ${number(counts[expert])} of ${number(scene.length)} tokens`
      : "";
    this.hint.replaceChildren(`layer ${this.layers[layerIndex]}${load}`);
    if (layerIndex === scene.layerIndex) scene.point(-1, expert);
  }

  leave() {
    this.hint.replaceChildren("");
    this.scene.point(-1);
  }

  /** @param {PointerEvent} event */
  press(event) {
    const [layerIndex, expert] = this.under(event);
    this.scene.goTo(layerIndex);
    if (expert >= 0) this.scene.select({ experts: new Set([expert]) });
    this.node.setPointerCapture(event.pointerId);
    event.preventDefault();
  }
}

/** The share of tokens that each expert of the open layer served, and an even split; the experts' axis. */
export class Bars {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.store = scene.store;
    this.axis = scene.axis;
    this.base = h("canvas", { "data-testid": "bars" });
    this.over = h("canvas", {});
    this.node = h("div", { class: "gl-bars", "aria-hidden": "true" }, this.base, this.over);
    this.node.style.height = `${BARS + TICKS}px`;
    this.node.addEventListener("pointermove", (event) => scene.point(-1, this.under(event)));
    this.node.addEventListener("pointerleave", () => scene.point(-1));
    this.node.addEventListener("click", (event) => this.pick(event));
  }

  /** @param {Changes} what */
  update(what) {
    if (["layer", "filter", "data", "size", "theme", "selection"].some((one) => what.has(one))) this.draw();
    this.drawOver();
  }

  draw() {
    const { scene, store, axis } = this;
    const ctx = fitCanvas(this.base, axis.width, BARS + TICKS);
    const counts = store.loads(scene.layerIndex, scene.keep);
    const tokens = Math.max(1, scene.length);
    const even = store.k / axis.experts;
    const top = Math.max(counts ? largest(counts) / tokens : 0, 1.25 * even);
    /** @param {number} share */
    const y = (share) => BARS - (Math.min(top, share) / top) * (BARS - 12);
    this.font(ctx, `11px ${scene.theme.font}`, "right");
    ctx.fillStyle = scene.theme.muted;
    ctx.fillText(`${percentage(top)} of tokens`, LABELS - 10, y(top));
    const evenLabel = Math.max(y(top) + 13, Math.min(BARS - 5, y(even)));
    ctx.fillText(`even ${percentage(even)}`, LABELS - 10, evenLabel);
    if (counts)
      this.drawBars(
        ctx,
        Float32Array.from(counts, (count) => count / tokens),
        y,
      );
    ctx.strokeStyle = scene.theme.text;
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(axis.x(0), y(even));
    ctx.lineTo(axis.x(axis.experts), y(even));
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.fillStyle = scene.theme.line;
    ctx.fillRect(axis.x(0), BARS, axis.x(axis.experts) - axis.x(0), 1);
    this.drawTicks(ctx);
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Float32Array} shares
   * @param {(share: number) => number} y
   */
  drawBars(ctx, shares, y) {
    const { scene, axis } = this;
    const ofSelected = this.sharesOfSelected();
    for (let expert = 0; expert < axis.experts; expert++) {
      const x = axis.x(expert);
      const width = Math.max(1, axis.x(expert + 1) - x - (axis.cell > 3 ? 1 : 0));
      ctx.globalAlpha = ofSelected ? 0.35 : 0.75;
      ctx.fillStyle = scene.theme.muted;
      if (shares[expert]) ctx.fillRect(x, y(shares[expert]), width, BARS - y(shares[expert]));
      ctx.globalAlpha = 1;
      ctx.fillStyle = scene.theme.accent;
      const own = ofSelected?.[expert];
      if (own) ctx.fillRect(x, y(own), width, BARS - y(own));
    }
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {string} font
   * @param {CanvasTextAlign} align
   */
  font(ctx, font, align) {
    ctx.font = font;
    ctx.textAlign = align;
    ctx.textBaseline = "middle";
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawTicks(ctx) {
    const { scene, axis } = this;
    const y = BARS + TICKS / 2 + 1;
    ctx.fillStyle = scene.theme.muted;
    ctx.fillText("expert", LABELS - 10, y);
    ctx.textAlign = "center";
    for (let expert = 0; expert < axis.experts; expert += axis.tickStep) {
      ctx.fillText(String(expert), (axis.x(expert) + axis.x(expert + 1)) / 2, y);
    }
  }

  /** Return the shares over the selected tokens only, or null. */
  sharesOfSelected() {
    const { scene, store } = this;
    if (!scene.tokens.size) return null;
    const shares = new Float32Array(store.experts);
    for (const token of scene.tokens) {
      for (const { expert } of store.chosen(scene.layerIndex, token) ?? []) {
        shares[expert] += 1 / scene.tokens.size;
      }
    }
    return shares;
  }

  drawOver() {
    const { scene, axis } = this;
    const ctx = fitCanvas(this.over, axis.width, BARS + TICKS);
    this.font(ctx, `600 11px ${scene.theme.font}`, "center");
    for (const expert of scene.focus) {
      const x = axis.x(expert);
      const width = Math.max(2, axis.cell);
      const middle = x + width / 2;
      ctx.fillStyle = scene.theme.soft;
      ctx.fillRect(x - 1, 0, width + 2, BARS);
      const wide = ctx.measureText(String(expert)).width + 10;
      ctx.fillStyle = scene.theme.accent;
      ctx.beginPath();
      ctx.roundRect(middle - wide / 2, BARS + 2, wide, TICKS - 3, 4);
      ctx.fill();
      ctx.fillStyle = scene.theme.page;
      ctx.fillText(String(expert), middle, BARS + TICKS / 2 + 1);
    }
  }

  /** @param {MouseEvent} event */
  under(event) {
    return this.axis.expert(event.clientX - this.node.getBoundingClientRect().left);
  }

  /** @param {MouseEvent} event */
  pick(event) {
    const expert = this.under(event);
    const adding = event.shiftKey || event.ctrlKey || event.metaKey;
    if (expert >= 0) this.scene.toggleExpert(expert, adding);
  }
}

/** @param {Uint32Array} counts */
function largest(counts) {
  return counts.reduce((most, count) => Math.max(most, count), 0);
}
