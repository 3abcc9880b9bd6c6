// One look: an answer, and behind the token that is read everything at once. Python owns the trace and the selection.
import { appendText, h, listen } from "../shared/dom.js";
import { Ask } from "../shared/ask.js";
import { Ramp } from "../shared/colors.js";
import { ExpertPanel, LensPanel, LookPanel } from "./panels.js";
import { Glance } from "./explorer_scene.js";
import { LookText } from "../attention/tinted_text.js";
import { View } from "../shared/view.js";

class OneLook extends View {
  constructor(model, el) {
    super(model, el, { label: "One look", kind: "gl-look" });
  }

  begin() {
    const { model } = this;
    const scene = new Glance(model);
    this.scene = scene;
    this.fitted = 0;
    const ask = new Ask(scene, model);
    ask.stop.remove(); // an answer is short, and its trace is whole or none
    ask.field.placeholder = "Ask the model, and see what stands behind its answer …";
    this.text = new LookText(scene);
    scene.follow = (token) => this.text.bring(token);
    const { known } = scene.facts;
    const panels = [known.includes("attention") && scene.part.keys ? new LookPanel(scene) : null, known.includes("logit_lens") && scene.part.top_words ? new LensPanel(scene) : null, known.includes("routing") ? new ExpertPanel(scene) : null].filter(Boolean);
    scene.parts = [this.text, ...panels, ask, { update: (what) => this.head(what) }];
    const about = `${scene.facts.tokens.toLocaleString("en")} tokens · ${known.join(", ")}`;
    this.behind = h("div", { class: "gl-opened", "data-testid": "behind" });
    this.root.replaceChildren(
      h("header", { class: "gl-top" }, h("div", { class: "gl-heading" }, appendText(h("bdi", { class: "gl-name", dir: "auto" }), scene.facts.name), h("span", { class: "gl-facts" }, about))),
      this.notice,
      h("div", { class: "gl-body" }, this.text.node, h("div", { class: "gl-panels" }, this.behind, ...panels.map(({ node }) => node))),
      ask.node,
      this.status,
    );
    this.open(scene);
  }

  /** Pictures travel as bytes and are decoded here, so that no address is ever loaded. */
  async open(scene) {
    const pictures = this.model.get("_images");
    scene.store.pictures = pictures.map(({ width, height }) => ({ width, height, bitmap: null }));
    for (const [at, { bytes }] of pictures.entries()) {
      scene.store.pictures[at].bitmap = await createImageBitmap(new Blob([bytes])).catch(() => null);
    }
    if (pictures.length && scene.inks && scene === this.scene) this.text.redraw();
  }

  /** Which row stands behind the token that is read, in words. */
  head(what) {
    const { scene } = this;
    if (what.has("busy")) {
      if (this.model.get("busy")) this.notice.hidden = true;
      this.status.replaceChildren(this.model.get("busy") ? "Running the model" : "Finished");
    }
    const { reading, store } = scene;
    if (reading < 0) return this.behind.replaceChildren(h("b", {}, "Point at a token of the answer"), h("span", { class: "gl-where" }, "to see what stands behind it: ← → along the text, Enter keeps a token"));
    const row = scene.behind(reading);
    const words = store.codes.generated[reading] ? [`token ${reading.toLocaleString("en")}, decided by the row of `, h("bdi", {}, store.label(row)), ` (token ${row.toLocaleString("en")})`] : [`token ${reading.toLocaleString("en")} · ${store.name("role", reading)} · ${store.name("modality", reading)}, its own row`];
    if (scene.index(row) < 0) words.push(" · not kept in this view");
    this.behind.replaceChildren(h("b", {}, h("bdi", {}, store.label(reading))), h("span", { class: "gl-where" }, ...words));
    if (!what.has("hover") || !this.root.contains(document.activeElement)) return;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.status.replaceChildren(h("bdi", {}, store.label(reading)), ": ", h("bdi", {}, scene.inWords())), 250);
  }

  dress() {
    const { scene } = this;
    if (!this.root.isConnected) return;
    scene.ramp = new Ramp(this.root.dataset.theme);
    scene.inks = this.colours();
    if (this.fitted) scene.tell("theme", "layer", "data");
    else this.fit();
  }

  fit() {
    const width = this.root.clientWidth;
    if (!width) return;
    if (!this.scene.inks?.accent) return this.dress();
    if (this.fitted === width) return;
    const first = !this.fitted;
    this.fitted = width;
    this.scene.tell("size", "data", "layer", "selection", "theme", "busy");
    if (first) this.text.bring(this.scene.facts.answer); // the answer is what one came for
  }

  listen() {
    const adopt = () => this.scene.adopt();
    const end = listen(this.model, {
      "change:selected_tokens": adopt,
      "change:_ack": adopt,
      "change:_facts": () => {
        this.begin();
        this.dress();
      },
      "change:busy": () => this.scene.tell("busy"),
      "change:_notice": () => this.note(this.model.get("_notice")),
    });
    return this.leaving(end);
  }
}

export function render({ model, el }) {
  return new OneLook(model, el).listen();
}

export default { render };
