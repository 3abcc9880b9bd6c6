// The attention explorer: all heads, one of them open, the text and its media beside it. Python owns the choice.
import { appendText, h, listen } from "../shared/dom.js";
import { Ramp } from "../shared/colors.js";
import { MapBar, RowCard } from "./cards.js";
import { HeadGrid, KIND, MEASURES } from "./head_grid.js";
import { HeadMap } from "./head_map.js";
import { Scene, Side } from "./attention_scene.js";
import { Looks, part } from "./attention_store.js";
import { LookText } from "./tinted_text.js";
import { View } from "../shared/view.js";

let choices = 0; // a number for the id of each control on the page

class AttentionView extends View {
  constructor(model, el) {
    super(model, el, { label: "Attention explorer", kind: "gl-attention" });
  }

  begin() {
    const { model } = this;
    const scene = new Scene(model);
    this.scene = scene;
    scene.sides = model.get("_sides").map((given, index) => this.side(scene, given, index));
    scene.row = Math.max(0, scene.layouts.findIndex(({ layer }) => layer === model.get("layer")));
    scene.head = Math.max(0, scene.heads.indexOf(model.get("head")));
    scene.sides[0].tokens = new Set(model.get("selected_tokens"));
    scene.follow = (side, key) => {
      side.reveal(side.reading, key);
      side.text.bring(key);
    };
    this.grid = new HeadGrid(scene);
    scene.parts = [this.grid, { update: (what) => this.heading(what) }, { update: (what, side) => this.say(what, side) }];
    this.build();
    scene.arrive();
  }

  side(scene, given, index) {
    const store = new Looks(given.facts);
    store.addTokens(given.tokens);
    store.addGrid(given.grid);
    if (given.maps) store.addMaps(given.maps);
    if (given.keys) store.addKeys(given.keys);
    const side = new Side(scene, index, store);
    side.text = new LookText(side);
    side.map = new HeadMap(side);
    side.parts = [side.text, side.map, new MapBar(side), new RowCard(side)];
    this.open(given.images, side);
    return side;
  }

  /** Pictures travel as bytes and are decoded here, so that no address is ever loaded. */
  async open(pictures, side) {
    side.store.pictures = pictures.map(({ width, height }) => ({ width, height, bitmap: null }));
    for (const [at, { bytes }] of pictures.entries()) {
      side.store.pictures[at].bitmap = await createImageBitmap(new Blob([bytes])).catch(() => null);
    }
    if (pictures.length && side.inks) side.text.redraw();
  }

