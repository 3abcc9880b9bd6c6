// State of a comparison's view: the tokens of the prompt, the cell under the pointer, the selected cell.
import { Scene, sameValues } from "../shared/scene.js";
import { FRACTION_STEPS, strings, unpack } from "../shared/wire.js";

/** @import { Buffer, VersusBuffer, VersusModel } from "../shared/wire_types.js" */

/** The row of the next token's divergence, above the layers. */
export const KL_ROW = -1;

export class VersusScene extends Scene {
  /**
   * @param {VersusModel} model
   * @param {Buffer} cells
   */
  constructor(model, cells) {
    super();
    this.model = model;
    this.facts = model.get("_facts");
    this.data = /** @type {VersusBuffer} */ (unpack(cells));
    this.labels = strings(this.data.text, this.data.text_ends);
    this.layers = this.data.meta.layers;
    /** The rows of the map: the divergence, then the layers. */
    this.rows = [KL_ROW, ...this.layers];
    this.start = this.data.meta.start;
    this.tops = new Map(this.data.meta.tops.map((top) => [top.row, top]));
    /** @type {"flipped" | "weight"} */
    this.measure = "flipped";
    this.topKl = Math.max(1e-9, ...Array.from(this.data.kl, (kl) => (Number.isNaN(kl) ? 0 : kl)));
    /** The column and the row under the pointer or the keyboard's cursor, or -1. */
    this.column = -1;
    this.row = 0;
    this.layer = model.get("layer");
    this.tokens = new Set(model.get("selected_tokens"));
  }

  get length() {
    return this.labels.length;
  }

  /** The cell that is described: the one under the pointer, else the selected one. */
  get shown() {
    if (this.column >= 0) return { column: this.column, row: this.row };
    const [token] = [...this.tokens].slice(-1);
    if (token === undefined) return null;
    return { column: token - this.start, row: Math.max(0, this.rows.indexOf(this.layer)) };
  }

  /**
   * Return what a cell is coloured by, 0 … 1; NaN for none.
   * @param {number} row
   * @param {number} column
   */
  share(row, column) {
    if (row === 0) return this.data.kl[column] / this.topKl;
    const values = this.data[this.measure];
    return values ? values[(row - 1) * this.length + column] / FRACTION_STEPS : Number.NaN;
  }

  /**
   * Return experts and gate weights of one model in a cell, heaviest first.
   * @param {"first" | "second"} side
   * @param {number} row
   * @param {number} column
   * @returns {[expert: number, weight: number][]}
   */
  experts(side, row, column) {
    const ids = this.data[`${side}_ids`];
    const weights = this.data[`${side}_weights`];
    if (row === 0 || !ids || !weights) return [];
    const k = this.data.shapes[`${side}_ids`][2];
    const start = ((row - 1) * this.length + column) * k;
    return Array.from({ length: k }, (_, slot) => [
      ids[start + slot],
      weights[start + slot] / FRACTION_STEPS,
    ]);
  }

  /**
   * Point at a cell; column -1 is none.
   * @param {number} column
   * @param {number} row
   */
  point(column, row = 0) {
    if (column === this.column && row === this.row) return;
    this.column = column;
    this.row = row;
    this.notify("hover");
  }

  /**
   * Select a cell; the selected one is released.
   * @param {number} column
   * @param {number} row
   */
  select(column, row) {
    const token = this.start + column;
    const layer = this.rows[row];
    const again = this.tokens.has(token) && this.layer === layer;
    this.tokens = new Set(again ? [] : [token]);
    this.layer = layer;
    this.notify("selection");
    this.post();
  }

  /** @param {"flipped" | "weight"} measure */
  show(measure) {
    this.measure = measure;
    this.notify("measure");
  }

  /**
   * @param {string} view
   * @param {number} seq
   */
  sendSelection(view, seq) {
    this.model.send({ type: "select", view, seq, layer: this.layer, tokens: [...this.tokens] });
  }

  /** Take the selection that Python holds. */
  syncFromModel() {
    if (!this.isCurrent(this.model.get("_ack"))) return;
    const tokens = this.model.get("selected_tokens");
    const layer = this.model.get("layer");
    if (sameValues(this.tokens, tokens) && layer === this.layer) return;
    this.tokens = new Set(tokens);
    this.layer = layer;
    this.notify("selection");
  }
}
