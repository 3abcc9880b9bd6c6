// What stands behind a token, panel by panel: what was looked at, what each layer would have said, which experts ran.
import { h } from "../shared/dom.js";
import { fresh } from "../shared/colors.js";
import { alone } from "../shared/token_store.js";
import { part } from "../attention/attention_store.js";

const [LOOKED, ALONE] = [6, 4];

function panel(name, label, ...children) {
  return h("section", { class: `gl-panel gl-${name}`, "aria-label": label, "data-testid": name }, h("div", { class: "gl-panel-title" }, label), ...children);
}

/** Words, patches and seconds that the row looked at; below them the heads that looked hardest. */
export class LookPanel {
  constructor(scene) {
    this.scene = scene;
    this.title = h("span", {});
    this.rows = Array.from({ length: LOOKED }, () => this.line());
    this.single = Array.from({ length: ALONE }, () => h("span", { class: "gl-single-look" }));
    this.note = h("div", { class: "gl-note" });
    this.node = panel("looks", "What was looked at", h("div", { class: "gl-look-rows" }, ...this.rows.map(({ node }) => node)), h("div", { class: "gl-singles" }, ...this.single), this.note);
  }

  line() {
    const [label, fill, weight] = [h("bdi", { dir: "auto" }), h("i", {}), h("span", {})];
    const one = { node: h("div", { class: "gl-weight" }, label, h("span", { class: "gl-track" }, fill), weight), label, fill, weight, key: -1 };
    one.node.addEventListener("click", () => this.scene.follow(one.key));
    return one;
  }

  update() {
    const { scene } = this;
    const { looks, singles, store } = scene;
    this.rows.forEach((one, at) => {
      const found = looks?.list[at];
      one.node.classList.toggle("gl-none", !found);
      if (!found) return;
      one.key = found.key;
      one.label.textContent = [...store.label(found.key)].slice(0, 24).join("");
      one.node.title = `token ${found.key.toLocaleString("en")}`;
      one.fill.style.width = `${100 * Math.min(1, found.weight / Math.max(looks.top, looks.list[0].weight))}%`;
      one.fill.style.backgroundColor = found.key === 0 ? scene.inks.sink : scene.ramp.of(found.weight / looks.top);
      one.weight.textContent = part(found.weight);
    });
    this.single.forEach((node, at) => {
      const found = singles[at];
      node.classList.toggle("gl-none", !found);
      if (found) node.replaceChildren(h("b", {}, `layer ${found.layer}, head ${found.head}`), " → ", h("bdi", {}, [...store.label(found.key)].slice(0, 18).join("")), ` ${part(found.weight)}`);
    });
    this.note.replaceChildren(looks ? `mean of all heads of ${scene.meant.length === 1 ? `layer ${scene.layer}` : "all layers"}, from their heaviest keys; below, the strongest single looks but the first token’s` : "");
  }
}

/** Layer by layer, from the last down: the first choice, and whether it is what was said. */
export class LensPanel {
  constructor(scene) {
    this.scene = scene;
    this.layers = scene.part.meta.logit_lens.layers;
    this.rows = this.layers.map((layer, place) => this.line(layer, place)).reverse();
    this.node = panel("lens", "What each layer would have said", h("div", { class: "gl-lens-rows" }, ...this.rows.map(({ node }) => node)));
    this.node.addEventListener("pointerleave", () => scene.pointLayer(-1));
  }

  line(layer, place) {
    const [word, fill, chance, more] = [h("bdi", { dir: "auto" }), h("i", {}), h("span", {}), h("bdi", { class: "gl-more", dir: "auto" })];
    const node = h("div", { class: "gl-lens-row" }, h("span", { class: "gl-layer-number" }, String(layer)), word, h("span", { class: "gl-track" }, fill), chance, more);
    node.addEventListener("pointerenter", () => this.scene.pointLayer(layer));
    return { node, word, fill, chance, more, place };
  }

  update(what) {
    if (!["hover", "selection", "layer", "data", "theme", "size"].some((one) => what.has(one))) return;
    const { scene } = this;
    for (const one of this.rows) {
      const said = scene.said(one.place);
      one.node.classList.toggle("gl-none", !said);
      one.node.classList.toggle("gl-lit", this.layers[one.place] === scene.layer);
      if (!said) continue;
      const [first, ...others] = said.list;
      one.word.textContent = alone(first.word);
      one.node.classList.toggle("gl-agrees", said.rank === 0);
      one.fill.style.width = `${100 * first.chance}%`;
      one.fill.style.backgroundColor = scene.ramp.of(first.chance);
      one.chance.textContent = part(first.chance);
      one.more.textContent = others.slice(0, 2).map(({ word }) => alone(word)).join(" · ");
      one.node.title = said.rank === 0 ? "as the last layer" : `the last layer’s choice is number ${(said.rank + 1).toLocaleString("en")} here`;
    }
  }
}

/** Layers × experts: the ones that ran for the row, as dark as their weight. */
export class ExpertPanel {
  constructor(scene) {
    this.scene = scene;
    this.layers = scene.part.meta.routing.layers;
    this.canvas = h("canvas", { role: "img" });
    this.hint = h("div", { class: "gl-note" });
    this.box = h("div", { class: "gl-experts-box" }, this.canvas);
    this.node = panel("experts", "Which experts ran", this.box, this.hint);
    this.box.addEventListener("pointermove", (event) => scene.pointLayer(this.layers[this.under(event)] ?? -1));
    this.box.addEventListener("pointerleave", () => scene.pointLayer(-1));
  }

  get unit() {
    return Math.max(5, Math.min(20, Math.floor(190 / this.layers.length)));
  }

  under(event) {
    return Math.floor((event.clientY - this.box.getBoundingClientRect().top) / this.unit);
  }

  update(what) {
    if (!["hover", "selection", "layer", "data", "theme", "size"].some((one) => what.has(one))) return;
    const { scene, layers, unit } = this;
    const { experts, scale_max: heaviest } = scene.part.meta.routing;
    const [width, height, left] = [Math.max(120, this.box.clientWidth), unit * layers.length, 26];
    const paint = fresh(this.canvas, width, height);
    const cell = (width - left) / experts;
    [paint.font, paint.textAlign, paint.textBaseline] = [`10.5px ${scene.inks.font}`, "right", "middle"];
    const every = Math.ceil(13 / unit);
    layers.forEach((layer, place) => {
      const y = place * unit;
      paint.fillStyle = layer === scene.layer ? scene.inks.soft : scene.inks.empty;
      paint.fillRect(left, y, width - left, unit - 1);
      paint.fillStyle = layer === scene.layer ? scene.inks.accent : scene.inks.muted;
      if (place % every === 0 || layer === scene.layer) paint.fillText(layer, left - 6, y + unit / 2);
      for (const { expert, share } of scene.experts(place)) {
        paint.fillStyle = scene.ramp.of(share);
        paint.fillRect(left + expert * cell, y, Math.max(2.5, cell), unit - 1);
      }
    });
    const place = Math.max(0, layers.indexOf(scene.layer));
    const shown = scene.layer >= 0 && layers.includes(scene.layer) ? place : layers.length - 1;
    const ran = scene.experts(shown).sort((one, other) => other.share - one.share).slice(0, 4);
    this.hint.replaceChildren(ran.length ? `layer ${layers[shown]}: ${ran.map(({ expert, share }) => `expert ${expert} ${(share * heaviest).toFixed(2)}`).join(" · ")}` : `${experts} experts across, layers down`);
    this.canvas.setAttribute("aria-label", this.hint.textContent);
  }
}
