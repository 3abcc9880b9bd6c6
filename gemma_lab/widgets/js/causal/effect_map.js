// Layers × tokens, heads or experts on a canvas: what each patch does to the answer.
import { fitCanvas } from "../shared/colors.js";
import { visibleText } from "../shared/dom.js";
import { number } from "../shared/format.js";
import { HeatMap } from "../shared/heat_map.js";

/** @import { CausalScene } from "./causal_scene.js" */

const ROW_HEIGHT = 19; // of a layer, in pixels
const NAME_WIDTH = 46; // of the layers' numbers
const MIN_CELL = 11;
const MAX_CELL = 40;
const WORD_HEIGHT = 78;
const LEAN = 44; // how far the last of the words reaches to the right

/** @extends {HeatMap<CausalScene>} */
export class EffectMap extends HeatMap {
  /** @param {CausalScene} scene */
  constructor(scene) {
    const label = `Effects by layer: ${number(scene.length)} columns, ${scene.layers.length} layers. Arrow keys move, Enter opens.`;
    super(scene, { name: "causal", label, narrowest: MIN_CELL, widest: MAX_CELL, lean: LEAN });
  }

  get rowCount() {
    return this.scene.layers.length;
  }

  /** @param {number} y */
  rowAt(y) {
    return Math.floor(y / ROW_HEIGHT);
  }

  get height() {
    return this.scene.layers.length * ROW_HEIGHT;
  }

  draw() {
    const { scene, cell } = this;
    const ctx = fitCanvas(this.canvas, scene.length * cell + LEAN, this.height + WORD_HEIGHT);
    for (let row = 0; row < scene.layers.length; row += 1) {
      for (let column = 0; column < scene.length; column += 1) {
        const effect = scene.effect(row, column);
        if (Number.isNaN(effect)) continue;
        ctx.fillStyle = scene.signed.of(effect / scene.limit);
        ctx.fillRect(column * cell, row * ROW_HEIGHT, cell - 1, ROW_HEIGHT - 1);
        if (!scene.standsOut(row, column)) continue;
        ctx.strokeStyle = scene.theme.text;
        ctx.lineWidth = 1;
        ctx.strokeRect(column * cell + 1.5, row * ROW_HEIGHT + 1.5, cell - 4, ROW_HEIGHT - 4);
      }
    }
    this.drawWords(ctx);
    this.drawMarks(ctx);
    this.drawNames();
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawWords(ctx) {
    const { scene, cell } = this;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    scene.labels.forEach((label, column) => {
      const differs = scene.data.differs[column];
      ctx.save();
      ctx.translate(column * cell + cell / 2, this.height + 5);
      ctx.rotate(Math.PI / 3);
      ctx.font = `${differs ? "600 " : ""}11px ${scene.theme.font}`;
      ctx.fillStyle = differs ? scene.theme.sink : scene.theme.muted;
      ctx.fillText(visibleText(label).slice(0, 12), 0, 0);
      ctx.restore();
    });
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawMarks(ctx) {
    const { scene, cell } = this;
    const [layer, column] = scene.cell;
    if (layer !== undefined) {
      ctx.lineWidth = 3;
      ctx.strokeStyle = scene.theme.accent;
      const top = scene.layers.indexOf(layer) * ROW_HEIGHT;
      ctx.strokeRect(column * cell, top, cell - 1, ROW_HEIGHT - 1);
    }
    if (scene.column < 0) return;
    ctx.lineWidth = 2;
    ctx.strokeStyle = scene.theme.text;
    ctx.strokeRect(scene.column * cell, scene.row * ROW_HEIGHT + 1, cell - 1, ROW_HEIGHT - 3);
  }

  drawNames() {
    const { scene } = this;
    const ctx = fitCanvas(this.names, NAME_WIDTH, this.height + WORD_HEIGHT);
    ctx.font = `11px ${scene.theme.font}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillStyle = scene.theme.muted;
    scene.layers.forEach((layer, row) => {
      ctx.fillText(`${layer}`, NAME_WIDTH - 6, row * ROW_HEIGHT + ROW_HEIGHT / 2);
    });
    ctx.textAlign = "left";
    ctx.fillText("layer", 0, this.height - ROW_HEIGHT / 2);
  }

  /** Say what the cell that is described does. */
  words() {
    const { scene } = this;
    if (!scene.shown) return "";
    const { column, row } = scene.shown;
    const effect = scene.effect(row, column);
    const place = `layer ${scene.layers[row]}`;
    if (Number.isNaN(effect)) return `${place}: no cell`;
    const sign = effect > 0 ? "+" : "";
    const p = scene.data.p[scene.at(row, column)];
    const chance = scene.facts.draws
      ? `, p = ${p.toPrecision(2)} (by chance up to ${scene.data.thresholds[column].toPrecision(3)})`
      : "";
    return `${place}: ${sign}${effect.toPrecision(3)} nats${chance}`;
  }
}
