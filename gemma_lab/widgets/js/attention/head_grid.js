// All layers × heads at a glance: a small map of each, layers from left to right, heads under their keys and values.
import { h } from "../shared/dom.js";
import { fresh } from "../shared/colors.js";
import { tinted } from "./painting.js";
import { far, part } from "./attention_store.js";

const [SIDE, ABOVE, TALLEST] = [58, 44, 300];
export const KIND = { local: "#56b4e9", global: "#d55e00" };
export const MEASURES = { map: "maps", entropy: "entropy", first: "share on the first token", distance: "mean distance", "modality:image": "share on pictures", "modality:video": "share on videos", "modality:audio": "share on sounds" };

export class HeadGrid {
  constructor(scene) {
    this.scene = scene;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.hint = h("span", {});
    this.node = h("div", { class: "gl-heads", tabindex: 0, role: "application", "aria-roledescription": "grid of heads", "data-testid": "heads" }, this.base, this.over);
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.leave());
    this.node.addEventListener("pointerdown", (event) => this.press(event));
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.width = 600;
  }

  get stores() {
    return this.scene.sides.map(({ store }) => store);
  }

  get most() {
    return this.scene.heads.length;
  }

  get unit() {
    return Math.max(7, Math.min(46, Math.floor((this.width - SIDE - 14) / this.scene.layouts.length), Math.floor(TALLEST / this.most)));
  }

  /** How wide the grid itself is, without the room beside it. */
  get across() {
    return SIDE + this.unit * this.scene.layouts.length + 14;
  }

  get height() {
    return ABOVE + this.unit * this.most + 2;
  }

  update(what) {
    if (["size", "theme", "measure", "data"].some((one) => what.has(one))) this.draw();
    if (["size", "theme", "measure", "head", "data"].some((one) => what.has(one))) this.drawOver();
    if (what.has("head") || what.has("size")) this.name();
  }

  name() {
    const { layout, headNumber: head, layouts } = this.scene;
    this.node.setAttribute("aria-label", `${layouts.length} layers by ${this.most} heads. Open: layer ${layout.layer}, ${layout.kind}, head ${head}. Left and right change the layer, up and down the head.`);
  }

  x(row) {
    return SIDE + row * this.unit;
  }

  y(head) {
    return ABOVE + head * this.unit;
  }

  draw() {
    const { scene, unit } = this;
    this.node.style.height = `${this.height}px`;
    this.node.style.width = `${this.across}px`;
    const paint = fresh(this.base, this.across, this.height);
    const sheet = scene.measure === "map" ? this.sheet() : null;
    const side = this.stores[0].grid.meta.side;
    const means = this.means();
    paint.imageSmoothingEnabled = unit * (window.devicePixelRatio || 1) < 1.5 * side;
    const gap = unit > 11 ? 2 : 1;
    let flat = 0;
    scene.layouts.forEach((layout, row) => {
      this.heading(paint, layout, row);
      for (let head = 0; head < this.most; head++, flat++) {
        const [x, y, size] = [this.x(row) + gap + (unit > 11 ? 2 : 0), this.y(head), unit - gap - (unit > 11 ? 3 : 1)];
        if (sheet) {
          paint.fillStyle = scene.inks.empty;
          paint.fillRect(x, y, size, size);
          paint.drawImage(sheet, 0, flat * side, side, side, x, y, size, size);
          this.strip(paint, flat, x, y, size);
        } else {
          paint.fillStyle = scene.ramp.of(means.share(flat));
          paint.fillRect(x, y, size, size);
        }
      }
      this.groups(paint, layout, row);
    });
    this.sideNames(paint);
  }

  /** All small maps under one another; of two traces the second is mirrored into the half that causal maps leave. */
  sheet() {
    const { ramp } = this.scene;
    const [one, other] = this.stores.map(({ grid }) => grid);
    const side = one.meta.side;
    const count = one.thumbnails.length / (side * side);
    const image = new ImageData(side, side * count);
    const pixels = new Uint32Array(image.data.buffer);
    const scale = other ? Math.min(1, other.meta.side / side) : 1;
    for (let flat = 0, at = 0; flat < count; flat++) {
      for (let query = 0; query < side; query++) {
        for (let key = 0; key < side; key++, at++) {
          let root = one.thumbnails[at];
          if (other && key > query) {
            const [mine, theirs] = [Math.floor(key * scale), Math.floor(query * scale)];
            root = other.thumbnails[(flat * other.meta.side + mine) * other.meta.side + theirs];
          }
          if (root) pixels[at] = tinted(ramp, (root / 255) ** 2);
        }
      }
    }
    const sheet = h("canvas", { width: side, height: side * count });
    sheet.getContext("2d").putImageData(image, 0, 0);
    return sheet;
  }

  /** The first token's share, on a strip of its own. */
  strip(paint, flat, x, y, size) {
    const first = this.mean("first", flat);
    if (first === null || size < 6) return;
    const wide = Math.max(1.5, Math.min(4, size / 9));
    paint.fillStyle = this.scene.inks.page;
    paint.fillRect(x, y, wide + 0.75, size);
    paint.fillStyle = this.scene.inks.line;
    paint.fillRect(x, y, wide, size);
    paint.fillStyle = this.scene.inks.sink;
    paint.fillRect(x, y + size * (1 - first), wide, size * first);
  }

  mean(measure, flat, side = 0) {
    const { grid } = this.stores[side];
    const at = grid.meta.measures.indexOf(measure);
    return at < 0 ? null : grid.means[(at * grid.means.length) / grid.meta.measures.length + flat];
  }

  means() {
    const { grid } = this.stores[0];
    const at = grid.meta.measures.indexOf(this.scene.measure);
    if (at < 0) return { share: () => 0, top: 1 };
    const count = grid.means.length / grid.meta.measures.length;
    const own = grid.means.subarray(at * count, (at + 1) * count);
    const top = this.scene.measure === "first" || this.scene.measure.startsWith("modality") ? 1 : Math.max(1e-6, ...own);
    return { share: (flat) => own[flat] / top, top };
  }

  /** A layer's number, and a band that tells its kind by height and colour; hatched where keys are another layer's. */
  heading(paint, layout, row) {
    const { scene, unit } = this;
    const [x, wide] = [this.x(row) + 1, unit - 2];
    const tall = layout.kind === "global" ? 9 : 4;
    paint.fillStyle = KIND[layout.kind] ?? scene.inks.muted;
    paint.fillRect(x, ABOVE - 4 - tall, wide, tall);
    if (layout.kv_shared_from !== null) {
      paint.save();
      paint.beginPath();
      paint.rect(x, ABOVE - 4 - tall, wide, tall);
      paint.clip();
      [paint.strokeStyle, paint.lineWidth] = [scene.inks.page, 1.5];
      paint.beginPath();
      for (let at = x - 10; at < x + wide; at += 4) {
        paint.moveTo(at, ABOVE - 4);
        paint.lineTo(at + tall, ABOVE - 4 - tall);
      }
      paint.stroke();
      paint.restore();
    }
    const every = Math.ceil(18 / unit);
    if (row % every) return;
    [paint.font, paint.textAlign, paint.textBaseline, paint.fillStyle] = [`10.5px ${scene.inks.font}`, "center", "alphabetic", scene.inks.muted];
    paint.fillText(layout.layer, x + wide / 2, ABOVE - 17);
  }

  /** A bar beside the query heads that share a key-value head. */
  groups(paint, layout, row) {
    const { unit, scene } = this;
    paint.fillStyle = scene.inks.muted;
    for (let head = 0, to = 0; head < this.most; head = to) {
      while (to < this.most && this.stores[0].group(row, to) === this.stores[0].group(row, head)) to += 1;
      const [top, bottom] = [this.y(head), this.y(to)];
      paint.fillRect(this.x(row) + 0.5, top + 0.5, unit > 11 ? 2 : 1, bottom - top - (unit > 11 ? 4 : 2));
    }
  }

  sideNames(paint) {
    const { scene, unit, most } = this;
    [paint.font, paint.textAlign, paint.textBaseline, paint.fillStyle] = [`11px ${scene.inks.font}`, "right", "middle", scene.inks.muted];
    paint.fillText("layer", SIDE - 8, ABOVE - 21);
    const every = Math.ceil(13 / unit);
    for (let head = 0; head < most; head += every) paint.fillText(head || most > 12 ? scene.heads[head] : `head ${scene.heads[0]}`, SIDE - 8, this.y(head) + unit / 2 - 1);
  }

  drawOver() {
    const { scene, unit } = this;
    const paint = fresh(this.over, this.across, this.height);
    [paint.strokeStyle, paint.lineWidth] = [scene.inks.accent, 2];
    const bar = unit > 11 ? 2 : 0;
    paint.strokeRect(this.x(scene.row) + bar, this.y(scene.head) - 1.5, unit - bar, unit);
    this.kv_shared_from(paint, scene.row);
    if (this.hovered && this.hovered[0] !== scene.row) this.kv_shared_from(paint, this.hovered[0]);
    [paint.font, paint.textAlign, paint.fillStyle] = [`600 11px ${scene.inks.font}`, "center", scene.inks.accent];
    const wide = paint.measureText(scene.layout.layer).width + 8;
    const middle = this.x(scene.row) + unit / 2;
    paint.fillStyle = scene.inks.page;
    paint.fillRect(middle - wide / 2, ABOVE - 28, wide, 13);
    paint.fillStyle = scene.inks.accent;
    paint.fillText(scene.layout.layer, middle, ABOVE - 17);
  }

  /** An arc to the layer whose keys and values are reused. */
  kv_shared_from(paint, row) {
    const from = this.scene.layouts.findIndex(({ layer }) => layer === this.scene.layouts[row].kv_shared_from);
    if (from < 0) return;
    const [left, right] = [this.x(from) + this.unit / 2, this.x(row) + this.unit / 2];
    [paint.strokeStyle, paint.lineWidth] = [this.scene.inks.muted, 1.25];
    paint.beginPath();
    paint.moveTo(left, 16);
    paint.quadraticCurveTo((left + right) / 2, -10, right, 16);
    paint.stroke();
    paint.beginPath();
    paint.arc(left, 16, 2.5, 0, 7);
    paint.fillStyle = this.scene.inks.muted;
    paint.fill();
  }

  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const row = Math.floor((clientX - box.left - SIDE) / this.unit);
    const head = Math.floor((clientY - box.top - ABOVE) / this.unit);
    const layout = this.scene.layouts[row];
    return layout && head < this.most && head > -4 ? [row, Math.max(0, head)] : null;
  }

  point(event) {
    const at = this.under(event);
    if (String(at) === String(this.hovered)) return;
    this.hovered = at;
    if (at && event.buttons & 1) this.scene.open(...at);
    this.hint.replaceChildren(at ? this.said(...at) : "");
    this.drawOver();
  }

  flat(row, head) {
    return row * this.most + head;
  }

  said(row, head) {
    const layout = this.scene.layouts[row];
    const words = [`layer ${layout.layer} (${layout.kind}${layout.kv_shared_from === null ? "" : `, keys of layer ${layout.kv_shared_from}`}) · head ${this.scene.heads[head]}`];
    return [...words, ...this.averages(row, head)].join(" · ");
  }

  /** What is known of a head on average, in words. */
  averages(row, head) {
    const flat = this.flat(row, head);
    const [entropy, first, distance] = ["entropy", "first", "distance"].map((measure) => this.mean(measure, flat));
    return entropy === null ? [] : [`entropy ${entropy.toFixed(2)} nats`, `first token ${part(first)}`, `distance ${far(distance)}`];
  }

  leave() {
    this.hovered = null;
    this.hint.replaceChildren("");
    this.drawOver();
  }

  press(event) {
    const at = this.under(event);
    if (!at) return;
    this.scene.open(...at);
    this.node.focus({ preventScroll: true });
    event.preventDefault();
  }

  key(event) {
    const { scene } = this;
    const layer = { ArrowRight: 1, ArrowLeft: -1, PageDown: 1, PageUp: -1 }[event.key];
    const head = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (layer) scene.open(scene.row + layer, scene.head);
    else if (head) scene.open(scene.row, scene.head + head);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
