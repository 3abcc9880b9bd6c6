// The explorer of a comparison: a prompt, layers × tokens, and what both models compute in a cell.
import { CellsView } from "../shared/cells_view.js";
import { appendText, h, labelled, listen, visibleText } from "../shared/dom.js";
import { percentage } from "../shared/format.js";
import { CellMap } from "./cell_map.js";
import { CellPanel } from "./cell_panel.js";
import { VersusScene } from "./versus_scene.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { Buffer, VersusModel } from "../shared/wire_types.js" */

/** @extends {CellsView<VersusScene, VersusModel>} */
class VersusView extends CellsView {
  /**
   * @param {VersusModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    super(model, element, { label: "Comparison of two models", kind: "gl-versus" });
  }

  /** @param {Buffer} [cells] Of another prompt than Python shows, in a saved page. */
  begin(cells) {
    const { model } = this;
    const scene = new VersusScene(model, cells ?? model.get("_cells"));
    scene.measure = this.measure ?? scene.measure;
    const map = new CellMap(scene);
    this.map = map;
    const panel = new CellPanel(scene);
    const behind = h("div", { class: "gl-cells-cell", "data-testid": "versus-cell" });
    const legend = h("div", { class: "gl-cells-legend" });
    const part = { update: (/** @type {Changes} */ what) => this.describe(scene, behind, legend, what) };
    scene.parts = [map, panel, part];
    const names = scene.facts.names.map((name) => appendText(h("bdi", { dir: "auto" }), name));
    const heading = h(
      "div",
      { class: "gl-heading" },
      h("span", { class: "gl-name" }, names[0], " and ", names[1]),
    );
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, heading, this.promptChoice(scene), this.measureChoice(scene)),
      this.notice,
      map.node,
      legend,
      behind,
      panel.node,
      this.status,
    );
    return scene;
  }

  /** @param {VersusScene} scene */
  promptChoice(scene) {
    const options = scene.facts.prompts.map(({ index, label }) => {
      return appendText(h("option", { value: index, dir: "auto" }), label);
    });
    const choice = h("select", { "data-testid": "versus-prompt" }, ...options);
    this.choice = choice;
    choice.value = String(this.prompt ?? this.model.get("prompt"));
    choice.addEventListener("change", () => {
      this.prompt = Number(choice.value);
      this.model.send({ type: "show", prompt: this.prompt });
    });
    return labelled("Prompt", choice);
  }

  /** @param {VersusScene} scene */
  measureChoice(scene) {
    if (!scene.layers.length) return null;
    const choice = h(
      "select",
      { "data-testid": "versus-measure" },
      h("option", { value: "flipped" }, "slots flipped"),
      h("option", { value: "weight" }, "gate weight moved"),
    );
    choice.value = scene.measure;
    choice.addEventListener("change", () => {
      /** @type {"flipped" | "weight"} Kept when another prompt is shown. */
      this.measure = choice.value === "weight" ? "weight" : "flipped";
      scene.show(this.measure);
    });
    return labelled("Layers show", choice);
  }

  /**
   * Say what is in the cell that is described, and what its colours mean.
   * @param {VersusScene} scene
   * @param {HTMLElement} node
   * @param {HTMLElement} legend
   * @param {Changes} what
   */
  describe(scene, node, legend, what) {
    const { rounding, chance } = scene.facts;
    const ramp = h("span", { class: "gl-cells-ramp", style: `background:${scene.ramp.gradient()}` });
    const words = scene.measure === "flipped" ? "slots flipped" : "gate weight moved";
    const byChance =
      chance === null || scene.measure !== "flipped" ? "" : `, by chance ${percentage(chance)}`;
    const routing = scene.layers.length
      ? ` · layers: ${words}, 0 … 100 % (by rounding ${percentage(rounding[scene.measure])}${byChance})`
      : "";
    const kl = `KL: 0 … ${scene.topKl.toPrecision(3)} nats (by rounding ${rounding.kl.toPrecision(2)})`;
    legend.replaceChildren(ramp, kl + routing);
    const { shown } = scene;
    if (!shown || shown.column < 0 || shown.column >= scene.length) {
      node.replaceChildren(
        h("b", {}, "Point at a cell"),
        " ← → along the text, ↑ ↓ along layers, Enter selects",
      );
      return;
    }
    const token = scene.start + shown.column;
    const top = scene.tops.get(token);
    const said = this.map?.words() ?? "";
    const next = top ? h("span", {}, " · next in the answer: ", h("bdi", {}, visibleText(top.next))) : "";
    const label = h("bdi", {}, visibleText(scene.labels[shown.column]));
    node.replaceChildren(h("b", {}, label), ` token ${token} · ${said}`, next);
    if (what.has("hover") && this.root.contains(document.activeElement)) {
      this.speak(() => [visibleText(scene.labels[shown.column]), ": ", said]);
    }
  }

  get chooser() {
    return this.choice;
  }

  listen() {
    const sync = () => this.scene.syncFromModel();
    const stop = listen(this.model, {
      "change:selected_tokens": sync,
      "change:layer": sync,
      "change:_ack": sync,
      "change:_facts": () => {
        this.prompt = undefined;
        this.restart();
      },
      "change:_notice": () => this.showNotice(this.model.get("_notice")),
      "msg:custom": (/** @type {any} */ message, /** @type {Buffer[]} */ buffers) => {
        if (message.type === "show") this.restart(buffers[0]);
      },
    });
    return this.ending(stop);
  }
}

/** @param {{ model: VersusModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new VersusView(model, el).listen();
}

export default { render };
