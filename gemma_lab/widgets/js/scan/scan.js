// A scan: the findings of one prompt, and below them the explorer, in which each selects its tokens.
import { ExplorerView } from "../explorer/explorer_view.js";
import { h, listen } from "../shared/dom.js";

/** @import { Finding, ScanModel } from "../shared/wire_types.js" */

class ScanView extends ExplorerView {
  begin() {
    const scene = super.begin();
    this.findings = h("div", { class: "gl-findings", "data-testid": "findings" });
    this.root.querySelector(".gl-body")?.before(this.findings);
    this.showFindings();
    return scene;
  }

  showFindings() {
    const model = /** @type {ScanModel} */ (/** @type {unknown} */ (this.model));
    this.findings?.replaceChildren(...model.get("_findings").map((one) => this.card(one)));
  }

  /** @param {Finding} finding */
  card({ title, result, null: control, tokens, tested }) {
    const button = h("button", { type: "button", class: "gl-finding-show" }, "Show");
    button.setAttribute("aria-label", `${title}: select its tokens in the explorer`);
    button.addEventListener("click", () => this.showTokens(tokens));
    return h(
      "section",
      { class: tested ? "gl-finding" : "gl-finding gl-untested", "data-testid": "finding" },
      h("div", { class: "gl-finding-title" }, title, tokens.length ? button : ""),
      h("div", { class: "gl-finding-result" }, h("bdi", { dir: "auto" }, result)),
      h("div", { class: "gl-finding-null" }, h("bdi", { dir: "auto" }, control)),
    );
  }

  /** @param {number[]} tokens */
  showTokens(tokens) {
    this.scene.select(new Set(tokens));
    this.root.querySelector(".gl-body")?.scrollIntoView({ block: "nearest" });
    this.scene.reveal(tokens[0]);
  }

  listen() {
    const end = super.listen();
    const stop = listen(this.model, { "change:_findings": () => this.showFindings() });
    return () => {
      stop();
      end();
    };
  }
}

/** @param {{ model: ScanModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new ScanView(/** @type {any} */ (model), el).listen();
}

export default { render };
