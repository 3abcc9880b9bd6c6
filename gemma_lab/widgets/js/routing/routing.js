// The routing explorer: tokens, experts and layers of one trace. Python owns the trace and the selection.
import { Ask } from "../shared/ask.js";
import { appendText, h, listen } from "../shared/dom.js";
import { number } from "../shared/format.js";
import { openImages } from "../shared/images.js";
import { textLegend } from "../shared/tint_choice.js";
import { View } from "../shared/view.js";
import { unpack } from "../shared/wire.js";
import { Ablation } from "./ablation.js";
import { ColorKeys, Filters, LayerControl } from "./controls.js";
import { HeatMap } from "./heat_map.js";
import { ExpertCard, TokenCard } from "./inspector.js";
import { Bars, Overview } from "./overview.js";
import { RoutingScene } from "./routing_scene.js";
import { RoutingStore } from "./routing_store.js";
import { RoutingText } from "./routing_text.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { Buffer, RoutingModel, TokenBuffer } from "../shared/wire_types.js" */

const AT_END = 60; // pixels from the end at which the heat map follows appended tokens
const PREFETCH_DELAY = 250; // milliseconds before layers that are not shown are requested

/** @extends {View<RoutingScene, RoutingModel>} */
class RoutingView extends View {
  /**
   * @param {RoutingModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    super(model, element, { label: "Routing explorer" });
  }

  get measured() {
    return this.chart ?? this.root;
  }

  /** Show a trace from the start: when the view opens, and when Python holds another trace. */
  begin() {
    const { model } = this;
    const store = new RoutingStore(model.get("_facts"));
    const scene = new RoutingScene(store, model);
    store.addTokens(model.get("_tokens"));
    store.addLoads(model.get("_loads"));
    store.addLayers(model.get("_layers"));
    scene.live = model.get("busy");
    scene.layerIndex = Math.max(0, store.facts.layers.indexOf(model.get("layer")));
    scene.tokens = new Set(model.get("selected_tokens"));
    scene.experts = new Set(model.get("selected_experts"));
    scene.reveal = (token) => this.reveal(token);
    this.laidOut = false;
    this.build(scene);
    store.images = openImages(model.get("_images"), () => {
      if (this.scene === scene && scene.ready) this.text?.redraw();
    });
    scene.requestLayers([scene.layerIndex]);
    this.prefetching = setTimeout(() => this.prefetch(scene), PREFETCH_DELAY);
    return scene;
  }

