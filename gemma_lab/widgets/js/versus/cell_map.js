// Layers × tokens of a comparison on a canvas; the top row is the divergence of the next token.
import { fitCanvas } from "../shared/colors.js";
import { visibleText } from "../shared/dom.js";
import { number, percentage } from "../shared/format.js";
import { HeatMap } from "../shared/heat_map.js";

/** @import { VersusScene } from "./versus_scene.js" */

const ROW = 18; // height of a layer, in pixels
const GAP = 5; // between the divergence and the layers
const NAMES = 46; // width of the layers' numbers
const NARROWEST = 9;
const WIDEST = 34;
const WORDS = 62; // height of the tokens' texts
const SLANT = 38; // how far the last of them reaches to the right

/** @extends {HeatMap<VersusScene>} */
export class CellMap extends HeatMap {
  /** @param {VersusScene} scene */
  constructor(scene) {
    const label = `Layers by tokens: ${number(scene.length)} tokens, ${scene.layers.length} layers. Arrow keys move, Enter selects.`;
    super(scene, { name: "versus", label, narrowest: NARROWEST, widest: WIDEST, lean: SLANT });
  }

  get rowCount() {
    return this.scene.rows.length;
  }

  /** @param {number} y */
  rowAt(y) {
    if (y < 0 || y > this.height) return -1;
    const row = y < ROW + GAP ? 0 : 1 + Math.floor((y - ROW - GAP) / ROW);
    return Math.min(row, this.rowCount - 1);
  }

  /** @param {number} row */
  top(row) {
    return row === 0 ? 0 : ROW + GAP + (row - 1) * ROW;
  }

  get height() {
    return this.top(this.scene.rows.length);
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
