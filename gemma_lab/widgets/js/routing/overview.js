// All layers at once (how many tokens each expert served), and the bars of the layer that is looked at.
import { h } from "../shared/dom.js";
import { fresh } from "../shared/colors.js";
import { LABELS } from "./routing_scene.js";

const [BARS, TICKS] = [58, 18];

/** Layers × experts: what each expert served. It is the layer scrubber too: press and drag. */
export class Overview {
  constructor(scene) {
    [this.scene, this.store, this.axis] = [scene, scene.store, scene.axis];
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

  get unit() {
    return Math.max(4, Math.min(13, Math.floor(132 / this.layers.length)));
  }

  get height() {
    return this.unit * this.layers.length;
  }

  update(what) {
    if (["filter", "data", "size", "theme"].some((one) => what.has(one))) this.draw();
    this.drawOver();
  }

  draw() {
    const { scene, store, axis, unit } = this;
    this.node.style.height = `${this.height}px`;
    const paint = fresh(this.base, axis.width, this.height);
    const tokens = scene.keep ? scene.shown.length : store.count;
    const rows = this.layers.map((_, row) => store.loads(row, scene.keep));
    this.peak = Math.max(1, ...rows.map((counts) => (counts ? counts.reduce((most, count) => Math.max(most, count), 0) : 0)));
    this.tokens = tokens;
    rows.forEach((counts, row) => {
      for (let expert = 0; expert < axis.experts; expert++) {
        const x = axis.x(expert);
        paint.fillStyle = counts?.[expert] ? scene.ramp.of(counts[expert] / this.peak) : scene.inks.empty;
        paint.fillRect(x, row * unit, axis.x(expert + 1) - x, unit - (unit > 5 ? 1 : 0));
      }
    });
  }

  drawOver() {
    const { scene, axis, unit } = this;
    const paint = fresh(this.over, axis.width, this.height);
    const right = axis.x(axis.experts);
    const y = scene.row * unit;
    paint.font = `11px ${scene.inks.font}`;
    [paint.textBaseline, paint.textAlign, paint.lineWidth] = ["middle", "right", 1.5];
    paint.fillStyle = scene.inks.muted;
    const last = this.layers.length - 1;
    for (const row of [0, last]) if (Math.abs(row - scene.row) * unit > 12) paint.fillText(this.layers[row], LABELS - 10, Math.max(6, Math.min(this.height - 6, (row + 0.5) * unit)));
    paint.fillStyle = scene.inks.accent;
    paint.font = `600 11px ${scene.inks.font}`;
    paint.fillText(`layer ${this.layers[scene.row]} ▸`, LABELS - 6, Math.max(6, Math.min(this.height - 6, y + unit / 2)));
    paint.strokeStyle = scene.inks.accent;
    paint.strokeRect(axis.x(0) - 1, y - 1, right - axis.x(0) + 2, unit + 1);
    this.path(paint);
  }

  /** The way of the token that is read, or of those that are selected: its experts in every layer. */
  path(paint) {
    const { scene, store, axis, unit } = this;
    const tokens = scene.token >= 0 ? [scene.token] : [...scene.tokens].slice(0, 64);
    paint.strokeStyle = scene.inks.text;
    paint.lineWidth = 1;
    for (const token of tokens) {
      for (let row = 0; row < this.layers.length; row++) {
        for (const { expert } of store.chosen(row, token) ?? []) {
          paint.strokeRect(axis.x(expert) + 0.5, row * unit + 0.5, Math.max(2, axis.cell) - 1, unit - 2);
        }
      }
    }
  }

  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const row = Math.floor((clientY - box.top) / this.unit);
    return [Math.max(0, Math.min(this.layers.length - 1, row)), this.axis.expert(clientX - box.left)];
  }

  point(event) {
    const [row, expert] = this.under(event);
    if (event.buttons & 1) this.scene.goTo(row);
    const counts = expert >= 0 ? this.store.loads(row, this.scene.keep) : null;
    const part = counts ? ` · expert ${expert}: ${counts[expert].toLocaleString("en")} of ${this.tokens.toLocaleString("en")} tokens` : "";
    this.hint.replaceChildren(`layer ${this.layers[row]}${part}`);
    if (row === this.scene.row) this.scene.point(-1, expert);
  }

  leave() {
    this.hint.replaceChildren("");
    this.scene.point(-1, -1);
  }

  press(event) {
    const [row, expert] = this.under(event);
    this.scene.goTo(row);
    if (expert >= 0) this.scene.select({ experts: new Set([expert]) });
    this.node.setPointerCapture(event.pointerId);
    event.preventDefault();
  }
}

