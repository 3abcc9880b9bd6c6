// What is under the pointer, in numbers: a token and its experts, an expert and its tokens.
import { h, keyHelp } from "../shared/dom.js";
import { number, percentage } from "../shared/format.js";
import { drawNote } from "../shared/tints.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { RoutingScene } from "./routing_scene.js" */
/** @import { Choice } from "./routing_store.js" */
/** @import { Ablation } from "./ablation.js" */
/** @typedef {{ token: number, weight: number }} Served */
/**
 * @typedef {object} WeightRow
 * @property {HTMLElement} node
 * @property {HTMLElement} label
 * @property {HTMLElement} fill
 * @property {HTMLElement} weight
 * @property {number} expert
 */
/**
 * @typedef {object} Chip
 * @property {HTMLElement} node
 * @property {HTMLElement} mark
 * @property {HTMLElement} text
 * @property {() => void} act
 */

const LISTED = 7;
/** @type {[string, string][]} */
const KEY_HELP = [
  ["↑ ↓", "tokens"],
  ["← →", "a token’s experts"],
  ["PgUp PgDn", "layers"],
  ["Enter", "select token"],
  ["Space", "select expert"],
  ["Esc", "clear"],
];

/**
 * Return the English name of an ISO 15924 script.
 * @param {string} code
 * @returns {string}
 */
export function scriptName(code) {
  if (code === "Zyyy" || code === "") return "no script";
  try {
    return new Intl.DisplayNames(["en"], { type: "script" }).of(code) ?? code;
  } catch {
    return code; // not a script code
  }
}

export class TokenCard {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    this.scene = scene;
    this.store = scene.store;
    this.name = h("bdi", { class: "gl-subject", dir: "auto" });
    this.where = h("span", { class: "gl-where" });
    this.rows = Array.from({ length: scene.store.k }, () => this.createRow());
    this.grid = h("div", { class: "gl-weights" }, ...this.rows.map(({ node }) => node));
    this.note = h("div", { class: "gl-note" });
    this.help = keyHelp(KEY_HELP);
    this.node = h(
      "section",
      { class: "gl-inspect", "aria-label": "Token", "data-testid": "token" },
      h("div", { class: "gl-inspect-head" }, this.name, this.where),
      this.grid,
      this.note,
    );
  }

  /** @returns {WeightRow} */
  createRow() {
    const label = h("b", {});
    const fill = h("i", {});
    const weight = h("span", {});
    const node = h("div", { class: "gl-weight" }, label, h("span", { class: "gl-track" }, fill), weight);
    const row = { node, label, fill, weight, expert: -1 };
    node.addEventListener("click", () => this.scene.toggleExpert(row.expert, false));
    return row;
  }

  /** The token under the pointer, or the only selected one. */
  get token() {
    const { scene } = this;
    if (scene.token >= 0) return scene.token;
    return scene.tokens.size === 1 ? [...scene.tokens][0] : -1;
  }

  update() {
    const { scene, store, token } = this;
    const chosen = token >= 0 && token < store.count ? store.chosen(scene.layerIndex, token) : null;
    const facets = chosen ? store.facets(scene.layerIndex, token) : null;
    this.node.classList.toggle("gl-idle", !chosen);
    if (!chosen || !facets) {
      const { size } = scene.tokens;
      this.name.replaceChildren(size > 1 ? `${size} tokens selected` : "Point at a token");
      const hint = size > 1 ? "their load is drawn over the bars" : "to read its experts and their weights";
      this.where.replaceChildren(hint);
      this.note.replaceChildren(this.help);
      return;
    }
    this.name.replaceChildren(store.label(token));
    this.where.replaceChildren(this.describe(token));
    this.rows.forEach((row, rank) => {
      this.fill(row, chosen[rank]);
    });
    const { entropy, expert_fraction: fraction } = facets;
    this.note.replaceChildren(
      `Router entropy ${entropy.toFixed(2)} of ${store.maxEntropy.toFixed(0)} bits · ` +
        `experts’ share of output ${percentage(fraction)}`,
      drawNote(store.draws.get(token)) ?? "",
    );
  }

  /**
   * @param {WeightRow} row
   * @param {Choice | undefined} choice
   */
  fill(row, choice) {
    row.node.hidden = !choice;
    if (!choice) return;
    const share = this.scene.share(choice.weight);
    row.expert = choice.expert;
    row.label.textContent = String(choice.expert);
    row.fill.style.width = `${100 * Math.min(1, share)}%`;
    row.fill.style.backgroundColor = this.scene.ramp.of(share);
    row.weight.textContent = choice.weight.toFixed(3);
    row.node.classList.toggle("gl-lit", this.scene.focus.has(choice.expert));
  }

  /** @param {number} token */
  describe(token) {
    const { store } = this;
    const words = store.describe(token);
    if (store.name("modality", token) === "text" && store.texts[token]) {
      words.splice(3, 0, scriptName(store.name("script", token)));
    }
    let count = 0;
    if (store.texts[token]) store.eachOfCharacter(token, () => (count += 1));
    if (count > 1) words.push(`the last of ${count} tokens of one character`);
    return words.join(" · ");
  }
}

