// Features of a sparse autoencoder: its fit first, then the strongest features of the row behind a token.
import { h } from "../shared/dom.js";
import { number } from "../shared/format.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { ExplorerScene } from "./explorer_scene.js" */
/** @typedef {{ node: HTMLButtonElement, name: HTMLElement, fill: HTMLElement, value: HTMLElement }} FeatureLine */

const LISTED_FEATURES = 8;

export class FeaturePanel {
  /** @param {ExplorerScene} scene */
  constructor(scene) {
    this.scene = scene;
    const facts = scene.summary.meta.features;
    const explained = facts?.explained ?? null;
    const share = explained === null ? "not known" : explained.toFixed(3);
    this.fit = h(
      "div",
      { class: "gl-feature-fit", "data-testid": "feature-fit" },
      h("b", {}, `Variance explained ${share}`),
      facts?.fits
        ? ` · layer ${facts.layer}, ${number(facts.count)} features`
        : ` · below ${facts?.least ?? 0}: features are not interpreted`,
    );
    this.lines = facts?.fits ? Array.from({ length: LISTED_FEATURES }, () => this.createLine()) : [];
    this.rows = h("div", { class: "gl-feature-rows" }, ...this.lines.map(({ node }) => node));
    this.note = h("div", { class: "gl-note", "data-testid": "feature-note" });
    this.node = h(
      "section",
      { class: "gl-panel gl-features", "aria-label": "SAE features", "data-testid": "features" },
      h("div", { class: "gl-panel-title" }, "SAE features"),
      this.fit,
      this.rows,
      this.note,
    );
  }

  /** @returns {FeatureLine} */
  createLine() {
    const name = h("span", {});
    const fill = h("i", {});
    const value = h("span", {});
    const node = h(
      "button",
      { class: "gl-feature", type: "button", "data-testid": "feature" },
      name,
      h("span", { class: "gl-track" }, fill),
      value,
    );
    const line = { node, name, fill, value };
    node.addEventListener("click", () => this.scene.tintByFeature(Number(node.dataset.feature)));
    return line;
  }

  /** @param {Changes} what */
  update(what) {
    if (!["hover", "selection", "data", "theme", "feature", "tone"].some((one) => what.has(one))) return;
    const { scene } = this;
    const facts = scene.summary.meta.features;
    if (!facts?.fits) return;
    const row = scene.reading < 0 ? -1 : scene.rowBehind(scene.reading);
    const found = scene.featuresOf(row);
    this.lines.forEach((line, at) => {
      const entry = found[at];
      line.node.classList.toggle("gl-none", !entry);
      line.node.disabled = !entry;
      if (!entry) return;
      line.node.dataset.feature = String(entry.feature);
      line.node.setAttribute("aria-pressed", String(entry.feature === scene.feature));
      line.node.title = `Tint the text by feature ${entry.feature}`;
      line.name.textContent = String(entry.feature);
      line.fill.style.width = `${100 * entry.share}%`;
      line.fill.style.backgroundColor = scene.ramp.of(entry.share);
      line.value.textContent = (entry.share * facts.top).toFixed(2);
    });
    this.note.replaceChildren(this.explain(row));
  }

  /**
   * Say what tints the text, and how strong the feature is at the row that is read.
   * @param {number} row
   */
  explain(row) {
    const { scene } = this;
    const facts = scene.summary.meta.features;
    if (!facts || scene.feature < 0) return "click a feature to tint the text by it";
    const { top, tokens } = scene.featureRange;
    const here = row < 0 ? "" : ` · ${(scene.featureAt(row) * facts.top).toFixed(2)} at this row`;
    const least = facts.kept < facts.recorded ? ` (of the ${facts.kept} strongest of each token)` : "";
    return `feature ${scene.feature}: in ${number(tokens)} tokens${least}, at most ${(top * facts.top).toFixed(2)}${here}`;
  }
}
