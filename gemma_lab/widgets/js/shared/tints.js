// How a token was generated, and what tints it: its probability, a grammar's effect, a drafter's proposal.
// Another tint is another entry of TINTS.
import { h, percent, visibleText } from "./dom.js";

/**
 * How a token was generated. `forbidden` is the model's probability of the tokens that a grammar forbids, null
 * without one; `firstChoice` the model's own likeliest token under a grammar; `drafted` whether the model
 * accepted a drafter's proposal, null where there was none.
 * @typedef {object} Draw
 * @property {number | null} logprob
 * @property {number | null} forbidden
 * @property {string} firstChoice
 * @property {boolean} overruled
 * @property {boolean | null} drafted
 */
/** @typedef {"probability" | "overruled" | "drafted"} TintName */
/**
 * `strength` is 0 (plain) to 1; `color` a custom property of the stylesheet; `mark` a class that adds a line, so
 * that no difference is told by colour alone.
 * @typedef {object} Tint
 * @property {string} label
 * @property {string} title What the legend is headed by.
 * @property {(draw: Draw) => boolean} known Whether a token has what the tint shows.
 * @property {(draw: Draw) => number} strength
 * @property {(draw: Draw) => string} color
 * @property {(draw: Draw) => string} mark
 * @property {() => (HTMLElement | string)[]} legend
 * @property {string} meaning The legend in words, for a screen reader.
 */

/**
 * Return where a token is on the colour scale: 0 is certain, 1 is a probability of 1 % or less.
 * @param {number | null} logprob
 */
export function uncertainty(logprob) {
  return logprob === null ? 1 : Math.max(0, Math.min(1, -logprob / Math.log(100)));
}

/** @type {Record<TintName, Tint>} */
export const TINTS = {
  probability: {
    label: "probability",
    title: "Probability",
    known: () => true,
    strength: ({ logprob }) => uncertainty(logprob),
    color: () => "--gl-warm",
    mark: () => "",
    legend: () => [
      scale("--gl-warm", [
        ["100 %", 0],
        ["10 %", 0.5],
        ["≤ 1 %", 1],
      ]),
    ],
    meaning: "Colour shows the probability of a token: plain is certain, deep orange is one per cent or less",
  },
  overruled: {
    label: "overruled",
    title: "Forbidden by the grammar",
    known: ({ forbidden }) => forbidden !== null,
    strength: ({ forbidden }) => forbidden ?? 0,
    color: () => "--gl-forbidden",
    mark: ({ overruled }) => (overruled ? "gl-overruled" : ""),
    legend: () => [
      scale("--gl-forbidden", [
        ["0 %", 0],
        ["50 %", 0.5],
        ["100 %", 1],
      ]),
      sample("", "gl-overruled", "the first choice, too"),
    ],
    meaning:
      "Colour shows how much of the model's probability the grammar forbids; tokens with a double underline " +
      "replace a first choice that it forbids",
  },
  drafted: {
    label: "drafted",
    title: "Drafter",
    known: ({ drafted }) => drafted !== null,
    strength: ({ drafted }) => (drafted === null ? 0 : 0.7),
    color: ({ drafted }) => (drafted ? "--gl-accepted" : "--gl-rejected"),
    mark: ({ drafted }) => (drafted === null ? "" : drafted ? "gl-accepted" : "gl-rejected"),
    legend: () => [
      sample("--gl-accepted", "gl-accepted", "drafted and accepted"),
      sample("--gl-rejected", "gl-rejected", "another draft was rejected here"),
    ],
    meaning:
      "Green with a solid underline: proposed by the drafter and accepted. Blue with a dotted underline: another " +
      "proposal was rejected here. Plain: nothing was proposed",
  },
};
const MARKS = ["gl-overruled", "gl-accepted", "gl-rejected"];

/**
 * Return whether a name is that of a tint.
 * @param {string} name
 * @returns {name is TintName}
 */
export function isTint(name) {
  return name in TINTS;
}

/**
 * Return the tints of which at least one token is known.
 * @param {Iterable<Draw>} draws
 * @returns {TintName[]}
 */