  build() {
    const { scene } = this;
    const { facts } = scene.sides[0].store;
    const lengths = scene.sides.map(({ store }) => `${store.facts.tokens.toLocaleString("en")} tokens`).join(" and ");
    const about = `${facts.layers.length} ${facts.layers.length === 1 ? "layer" : "layers"} × ${facts.heads.length} heads · ${lengths}`;
    this.opened = h("div", { class: "gl-opened", "data-testid": "opened" });
    this.turn = h("select", { "data-testid": "toward", onchange: () => scene.turnRound() }, h("option", { value: "" }, "where it looks"), h("option", { value: "to" }, "who looks at it"));
    const measures = ["map", ...scene.sides[0].store.grid.meta.measures];
    this.measure = h("select", { "data-testid": "measure", onchange: () => scene.show(this.measure.value) }, ...measures.map((value) => h("option", { value }, MEASURES[value] ?? value)));
    this.body = h("div", { class: scene.sides.length > 1 ? "gl-pair" : "gl-single" }, ...scene.sides.map((side) => this.panel(side)));
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, h("div", { class: "gl-heading" }, appendText(h("bdi", { class: "gl-name", dir: "auto" }), facts.name), h("span", { class: "gl-facts" }, about)), labelled("A token shows", this.turn), labelled("All heads by", this.measure)),
      this.notice,
      h("div", { class: "gl-all" }, h("div", { class: "gl-all-hint" }, this.grid.hint), h("div", { class: "gl-all-row" }, this.grid.node, this.key())),
      this.opened,
      this.body,
      this.status,
    );
  }

  panel(side) {
    const [text, map, bar, row] = side.parts;
    const title = this.scene.sides.length > 1 ? h("div", { class: "gl-side-name" }, side.index ? "second" : "first", ` prompt · ${side.store.facts.tokens.toLocaleString("en")} tokens`) : null;
    return h("div", { class: "gl-side-panel" }, title, h("div", { class: "gl-body" }, text.node, h("div", { class: "gl-chart" }, bar.node, map.node)), row.node);
  }

  /** What the grid's marks mean. */
  key() {
    const swatch = (look, words) => h("span", { class: "gl-key-row" }, h("i", { class: look }), words);
    const { layouts } = this.scene;
    const windows = [...new Set(layouts.map((one) => one.window).filter(Boolean))];
    const scale = h("span", { class: "gl-key-scale" });
    this.scale = scale;
    const parts = [
      layouts.some(({ kind }) => kind === "local") ? swatch("gl-local", `local layer${windows.length ? `, window ${windows.map((one) => one.toLocaleString("en")).join(", ")}` : ""}`) : null,
      layouts.some(({ kind }) => kind === "global") ? swatch("gl-global", "global layer") : null,
      layouts.some(({ kv_shared_from }) => kv_shared_from !== null) ? swatch("gl-shared", "reuses another layer’s keys and values") : null,
      swatch("gl-group", "heads of one key-value head"),
      swatch("gl-sink", "share on the first token, left out of the maps"),
      h("span", { class: "gl-key-row" }, "nothing", scale, "much (each head’s own scale)"),
      this.scene.sides.length > 1 ? h("span", { class: "gl-key-row" }, "below the diagonal the first prompt, above it the second, mirrored") : null,
    ];
    return h("div", { class: "gl-legends" }, ...parts.filter(Boolean));
  }

  /** The head that is open, in words. */
  heading(what) {
    if (what.has("theme")) this.scale.style.background = this.scene.ramp.gradient();
    if (!what.has("head") && !what.has("size") && !what.has("data")) return;
    const { layout, head, row, heads, sides } = this.scene;
    const { store } = sides[0];
    const group = store.group(row, head);
    const mates = heads.filter((_, other) => store.group(row, other) === group);
    const words = [
      layout.kind === "local" && layout.window ? `local, window ${layout.window.toLocaleString("en")}` : layout.kind,
      layout.kv_shared_from === null ? "" : `keys and values of layer ${layout.kv_shared_from}`,
      mates.length > 1 ? `key-value head ${group}, shared by heads ${mates[0]} to ${mates.at(-1)}` : `key-value head ${group}`,
      layout.k_eq_v ? "keys are the values" : "",
    ];
    const [dot, known] = [h("i", { class: "gl-kind" }), this.grid.averages(row, head)];
    dot.style.background = KIND[layout.kind] ?? "";
    this.opened.replaceChildren(dot, h("b", {}, `Layer ${layout.layer} · head ${heads[head]}`), h("span", { class: "gl-where" }, words.filter(Boolean).join(" · ")), h("span", { class: "gl-gap" }), h("span", { class: "gl-where" }, known.length ? `on average: ${known.join(" · ")}` : ""));
  }

  /** Take the colours of the theme, once there is a page to read them from. */
  dress() {
    const { scene } = this;
    if (!this.root.isConnected) return;
    scene.ramp = new Ramp(this.root.dataset.theme);
    scene.inks = this.colours();
    scene.inks.ground = scene.inks.page;
    for (const side of scene.sides) side.scaleTop = 0.35;
    if (this.fitted) scene.tell("theme");
    else this.fit();
  }

  fit() {
    const width = this.root.clientWidth;
    if (!width) return;
    if (!this.scene.inks?.accent) return this.dress();
    if (this.fitted === width) return;
    this.fitted = width;
    this.grid.width = this.grid.node.parentNode.clientWidth;
    for (const side of this.scene.sides) side.map.width = side.map.node.clientWidth || 480;
    this.scene.tell("size", "data", "head", "selection", "theme", "zoom");
  }

  /** What a screen reader hears of the pointer or the keyboard. */
  say(what, side) {
    const { scene } = this;
    if (what.has("head") && !what.has("size")) return this.status.replaceChildren(`Layer ${scene.layout.layer}, ${scene.layout.kind}, head ${scene.headNumber}`);
    if (!side || !what.has("hover") || !this.root.contains(document.activeElement) || side.reading < 0) return;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      const { store, looks, reading } = side;
      if (reading < 0) return;
      const words = (looks?.list ?? []).slice(0, 3).map(({ key, weight }) => `${store.label(key)} ${part(weight)}`).join(", ");
      this.status.replaceChildren(h("bdi", {}, store.label(reading)), scene.toward ? " is looked at by " : " looks at ", h("bdi", {}, words));
    }, 250);
  }

  onMessage({ type, side: index }, buffers) {
    const side = this.scene.sides[index];
    if (!side) return;
    if (type === "maps") side.store.addMaps(buffers[0]);
    else if (type === "keys") side.store.addKeys(buffers[0]);
    else if (type === "rows") side.store.addRows(buffers[0]);
    else return;
    side.tell("arrived");
  }

  busy() {
    if (this.model.get("busy")) this.notice.hidden = true;
    this.status.replaceChildren(this.model.get("busy") ? "Reading rows from the model" : "Finished");
    this.scene.tell("busy");
  }

  listen() {
    const adopt = () => this.scene.adopt();
    const end = listen(this.model, {
      "change:layer": adopt,
      "change:head": adopt,
      "change:selected_tokens": adopt,
      "change:_ack": adopt,
      "change:busy": () => this.busy(),
      "change:_notice": () => this.note(this.model.get("_notice")),
      "msg:custom": (message, buffers) => this.onMessage(message, buffers ?? []),
    });
    return this.leaving(end);
  }
}

function labelled(label, control) {
  control.id = `gl-look-${(choices += 1)}`;
  return h("div", { class: "gl-choice" }, h("label", { for: control.id }, label), control);
}

export function render({ model, el }) {
  return new AttentionView(model, el).listen();
}

export default { render };