export class ExpertCard {
  /**
   * @param {RoutingScene} scene
   * @param {Ablation} ablation
   */
  constructor(scene, ablation) {
    this.scene = scene;
    this.store = scene.store;
    this.ablation = ablation;
    this.shown = ""; // the experts that are shown
    this.name = h("b", { class: "gl-subject" });
    this.where = h("span", { class: "gl-where" });
    this.chips = Array.from({ length: LISTED }, () => this.createChip());
    this.note = h("div", { class: "gl-note" });
    this.node = h(
      "section",
      { class: "gl-inspect", "aria-label": "Expert", "data-testid": "expert" },
      h("div", { class: "gl-inspect-head" }, this.name, this.where, ablation.button),
      h("div", { class: "gl-strongest" }, ...this.chips.map(({ node }) => node)),
      this.note,
    );
  }

  /** @param {Changes} what */
  update(what) {
    const { scene, store } = this;
    const experts = [...scene.focus];
    this.ablation.showButton();
    const hoverOnly = what.size === 1 && what.has("hover");
    if (!hoverOnly || this.shown !== String(experts)) this.write(experts);
    this.shown = String(experts);
    this.node.classList.toggle("gl-idle", !experts.length || !store.layers.has(scene.layerIndex));
  }

  /** @param {number[]} experts */
  write(experts) {
    const { scene, store } = this;
    if (!experts.length || !store.layers.has(scene.layerIndex)) {
      this.name.replaceChildren("Point at a column");
      this.where.replaceChildren("to see an expert’s tokens, everywhere");
      this.writeSummary();
      return;
    }
    const { heaviest, count, sum } = this.served(experts);
    const names = experts.length === 1 ? `Expert ${experts[0]}` : `Experts ${experts.join(", ")}`;
    this.name.replaceChildren(names);
    this.where.replaceChildren(`layer ${scene.layer}`);
    this.chips.forEach((chip, rank) => {
      this.fill(chip, heaviest[rank]);
    });
    const tokens = Math.max(1, scene.length);
    const even = `(an even split: ${percentage((experts.length * store.k) / store.experts)})`;
    const served = `${number(count)} of ${number(tokens)} tokens, ${percentage(count / tokens)} ${even}`;
    this.note.replaceChildren(
      count
        ? `Served ${served} · mean weight there ${(sum / count).toFixed(3)}`
        : `Served none of ${number(tokens)} tokens ${even}`,
    );
  }

  /** While no expert is focused: the busiest experts of this layer, and how many are unused. */
  writeSummary() {
    const { scene, store } = this;
    const counts = store.loads(scene.layerIndex, scene.keep);
    if (!counts) {
      for (const { node } of this.chips) node.hidden = true;
      return;
    }
    const order = [...counts.keys()].sort((one, other) => counts[other] - counts[one] || one - other);
    this.chips.forEach((chip, rank) => {
      const expert = order[rank];
      chip.node.hidden = !counts[expert];
      chip.mark.hidden = true;
      chip.act = () => scene.toggleExpert(expert, false);
      chip.text.textContent = `${expert} · ${percentage(counts[expert] / Math.max(1, scene.length))}`;
    });
    const unused = counts.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0);
    this.note.replaceChildren(
      `Busiest experts of layer ${scene.layer} and the share of tokens they served ` +
        `(an even split: ${percentage(store.k / store.experts)}) · ${unused} of ${store.experts} unused`,
    );
  }

  /**
   * Return the tokens on which some experts weigh most, how many they served, and the sum of the weights.
   * @param {number[]} experts
   */
  served(experts) {
    const { scene, store } = this;
    /** @type {Served[]} */
    const heaviest = [];
    let count = 0;
    let sum = 0;
    for (const expert of experts) {
      store.eachToken(scene.layerIndex, expert, (token, weight) => {
        if (scene.keep && !scene.keep[token]) return;
        count += 1;
        sum += weight;
        if (heaviest.length === LISTED && weight <= heaviest[LISTED - 1].weight) return;
        let rank = heaviest.length;
        while (rank > 0 && heaviest[rank - 1].weight < weight) rank -= 1;
        heaviest.splice(rank, 0, { token, weight });
        if (heaviest.length > LISTED) heaviest.pop();
      });
    }
    return { heaviest, count, sum };
  }

  /** @returns {Chip} */
  createChip() {
    const mark = h("i", {});
    const text = h("bdi", { dir: "auto" });
    const onclick = () => chip.act();
    const node = h("button", { type: "button", class: "gl-strong", tabindex: -1, onclick }, mark, text);
    /** @type {Chip} */
    const chip = { mark, text, node, act: () => {} };
    return chip;
  }

  /**
   * @param {Chip} chip
   * @param {Served | undefined} served
   */
  fill(chip, served) {
    chip.node.hidden = !served;
    if (!served) return;
    const { token, weight } = served;
    chip.mark.hidden = false;
    chip.mark.style.backgroundColor = this.scene.ramp.of(this.scene.share(weight));
    chip.text.textContent = this.store.shortLabel(token, 24);
    chip.node.title = `token ${token}, weight ${weight.toFixed(3)}`;
    chip.act = () => this.scene.reveal(token);
  }
}