export function tintsOf(draws) {
  const listed = [...draws];
  const names = /** @type {TintName[]} */ (Object.keys(TINTS));
  return names.filter((name) => listed.some(TINTS[name].known));
}

/**
 * Return the draw that tints a character of several tokens: the most strongly tinted one.
 * @param {TintName} name
 * @param {Draw[]} draws
 * @returns {Draw | undefined}
 */
export function strongest(name, draws) {
  const { strength, mark } = TINTS[name];
  /** @param {Draw} draw */
  const rank = (draw) => strength(draw) + (mark(draw) ? 1 : 0);
  return draws.reduce((best, draw) => (rank(draw) > rank(best) ? draw : best), draws[0]);
}

/**
 * Return the background of a token, as CSS; "" for none.
 * @param {string} name "none" or another value of a view's own for no tint.
 * @param {Draw | undefined} draw
 */
export function tintBackground(name, draw) {
  if (!draw || !isTint(name)) return "";
  const { strength, color } = TINTS[name];
  return mixed(color(draw), strength(draw));
}

/**
 * Return the class that underlines a token; "" for none.
 * @param {string} name
 * @param {Draw | undefined} draw
 */
export function tintMark(name, draw) {
  return draw && isTint(name) ? TINTS[name].mark(draw) : "";
}

/**
 * Give an element the underline of its tint.
 * @param {Element} node
 * @param {string} mark
 */
export function setMark(node, mark) {
  for (const each of MARKS) node.classList.toggle(each, each === mark);
}

/**
 * @param {string} color
 * @param {number} strength
 */
function mixed(color, strength) {
  if (strength < 0.01) return "";
  const share = `calc(${strength.toFixed(3)} * var(--gl-tint-share) * 100%)`;
  return `color-mix(in srgb, var(${color}) ${share}, transparent)`;
}

/**
 * Return what is known of how a token was generated, in words; the first choice is a node of its own, so that its
 * writing direction stays inside.
 * @param {Draw} draw
 * @returns {(string | Node)[][]}
 */
export function explained({ forbidden, firstChoice, overruled, drafted }) {
  /** @type {(string | Node)[][]} */
  const lines = [];
  if (forbidden !== null && forbidden > 0) {
    lines.push([`${percent(Math.log(forbidden))} on tokens that the grammar forbids`]);
  }
  if (overruled) {
    lines.push(["Overruled: the model’s first choice was ", h("bdi", {}, visibleText(firstChoice))]);
  }
  if (drafted !== null) {
    lines.push([drafted ? "Drafted and accepted" : "Another draft was rejected here"]);
  }
  return lines;
}

/**
 * Build a line that says how a token was drawn; null if that is not known.
 * @param {Draw | undefined} draw
 */
export function drawNote(draw) {
  if (!draw) return null;
  const parts = explained(draw).flatMap((words) => [" · ", ...words]);
  return h(
    "div",
    { class: "gl-draw", "data-testid": "draw" },
    `Probability ${percent(draw.logprob)}`,
    ...parts,
  );
}

/**
 * Build the legend of a tint.
 * @param {TintName} name
 */
export function tintLegend(name) {
  const { title, legend, meaning } = TINTS[name];
  return h(
    "div",
    { class: "gl-legend", role: "img", "aria-label": meaning, "data-testid": "tint-legend" },
    h("span", {}, title),
    ...legend(),
  );
}

/**
 * @param {string} color
 * @param {[text: string, at: number][]} ticks
 */
function scale(color, ticks) {
  const marks = ticks.map(([text, at]) => h("span", { class: "gl-tick", style: `left: ${100 * at}%` }, text));
  return h("span", { class: "gl-scale", style: `--gl-scale-color: var(${color})` }, ...marks);
}

/**
 * @param {string} color
 * @param {string} mark
 * @param {string} words
 */
function sample(color, mark, words) {
  const swatch = h("span", { class: `gl-sample ${mark}` }, "ab");
  if (color) swatch.style.background = mixed(color, 0.7);
  return h("span", { class: "gl-sampled" }, swatch, words);
}
