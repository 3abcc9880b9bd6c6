// The attention explorer: all heads, one of them open, the text and its media. Python owns the choice.
import { appendText, h, labelled, listen } from "../shared/dom.js";
import { number, weightPercentage } from "../shared/format.js";
import { openImages } from "../shared/images.js";
import { TintChoice, textLegend } from "../shared/tint_choice.js";
import { View } from "../shared/view.js";
import { AttentionScene, AttentionSide } from "./attention_scene.js";
import { AttentionStore } from "./attention_store.js";
import { MapBar, RowCard } from "./cards.js";
import { HeadGrid, KIND_COLORS, MEASURES } from "./head_grid.js";
import { HeadMap } from "./head_map.js";
import { ATTENTION_TINTS, AttentionText } from "./tinted_text.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { AttentionModel, Buffer, SideEntry } from "../shared/wire_types.js" */

/** @extends {View<AttentionScene, AttentionModel>} */
class AttentionView extends View {
  /**
   * @param {AttentionModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    super(model, element, { label: "Attention explorer", kind: "gl-attention" });
  }

  begin() {
    const { model } = this;
    const scene = new AttentionScene(model);
    const panels = model.get("_sides").map((entry, index) => this.createSide(scene, entry, index));
    const layer = model.get("layer");
    const layerIndex = scene.layouts.findIndex((one) => one.layer === layer);
    scene.layerIndex = Math.max(0, layerIndex);
    scene.head = Math.max(0, scene.heads.indexOf(model.get("head")));
    scene.sides[0].tokens = new Set(model.get("selected_tokens"));
    const grid = new HeadGrid(scene);
    this.grid = grid;
    this.opened = h("div", { class: "gl-opened", "data-testid": "opened" });
    this.scale = h("span", { class: "gl-key-scale" });
    const stores = () => scene.sides.map(({ store }) => store);
    const tint = new TintChoice(scene, ATTENTION_TINTS, stores);
    scene.sharedParts = [
      tint,
      grid,
      { update: (what) => this.showHead(scene, grid, what) },
      { update: (what, side) => this.announce(scene, what, side) },
    ];
    this.root.replaceChildren(
      this.createHeader(scene, tint),
      this.notice,
      h(
        "div",
        { class: "gl-all" },
        h("div", { class: "gl-all-hint" }, grid.hint),
        h("div", { class: "gl-all-row" }, grid.node, this.createKey(scene)),
      ),
      this.opened,
      h("div", { class: panels.length > 1 ? "gl-pair" : "gl-single" }, ...panels),
      textLegend(tint, stores()),
      this.status,
    );
    scene.showHead();
    return scene;
  }

  /**
   * Add a trace to the scene; return its panel.
   * @param {AttentionScene} scene
   * @param {SideEntry} entry
   * @param {number} index
   */
  createSide(scene, entry, index) {
    const store = new AttentionStore(entry.facts);
    store.addTokens(entry.tokens);
    store.addGrid(entry.grid);
    if (entry.maps) store.addMaps(entry.maps);
    if (entry.keys) store.addKeys(entry.keys);
    const side = new AttentionSide(scene, index, store);
    scene.sides.push(side);
    const text = new AttentionText(side);
    const map = new HeadMap(side);
    const bar = new MapBar(side, map);
    const row = new RowCard(side);
    side.text = text;
    side.map = map;
    side.parts = [text, map, bar, row];
    store.images = openImages(entry.images, () => {
      if (scene.ready) text.redraw();
    });
    const tokens = `${number(store.facts.tokens)} tokens`;
    const title = h("div", { class: "gl-side-name" }, `${index ? "second" : "first"} prompt · ${tokens}`);
    title.hidden = this.model.get("_sides").length < 2;
    const chart = h("div", { class: "gl-chart" }, bar.node, map.node);
    return h(
      "div",
      { class: "gl-side-panel" },
      title,
      h("div", { class: "gl-body" }, text.node, chart),
      row.node,
    );
  }

  /**
   * @param {AttentionScene} scene
   * @param {TintChoice} tint
   */
  createHeader(scene, tint) {
    const { facts, grid } = scene.sides[0].store;
    const lengths = scene.sides.map(({ store }) => `${number(store.facts.tokens)} tokens`).join(" and ");
    const layers = `${facts.layers.length} ${facts.layers.length === 1 ? "layer" : "layers"}`;
    const direction = h(
      "select",
      { "data-testid": "toward", onchange: () => scene.toggleDirection() },
      h("option", { value: "" }, "where it attends to"),
      h("option", { value: "to" }, "what attends to it"),
    );
    const measures = ["map", ...grid.meta.measures];
    const options = measures.map((value) => h("option", { value }, MEASURES[value] ?? value));
    const measure = h("select", { "data-testid": "measure" }, ...options);
    measure.addEventListener("change", () => scene.showMeasure(measure.value));
    return h(
      "header",
      { class: "gl-top" },
      h(
        "div",
        { class: "gl-heading" },
        appendText(h("bdi", { class: "gl-name", dir: "auto" }), facts.name),
        h("span", { class: "gl-facts" }, `${layers} × ${facts.heads.length} heads · ${lengths}`),
      ),
      labelled("A token shows", direction),
      labelled("All heads by", measure),
      tint.node,
    );
  }