/** How many tokens each expert of this layer served, against an even split; the axis of everything below. */
export class Bars {
  constructor(scene) {
    [this.scene, this.store, this.axis] = [scene, scene.store, scene.axis];
    this.base = h("canvas", { "data-testid": "bars" });
    this.over = h("canvas", {});
    this.node = h("div", { class: "gl-bars", "aria-hidden": "true" }, this.base, this.over);
    this.node.style.height = `${BARS + TICKS}px`;
    this.node.addEventListener("pointermove", (event) => scene.point(-1, this.under(event)));
    this.node.addEventListener("pointerleave", () => scene.point(-1, -1));
    this.node.addEventListener("click", (event) => this.pick(event));
  }

  update(what) {
    if (["layer", "filter", "data", "size", "theme", "selection"].some((one) => what.has(one))) this.draw();
    this.drawOver();
  }

  draw() {
    const { scene, store, axis } = this;
    const paint = fresh(this.base, axis.width, BARS + TICKS);
    const counts = store.loads(scene.row, scene.keep);
    const tokens = Math.max(1, scene.length);
    const even = store.k / axis.experts;
    const top = Math.max(counts ? counts.reduce((most, count) => Math.max(most, count), 0) / tokens : 0, 1.25 * even);
    const y = (share) => BARS - (share / top) * (BARS - 12);
    [paint.font, paint.textAlign, paint.textBaseline] = [`11px ${scene.inks.font}`, "right", "middle"];
    paint.fillStyle = scene.inks.muted;
    paint.fillText(`${percentage(top)} of tokens`, LABELS - 10, y(top));
    paint.fillText(`even ${percentage(even)}`, LABELS - 10, Math.max(y(top) + 13, Math.min(BARS - 5, y(even))));
    const own = this.ofSelected();
    for (let expert = 0; expert < axis.experts && counts; expert++) {
      const x = axis.x(expert);
      const width = Math.max(1, axis.x(expert + 1) - x - (axis.cell > 3 ? 1 : 0));
      paint.globalAlpha = own ? 0.35 : 0.75;
      paint.fillStyle = scene.inks.muted;
      if (counts[expert]) paint.fillRect(x, y(counts[expert] / tokens), width, BARS - y(counts[expert] / tokens));
      paint.globalAlpha = 1;
      paint.fillStyle = scene.inks.accent;
      if (own?.[expert]) paint.fillRect(x, y(Math.min(top, own[expert])), width, BARS - y(Math.min(top, own[expert])));
    }
    paint.strokeStyle = scene.inks.text;
    paint.setLineDash([3, 3]);
    paint.beginPath();
    paint.moveTo(axis.x(0), y(even));
    paint.lineTo(axis.x(axis.experts), y(even));
    paint.stroke();
    paint.setLineDash([]);
    paint.fillStyle = scene.inks.line;
    paint.fillRect(axis.x(0), BARS, axis.x(axis.experts) - axis.x(0), 1);
    this.ticks(paint);
  }

  ticks(paint) {
    const { scene, axis } = this;
    paint.fillStyle = scene.inks.muted;
    paint.fillText("expert", LABELS - 10, BARS + TICKS / 2 + 1);
    paint.textAlign = "center";
    const every = axis.experts > 32 ? 16 : axis.experts > 8 ? 4 : 1;
    for (let expert = 0; expert < axis.experts; expert += every) paint.fillText(expert, (axis.x(expert) + axis.x(expert + 1)) / 2, BARS + TICKS / 2 + 1);
  }

  /** The same shares over the selected tokens alone, or null. */
  ofSelected() {
    const { scene, store } = this;
    if (!scene.tokens.size) return null;
    const shares = new Float32Array(store.experts);
    for (const token of scene.tokens) for (const { expert } of store.chosen(scene.row, token) ?? []) shares[expert] += 1 / scene.tokens.size;
    return shares;
  }

  drawOver() {
    const { scene, axis } = this;
    const paint = fresh(this.over, axis.width, BARS + TICKS);
    [paint.font, paint.textAlign, paint.textBaseline] = [`600 11px ${scene.inks.font}`, "center", "middle"];
    for (const expert of scene.focus) {
      const [x, width] = [axis.x(expert), Math.max(2, axis.cell)];
      paint.fillStyle = scene.inks.soft;
      paint.fillRect(x - 1, 0, width + 2, BARS);
      const wide = paint.measureText(expert).width + 10;
      paint.fillStyle = scene.inks.accent;
      paint.beginPath();
      paint.roundRect(x + width / 2 - wide / 2, BARS + 2, wide, TICKS - 3, 4);
      paint.fill();
      paint.fillStyle = scene.inks.page;
      paint.fillText(expert, x + width / 2, BARS + TICKS / 2 + 1);
    }
  }

  under(event) {
    return this.axis.expert(event.clientX - this.node.getBoundingClientRect().left);
  }

  pick(event) {
    const expert = this.under(event);
    if (expert >= 0) this.scene.toggle("experts", expert, event.shiftKey || event.ctrlKey || event.metaKey);
  }
}

/** A share as a percentage of two digits or so. */
export function percentage(share) {
  const value = 100 * share;
  return `${value >= 9.95 || value === 0 ? Math.round(value) : value.toPrecision(2)} %`;
}
