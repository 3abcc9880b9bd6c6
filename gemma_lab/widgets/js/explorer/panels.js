// The summary of the row behind a token, panel by panel: attention, logit lens, experts.
import { fitCanvas } from "../shared/colors.js";
import { h, visibleText } from "../shared/dom.js";
import { number, weightPercentage } from "../shared/format.js";

/** @import { Child } from "../shared/dom.js" */
/** @import { Changes } from "../shared/scene.js" */
/** @import { ExplorerScene } from "./explorer_scene.js" */
/**
 * @typedef {object} KeyLine
 * @property {HTMLElement} node
 * @property {HTMLElement} label
 * @property {HTMLElement} fill
 * @property {HTMLElement} weight
 * @property {number} key
 */
/**
 * @typedef {object} LensLine
 * @property {HTMLElement} node
 * @property {HTMLElement} word
 * @property {HTMLElement} fill
 * @property {HTMLElement} chance
 * @property {HTMLElement} more
 * @property {number} layer
 * @property {number} layerIndex
 */

const LISTED_KEYS = 6; // keys that are listed
const LISTED_EDGES = 4; // single weights that are listed
const DRAWN = ["hover", "selection", "layer", "data", "theme", "size"];

/**
 * @param {string} name
 * @param {string} label
 * @param {...Child} children
 */
function panel(name, label, ...children) {
  return h(
    "section",
    { class: `gl-panel gl-${name}`, "aria-label": label, "data-testid": name },
    h("div", { class: "gl-panel-title" }, label),
    ...children,
  );
}

/** The words, patches and seconds that the row attends to; below them the heaviest single weights. */
export class AttentionPanel {
  /** @param {ExplorerScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.lines = Array.from({ length: LISTED_KEYS }, () => this.createLine());
    this.edges = Array.from({ length: LISTED_EDGES }, () => h("span", { class: "gl-single-look" }));
    this.note = h("div", { class: "gl-note" });
    this.node = panel(
      "attended",
      "Attention",
      h("div", { class: "gl-look-rows" }, ...this.lines.map(({ node }) => node)),
      h("div", { class: "gl-singles" }, ...this.edges),
      this.note,
    );
  }

  /** @returns {KeyLine} */
  createLine() {
    const label = h("bdi", { dir: "auto" });
    const fill = h("i", {});
    const weight = h("span", {});
    const node = h("div", { class: "gl-weight" }, label, h("span", { class: "gl-track" }, fill), weight);
    const line = { node, label, fill, weight, key: -1 };
    node.addEventListener("click", () => this.scene.reveal(line.key));
    return line;
  }

  update() {
    const { scene } = this;
    const { row, edges, store } = scene;
    this.lines.forEach((line, at) => {
      const entry = row?.list[at];
      line.node.classList.toggle("gl-none", !entry);
      if (!entry || !row) return;
      const { key, weight } = entry;
      line.key = key;
      line.label.textContent = store.shortLabel(key, 24);
      line.node.title = `token ${number(key)}`;
      line.fill.style.width = `${100 * Math.min(1, weight / Math.max(row.top, row.list[0].weight))}%`;
      line.fill.style.backgroundColor = key === 0 ? scene.theme.sink : scene.ramp.of(weight / row.top);
      line.weight.textContent = weightPercentage(weight);
    });
    this.edges.forEach((node, at) => {
      const edge = edges[at];
      node.classList.toggle("gl-none", !edge);
      if (!edge) return;
      node.replaceChildren(
        h("b", {}, `layer ${edge.layer}, head ${edge.head}`),
        " → ",
        h("bdi", {}, store.shortLabel(edge.key, 18)),
        ` ${weightPercentage(edge.weight)}`,
      );
    });
    const layers = scene.shownLayers.length === 1 ? `layer ${scene.layer}` : "all layers";
    this.note.replaceChildren(
      row
        ? `mean of all heads of ${layers}, from their top keys; below them, the heaviest weights of ` +
            "single heads without the first token"
        : "",
    );
  }
}

/** The logit lens layer by layer, from the last down: the top word, and whether it is the final one. */
export class LensPanel {
  /** @param {ExplorerScene} scene */
  constructor(scene) {
    this.scene = scene;
    const { layers, kind } = scene.summary.meta.logit_lens ?? { layers: [], kind: "logit" };
    this.lines = layers.map((layer, layerIndex) => this.createLine(layer, layerIndex)).reverse();
    const rows = h("div", { class: "gl-lens-rows" }, ...this.lines.map(({ node }) => node));
    this.node = panel("lens", `${kind === "jacobian" ? "Jacobian" : "Logit"} lens of each layer`, rows);
    this.node.addEventListener("pointerleave", () => scene.pointLayer(-1));
  }

