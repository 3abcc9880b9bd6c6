// What is under the pointer, in numbers: a token and its experts, an expert and its tokens.
import { h } from "../shared/dom.js";
import { percentage } from "./overview.js";

const STRONGEST = 7;
const KEYS = [["↑ ↓", "tokens"], ["← →", "a token’s experts"], ["PgUp PgDn", "layers"], ["Enter", "select token"], ["Space", "select expert"], ["Esc", "let go"]];
const VISIBLE_SCRIPT = (code) => {
  try {
    return new Intl.DisplayNames(["en"], { type: "script" }).of(code);
  } catch {
    return code;
  }
};

/** The English name of an ISO 15924 script. */
export function scriptName(code) {
  return code === "Zyyy" || code === "" ? "no script" : VISIBLE_SCRIPT(code);
}

export class TokenCard {
  constructor(scene) {
    [this.scene, this.store] = [scene, scene.store];
    this.name = h("bdi", { class: "gl-subject", dir: "auto" });
    this.where = h("span", { class: "gl-where" });
    this.rows = Array.from({ length: scene.store.k }, () => this.row());
    this.grid = h("div", { class: "gl-weights" }, ...this.rows.map(({ node }) => node));
    this.note = h("div", { class: "gl-note" });
    this.help = h("span", {}, ...KEYS.flatMap(([keys, does]) => [h("kbd", {}, keys), ` ${does}   `]));
    this.node = h("section", { class: "gl-inspect", "aria-label": "Token", "data-testid": "token" }, h("div", { class: "gl-inspect-head" }, this.name, this.where), this.grid, this.note);
  }

  row() {
    const [expert, fill, weight] = [h("b", {}), h("i", {}), h("span", {})];
    const node = h("div", { class: "gl-weight" }, expert, h("span", { class: "gl-track" }, fill), weight);
    node.addEventListener("click", () => this.scene.toggle("experts", node.expert, false));
    return { node, expert, fill, weight };
  }

  update() {
    const { scene, store } = this;
    const token = scene.token >= 0 ? scene.token : scene.tokens.size === 1 ? [...scene.tokens][0] : -1;
    const chosen = token >= 0 && token < store.count ? store.chosen(scene.row, token) : null;
    this.node.classList.toggle("gl-idle", !chosen);
    if (!chosen) {
      this.name.replaceChildren(scene.tokens.size > 1 ? `${scene.tokens.size} tokens selected` : "Point at a token");
      this.where.replaceChildren(scene.tokens.size > 1 ? "their load is drawn over the bars" : "to read its experts and their weights");
      return this.note.replaceChildren(this.help);
    }
    this.name.replaceChildren(store.label(token));
    this.where.replaceChildren(this.place(token));
    this.rows.forEach((row, rank) => this.fill(row, chosen[rank]));
    const { entropy, expert_fraction: fraction } = store.facets(scene.row, token);
    const most = Math.log2(Math.max(2, store.experts));
    this.note.replaceChildren(`Router entropy ${entropy.toFixed(2)} of ${most.toFixed(0)} bits · experts’ share of output ${percentage(fraction)}`);
  }

  fill({ node, expert, fill, weight }, chosen) {
    node.hidden = !chosen;
    if (!chosen) return;
    node.expert = chosen.expert;
    expert.textContent = chosen.expert;
    fill.style.width = `${100 * Math.min(1, this.scene.share(chosen.weight))}%`;
    fill.style.backgroundColor = this.scene.ramp.of(this.scene.share(chosen.weight));
    weight.textContent = chosen.weight.toFixed(3);
    node.classList.toggle("gl-lit", this.scene.focus.has(chosen.expert));
  }

  place(token) {
    const { store } = this;
    const place = store.places.get(token);
    const parts = [`token ${token.toLocaleString("en")}`, store.name("role", token), store.name("modality", token)];
    if (store.name("modality", token) === "text" && store.texts[token]) parts.push(scriptName(store.name("script", token)));
    if (place?.box[0] >= 0) parts.push(`pixels ${place.box[0]}–${place.box[2]} × ${place.box[1]}–${place.box[3]}`);
    if (place?.time[0] >= 0) parts.push(`${(place.time[0] / 1000).toFixed(2)} s`);
    if (store.codes.generated[token]) parts.push("generated");
    const pieces = this.pieces(token);
    if (pieces > 1) parts.push(`the last of ${pieces} tokens of one character`);
    return parts.filter(Boolean).join(" · ");
  }

  pieces(token) {
    const { cluster } = this.store.codes;
    if (!this.store.texts[token]) return 1;
    let first = token;
    while (first > 0 && cluster[first - 1] === cluster[token]) first -= 1;
    return token - first + 1;
  }
}

