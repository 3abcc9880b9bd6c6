// Layers × tokens of a comparison on a canvas; the top row is the divergence of the next token.
import { fitCanvas } from "../shared/colors.js";
import { h, visibleText } from "../shared/dom.js";
import { number, percentage } from "../shared/format.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { VersusScene } from "./versus_scene.js" */

const ROW = 18; // height of a layer, in pixels
const GAP = 5; // between the divergence and the layers
const NAMES = 46; // width of the layers' numbers
const NARROWEST = 9;
const WIDEST = 34;
const WORDS = 62; // height of the tokens' texts
const SLANT = 38; // how far the last of them reaches to the right

export class CellMap {
  /** @param {VersusScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.cell = NARROWEST;
    this.names = h("canvas", { "aria-hidden": "true" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.scroller = h(
      "div",
      {
        class: "gl-versus-scroller",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "heat map",
        "aria-label": `Layers by tokens: ${number(scene.length)} tokens, ${scene.layers.length} layers. Arrow keys move, Enter selects.`,
        "data-testid": "versus-map",
      },
      this.canvas,
    );
    this.node = h("div", { class: "gl-versus-map" }, this.names, this.scroller);
    this.scroller.addEventListener("pointermove", (event) => this.point(event));
    this.scroller.addEventListener("pointerleave", () => scene.point(-1));
    this.scroller.addEventListener("blur", () => scene.point(-1));
    this.scroller.addEventListener("click", (event) => {
      const at = this.at(event);
      if (at) scene.select(at.column, at.row);
    });
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {number} row */
  top(row) {
    return row === 0 ? 0 : ROW + GAP + (row - 1) * ROW;
  }

  get height() {
    return this.top(this.scene.rows.length);
  }

  /** @param {Changes} what */
  update(what) {
    if (what.has("size")) {
      this.drawNames(); // first: their width is not the map's
      const width = Math.max(1, this.scroller.clientWidth - SLANT);
      const fitting = Math.floor(width / Math.max(1, this.scene.length));
      this.cell = Math.max(NARROWEST, Math.min(WIDEST, fitting));
    }
    this.draw();
    if (what.has("selection") || what.has("hover")) this.reveal();
  }

  draw() {
    const { scene, cell } = this;
    const { theme } = scene;
    const ctx = fitCanvas(this.canvas, scene.length * cell + SLANT, this.height + WORDS);
    for (let row = 0; row < scene.rows.length; row += 1) {
      for (let column = 0; column < scene.length; column += 1) {
        const share = scene.share(row, column);
        ctx.fillStyle = Number.isNaN(share) || share <= 0 ? theme.empty : scene.ramp.of(share);
        ctx.fillRect(column * cell, this.top(row), cell - 1, ROW - 1);
      }
    }
    this.drawWords(ctx);
    this.drawMarks(ctx);
    this.drawNames();
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawWords(ctx) {
    const { scene, cell } = this;
    ctx.font = `11px ${scene.theme.font}`;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    scene.labels.forEach((label, column) => {
      ctx.save();
      ctx.translate(column * cell + cell / 2, this.height + 5);
      ctx.rotate(Math.PI / 3);
      ctx.fillStyle = scene.data.generated[column] ? scene.theme.text : scene.theme.muted;
      ctx.fillText(visibleText(label).slice(0, 10), 0, 0);
      ctx.restore();
    });
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawMarks(ctx) {
    const { scene, cell } = this;
    const selected = Math.max(0, scene.rows.indexOf(scene.layer));
    ctx.strokeStyle = scene.theme.accent;
    for (const token of scene.tokens) {
      const column = token - scene.start;
      if (column < 0 || column >= scene.length) continue;
      ctx.lineWidth = 1;
      ctx.strokeRect(column * cell - 0.5, 0.5, cell, this.height - 1);
      ctx.lineWidth = 3;
      ctx.strokeRect(column * cell, this.top(selected), cell - 1, ROW - 1);
    }
    if (scene.column < 0) return;
    ctx.lineWidth = 2;
    ctx.strokeStyle = scene.theme.text;
    ctx.strokeRect(scene.column * cell, this.top(scene.row) + 1, cell - 1, ROW - 3);
  }

  drawNames() {
    const { scene } = this;
    const ctx = fitCanvas(this.names, NAMES, this.height + WORDS);
    ctx.font = `11px ${scene.theme.font}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillStyle = scene.theme.muted;
    scene.rows.forEach((layer, row) => {
      ctx.fillText(row === 0 ? "KL" : `${layer}`, NAMES - 6, this.top(row) + ROW / 2);
    });
    if (scene.rows.length > 1) {
      ctx.textAlign = "left";
      ctx.fillText("layer", 0, this.top(1) + ROW / 2);
    }
  }

  /**
   * Return the cell at a place of the page.
   * @param {MouseEvent} event
   */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.cell);
    const y = event.clientY - box.top;
    if (column < 0 || column >= this.scene.length || y < 0 || y > this.height) return null;
    const row = y < ROW + GAP ? 0 : 1 + Math.floor((y - ROW - GAP) / ROW);
    return { column, row: Math.min(row, this.scene.rows.length - 1) };
  }

  /** @param {PointerEvent} event */
  point(event) {
    const at = this.at(event);
    if (at) this.scene.point(at.column, at.row);
    else this.scene.point(-1);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { scene } = this;
    const from = scene.shown ?? { column: 0, row: 0 };
    /** @type {Record<string, [across: number, down: number]>} */
    const steps = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
      Home: [-scene.length, 0],
      End: [scene.length, 0],
    };
    const step = steps[event.key];
    if (step) {
      const column = Math.max(0, Math.min(scene.length - 1, from.column + step[0]));
      scene.point(column, Math.max(0, Math.min(scene.rows.length - 1, from.row + step[1])));
    } else if (event.key === "Enter" || event.key === " ") scene.select(from.column, from.row);
    else return;
    event.preventDefault();
  }

  /** Scroll to the cell that is described, unless the pointer is there. */
  reveal() {
    const { scene, scroller, cell } = this;
    if (!scene.shown || scroller.matches(":hover")) return;
    const left = scene.shown.column * cell;
    if (left < scroller.scrollLeft || left + cell > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = left - scroller.clientWidth / 2;
    }
  }

  /** Say what is in the cell that is described. */
  words() {
    const { scene } = this;
    if (!scene.shown) return "";
    const { column, row } = scene.shown;
    const share = scene.share(row, column);
    if (row === 0) {
      const kl = scene.data.kl[column];
      return Number.isNaN(kl) ? "inside the prompt" : `KL of the next token ${kl.toPrecision(3)} nats`;
    }
    const what = scene.measure === "flipped" ? "of its slots flipped" : "of its gate weight moved";
    return `layer ${scene.rows[row]}: ${percentage(share)} ${what}`;
  }
}