  /**
   * @param {number} layer
   * @param {number} layerIndex
   * @returns {LensLine}
   */
  createLine(layer, layerIndex) {
    const word = h("bdi", { dir: "auto" });
    const fill = h("i", {});
    const chance = h("span", {});
    const more = h("bdi", { class: "gl-more", dir: "auto" });
    const node = h(
      "div",
      { class: "gl-lens-row" },
      h("span", { class: "gl-layer-number" }, String(layer)),
      word,
      h("span", { class: "gl-track" }, fill),
      chance,
      more,
    );
    node.addEventListener("pointerenter", () => this.scene.pointLayer(layer));
    return { node, word, fill, chance, more, layer, layerIndex };
  }

  /** @param {Changes} what */
  update(what) {
    if (!DRAWN.some((one) => what.has(one))) return;
    const { scene } = this;
    for (const line of this.lines) {
      const words = scene.lensWords(line.layerIndex);
      line.node.classList.toggle("gl-none", !words);
      line.node.classList.toggle("gl-lit", line.layer === scene.layer);
      if (!words) continue;
      const [first, ...others] = words.list;
      const final = words.rank === 0;
      line.word.textContent = visibleText(first.word);
      line.node.classList.toggle("gl-agrees", final);
      line.fill.style.width = `${100 * first.probability}%`;
      line.fill.style.backgroundColor = scene.ramp.of(first.probability);
      line.chance.textContent = weightPercentage(first.probability);
      line.more.textContent = others
        .slice(0, 2)
        .map(({ word }) => visibleText(word))
        .join(" · ");
      line.node.title = final
        ? "the top word of the last layer"
        : `the last layer’s top word has rank ${number(words.rank + 1)} here`;
    }
  }
}

/** Layers × experts: those that ran for the row, as dark as their weight. */
export class ExpertPanel {
  /** @param {ExplorerScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.routing = scene.summary.meta.routing ?? { layers: [], experts: 1, scale_max: 1 };
    this.canvas = h("canvas", { role: "img" });
    this.hint = h("div", { class: "gl-note" });
    this.box = h("div", { class: "gl-experts-box" }, this.canvas);
    this.width = 0; // of the strips, in pixels
    this.node = panel("experts", "Experts", this.box, this.hint);
    this.box.addEventListener("pointermove", (event) => scene.pointLayer(this.under(event)));
    this.box.addEventListener("pointerleave", () => scene.pointLayer(-1));
  }

  /** The height of a layer, in pixels. */
  get unit() {
    return Math.max(5, Math.min(20, Math.floor(190 / this.routing.layers.length)));
  }

  /**
   * Return the number of the layer under the pointer, or -1.
   * @param {MouseEvent} event
   */
  under(event) {
    const at = Math.floor((event.clientY - this.box.getBoundingClientRect().top) / this.unit);
    return this.routing.layers[at] ?? -1;
  }

  /** @param {Changes} what */
  update(what) {
    if (!DRAWN.some((one) => what.has(one))) return;
    this.draw();
    const { scene } = this;
    const { layers, experts, scale_max: scale } = this.routing;
    const pointed = layers.indexOf(scene.layer);
    const shown = pointed < 0 ? layers.length - 1 : pointed;
    const ran = scene.experts(shown).sort((one, other) => other.share - one.share);
    const names = ran
      .slice(0, 4)
      .map(({ expert, share }) => `expert ${expert} ${(share * scale).toFixed(2)}`);
    const hint = names.length
      ? `layer ${layers[shown]}: ${names.join(" · ")}`
      : `${experts} experts across, layers down`;
    this.hint.replaceChildren(hint);
    this.canvas.setAttribute("aria-label", hint);
  }

  draw() {
    const { scene, unit } = this;
    const { layers, experts } = this.routing;
    const { theme } = scene;
    const left = 26;
    this.width = this.box.clientWidth || this.width; // none while the cell is out of sight in JupyterLab
    const width = Math.max(120, this.width);
    const ctx = fitCanvas(this.canvas, width, unit * layers.length);
    const cell = (width - left) / experts;
    ctx.font = `10.5px ${theme.font}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const step = Math.ceil(13 / unit);
    layers.forEach((layer, layerIndex) => {
      const y = layerIndex * unit;
      const pointed = layer === scene.layer;
      ctx.fillStyle = pointed ? theme.soft : theme.empty;
      ctx.fillRect(left, y, width - left, unit - 1);
      ctx.fillStyle = pointed ? theme.accent : theme.muted;
      if (layerIndex % step === 0 || pointed) ctx.fillText(String(layer), left - 6, y + unit / 2);
      for (const { expert, share } of scene.experts(layerIndex)) {
        ctx.fillStyle = scene.ramp.of(share);
        ctx.fillRect(left + expert * cell, y, Math.max(2.5, cell), unit - 1);
      }
    });
  }
}
