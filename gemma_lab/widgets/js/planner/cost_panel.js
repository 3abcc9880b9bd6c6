// @ts-check
// US dollars of a month over the tokens of answers: owned hardware against hosted models, with the break-even.

import { h } from "../shared/dom.js";
import { breakEven, decodeSpeed, fits, monthlyCost, promptSpeed } from "./arithmetic.js";
import { DEPTH, PROMPT } from "./choices.js";
import { amount, chartNode, dollars, explained, short } from "./format.js";

/** @import { Choice, Facts } from "./arithmetic.js" */
/** @import { PlannerState as State } from "../shared/wire_types.js" */
/** @typedef {{ label: string, color: string, width: number, cost: (tokens: number) => number|null, text: string, cross: number|null }} Line */

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [760, 250, 52, 34, 10, 246];
const [LEAST, MOST] = [1e5, 1e10];
const [CHEAPEST, DEAREST] = [0.1, 1e4];
const COLORS = [
  "var(--gl-plan-blue)",
  "var(--gl-plan-red)",
  "var(--gl-plan-green)",
  "var(--gl-plan-purple)",
  "var(--gl-plan-orange)",
];
const HOSTED = ["claude-haiku-5.5", "gpt-4o-mini", "gemini-2.5-flash-lite"];

/**
 * Draw the panel anew, for the last chosen model that fits, or the last one.
 * @param {HTMLElement} node
 * @param {Choice[]} choices
 * @param {Facts} facts
 * @param {State} state
 */
export function drawCost(node, choices, facts, state) {
  const choice = choices.findLast((each) => fits(each, facts.rules)) ?? choices[choices.length - 1];
  const speed = choice && decodeSpeed(choice, facts.rules, Math.min(DEPTH, choice.context));
  const { hardware } = choice ?? {};
  const given = { price_usd: hardware?.price_usd, power_w: hardware?.power_w, ...state.ownership };
  if (!speed || given.price_usd == null || given.power_w == null) {
    node.replaceChildren(
      h("p", { class: "gl-plan-none" }, "Give price and power of the hardware to compare its cost."),
    );
    return;
  }
  const owned = {
    idle_w: 20,
    usd_per_kwh: 0.25,
    years: 3,
    ...state.ownership,
    price_usd: given.price_usd,
    power_w: given.power_w,
  };
  const prompt = promptSpeed(choice, facts.rules, Math.min(PROMPT, choice.context));
  const rates = {
    prompt: prompt?.value ?? null,
    answer: speed.value * choice.batch,
    ratio: state.prompt_per_answer,
  };
  const { prices, ended } = hostedPrices(choice, facts, state.day);
  /** @type {Line[]} */
  const lines = [
    {
      label: `owned ${hardware.name}`,
      color: "var(--gl-text)",
      width: 2.4,
      cost: (/** @type {number} */ tokens) => monthlyCost(tokens, owned, rates),
      text: `${dollars(owned.price_usd)} over ${owned.years} years, ${owned.power_w} W at ${owned.usd_per_kwh} USD/kWh, ${short(rates.answer)} tokens/s. The line ends where a month has no more hours.`,
      cross: null,
    },
    ...prices.map((price, /** @type {number} */ place) => ({
      label: price.label,
      color: COLORS[place % COLORS.length],
      width: 1.6,
      cost: (/** @type {number} */ tokens) =>
        (tokens * (rates.ratio * price.usd_per_m_in + price.usd_per_m_out)) / 1e6,
      text: `${price.usd_per_m_in} USD a million tokens of prompts, ${price.usd_per_m_out} of answers, read ${price.checked}${price.valid_until ? `, until ${price.valid_until}` : ""}${price.condition ? `; ${price.condition}` : ""}. ${price.source}.`,
      cross: breakEven(price, owned, rates),
    })),
  ];
  const chart = chartNode(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      class: "gl-plan-chart",
      role: "group",
      "aria-label": "Cost of a month over tokens of answers",
    },
    ...grid(),
    ...lines.flatMap(curve),
    ...names(lines),
  );
  const comparisons = lines
    .slice(1)
    .map(
      (line) =>
        `than ${line.label} ${line.cross ? `from ${amount(line.cross)} tokens of answers a month` : "at no amount"}`,
    );
  node.replaceChildren(
    chart,
    h(
      "p",
      { class: "gl-plan-summary" },
      `${choice.model.key} on an owned ${hardware.name}, ${state.prompt_per_answer} prompt tokens for each of an answer. Cheaper to own `,
      comparisons.join("; "),
      `. ${ended.join(" ")}`,
    ),
  );
}