  /**
   * Build the legend of the grid.
   * @param {AttentionScene} scene
   */
  createKey({ layouts, sides }) {
    const windows = [...new Set(layouts.flatMap(({ window: span }) => (span ? [number(span)] : [])))];
    const rows = [];
    if (layouts.some(({ kind }) => kind === "local")) {
      rows.push(swatch("gl-local", `local layer${windows.length ? `, window ${windows.join(", ")}` : ""}`));
    }
    if (layouts.some(({ kind }) => kind === "global")) rows.push(swatch("gl-global", "global layer"));
    if (layouts.some(({ kv_shared_from: source }) => source !== null)) {
      rows.push(swatch("gl-shared", "reuses another layer’s keys and values"));
    }
    rows.push(
      swatch("gl-group", "heads of one key-value head"),
      swatch("gl-sink", "weight of the first token, left out of the maps"),
      h("span", { class: "gl-key-row" }, "nothing", this.scale ?? null, "much (each head’s own scale)"),
    );
    if (sides.length > 1) {
      const mirrored = "below the diagonal the first prompt, above it the second, mirrored";
      rows.push(h("span", { class: "gl-key-row" }, mirrored));
    }
    return h("div", { class: "gl-legends" }, ...rows);
  }

  /**
   * Show the open head, in words.
   * @param {AttentionScene} scene
   * @param {HeadGrid} grid
   * @param {Changes} what
   */
  showHead(scene, grid, what) {
    if (what.has("theme") && this.scale) this.scale.style.background = scene.ramp.gradient();
    if (!what.has("head") && !what.has("size") && !what.has("data")) return;
    const { layout, head, layerIndex, heads, sides } = scene;
    const { store } = sides[0];
    const kvHead = store.kvHead(layerIndex, head);
    const group = heads.filter((_, other) => store.kvHead(layerIndex, other) === kvHead);
    const sharing = group.length > 1 ? `, shared by heads ${group[0]} to ${group.at(-1)}` : "";
    const words = [
      layout.kind === "local" && layout.window ? `local, window ${number(layout.window)}` : layout.kind,
      layout.kv_shared_from === null ? "" : `keys and values of layer ${layout.kv_shared_from}`,
      `key-value head ${kvHead}${sharing}`,
      layout.k_eq_v ? "keys are the values" : "",
    ];
    const dot = h("i", { class: "gl-kind" });
    dot.style.background = KIND_COLORS[layout.kind] ?? "";
    const averages = grid.averages(layerIndex, head);
    this.opened?.replaceChildren(
      dot,
      h("b", {}, `Layer ${layout.layer} · head ${scene.headNumber}`),
      h("span", { class: "gl-where" }, words.filter(Boolean).join(" · ")),
      h("span", { class: "gl-gap" }),
      h("span", { class: "gl-where" }, averages.length ? `on average: ${averages.join(" · ")}` : ""),
    );
  }

  resize() {
    const { scene, grid } = this;
    const width = this.root.clientWidth;
    if (!width || !this.knowsTheme() || this.fitted === width) return;
    this.fitted = width;
    if (grid?.node.parentElement) grid.width = grid.node.parentElement.clientWidth;
    for (const { map } of scene.sides) if (map) map.width = map.node.clientWidth || 480;
    scene.notify("size", "data", "head", "selection", "theme", "zoom");
  }

  /**
   * Tell a screen reader what the pointer or the keyboard is on.
   * @param {AttentionScene} scene
   * @param {Changes} what
   * @param {AttentionSide | null} side
   */
  announce(scene, what, side) {
    if (what.has("head") && !what.has("size")) {
      const { layer, kind } = scene.layout;
      this.status.replaceChildren(`Layer ${layer}, ${kind}, head ${scene.headNumber}`);
      return;
    }
    if (!side || !what.has("hover") || !this.root.contains(document.activeElement) || side.reading < 0)
      return;
    this.speak(() => {
      const { store, row, reading } = side;
      if (reading < 0) return [];
      const keys = (row?.list ?? []).slice(0, 3);
      const words = keys
        .map(({ key, weight }) => `${store.label(key)} ${weightPercentage(weight)}`)
        .join(", ");
      const verb = scene.toward ? " is attended to by " : " attends to ";
      return [h("bdi", {}, store.label(reading)), verb, h("bdi", {}, words)];
    });
  }

  /**
   * @param {{ type: string, side: number }} message
   * @param {Buffer[]} buffers
   */
  onMessage({ type, side: index }, buffers) {
    const side = this.scene.sides[index];
    if (!side) return;
    if (type === "maps") side.store.addMaps(buffers[0]);
    else if (type === "keys") side.store.addKeys(buffers[0]);
    else if (type === "rows") side.store.addRows(buffers[0]);
    else return;
    side.notify("arrived");
  }

  listen() {
    const sync = () => this.scene.syncFromModel();
    const stop = listen(this.model, {
      "change:layer": sync,
      "change:head": sync,
      "change:selected_tokens": sync,
      "change:_ack": sync,
      "change:busy": () => this.showBusy(),
      "change:_notice": () => this.showNotice(this.model.get("_notice")),
      "msg:custom": (message, buffers) => this.onMessage(message, buffers ?? []),
    });
    return this.ending(stop);
  }
}

/**
 * @param {string} look
 * @param {string} words
 */
function swatch(look, words) {
  return h("span", { class: "gl-key-row" }, h("i", { class: look }), words);
}

/** @param {{ model: AttentionModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new AttentionView(model, el).listen();
}

export default { render };
