// All layers × heads: a thumbnail of each, layers from left to right, heads grouped by their key-value heads.
import { fitCanvas, imageCanvas } from "../shared/colors.js";
import { h } from "../shared/dom.js";
import { distance, weightPercentage } from "../shared/format.js";
import { packedColor } from "./painting.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { LayerLayout } from "../shared/wire_types.js" */
/** @import { AttentionScene } from "./attention_scene.js" */

const GRID_LEFT = 58; // width of the heads' names, in pixels
const GRID_TOP = 44; // height of the layers' names and arcs
const GRID_TALLEST = 300;
/** @type {Record<string, string>} */
export const KIND_COLORS = { local: "#56b4e9", global: "#d55e00" };
/** @type {Record<string, string>} */
export const MEASURES = {
  map: "maps",
  entropy: "entropy",
  first: "weight of the first token",
  distance: "mean distance",
  "modality:image": "weight on images",
  "modality:video": "weight on videos",
  "modality:audio": "weight on audio",
};

export class HeadGrid {
  /** @param {AttentionScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.hint = h("span", {});
    this.node = h(
      "div",
      {
        class: "gl-heads",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "grid of heads",
        "data-testid": "heads",
      },
      this.base,
      this.over,
    );
    this.width = 600;
    /** @type {[layerIndex: number, head: number] | null} */
    this.hovered = null;
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.leave());
    this.node.addEventListener("pointerdown", (event) => this.press(event));
    this.node.addEventListener("keydown", (event) => this.key(event));
  }

  get stores() {
    return this.scene.sides.map(({ store }) => store);
  }

  get headCount() {
    return this.scene.heads.length;
  }

  /** The side of a head's cell, in pixels. */
  get unit() {
    const { layouts } = this.scene;
    const wide = Math.floor((this.width - GRID_LEFT - 14) / layouts.length);
    return Math.max(7, Math.min(46, wide, Math.floor(GRID_TALLEST / this.headCount)));
  }

  get fullWidth() {
    return GRID_LEFT + this.unit * this.scene.layouts.length + 14;
  }

  get height() {
    return GRID_TOP + this.unit * this.headCount + 2;
  }

  /** @param {Changes} what */
  update(what) {
    if (["size", "theme", "measure", "data"].some((one) => what.has(one))) this.draw();
    if (["size", "theme", "measure", "head", "data"].some((one) => what.has(one))) this.drawOver();
    if (what.has("head") || what.has("size")) this.describe();
  }

  describe() {
    const { layout, headNumber, layouts } = this.scene;
    const label =
      `${layouts.length} layers by ${this.headCount} heads. Open: layer ${layout.layer}, ${layout.kind}, ` +
      `head ${headNumber}. Left and right change the layer, up and down the head.`;
    this.node.setAttribute("aria-label", label);
  }

  /** @param {number} layerIndex */
  x(layerIndex) {
    return GRID_LEFT + layerIndex * this.unit;
  }

  /** @param {number} head */
  y(head) {
    return GRID_TOP + head * this.unit;
  }

  /**
   * Return the index of a head among all heads of all layers.
   * @param {number} layerIndex
   * @param {number} head
   */
  flat(layerIndex, head) {
    return layerIndex * this.headCount + head;
  }

  draw() {
    const { scene, unit } = this;
    this.node.style.height = `${this.height}px`;
    this.node.style.width = `${this.fullWidth}px`;
    const ctx = fitCanvas(this.base, this.fullWidth, this.height);
    const thumbnails = scene.measure === "map" ? this.thumbnailSheet() : null;
    const { side } = this.stores[0].grid.meta;
    const share = this.measureShares();
    ctx.imageSmoothingEnabled = unit * (window.devicePixelRatio || 1) < 1.5 * side;
    const gap = unit > 11 ? 2 : 1;
    const size = unit - gap - (unit > 11 ? 3 : 1);
    scene.layouts.forEach((layout, layerIndex) => {
      this.drawLayerName(ctx, layout, layerIndex);
      for (let head = 0; head < this.headCount; head++) {
        const flat = this.flat(layerIndex, head);
        const x = this.x(layerIndex) + gap + (unit > 11 ? 2 : 0);
        const y = this.y(head);
        ctx.fillStyle = thumbnails ? scene.theme.empty : scene.ramp.of(share(flat));
        ctx.fillRect(x, y, size, size);
        if (!thumbnails) continue;
        ctx.drawImage(thumbnails, 0, flat * side, side, side, x, y, size, size);
        this.drawFirstToken(ctx, flat, x, y, size);
      }
      this.drawGroups(ctx, layerIndex);
    });
    this.drawHeadNames(ctx);
  }

  /**
   * Return all thumbnails under one another. Of two traces the second is mirrored into the upper triangle,
   * which causal maps leave empty.
   */
  thumbnailSheet() {
    const { ramp } = this.scene;
    const [one, other] = this.stores.map(({ grid }) => grid);
    const { side } = one.meta;
    const count = one.thumbnails.length / (side * side);
    const image = new ImageData(side, side * count);
    const pixels = new Uint32Array(image.data.buffer);
    const scale = other ? Math.min(1, other.meta.side / side) : 1;
    for (let flat = 0, at = 0; flat < count; flat++) {
      for (let query = 0; query < side; query++) {
        for (let key = 0; key < side; key++, at++) {
          let root = one.thumbnails[at];
          if (other && key > query) {
            const row = flat * other.meta.side + Math.floor(key * scale);
            root = other.thumbnails[row * other.meta.side + Math.floor(query * scale)];
          }
          if (root) pixels[at] = packedColor(ramp, (root / 255) ** 2);
        }
      }
    }
    return imageCanvas(image);
  }

  /**
   * Draw the weight of the first token on a strip of its own.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} flat
   * @param {number} x
   * @param {number} y
   * @param {number} size
   */
  drawFirstToken(ctx, flat, x, y, size) {
    const first = this.mean("first", flat);
    if (first === null || size < 6) return;
    const wide = Math.max(1.5, Math.min(4, size / 9));
    ctx.fillStyle = this.scene.theme.page;
    ctx.fillRect(x, y, wide + 0.75, size);
    ctx.fillStyle = this.scene.theme.line;
    ctx.fillRect(x, y, wide, size);
    ctx.fillStyle = this.scene.theme.sink;
    ctx.fillRect(x, y + size * (1 - first), wide, size * first);
  }

  /**
   * Return the means of a measure over the queries, [layers × heads]; null if it was not recorded.
   * @param {string} measure
   */
  meansOf(measure) {
    const { means, meta } = this.stores[0].grid;
    const at = meta.measures.indexOf(measure);
    const count = means.length / meta.measures.length;
    return at < 0 ? null : means.subarray(at * count, (at + 1) * count);
  }

  /**
   * @param {string} measure
   * @param {number} flat
   */
  mean(measure, flat) {
    return this.meansOf(measure)?.[flat] ?? null;
  }

  /**
   * Return a function that gives a head's mean of the chosen measure as a share of the scale.
   * @returns {(flat: number) => number}
   */
  measureShares() {
    const { measure } = this.scene;
    const means = this.meansOf(measure);
    if (!means) return () => 0;
    const isWeight = measure === "first" || measure.startsWith("modality");
    const top = isWeight ? 1 : Math.max(1e-6, ...means);
    return (flat) => means[flat] / top;
  }

  /**
   * Draw a layer's number, and a band whose height and colour show its kind; hatched where its keys and
   * values are another layer's.
   * @param {CanvasRenderingContext2D} ctx
   * @param {LayerLayout} layout
   * @param {number} layerIndex
   */
  drawLayerName(ctx, layout, layerIndex) {
    const { scene, unit } = this;
    const x = this.x(layerIndex) + 1;
    const wide = unit - 2;
    const tall = layout.kind === "global" ? 9 : 4;
    ctx.fillStyle = KIND_COLORS[layout.kind] ?? scene.theme.muted;
    ctx.fillRect(x, GRID_TOP - 4 - tall, wide, tall);
    if (layout.kv_shared_from !== null) this.drawHatching(ctx, x, wide, tall);
    if (layerIndex % Math.ceil(18 / unit)) return;
    ctx.font = `10.5px ${scene.theme.font}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    ctx.fillStyle = scene.theme.muted;
    ctx.fillText(String(layout.layer), x + wide / 2, GRID_TOP - 17);
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} x
   * @param {number} wide
   * @param {number} tall
   */
  drawHatching(ctx, x, wide, tall) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, GRID_TOP - 4 - tall, wide, tall);
    ctx.clip();
    ctx.strokeStyle = this.scene.theme.page;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    for (let at = x - 10; at < x + wide; at += 4) {
      ctx.moveTo(at, GRID_TOP - 4);
      ctx.lineTo(at + tall, GRID_TOP - 4 - tall);
    }
    ctx.stroke();
    ctx.restore();
  }

  /**
   * Draw a bar beside the query heads that share a key-value head.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} layerIndex
   */
  drawGroups(ctx, layerIndex) {
    const { unit, scene } = this;
    const [store] = this.stores;
    ctx.fillStyle = scene.theme.muted;
    let end = 0;
    for (let head = 0; head < this.headCount; head = end) {
      const group = store.kvHead(layerIndex, head);
      while (end < this.headCount && store.kvHead(layerIndex, end) === group) end += 1;
      const tall = this.y(end) - this.y(head) - (unit > 11 ? 4 : 2);
      ctx.fillRect(this.x(layerIndex) + 0.5, this.y(head) + 0.5, unit > 11 ? 2 : 1, tall);
    }
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawHeadNames(ctx) {
    const { scene, unit, headCount } = this;
    ctx.font = `11px ${scene.theme.font}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillStyle = scene.theme.muted;
    ctx.fillText("layer", GRID_LEFT - 8, GRID_TOP - 21);
    const step = Math.ceil(13 / unit);
    for (let head = 0; head < headCount; head += step) {
      const name = head || headCount > 12 ? String(scene.heads[head]) : `head ${scene.heads[0]}`;
      ctx.fillText(name, GRID_LEFT - 8, this.y(head) + unit / 2 - 1);
    }
  }

  drawOver() {
    const { scene, unit } = this;
    const ctx = fitCanvas(this.over, this.fullWidth, this.height);
    ctx.strokeStyle = scene.theme.accent;
    ctx.lineWidth = 2;
    const bar = unit > 11 ? 2 : 0;
    ctx.strokeRect(this.x(scene.layerIndex) + bar, this.y(scene.head) - 1.5, unit - bar, unit);
    this.drawSharing(ctx, scene.layerIndex);
    if (this.hovered && this.hovered[0] !== scene.layerIndex) this.drawSharing(ctx, this.hovered[0]);
    ctx.font = `600 11px ${scene.theme.font}`;
    ctx.textAlign = "center";
    const name = String(scene.layout.layer);
    const wide = ctx.measureText(name).width + 8;
    const middle = this.x(scene.layerIndex) + unit / 2;
    ctx.fillStyle = scene.theme.page;
    ctx.fillRect(middle - wide / 2, GRID_TOP - 28, wide, 13);
    ctx.fillStyle = scene.theme.accent;
    ctx.fillText(name, middle, GRID_TOP - 17);
  }

  /**
   * Draw an arc to the layer whose keys and values are reused.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} layerIndex
   */
  drawSharing(ctx, layerIndex) {
    const { layouts, theme } = this.scene;
    const source = layouts.findIndex(({ layer }) => layer === layouts[layerIndex].kv_shared_from);
    if (source < 0) return;
    const left = this.x(source) + this.unit / 2;
    const right = this.x(layerIndex) + this.unit / 2;
    ctx.strokeStyle = theme.muted;
    ctx.lineWidth = 1.25;
    ctx.beginPath();
    ctx.moveTo(left, 16);
    ctx.quadraticCurveTo((left + right) / 2, -10, right, 16);
    ctx.stroke();
    ctx.beginPath();
    ctx.arc(left, 16, 2.5, 0, 7);
    ctx.fillStyle = theme.muted;
    ctx.fill();
  }

  /**
   * Return the layer and the head under the pointer; above the grid, the first head.
   * @param {MouseEvent} event
   * @returns {[layerIndex: number, head: number] | null}
   */
  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const layerIndex = Math.floor((clientX - box.left - GRID_LEFT) / this.unit);
    const head = Math.floor((clientY - box.top - GRID_TOP) / this.unit);
    const inside = this.scene.layouts[layerIndex] && head < this.headCount && head > -4;
    return inside ? [layerIndex, Math.max(0, head)] : null;
  }

  /** @param {PointerEvent} event */
  point(event) {
    const at = this.under(event);
    if (String(at) === String(this.hovered)) return;
    this.hovered = at;
    if (at && event.buttons & 1) this.scene.open(...at);
    this.hint.replaceChildren(at ? this.headWords(...at) : "");
    this.drawOver();
  }

  /**
   * @param {number} layerIndex
   * @param {number} head
   */
  headWords(layerIndex, head) {
    const { layer, kind, kv_shared_from: shared } = this.scene.layouts[layerIndex];
    const keys = shared === null ? "" : `, keys of layer ${shared}`;
    const name = `layer ${layer} (${kind}${keys}) · head ${this.scene.heads[head]}`;
    return [name, ...this.averages(layerIndex, head)].join(" · ");
  }

  /**
   * Return a head's mean statistics, in words.
   * @param {number} layerIndex
   * @param {number} head
   */
  averages(layerIndex, head) {
    const flat = this.flat(layerIndex, head);
    const entropy = this.mean("entropy", flat);
    if (entropy === null) return [];
    const first = weightPercentage(this.mean("first", flat) ?? 0);
    const far = distance(this.mean("distance", flat) ?? 0);
    return [`entropy ${entropy.toFixed(2)} nats`, `first token ${first}`, `distance ${far}`];
  }

  leave() {
    this.hovered = null;
    this.hint.replaceChildren("");
    this.drawOver();
  }

  /** @param {PointerEvent} event */
  press(event) {
    const at = this.under(event);
    if (!at) return;
    this.scene.open(...at);
    this.node.focus({ preventScroll: true });
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { scene } = this;
    /** @type {Record<string, [layers: number, heads: number]>} */
    const steps = {
      ArrowRight: [1, 0],
      ArrowLeft: [-1, 0],
      PageDown: [1, 0],
      PageUp: [-1, 0],
      ArrowDown: [0, 1],
      ArrowUp: [0, -1],
    };
    const step = steps[event.key];
    if (!step) return;
    scene.open(scene.layerIndex + step[0], scene.head + step[1]);
    event.preventDefault();
    event.stopPropagation();
  }
}
