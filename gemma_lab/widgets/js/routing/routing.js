// The routing explorer: tokens, experts and layers of one trace. Python owns the trace and the selection.
import { appendText, h, listen } from "../shared/dom.js";
import { Ablation } from "./ablation.js";
import { Ask } from "../shared/ask.js";
import { Ramp } from "../shared/colors.js";
import { Filters, Keys, LayerControl } from "./controls.js";
import { Flow } from "../shared/token_text.js";
import { Heat } from "./heat_map.js";
import { ExpertCard, TokenCard } from "./inspector.js";
import { Bars, Overview } from "./overview.js";
import { Scene } from "./routing_scene.js";
import { Store } from "../shared/token_store.js";
import { startOf } from "../shared/wire.js";
import { View } from "../shared/view.js";

class Explorer extends View {
  constructor(model, el) {
    super(model, el, { label: "Routing explorer" });
  }

  get measured() {
    return this.chart;
  }

  /** Draw a trace from nothing: when the view opens, and when Python holds another trace. */
  begin() {
    const { model } = this;
    const store = new Store(model.get("_facts"));
    const scene = new Scene(store, model);
    [this.store, this.scene] = [store, scene];
    this.build(scene, model);
    this.load();
    scene.row = Math.max(0, store.facts.layers.indexOf(model.get("layer")));
    [scene.tokens, scene.experts] = [new Set(model.get("selected_tokens")), new Set(model.get("selected_experts"))];
    this.gather();
  }

