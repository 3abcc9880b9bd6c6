// @ts-check
// What is planned: names from Python's traits, looked up in the facts.

/** @import { Choice, Facts, Hardware, Model, Runtime, Weights } from "./arithmetic.js" */

/** @import { PlannerState as State } from "../shared/wire_types.js" */

/** @type {(keyof State)[]} */
export const STATE = [
  "models",
  "hardware",
  "quantization",
  "runtime",
  "cache",
  "context",
  "batch",
  "runtime_date",
  "ownership",
  "prompt_per_answer",
  "day",
];

/** Tokens of the prompt whose processing is shown. */
export const PROMPT = 1000;
/** Tokens in the cache at which the speed is shown, beside the full context. */
export const DEPTH = 1024;

/**
 * Return the entry of a list with a name.
 * @template {{ name: string }} T
 * @param {T[]} list
 * @param {string} name
 * @returns {T}
 */
export function named(list, name) {
  const found = list.find((each) => each.name === name);
  if (!found) throw new Error(`nothing is named ${name}`);
  return found;
}

/**
 * Return what is planned for each chosen model; a context beyond a model's own is cut to it.
 * @param {Facts} facts
 * @param {State} state
 * @returns {Choice[]}
 */
export function choicesOf(facts, state) {
  /** @type {Runtime} */
  const runtime = named(facts.runtimes, state.runtime);
  /** @type {Weights} */
  const weights = named(facts.quantizations, state.quantization);
  /** @type {Hardware} */
  const hardware = named(facts.hardware, state.hardware);
  return state.models.map((key) => {
    /** @type {Model} */
    const model = facts.models[key];
    const context = Math.min(state.context, model.context);
    return {
      model,
      weights,
      hardware,
      runtime,
      context,
      batch: state.batch,
      cacheBits: named(facts.caches, state.cache).bits,
      date: state.runtime_date,
    };
  });
}

/**
 * Return the formats that a runtime reads.
 * @param {Facts} facts
 * @param {string} runtime
 * @returns {Weights[]}
 */
export const formatsOf = (facts, runtime) =>
  facts.quantizations.filter((each) => each.runtimes.includes(runtime));

/**
 * Return the runtimes that run on a kind of hardware.
 * @param {Facts} facts
 * @param {string} kind
 * @returns {Runtime[]}
 */
export const runtimesOn = (facts, kind) => facts.runtimes.filter((each) => each.kinds.includes(kind));

/**
 * Return a change completed with what must change beside it, so that the state stays possible.
 * @param {Facts} facts
 * @param {State} state
 * @param {Partial<State>} change
 * @returns {Partial<State>}
 */
export function completed(facts, state, change) {
  const next = { ...state, ...change };
  /** @type {Partial<State>} */
  const full = { ...change };
  const { kind } = named(facts.hardware, next.hardware);
  if (!runtimesOn(facts, kind).some((each) => each.name === next.runtime)) {
    next.runtime = full.runtime = runtimesOn(facts, kind)[0].name;
  }
  if (!formatsOf(facts, next.runtime).some((each) => each.name === next.quantization)) {
    full.quantization = named(facts.runtimes, next.runtime).default_quantization;
  }
  const cache = named(facts.caches, next.cache);
  if (!cache.runtimes.includes(next.runtime)) full.cache = "f16";
  if (change.hardware && change.hardware !== state.hardware) full.ownership = {};
  return full;
}
