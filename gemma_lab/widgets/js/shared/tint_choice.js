// The choice of what tints a text: a view's own tints, and those of generated tokens where the trace has them.
import { h, labelled } from "./dom.js";
import { roleLegend } from "./roles.js";
import { isTint, TINTS, tintLegend, tintsOf } from "./tints.js";

/** @import { Changes } from "./scene.js" */
/** @import { TokenStore } from "./token_store.js" */
/** @typedef {{ tone: string, notify(...what: string[]): void }} TintedScene */

export class TintChoice {
  /**
   * @param {TintedScene} scene
   * @param {Record<string, string>} own The view's own tints, by their value.
   * @param {() => TokenStore[]} stores
   */
  constructor(scene, own, stores) {
    this.scene = scene;
    this.own = own;
    this.stores = stores;
    this.shown = "";
    this.select = h("select", { "data-testid": "tone" });
    this.select.addEventListener("change", () => this.choose());
    this.node = labelled("Tint text by", this.select);
    this.legend = h("div", { class: "gl-tint-legend", hidden: true });
    this.offer();
  }

  /** Offer the tints that this trace has. */
  offer() {
    const { scene } = this;
    const draws = this.stores().flatMap(({ draws }) => [...draws.values()]);
    const names = tintsOf(draws);
    if (isTint(scene.tone) && !names.includes(scene.tone)) scene.tone = Object.keys(this.own)[0];
    /** @type {[string, string][]} */
    const more = names.map((name) => [name, TINTS[name].label]);
    const options = [...Object.entries(this.own), ...more];
    const listed = JSON.stringify(options);
    if (listed !== this.shown) {
      this.shown = listed;
      this.select.replaceChildren(...options.map(([value, label]) => h("option", { value }, label)));
    }
    this.select.value = scene.tone;
    this.node.hidden = options.length < 2;
    this.showLegend();
  }

  choose() {
    this.scene.tone = this.select.value;
    this.showLegend();
    this.scene.notify("tone");
  }

  showLegend() {
    const { tone } = this.scene;
    this.legend.hidden = !isTint(tone);
    this.legend.replaceChildren(...(isTint(tone) ? [tintLegend(tone)] : []));
  }

  /** @param {Changes} what */
  update(what) {
    if (what.has("data") || what.has("tone")) this.offer();
  }
}

/**
 * Build the legend of a text: its tint, and the roles of tools.
 * @param {TintChoice} tint
 * @param {TokenStore[]} stores
 */
export function textLegend(tint, stores) {
  return h("div", { class: "gl-legends gl-text-legends" }, tint.legend, roleLegend(stores));
}
