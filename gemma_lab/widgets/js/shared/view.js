// What the explorers share: a root that follows the page's theme and its own size, and what is said beside it.
import { appendText, followTheme, h, icon } from "./dom.js";
import { inks } from "./colors.js";

/** A subclass says what to `begin` with, how to `dress` in the theme's colours, how to `fit` its size. */
export class View {
  constructor(model, el, { label, kind = "" }) {
    this.model = model;
    this.root = h("section", { class: `gl gl-routing ${kind}`.trim(), "aria-label": label, "data-lm-suppress-shortcuts": "true" });
    this.status = h("div", { class: "gl-unseen", role: "status", "aria-live": "polite" });
    this.notice = h("div", { class: "gl-notice", role: "alert", hidden: true });
    el.append(this.root);
    this.begin();
    this.endTheme = followTheme(this.root);
    this.dress();
    this.themes = new MutationObserver(() => this.dress());
    this.themes.observe(this.root, { attributes: true, attributeFilter: ["data-theme"] });
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.measured);
  }

  /** The element whose size decides the layout. */
  get measured() {
    return this.root;
  }

  /** The theme's colours for canvases: of text and ground, of a veil over what is not chosen, of a sink. */
  colours() {
    const dark = this.root.dataset.theme === "dark";
    return { ...inks(this.root), veil: dark ? "rgb(20 22 26 / 80%)" : "rgb(255 255 255 / 75%)", sink: dark ? "#e69f00" : "#c47f00" };
  }

  note({ what, hint }) {
    const words = h("div", {}, appendText(h("div", { class: "gl-text", dir: "auto" }), what));
    if (hint) words.append(appendText(h("div", { class: "gl-text gl-hint", dir: "auto" }), hint));
    this.notice.replaceChildren(icon("warn"), words);
    this.notice.hidden = false;
  }

  /** Return what ends the view: `end` of its listening, the observers, what was to be said later. */
  leaving(end) {
    return () => [end, this.endTheme, () => this.themes.disconnect(), () => this.sizes.disconnect(), () => [this.later, this.saying].forEach(clearTimeout)].forEach((stop) => stop());
  }
}
