// Rows × columns of cells on a canvas, read with the pointer and with keys.
import { h } from "./dom.js";

/** @import { Changes } from "./scene.js" */

/**
 * What a heat map asks of its scene.
 * @typedef {{
 *   length: number,
 *   column: number,
 *   row: number,
 *   shown: { column: number, row: number } | null,
 *   point(column: number, row?: number): void,
 *   select(column: number, row: number): void,
 * }} CellScene
 */

/** @template {CellScene} S */
export class HeatMap {
  /**
   * @param {S} scene
   * @param {{ name: string, label: string, narrowest: number, widest: number, lean: number }} options
   *   The name that its test id begins with, its description, the width of a cell in pixels, and how far the last word reaches
   *   to the right.
   */
  constructor(scene, options) {
    this.scene = scene;
    this.options = options;
    this.cell = options.narrowest;
    this.names = h("canvas", { "aria-hidden": "true" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.scroller = h(
      "div",
      {
        class: "gl-cells-scroller",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "heat map",
        "aria-label": options.label,
        "data-testid": `${options.name}-map`,
      },
      this.canvas,
    );
    this.node = h("div", { class: "gl-cells-map" }, this.names, this.scroller);
    this.scroller.addEventListener("pointermove", (event) => this.point(event));
    this.scroller.addEventListener("pointerleave", () => scene.point(-1));
    this.scroller.addEventListener("blur", () => scene.point(-1));
    this.scroller.addEventListener("click", (event) => {
      const at = this.at(event);
      if (at) scene.select(at.column, at.row);
    });
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  /** How many rows it has. */
  get rowCount() {
    return 0;
  }

  /**
   * Return the row at a height in pixels; one that does not exist for none.
   * @param {number} _y
   */
  rowAt(_y) {
    return -1;
  }

  draw() {}

  drawNames() {}

  /** @param {Changes} what */
  update(what) {
    if (what.has("size")) {
      this.drawNames(); // first: their width is not the map's
      const { narrowest, widest, lean } = this.options;
      const width = Math.max(1, this.scroller.clientWidth - lean);
      const fitting = Math.floor(width / Math.max(1, this.scene.length));
      this.cell = Math.max(narrowest, Math.min(widest, fitting));
    }
    this.draw();
    if (what.has("selection") || what.has("hover")) this.reveal();
  }

  /**
   * Return the cell at a place of the page.
   * @param {MouseEvent} event
   */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.cell);
    const row = this.rowAt(event.clientY - box.top);
    if (column < 0 || column >= this.scene.length || row < 0 || row >= this.rowCount) return null;
    return { column, row };
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
      scene.point(column, Math.max(0, Math.min(this.rowCount - 1, from.row + step[1])));
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
}