  /** @param {RoutingScene} scene */
  build(scene) {
    const { model } = this;
    const { store } = scene;
    const ablation = new Ablation(scene, model);
    const overview = new Overview(scene);
    const bars = new Bars(scene);
    const heat = new HeatMap(scene);
    const text = new RoutingText(scene);
    const layer = new LayerControl(scene);
    const filters = new Filters(scene);
    const keys = new ColorKeys(scene);
    const ask = new Ask(model, { placeholder: "Ask the model and watch its experts …" });
    const token = new TokenCard(scene);
    const expert = new ExpertCard(scene, ablation);
    /** @type {{ update(what: Changes): void }} */
    const voice = { update: (what) => this.announce(what) };
    const drawn = [overview, layer, filters, bars, heat, text, token, expert, keys];
    scene.parts = [...drawn, ablation, ask, voice];
    this.bars = bars;
    this.heat = heat;
    this.text = text;
    this.title = h("div", { class: "gl-heading" });
    const hint = h("div", { class: "gl-over" }, h("span", {}, "All layers"), overview.hint);
    this.chart = h("div", { class: "gl-chart" }, hint, overview.node, bars.node, heat.node);
    this.writeTitle(scene);
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, this.title, layer.node),
      filters.node,
      this.notice,
      h("div", { class: "gl-body" }, text.node, this.chart),
      keys.node,
      textLegend(filters.tint, [store]),
      h("div", { class: "gl-inspector" }, token.node, expert.node),
      ablation.node,
      ask.node,
      this.status,
    );
  }

  /** @param {RoutingScene} scene */
  writeTitle({ store }) {
    const { name, precision, layers } = store.facts;
    const experts = `top ${store.k} of ${store.experts} experts`;
    const facts = `${number(store.count)} tokens · ${layers.length} MoE layers · ${experts}`;
    this.title?.replaceChildren(
      appendText(h("bdi", { class: "gl-name", dir: "auto" }), name),
      h("span", { class: "gl-facts", title: precision }, facts),
    );
  }

  /**
   * Request the neighbours of the open layer, or all layers where they fit.
   * @param {RoutingScene} scene
   */
  prefetch(scene) {
    const { facts } = scene.store;
    const all = facts.layers.map((_, layerIndex) => layerIndex);
    const near = all.filter((layerIndex) => Math.abs(layerIndex - scene.layerIndex) <= 1);
    scene.requestLayers(facts.prefetch ? all : near);
  }

  resize() {
    const { scene, bars, heat } = this;
    const width = bars?.node.clientWidth;
    if (!width || !this.knowsTheme()) return;
    if (this.fitted === width && this.laidOut) return;
    this.fitted = width;
    this.laidOut = true;
    scene.axis.width = width;
    heat?.layOut();
    scene.notify("size", "data", "layer", "selection", "filter", "theme", "comparison", "busy");
  }

  /** @param {number} token */
  reveal(token) {
    this.heat?.reveal(token);
    this.scene.point(token, this.scene.expert);
  }

  /**
   * Tell a screen reader what the pointer or the keyboard is on.
   * @param {Changes} what
   */
  announce(what) {
    const { scene } = this;
    const { store, token, expert } = scene; // those of now: the pointer may have left by then
    if (what.has("layer") && !what.has("data")) {
      this.status.replaceChildren(`Layer ${scene.layer}`);
      return;
    }
    if (!what.has("hover") || !this.root.contains(document.activeElement) || token < 0) return;
    this.speak(() => {
      const chosen = store.chosen(scene.layerIndex, token) ?? [];
      const listed = expert < 0 ? chosen.slice(0, 3) : chosen.filter((one) => one.expert === expert);
      const words = listed.map((one) => `expert ${one.expert} weight ${one.weight.toFixed(2)}`).join(", ");
      return [h("bdi", {}, store.label(token)), `, ${words || `not served by expert ${expert}`}`];
    });
  }

  /**
   * @param {{ type: string, epoch: number }} message
   * @param {Buffer[]} buffers
   */
  onMessage({ type, epoch }, buffers) {
    const { scene } = this;
    if (epoch !== scene.epoch) return;
    if (type === "append") this.append(buffers[0], buffers[1]);
    if (type !== "layers") return;
    const arrived = scene.store.addLayers(buffers[0]);
    for (const layerIndex of arrived) scene.requested.delete(layerIndex);
    if (arrived.includes(scene.layerIndex)) scene.notify("layer", "hover", "selection");
    if (scene.keep) scene.notify("filter");
  }

  /**
   * Append tokens that were just generated, with their routing in every layer.
   * @param {Buffer} tokens
   * @param {Buffer} layers
   */
  append(tokens, layers) {
    const { scene, heat } = this;
    const { store } = scene;
    /** @type {TokenBuffer} */
    const { meta } = unpack(tokens);
    if (meta.start > store.count) {
      this.model.send({ type: "resume" }); // a message was missed
      return;
    }
    store.addTokens(tokens);
    store.addLayers(layers);
    scene.applyFilter();
    this.writeTitle(scene);
    const follow = heat && heat.spacer.offsetHeight - heat.top - heat.height < AT_END;
    heat?.layOut();
    scene.notify("data", "layer", "filter");
    if (follow) heat.scroller.scrollTop = heat.spacer.offsetHeight;
  }

  /** Show another trace, with what Python selected in it. */
  restart() {
    clearTimeout(this.prefetching);
    const { tone, filter } = this.scene;
    const scrolled = this.scrollers.map((scroller) => scroller.scrollTop);
    this.sizes.disconnect();
    this.scene = this.begin();
    this.scene.tone = tone;
    this.scene.filter = filter;
    this.scene.applyFilter();
    this.sizes.observe(this.measured);
    this.fitted = 0;
    this.applyTheme();
    this.scrollers.forEach((scroller, at) => {
      scroller.scrollTop = this.scene.live ? scroller.scrollHeight : scrolled[at];
    });
  }

  get scrollers() {
    return this.heat && this.text ? [this.heat.scroller, this.text.scroller] : [];
  }

  listen() {
    const sync = () => this.scene.syncFromModel();
    const stop = listen(this.model, {
      "change:layer": sync,
      "change:selected_tokens": sync,
      "change:selected_experts": sync,
      "change:_ack": sync,
      "change:_facts": () => this.restart(),
      "change:_comparison": () => this.scene.notify("comparison"),
      "change:busy": () => this.showBusy(),
      "change:_notice": () => this.showNotice(this.model.get("_notice")),
      "msg:custom": (message, buffers) => this.onMessage(message, buffers ?? []),
    });
    return this.ending(stop);
  }

  showBusy() {
    this.scene.live = this.model.get("busy");
    super.showBusy();
  }
}

/** @param {{ model: RoutingModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new RoutingView(model, el).listen();
}

export default { render };