  build(scene, model) {
    const ablation = new Ablation(scene, model);
    [this.overview, this.bars, this.heat, this.flow] = [new Overview(scene), new Bars(scene), new Heat(scene), new Flow(scene)];
    scene.overview = this.overview;
    scene.reveal = (token) => this.reveal(token);
    const [layer, filters, keys, ask] = [new LayerControl(scene), new Filters(scene), new Keys(scene), new Ask(scene, model)];
    const [token, expert] = [new TokenCard(scene), new ExpertCard(scene, ablation)];
    scene.parts = [this.overview, layer, filters, this.bars, this.heat, this.flow, token, expert, keys, ablation, ask, { update: (what) => this.say(what) }];
    this.title = h("div", { class: "gl-heading" });
    this.chart = h("div", { class: "gl-chart" }, h("div", { class: "gl-over" }, h("span", {}, "All layers"), this.overview.hint), this.overview.node, this.bars.node, this.heat.node);
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, this.title, layer.node),
      filters.node,
      this.notice,
      h("div", { class: "gl-body" }, this.flow.node, this.chart),
      keys.node,
      h("div", { class: "gl-inspector" }, token.node, expert.node),
      ablation.node,
      ask.node,
      this.status,
    );
  }

  load() {
    const { model, store, scene } = this;
    store.addTokens(model.get("_tokens"));
    store.addLoads(model.get("_loads"));
    store.addLayers(model.get("_layers"));
    scene.epoch = store.facts.epoch;
    scene.live = model.get("busy");
    this.entitle();
    this.openPictures();
  }

  entitle() {
    const { name, precision } = this.store.facts;
    const count = this.store.count.toLocaleString("en");
    const facts = `${count} tokens · ${this.store.facts.layers.length} MoE layers · top ${this.store.k} of ${this.store.experts} experts`;
    this.title.replaceChildren(appendText(h("bdi", { class: "gl-name", dir: "auto" }), name), h("span", { class: "gl-facts", title: precision }, facts));
  }

  /** Pictures travel as bytes and are decoded here, so that no address is ever loaded. */
  async openPictures() {
    const { store, scene } = this;
    const pictures = this.model.get("_images");
    store.pictures = pictures.map(({ width, height }) => ({ width, height, bitmap: null }));
    for (const [at, { bytes }] of pictures.entries()) {
      store.pictures[at].bitmap = await createImageBitmap(new Blob([bytes])).catch(() => null);
    }
    if (pictures.length && this.scene === scene && scene.inks) this.flow.redraw();
  }

  /** This layer first, its neighbours next, then whatever is left when everything may be held here. */
  gather() {
    const { scene, store } = this;
    scene.want([scene.row]);
    const rows = store.facts.layers.map((_, row) => row);
    const near = rows.filter((row) => Math.abs(row - scene.row) <= 1);
    this.later = setTimeout(() => scene.want(store.facts.prefetch ? rows : near), 250);
  }

  /** Take the colours of the theme, once there is a page to read them from. */
  dress() {
    const { scene } = this;
    if (!this.root.isConnected) return;
    scene.ramp = new Ramp(this.root.dataset.theme);
    scene.inks = this.colours();
    if (scene.axis.fitted) scene.tell("theme");
    else this.fit();
  }

  fit() {
    const width = this.bars.node.clientWidth;
    if (!width) return;
    if (!this.scene.inks?.accent) return this.dress();
    const { scene } = this;
    if (scene.axis.fitted === width && this.drawn === scene) return;
    [scene.axis.width, scene.axis.fitted, this.drawn] = [width, width, scene];
    this.heat.layout();
    scene.tell("size", "data", "layer", "selection", "filter", "theme", "comparison", "busy");
  }

  reveal(token) {
    this.heat.reveal(token);
    this.scene.point(token, this.scene.expert);
  }

  /** What a screen reader hears of the pointer or the keyboard. */
  say(what) {
    const { scene, store } = this;
    if (what.has("layer") && !what.has("data")) return this.status.replaceChildren(`Layer ${scene.layer}`);
    if (!what.has("hover") || !this.root.contains(document.activeElement) || scene.token < 0) return;
    const { token, expert } = scene; // those of now: the pointer may have left when it is said
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      const chosen = store.chosen(scene.row, token) ?? [];
      const said = expert < 0 ? chosen.slice(0, 3) : chosen.filter((one) => one.expert === expert);
      const words = said.map((one) => `expert ${one.expert} weight ${one.weight.toFixed(2)}`).join(", ");
      this.status.replaceChildren(h("bdi", {}, store.label(token)), `, ${words || `not served by expert ${expert}`}`);
    }, 250);
  }

  onMessage(message, buffers) {
    const { scene, store } = this;
    if (message.epoch !== store.facts.epoch) return;
    if (message.type === "layers") {
      const rows = store.addLayers(buffers[0]);
      rows.forEach((row) => scene.wishes.delete(row));
      if (rows.includes(scene.row)) scene.tell("layer", "hover", "selection");
      if (scene.keep) scene.tell("filter");
    }
    if (message.type === "append") this.grow(buffers);
  }

  /** Tokens that were just generated, with their routing in every layer. */
  grow([table, layers]) {
    const { scene, store } = this;
    if (startOf(table) > store.count) return this.model.send({ type: "resume" }); // a message was missed
    store.addTokens(table);
    store.addLayers(layers);
    scene.sift();
    this.entitle();
    const follow = this.heat.spacer.offsetHeight - this.heat.top - this.heat.height < 60;
    this.heat.layout();
    scene.tell("data", "layer", "filter");
    if (follow) this.heat.scroller.scrollTop = this.heat.spacer.offsetHeight;
  }

  /** Another trace: what Python selected in it is drawn with it. */
  restart() {
    clearTimeout(this.later);
    const [tone, filter, seen] = [this.scene.tone, this.scene.filter, [this.heat, this.flow].map(({ scroller }) => scroller.scrollTop)];
    this.sizes.disconnect();
    this.begin();
    this.scene.tone = tone;
    if (Object.values(filter).some(Boolean)) Object.assign(this.scene, { filter });
    this.scene.sift();
    this.sizes.observe(this.measured);
    this.dress();
    [this.heat, this.flow].forEach(({ scroller }, at) => (scroller.scrollTop = this.scene.live ? scroller.scrollHeight : seen[at]));
  }

  listen() {
    const adopt = () => this.scene.adopt();
    const end = listen(this.model, {
      "change:layer": adopt,
      "change:selected_tokens": adopt,
      "change:selected_experts": adopt,
      "change:_ack": adopt,
      "change:_facts": () => this.restart(),
      "change:_comparison": () => this.scene.tell("comparison"),
      "change:busy": () => this.busy(),
      "change:_notice": () => this.note(this.model.get("_notice")),
      "msg:custom": (message, buffers) => this.onMessage(message, buffers ?? []),
    });
    return this.leaving(end);
  }

  busy() {
    const busy = this.model.get("busy");
    this.scene.live = busy;
    if (busy) this.notice.hidden = true;
    this.status.replaceChildren(busy ? "Running the model" : "Finished");
    this.scene.tell("busy");
  }
}

export function render({ model, el }) {
  return new Explorer(model, el).listen();
}

export default { render };