export class ExpertCard {
  constructor(scene, ablation) {
    [this.scene, this.store, this.ablation] = [scene, scene.store, ablation];
    this.name = h("b", { class: "gl-subject" });
    this.where = h("span", { class: "gl-where" });
    this.chips = Array.from({ length: STRONGEST }, () => this.chip());
    this.tokens = h("div", { class: "gl-strongest" }, ...this.chips.map(({ node }) => node));
    this.note = h("div", { class: "gl-note" });
    this.node = h("section", { class: "gl-inspect", "aria-label": "Expert", "data-testid": "expert" }, h("div", { class: "gl-inspect-head" }, this.name, this.where, ablation.button), this.tokens, this.note);
  }

  update(what) {
    const { scene, store } = this;
    const experts = [...scene.focus];
    this.ablation.show();
    if (what.size > 1 || !what.has("hover") || this.said !== String(experts)) this.write(experts);
    this.said = String(experts);
    this.node.classList.toggle("gl-idle", !experts.length || !store.layers.has(scene.row));
  }

  write(experts) {
    const { scene, store } = this;
    if (!experts.length || !store.layers.has(scene.row)) {
      this.name.replaceChildren("Point at a column");
      this.where.replaceChildren("to see an expert’s tokens, everywhere");
      return this.summary();
    }
    const { strongest, count, sum } = this.strongest(experts);
    this.name.replaceChildren(experts.length === 1 ? `Expert ${experts[0]}` : `Experts ${experts.join(", ")}`);
    this.where.replaceChildren(`layer ${scene.layer}`);
    this.chips.forEach((chip, place) => this.fill(chip, strongest[place]));
    const [tokens, even] = [Math.max(1, scene.length), (experts.length * store.k) / store.experts];
    this.note.replaceChildren(
      count
        ? `Served ${count.toLocaleString("en")} of ${tokens.toLocaleString("en")} tokens, ${percentage(count / tokens)} (an even split: ${percentage(even)}) · mean weight there ${(sum / count).toFixed(3)}`
        : `Served none of ${tokens.toLocaleString("en")} tokens (an even split: ${percentage(even)})`,
    );
  }

  /** While no expert is looked at: who is busiest in this layer, and who idles. */
  summary() {
    const { scene, store } = this;
    const counts = store.loads(scene.row, scene.keep);
    if (!counts) return this.chips.forEach(({ node }) => (node.hidden = true));
    const order = [...counts.keys()].sort((one, other) => counts[other] - counts[one] || one - other).slice(0, STRONGEST);
    this.chips.forEach((chip, place) => {
      const expert = order[place];
      chip.node.hidden = !counts[expert];
      chip.mark.hidden = true;
      chip.act = () => scene.toggle("experts", expert, false);
      chip.text.textContent = `${expert} · ${percentage(counts[expert] / Math.max(1, scene.length))}`;
    });
    const unused = counts.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0);
    this.note.replaceChildren(`Busiest experts of layer ${scene.layer} and the part of the tokens they served (an even split: ${percentage(store.k / store.experts)}) · ${unused} of ${store.experts} unused`);
  }

  /** The tokens that experts weigh most on, and how many they served, of those that are shown. */
  strongest(experts) {
    const { scene, store } = this;
    const strongest = [];
    let [count, sum] = [0, 0];
    for (const expert of experts) {
      store.eachToken(scene.row, expert, (token, weight) => {
        if (scene.keep && !scene.keep[token]) return;
        [count, sum] = [count + 1, sum + weight];
        if (strongest.length === STRONGEST && weight <= strongest.at(-1).weight) return;
        let place = strongest.length;
        while (place > 0 && strongest[place - 1].weight < weight) place -= 1;
        strongest.splice(place, 0, { token, weight });
        if (strongest.length > STRONGEST) strongest.pop();
      });
    }
    return { strongest, count, sum };
  }

  chip() {
    const [mark, text] = [h("i", {}), h("bdi", { dir: "auto" })];
    const chip = { mark, text, act: null, node: h("button", { type: "button", class: "gl-strong", tabindex: -1, onclick: () => chip.act() }, mark, text) };
    return chip;
  }

  fill(chip, strong) {
    chip.node.hidden = !strong;
    if (!strong) return;
    const { token, weight } = strong;
    chip.mark.hidden = false;
    chip.mark.style.backgroundColor = this.scene.ramp.of(this.scene.share(weight));
    chip.text.textContent = [...this.store.label(token)].slice(0, 24).join("");
    chip.node.title = `token ${token}, weight ${weight.toFixed(3)}`;
    chip.act = () => this.scene.reveal(token);
  }
}
