// What the explorers of cells share: a choice of what is shown, and a map that is drawn for one width.
import { View } from "./view.js";

/** @import { Scene } from "./scene.js" */
/** @import { Buffer, WidgetModel } from "./wire_types.js" */

/**
 * A subclass names the element that chooses what is shown in `chooser`.
 * @template {Scene} S
 * @template {WidgetModel<any, any>} M
 * @extends {View<S, M>}
 */
export class CellsView extends View {
  /**
   * Build the scene and the elements.
   * @param {Buffer} [_cells] Other cells than Python shows, in a saved page.
   * @returns {S}
   */
  begin(_cells) {
    return super.begin();
  }

  /**
   * The element that chooses what is shown.
   * @returns {HTMLElement | undefined}
   */
  get chooser() {
    return undefined;
  }

  resize() {
    const width = this.root.clientWidth;
    if (!width || !this.knowsTheme() || this.fitted === width) return;
    this.fitted = width;
    this.scene.notify("size", "data", "selection", "theme");
  }

  /**
   * Show other cells; the choice keeps the focus.
   * @param {Buffer} [cells]
   */
  restart(cells) {
    const chosen = document.activeElement === this.chooser;
    this.fitted = 0;
    this.scene = this.begin(cells);
    this.applyTheme();
    if (chosen) this.chooser?.focus();
  }
}
