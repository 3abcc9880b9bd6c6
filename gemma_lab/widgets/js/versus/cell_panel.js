// What a cell of a comparison holds: the experts of both models, and their likeliest next tokens.
import { appendText, h, visibleText } from "../shared/dom.js";
import { weightPercentage } from "../shared/format.js";

/** @import { VersusScene } from "./versus_scene.js" */

export class CellPanel {
  /** @param {VersusScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.sides = [0, 1].map(() => h("div", { class: "gl-cells-side" }));
    this.node = h("div", { class: "gl-cells-sides" }, ...this.sides);
  }

  update() {
    const { scene } = this;
    const { shown } = scene;
    for (const [index, side] of /** @type {const} */ (["first", "second"]).entries()) {
      const name = appendText(h("bdi", { dir: "auto" }), scene.facts.names[index]);
      const heading = h("div", { class: "gl-cells-name" }, `${side}: `, name);
      this.sides[index].replaceChildren(
        heading,
        shown ? this.next(index, shown.column) : h("div", { class: "gl-cells-rows" }),
        shown ? this.experts(side, shown.row, shown.column) : "",
      );
    }
  }

  /**
   * The likeliest next tokens of one model.
   * @param {number} side
   * @param {number} column
   */
  next(side, column) {
    const top = this.scene.tops.get(this.scene.start + column);
    const node = h("div", { class: "gl-cells-rows" });
    if (!top) return node;
    for (const [text, probability] of top.sides[side]) {
      const word = h("bdi", { class: text === top.next ? "gl-versus-same" : "" }, visibleText(text));
      node.append(bar(word, probability));
    }
    return node;
  }

  /**
   * The experts of one model; those that the other did not choose are marked.
   * @param {"first" | "second"} side
   * @param {number} row
   * @param {number} column
   */
  experts(side, row, column) {
    const { scene } = this;
    const mine = scene.experts(side, row, column);
    if (!mine.length) return h("div", {});
    const other = side === "first" ? "second" : "first";
    const theirs = new Set(scene.experts(other, row, column).map(([expert]) => expert));
    const rows = mine.map(([expert, weight]) => {
      const alone = !theirs.has(expert);
      const mark = alone ? (side === "first" ? " −" : " +") : "";
      return bar(h("span", { class: alone ? "gl-versus-alone" : "" }, `${expert}${mark}`), weight);
    });
    return h("div", { class: "gl-cells-rows" }, h("div", { class: "gl-cells-kind" }, "experts"), ...rows);
  }
}

/**
 * @param {Node} label
 * @param {number} share
 */
function bar(label, share) {
  const inner = h("i", { style: `width:${Math.round(100 * Math.min(1, share))}%` });
  const box = h("span", { class: "gl-cells-bar" }, inner);
  return h("div", { class: "gl-cells-row" }, label, box, h("span", {}, weightPercentage(share)));
}