/**
 * Return the hosted prices that hold on a day, and a sentence for each model whose prices have ended.
 * @param {Choice} choice
 * @param {Facts} facts
 * @param {string} day
 */
function hostedPrices(choice, facts, day) {
  const valid = facts.prices.filter(
    (price) => price.valid_from <= day && (!price.valid_until || day <= price.valid_until),
  );
  const cheapest = (/** @type {string} */ model) =>
    valid
      .filter((price) => price.model.toLowerCase() === model.toLowerCase())
      .sort((one, other) => one.usd_per_m_out - other.usd_per_m_out)[0];
  const own =
    choice.model.family === "gemma4" ? `gemma-4-${choice.model.key}` : choice.model.key.replaceAll(" ", "-");
  const models = [own, ...HOSTED];
  const ended = models.flatMap((model) => {
    const last = facts.prices.findLast((price) => price.model.toLowerCase() === model.toLowerCase());
    return cheapest(model) || !last?.valid_until || last.valid_until >= day
      ? []
      : [`The price of ${last.label} ended on ${last.valid_until}.`];
  });
  return { prices: models.map(cheapest).filter(Boolean), ended };
}

/** @param {number} tokens */
const across = (tokens) =>
  LEFT + ((WIDTH - LEFT - RIGHT) * Math.log10(tokens / LEAST)) / Math.log10(MOST / LEAST);
/** @param {number} cost */
const down = (cost) =>
  TOP +
  (HEIGHT - TOP - BOTTOM) *
    (1 - Math.log10(Math.max(CHEAPEST, Math.min(DEAREST, cost)) / CHEAPEST) / Math.log10(DEAREST / CHEAPEST));

function grid() {
  const nodes = [];
  for (let power = 5; power <= 10; power++) {
    nodes.push(
      chartNode("line", {
        x1: across(10 ** power),
        x2: across(10 ** power),
        y1: TOP,
        y2: HEIGHT - BOTTOM,
        class: "gl-plan-grid",
      }),
    );
    nodes.push(
      chartNode(
        "text",
        { x: across(10 ** power), y: HEIGHT - BOTTOM + 14, "text-anchor": "middle" },
        power < 6 ? "100 k" : power < 9 ? `${10 ** (power - 6)} M` : `${10 ** (power - 9)} B`,
      ),
    );
  }
  for (let power = -1; power <= 4; power++) {
    nodes.push(
      chartNode("line", {
        x1: LEFT,
        x2: WIDTH - RIGHT,
        y1: down(10 ** power),
        y2: down(10 ** power),
        class: "gl-plan-grid",
      }),
    );
    nodes.push(
      chartNode("text", { x: LEFT - 6, y: down(10 ** power) + 4, "text-anchor": "end" }, `$${10 ** power}`),
    );
  }
  nodes.push(
    chartNode(
      "text",
      { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" },
      "tokens of answers in a month",
    ),
  );
  return nodes;
}

/** @param {Line} line */
function curve(line) {
  const points = [];
  for (let step = 0; step <= 80; step++) {
    const tokens = LEAST * (MOST / LEAST) ** (step / 80);
    const cost = line.cost(tokens);
    if (cost === null || cost > DEAREST) break;
    if (cost >= CHEAPEST) points.push(`${across(tokens).toFixed(1)},${down(cost).toFixed(1)}`);
  }
  const nodes = [
    chartNode("polyline", {
      points: points.join(" "),
      fill: "none",
      stroke: line.color,
      "stroke-width": line.width,
    }),
  ];
  if (line.cross && line.cross >= LEAST && line.cross <= MOST) {
    nodes.push(
      chartNode("circle", {
        cx: across(line.cross),
        cy: down(line.cost(line.cross) ?? 0),
        r: 5,
        fill: line.color,
        class: "gl-plan-cross",
        ...explained(
          `Break-even with ${line.label}: ${amount(line.cross)} tokens of answers a month, ${dollars(line.cost(line.cross) ?? 0)}`,
          line.text,
        ),
      }),
    );
  }
  return nodes;
}

/** @param {Line[]} lines */
function names(lines) {
  return lines.map((line, place) => {
    const y = TOP + 14 + 24 * place;
    const group = chartNode("g", { ...explained(line.label, line.text), class: "gl-plan-line" });
    group.append(
      chartNode("line", {
        x1: WIDTH - RIGHT + 12,
        x2: WIDTH - RIGHT + 30,
        y1: y - 4,
        y2: y - 4,
        stroke: line.color,
        "stroke-width": line.width + 0.6,
      }),
      chartNode(
        "text",
        { x: WIDTH - RIGHT + 36, y },
        line.label.length > 36 ? `${line.label.slice(0, 35)}…` : line.label,
      ),
    );
    return group;
  });
}
