// State of a causal map's view: the cells of a part, the cell under the pointer, the selected cell.
import { SignedRamp } from "../shared/colors.js";
import { Scene, sameList } from "../shared/scene.js";
import { strings, unpack } from "../shared/wire.js";

/** @import { Buffer, CausalBuffer, CausalModel } from "../shared/wire_types.js" */

export class CausalScene extends Scene {
  /**
   * @param {CausalModel} model
   * @param {Buffer} cells
   */
  constructor(model, cells) {
    super();
    this.model = model;
    this.facts = model.get("_facts");
    this.data = /** @type {CausalBuffer} */ (unpack(cells));
    this.labels = strings(this.data.text, this.data.text_ends);
    this.part = this.data.meta.part;
    /** The layers of the rows, the last one on top. */
    this.layers = [...this.data.meta.layers].reverse();
    this.signed = new SignedRamp("light");
    this.limit = Math.max(1e-9, ...Array.from(this.data.effects, (effect) => Math.abs(effect || 0)));
    /** The column and the row under the pointer or the keyboard's cursor, or -1. */
    this.column = -1;
    this.row = 0;
    /** @type {number[]} Layer and column, or empty. */
    this.cell = model.get("part") === this.part ? model.get("cell") : [];
  }

  get length() {
    return this.labels.length;
  }

  /** @param {HTMLElement} root */
  readTheme(root) {
    this.signed = new SignedRamp(root.dataset.theme ?? "light");
    super.readTheme(root);
  }

  /** The cell that is described: the one under the pointer, else the selected one. */
  get shown() {
    if (this.column >= 0) return { column: this.column, row: this.row };
    if (!this.cell.length) return null;
    return { column: this.cell[1], row: this.layers.indexOf(this.cell[0]) };
  }

  /**
   * Return where a cell lies in the arrays.
   * @param {number} row
   * @param {number} column
   */
  at(row, column) {
    return (this.layers.length - 1 - row) * this.length + column;
  }

  /**
   * Return the effect of a cell, nats; NaN where there is none.
   * @param {number} row
   * @param {number} column
   */
  effect(row, column) {
    return this.data.effects[this.at(row, column)];
  }

  /**
   * Return whether a cell is beyond what every control reached.
   * @param {number} row
   * @param {number} column
   */
  standsOut(row, column) {
    const p = this.data.p[this.at(row, column)];
    return this.facts.draws > 0 && p * (this.facts.draws + 1) < 1.5;
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
   * Select a cell and ask for the trace behind it; the selected one is released.
   * @param {number} column
   * @param {number} row
   */
  select(column, row) {
    const cell = [this.layers[row], column];
    const again = sameList(cell, this.cell);
    if (!again && Number.isNaN(this.effect(row, column))) return;
    this.cell = again ? [] : cell;
    this.notify("selection");
    this.post();
    if (!again && this.model.get("_can_run")) {
      this.model.send({ type: "open", part: this.part, layer: cell[0], column });
    }
  }

  /**
   * @param {string} view
   * @param {number} seq
   */
  sendSelection(view, seq) {
    this.model.send({ type: "select", view, seq, cell: this.cell });
  }

  /** Take the selection that Python holds. */
  syncFromModel() {
    if (!this.isCurrent(this.model.get("_ack"))) return;
    const cell = this.model.get("cell");
    if (sameList(cell, this.cell)) return;
    this.cell = cell;
    this.notify("selection");
  }
}
