// The combined explorer: an answer, and the summary of the row behind the token that is shown.
import { ATTENTION_TINTS, AttentionText } from "../attention/tinted_text.js";
import { Ask } from "../shared/ask.js";
import { appendText, h, listen } from "../shared/dom.js";
import { number } from "../shared/format.js";
import { openImages } from "../shared/images.js";
import { TintChoice, textLegend } from "../shared/tint_choice.js";
import { drawNote } from "../shared/tints.js";
import { View } from "../shared/view.js";
import { ExplorerScene } from "./explorer_scene.js";
import { FeaturePanel } from "./feature_panel.js";
import { AttentionPanel, ExpertPanel, LensPanel } from "./panels.js";
import { StrengthSlider } from "./strength_slider.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { ExplorerModel } from "../shared/wire_types.js" */

const PLACEHOLDER = "Ask the model, and see the attention, the experts and the logit lens of its answer …";

/** @extends {View<ExplorerScene, ExplorerModel>} */
export class ExplorerView extends View {
  /**
   * @param {ExplorerModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    super(model, element, { label: "Explorer", kind: "gl-look" });
  }

  begin() {
    const { model } = this;
    const scene = new ExplorerScene(model);
    const { facts, summary } = scene;
    this.fitted = 0;
    const ask = new Ask(model, { placeholder: PLACEHOLDER, stoppable: false });
    const text = new AttentionText(scene);
    this.text = text;
    scene.reveal = (token) => text.scrollToToken(token);
    const panels = [];
    if (summary.keys) panels.push(new AttentionPanel(scene));
    if (summary.top_words) panels.push(new LensPanel(scene));
    if (summary.expert_ids) panels.push(new ExpertPanel(scene));
    if (summary.meta.features) panels.push(new FeaturePanel(scene));
    const own = summary.feature_ids ? { ...ATTENTION_TINTS, feature: "SAE feature" } : ATTENTION_TINTS;
    const tint = new TintChoice(scene, own, () => [scene.store]);
    const behind = h("div", { class: "gl-opened", "data-testid": "behind" });
    const slider = new StrengthSlider(model);
    scene.parts = [
      tint,
      text,
      ...panels,
      slider,
      ask,
      { update: (what) => this.showRow(scene, behind, what) },
    ];
    const lens = summary.meta.logit_lens?.kind === "jacobian" ? "Jacobian lens" : "logit lens";
    const records = facts.records.map((name) => (name === "logit_lens" ? lens : name)).join(", ");
    const about = `${number(facts.tokens)} tokens · ${records}`;
    const name = appendText(h("bdi", { class: "gl-name", dir: "auto" }), facts.name);
    const heading = h("div", { class: "gl-heading" }, name, h("span", { class: "gl-facts" }, about));
    const column = h("div", { class: "gl-panels" }, behind, ...panels.map(({ node }) => node));
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, heading, tint.node),
      this.notice,
      slider.node,
      h("div", { class: "gl-body" }, text.node, column),
      textLegend(tint, [scene.store]),
      ask.node,
      this.status,
    );
    scene.store.images = openImages(model.get("_images"), () => {
      if (this.scene === scene && scene.ready) text.redraw();
    });
    return scene;
  }

  /**
   * Show which row decided the token that is shown, in words.
   * @param {ExplorerScene} scene
   * @param {HTMLElement} node
   * @param {Changes} what
   */
  showRow(scene, node, what) {
    const { reading, store } = scene;
    if (reading < 0) {
      const help = "to see what decided it: ← → along the text, Enter selects a token";
      node.replaceChildren(
        h("b", {}, "Point at a token of the answer"),
        h("span", { class: "gl-where" }, help),
      );
      return;
    }
    const row = scene.rowBehind(reading);
    const [name, ...where] = store.describe(reading);
    const words = h("span", { class: "gl-where" });
    if (store.codes.generated[reading]) {
      words.append(
        `${name}, decided by the row of `,
        h("bdi", {}, store.label(row)),
        ` (token ${number(row)})`,
      );
    } else words.append(`${[name, ...where].join(" · ")}, its own row`);
    if (scene.rowIndex < 0) words.append(" · not kept in this view");
    const drawn = drawNote(store.draws.get(reading)) ?? "";
    node.replaceChildren(h("b", {}, h("bdi", {}, store.label(reading))), words, drawn);
    if (!what.has("hover") || !this.root.contains(document.activeElement)) return;
    this.speak(() => [h("bdi", {}, store.label(reading)), ": ", h("bdi", {}, scene.describe())]);
  }

  resize() {
    const width = this.root.clientWidth;
    if (!width || !this.knowsTheme() || this.fitted === width) return;
    const first = !this.fitted;
    this.fitted = width;
    this.scene.notify("size", "data", "layer", "selection", "theme", "busy");
    if (first) this.text?.scrollToToken(this.scene.facts.answer_start);
  }

  /** Show another trace. */
  restart() {
    const { tone } = this.scene;
    this.scene = this.begin();
    this.scene.tone = tone;
    this.applyTheme();
  }

  listen() {
    const sync = () => this.scene.syncFromModel();
    const stop = listen(this.model, {
      "change:selected_tokens": sync,
      "change:feature": sync,
      "change:_ack": sync,
      "change:_facts": () => this.restart(),
      "change:busy": () => this.showBusy(),
      "change:_notice": () => this.showNotice(this.model.get("_notice")),
    });
    return this.ending(stop);
  }
}
