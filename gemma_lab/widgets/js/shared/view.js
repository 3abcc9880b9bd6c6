// What the explorers share: a root that follows the page's theme and its own size, and its messages.
import { appendText, followTheme, h, icon } from "./dom.js";

/** @import { Scene } from "./scene.js" */
/** @import { Notice, WidgetModel } from "./wire_types.js" */

/**
 * A subclass builds its scene and its elements in `begin`, and lays them out in `resize`.
 * @template {Scene} S
 * @template {WidgetModel<any, any>} M
 */
export class View {
  /**
   * @param {M} model
   * @param {HTMLElement} element
   * @param {{ label: string, kind?: string }} options
   */
  constructor(model, element, { label, kind = "" }) {
    this.model = model;
    this.root = h("section", {
      class: `gl gl-routing ${kind}`.trim(),
      "aria-label": label,
      "data-lm-suppress-shortcuts": "true",
    });
    this.status = h("div", { class: "gl-unseen", role: "status", "aria-live": "polite" });
    this.notice = h("div", { class: "gl-notice", role: "alert", hidden: true });
    this.fitted = 0; // the width that the layout was made for
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.speaking = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.prefetching = undefined;
    element.append(this.root);
    this.scene = this.begin();
    this.endTheme = followTheme(this.root);
    this.applyTheme();
    this.themes = new MutationObserver(() => this.applyTheme());
    this.themes.observe(this.root, { attributes: true, attributeFilter: ["data-theme"] });
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.measured);
  }

  /**
   * Build the scene and the elements.
   * @returns {S}
   */
  begin() {
    throw new Error("A view builds its scene.");
  }

  /** Lay out for the current width. */
  resize() {}

  /**
   * The element whose size decides the layout.
   * @returns {HTMLElement}
   */
  get measured() {
    return this.root;
  }

  /** Take the colours of the theme, once the view is on a page. */
  applyTheme() {
    if (!this.root.isConnected) return;
    this.scene.readTheme(this.root);
    if (this.fitted) this.scene.notify("theme");
    else this.resize();
  }

  /** Return whether the theme's colours are known; they are read from the page if need be. */
  knowsTheme() {
    const { scene, root } = this;
    if (!scene.theme.accent && root.isConnected) scene.readTheme(root);
    return scene.ready;
  }

  /** @param {Notice} notice */
  showNotice({ what = "", hint = "" }) {
    const words = h("div", {}, appendText(h("div", { class: "gl-text", dir: "auto" }), what));
    if (hint) words.append(appendText(h("div", { class: "gl-text gl-hint", dir: "auto" }), hint));
    this.notice.replaceChildren(icon("warn"), words);
    this.notice.hidden = false;
  }

  /** Show whether the model is running. */
  showBusy() {
    const busy = this.model.get("busy");
    if (busy) this.notice.hidden = true;
    this.status.replaceChildren(busy ? "Running the model" : "Finished");
    this.scene.notify("busy");
  }

  /**
   * Tell a screen reader, a moment after the last change.
   * @param {() => (string | Node)[]} words
   */
  speak(words) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.status.replaceChildren(...words()), 250);
  }

  /**
   * Return what ends the view.
   * @param {() => void} stopListening
   */
  ending(stopListening) {
    return () => {
      stopListening();
      this.endTheme();
      this.themes.disconnect();
      this.sizes.disconnect();
      clearTimeout(this.prefetching);
      clearTimeout(this.speaking);
    };
  }
}
