// @ts-check
// The planner's arithmetic in the page: the same formulas as gemma_lab.planning, tested equal to them.

/**
 * @typedef {object} Group A group of like cache layers.
 * @property {"global"|"local"|"linear"} kind
 * @property {number} count
 * @property {number} readers
 * @property {number} query_width
 * @property {number} kv_heads
 * @property {number} head_dim
 * @property {number|null} window
 * @property {number} state
 * @property {number} state_bytes
 * @property {number} convolution
 */

/**
 * @typedef {object} Model
 * @property {string} key
 * @property {string} name
 * @property {string} family
 * @property {string} kind
 * @property {Record<string, number>} parts
 * @property {number} layers
 * @property {number} hidden
 * @property {number} vocabulary
 * @property {number} context
 * @property {number} widest
 * @property {number} per_layer_width
 * @property {number} experts
 * @property {number} top_k
 * @property {number} expert_width
 * @property {Group[]} cache
 */

/**
 * @typedef {object} Weights
 * @property {string} name
 * @property {Record<string, number>} bits
 * @property {number|null} fallback_bits
 * @property {string[]} runtimes
 * @property {string} source
 */

/**
 * @typedef {object} Hardware
 * @property {string} name
 * @property {string} kind
 * @property {string} speed_class
 * @property {boolean} unified
 * @property {boolean} old
 * @property {number} devices
 * @property {number|null} usable_bytes
 * @property {number|null} bandwidth
 * @property {number} rate
 * @property {number} wider
 * @property {number} host_bandwidth
 * @property {number} link_bandwidth
 * @property {number|null} price_usd
 * @property {number|null} power_w
 * @property {string} source
 */

/**
 * @typedef {object} Runtime
 * @property {string} name
 * @property {string} family
 * @property {string[]} kinds
 * @property {number} window_padding
 * @property {number} piece
 * @property {boolean} ple_on_host
 * @property {number} logits_bytes
 * @property {Record<string, number>} overhead_gib
 * @property {string} default_quantization
 * @property {string} source
 * @property {"experts"|"layers"} offload
 * @property {number} host_share
 */

/**
 * @typedef {object} Choice What is planned; names are looked up in the facts.
 * @property {Model} model
 * @property {Weights} weights
 * @property {Hardware} hardware
 * @property {Runtime} runtime
 * @property {number} context
 * @property {number} batch
 * @property {number} cacheBits
 * @property {string} date
 */

/** @typedef {{ key: string, label: string, bytes: number, place: "device"|"host", formula: string, source: string }} Part */
/** @typedef {{ value: number, low: number, high: number }} Estimate */
/** @typedef {Record<string, number>} Constants */
/** @typedef {{ constants: Constants, interval: Record<string, number>, wider: Record<string, number>, union_exponent: number, reference_bandwidth: number, labels: Record<string, string>, measured_families: string[], fitted_to: string, newest_run: string }} Rules */

/** @typedef {{ name: string, bits: number, runtimes: string[] }} CacheType */
/** @typedef {{ model: string, quantization: string, hardware: string, runtime: string, date: string, depth: number, speed: number, source: string }} Run */
/** @typedef {{ label: string, model: string, usd_per_m_in: number, usd_per_m_out: number, valid_from: string, valid_until: string, condition: string, checked: string, source: string }} Price */
/** @typedef {{ models: Record<string, Model>, quantizations: Weights[], caches: CacheType[], hardware: Hardware[], runtimes: Runtime[], rules: Rules, runs: Run[], prices: Price[], colors: Record<string, string> }} Facts */

export const GIB = 2 ** 30;
const BLOCK = 256;
const SHARED = ["attention", "dense", "other"];

/**
 * Return the bytes of each part of a model's weights.
 * @param {Model} model
 * @param {Weights} weights
 * @returns {Record<string, number>}
 */
export function weightBytes(model, weights) {
  /** @type {Record<string, number>} */
  const sizes = {};
  for (const [part, count] of Object.entries(model.parts)) {
    if (count) sizes[part] = (count * partBits(model, weights, part)) / 8;
  }
  return sizes;
}

/**
 * @param {Model} model
 * @param {Weights} weights
 * @param {string} part
 */
function partBits(model, weights, part) {
  const bits = weights.bits[part];
  const width = part === "experts" ? model.expert_width : part === "dense" ? model.widest : 0;
  return weights.fallback_bits !== null && width % BLOCK ? (2 * bits + weights.fallback_bits) / 3 : bits;
}

/** @param {Model} model */
export const headPart = (model) => (model.parts.head ? "head" : "embedding");

/**
 * Return the share of the experts that some tokens visit together, routed independently.
 * @param {Model} model
 * @param {number} tokens
 */
export function expertShare(model, tokens) {
  return model.experts ? 1 - (1 - model.top_k / model.experts) ** tokens : 0;
}

/**
 * Return the tokens that a window's cache holds for one sequence.
 * @param {Choice} choice
 * @param {number} window
 */
function windowCells({ runtime, context, batch }, window) {
  if (!runtime.window_padding) return Math.min(window, context);
  const step = runtime.window_padding;
  const cells = window * batch + (runtime.family === "llama.cpp" ? runtime.piece : 0);
  return Math.min((Math.ceil(cells / step) * step) / batch, context);
}

/**
 * Return the bytes of the cache by kind of layer.
 * @param {Choice} choice
 * @returns {Record<string, number>}
 */
export function cacheBytes(choice) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const group of choice.model.cache) {
    let size;
    if (group.kind === "linear")
      size = group.count * (group.state * group.state_bytes + group.convolution * 2);
    else {
      const seen = group.window === null ? choice.context : windowCells(choice, group.window);
      size = group.count * 2 * group.kv_heads * group.head_dim * seen * (choice.cacheBits / 8);
    }
    sums[group.kind] = (sums[group.kind] ?? 0) + size * choice.batch;
  }
  return sums;
}

/**
 * Return the bytes of cache that one step of one sequence reads, by kind of layer.
 * @param {Model} model
 * @param {number} depth
 * @param {number} valueBytes
 * @returns {Record<string, number>}
 */
export function readCacheBytes(model, depth, valueBytes) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const group of model.cache) {
    let size;
    if (group.kind === "linear")
      size = 2 * group.count * (group.state * group.state_bytes + group.convolution * 2);
    else {
      const seen = group.window === null ? depth : Math.min(depth, group.window);
      size = group.readers * 2 * group.kv_heads * group.head_dim * seen * valueBytes;
    }
    sums[group.kind] = (sums[group.kind] ?? 0) + size;
  }
  return sums;
}

/**
 * Return the memory by part, weights first.
 * @param {Choice} choice
 * @param {Rules} rules
 * @returns {Part[]}
 */
export function memoryParts(choice, rules) {
  const { model, weights, hardware, runtime } = choice;
  /** @type {Part[]} */
  const parts = [];
  for (const [key, size] of Object.entries(weightBytes(model, weights))) {
    if (key === "towers" && ["llama.cpp", "MLX", "LiteRT-LM"].includes(runtime.family)) continue;
    const onHost = key === "ple_table" && runtime.ple_on_host && !hardware.unified;
    parts.push({
      key,
      label: rules.labels[key],
      bytes: size,
      place: onHost ? "host" : "device",
      formula: `${grouped(model.parts[key])} weights × ${((8 * size) / model.parts[key]).toPrecision(4)} bits`,
      source: weights.source,
    });
  }
  for (const [kind, size] of Object.entries(cacheBytes(choice))) {
    parts.push({
      key: `cache_${kind}`,
      label: rules.labels[`cache_${kind}`],
      bytes: size,
      place: "device",
      formula: cacheFormula(choice, kind),
      source: runtime.source,
    });
  }
  parts.push(activations(choice, rules));
  const overhead = runtime.overhead_gib[hardware.kind];
  parts.push({
    key: "overhead",
    label: rules.labels.overhead,
    bytes: overhead * GIB * hardware.devices,
    place: "device",
    formula: `${overhead} GiB × ${hardware.devices}`,
    source: `${runtime.name}: an estimate`,
  });
  return parts;
}

/**
 * @param {Choice} choice
 * @param {string} kind
 */
function cacheFormula(choice, kind) {
  const groups = choice.model.cache.filter((group) => group.kind === kind);
  const terms = groups.map((group) => {
    if (kind === "linear")
      return `${group.count} layers × (${grouped(group.state)} × ${group.state_bytes} B + ${grouped(group.convolution)} × 2 B)`;
    const seen = group.window === null ? choice.context : windowCells(choice, group.window);
    return `${group.count} layers × 2 × ${group.kv_heads} heads × ${group.head_dim} × ${grouped(Math.round(seen))} tokens × ${choice.cacheBits / 8} B`;
  });
  return terms.join(" + ") + (choice.batch > 1 ? ` × ${choice.batch} sequences` : "");
}

/**
 * @param {Choice} choice
 * @param {Rules} rules
 * @returns {Part}
 */
function activations({ model, runtime, context, batch }, rules) {
  const piece = Math.min(runtime.piece, Math.max(1, context));
  const widths =
    2 * model.hidden + model.widest + 3 * model.top_k * model.expert_width + model.per_layer_width;
  let bytes = piece * widths * (runtime.family === "llama.cpp" ? 4 : 2);
  let formula;
  if (runtime.family === "llama.cpp") {
    bytes += piece * model.vocabulary * runtime.logits_bytes + piece * context * batch * 2;
    formula = `${piece} tokens × (${grouped(widths)} numbers × 4 B + ${grouped(model.vocabulary)} logits × 4 B + mask ${grouped(context * batch)} × 2 B)`;
  } else {
    bytes = 3 * bytes + batch * model.vocabulary * 4;
    formula = `3 × ${piece} tokens × ${grouped(widths)} numbers × 2 B + logits of ${batch} tokens`;
  }
  return {
    key: "activations",
    label: rules.labels.activations,
    bytes,
    place: "device",
    formula,
    source: runtime.source,
  };
}

/**
 * Return the sum of the parts in one place.
 * @param {Part[]} parts
 * @param {"device"|"host"} place
 */
export function total(parts, place = "device") {
  return parts.reduce((sum, part) => sum + (part.place === place ? part.bytes : 0), 0);
}

/**
 * Return whether a choice fits; null if the device's memory is unknown.
 * @param {Choice} choice
 * @param {Rules} rules
 */
export function fits(choice, rules) {
  const usable = choice.hardware.usable_bytes;
  return usable === null ? null : total(memoryParts(choice, rules)) <= usable;
}

/**
 * Return the longest context that fits, 0 if none; null if the memory is unknown.
 * @param {Choice} choice
 * @param {Rules} rules
 */
export function longestContext(choice, rules) {
  const most = choice.model.context;
  const at = (/** @type {number} */ context) => fits({ ...choice, context }, rules);
  if (at(most) === null) return null;
  if (at(most)) return most;
  let [low, high] = [0, most];
  while (low < high - 1) {
    const middle = Math.floor((low + high) / 2);
    if (at(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * Return the shares of the weights that lie in main memory if the choice does not fit: experts first.
 * @param {Choice} choice
 * @param {Rules} rules
 * @returns {Record<string, number>}
 */
export function spill(choice, rules) {
  const { usable_bytes: usable, unified } = choice.hardware;
  if (usable === null || unified) return {};
  const parts = memoryParts(choice, rules);
  let excess = total(parts) - usable;
  if (excess <= 0) return {};
  excess += 1; // a byte more, lest rounding leave the device too full
  const sizes = Object.fromEntries(
    parts.filter((part) => part.place === "device").map((part) => [part.key, part.bytes]),
  );
  /** @type {Record<string, number>} */
  const shares = {};
  if (sizes.experts && choice.runtime.offload === "experts") {
    shares.experts = Math.min(1, excess / sizes.experts);
    excess -= shares.experts * sizes.experts;
  }
  const rest = ["attention", "dense", "experts", "other"].filter((key) => key in sizes && !(key in shares));
  if (excess > 0 && rest.length) {
    const share = Math.min(1, excess / rest.reduce((sum, key) => sum + sizes[key], 0));
    for (const key of rest) shares[key] = share;
  }
  return Object.fromEntries(Object.entries(shares).filter(([, share]) => share > 0));
}

/**
 * Return the seconds of one decoding step, by term; null if the bandwidth is unknown.
 * @param {Choice} choice
 * @param {Rules} rules
 * @param {number} depth
 */
export function decodeTerms(choice, rules, depth) {
  const { model, weights, hardware, batch } = choice;
  if (!hardware.bandwidth) return null;
  const { constants } = rules;
  const host = spill(choice, rules);
  const held = (/** @type {string} */ part) => 1 - (host[part] ?? 0);
  const sizes = weightBytes(model, weights);
  const always = [...SHARED, headPart(model)];
  const shared = always.reduce((sum, part) => sum + (sizes[part] ?? 0) * held(part), 0);
  const union = model.experts ? expertShare(model, batch ** rules.union_exponent) : 0;
  const experts = sizes.experts ?? 0;
  const hostBytes =
    always.reduce((sum, part) => sum + (sizes[part] ?? 0) * (host[part] ?? 0), 0) +
    experts * union * (host.experts ?? 0);
  const share = Math.exp(weightShareLog(choice, rules));
  let reading = shared / (share * hardware.bandwidth);
  reading +=
    (experts * held("experts") * union) / (Math.exp(constants.expert_share) * share * hardware.bandwidth);
  if (batch > 1 && hardware.rate) {
    const operations = 2 * batch * (computeParameters(model) + model.parts[headPart(model)]);
    reading = Math.max(reading, operations / (Math.exp(promptShareLog(choice, rules)) * hardware.rate));
  }
  const starting = model.layers * Math.exp(layerTimeLog(choice, rules)) * 1e-3;
  const read = readCacheBytes(model, depth, choice.cacheBits / 8);
  const wide = Math.exp(constants.cache_share + (constants[`cache_share.${model.kind}`] ?? 0));
  const local = (read.local ?? 0) + (read.linear ?? 0);
  const cache =
    (batch * (read.global ?? 0)) / (wide * hardware.bandwidth) +
    (batch * local) / (Math.exp(constants.cache_share) * hardware.bandwidth);
  const fetching = hostBytes / (choice.runtime.host_share * hardware.host_bandwidth);
  const bytes = {
    weights: shared + experts * held("experts") * union,
    cache: batch * ((read.global ?? 0) + local),
    host: hostBytes,
  };
  return {
    reading,
    starting,
    cache,
    fetching,
    bytes,
    seconds: reading + starting + cache + fetching,
    spilled: Object.keys(host).length > 0,
  };
}

/**
 * Return the tokens/s of one sequence with its 80 % interval; null if the bandwidth is unknown.
 * @param {Choice} choice
 * @param {Rules} rules
 * @param {number} depth
 * @returns {Estimate|null}
 */
export function decodeSpeed(choice, rules, depth) {
  const terms = decodeTerms(choice, rules, depth);
  if (!terms) return null;
  const width = rules.interval.decode + widerBy(choice, rules, terms.spilled);
  return {
    value: 1 / terms.seconds,
    low: Math.exp(-width) / terms.seconds,
    high: Math.exp(width) / terms.seconds,
  };
}

/**
 * Return the tokens/s at which a prompt is processed; null if a rate is unknown.
 * @param {Choice} choice
 * @param {Rules} rules
 * @param {number} tokens
 * @returns {Estimate|null}
 */
export function promptSpeed(choice, rules, tokens) {
  const { model, weights, hardware, runtime } = choice;
  if (!hardware.bandwidth || !hardware.rate) return null;
  const host = spill(choice, rules);
  const piece = Math.min(tokens, runtime.piece);
  const pieces = Math.ceil(tokens / piece);
  const sizes = weightBytes(model, weights);
  /** @type {Record<string, number>} */
  const read = Object.fromEntries(SHARED.map((part) => [part, sizes[part] ?? 0]));
  read.experts = (sizes.experts ?? 0) * expertShare(model, piece ** rules.union_exponent);
  const operations =
    2 * computeParameters(model) * tokens +
    model.cache.reduce((sum, group) => sum + attentionOperations(group, tokens), 0);
  const computing = operations / (Math.exp(promptShareLog(choice, rules)) * hardware.rate);
  const bytes = Object.values(read).reduce((sum, size) => sum + size, 0);
  const reading = (pieces * bytes) / (Math.exp(weightShareLog(choice, rules)) * hardware.bandwidth);
  const starting = pieces * model.layers * Math.exp(layerTimeLog(choice, rules)) * 1e-3;
  const fetching =
    (pieces * Object.entries(read).reduce((sum, [part, size]) => sum + size * (host[part] ?? 0), 0)) /
    hardware.link_bandwidth;
  const rate = tokens / (Math.max(computing, reading) + starting + fetching);
  const width = rules.interval.prompt + widerBy(choice, rules, Object.keys(host).length > 0);
  return { value: rate, low: rate * Math.exp(-width), high: rate * Math.exp(width) };
}

/**
 * @param {Choice} choice
 * @param {Rules} rules
 * @param {boolean} spilled
 */
function widerBy({ runtime, hardware, batch }, { wider, measured_families: families }, spilled) {
  let width = hardware.wider + (families.includes(runtime.family) ? 0 : wider.runtime);
  if (spilled) width += wider.spilled;
  return batch > 1 ? width + wider.batch : width;
}

/** @param {Model} model */
function computeParameters(model) {
  const always = SHARED.reduce((sum, part) => sum + model.parts[part], 0);
  return always + (model.experts ? Math.floor((model.parts.experts * model.top_k) / model.experts) : 0);
}

/**
 * @param {Group} group
 * @param {number} tokens
 */
function attentionOperations(group, tokens) {
  if (group.kind === "linear") return 0;
  const { window } = group;
  const pairs =
    window === null || window >= tokens
      ? (tokens * (tokens + 1)) / 2
      : (window * (window + 1)) / 2 + (tokens - window) * window;
  return group.readers * 4 * group.query_width * pairs;
}

/**
 * @param {Choice} choice
 * @param {Rules} rules
 */
function weightShareLog(choice, { constants }) {
  let value = constants.weight_share + (constants[`weight_share.${choice.hardware.speed_class}`] ?? 0);
  value += constants[`weight_share.${weightFormat(choice)}`] ?? 0;
  if (choice.hardware.old) value += constants["weight_share.old"];
  return Math.min(value, Math.log(0.97));
}

/**
 * @param {Choice} choice
 * @param {Rules} rules
 */
function layerTimeLog(choice, { constants, reference_bandwidth: reference }) {
  const { runtime, hardware } = choice;
  let value = constants.layer_time + (constants[`layer_time.${modelClass(choice.model)}`] ?? 0);
  value +=
    (constants[`layer_time.${runtime.name}`] ?? 0) + (constants[`layer_time.${hardware.speed_class}`] ?? 0);
  if (runtime.family === "llama.cpp") value += constants[`layer_time.${era(choice.date)}`] ?? 0;
  if (hardware.kind === "cpu") return value;
  return (
    value +
    constants["layer_time.bandwidth"] * Math.log(/** @type {number} */ (hardware.bandwidth) / reference)
  );
}

/**
 * @param {Choice} choice
 * @param {Rules} rules
 */
function promptShareLog(choice, { constants }) {
  const kind = modelClass(choice.model).includes("moe") ? "moe" : choice.model.kind;
  let value =
    constants.prompt_share +
    (constants[`prompt_share.${kind}`] ?? 0) +
    (constants[`prompt_share.${choice.hardware.speed_class}`] ?? 0);
  if (choice.runtime.family === "vLLM") value += constants[`prompt_share.${weightFormat(choice)}`] ?? 0;
  return value;
}

/** @param {Model} model */
const modelClass = (model) => (model.family === "qwen3.5" ? "linear-moe" : model.kind);

/** @param {string} date */
function era(date) {
  if (!date || date >= "2026-10") return "late";
  return date < "2026-06" ? "early" : "middle";
}

/** @param {Choice} choice */
function weightFormat({ model, weights, runtime }) {
  const name = weights.name.toLowerCase();
  const sizes = weightBytes(model, weights);
  const text = Object.entries(model.parts).reduce(
    (sum, [part, count]) => sum + (part === "towers" ? 0 : count),
    0,
  );
  const bits =
    (8 * Object.entries(sizes).reduce((sum, [part, size]) => sum + (part === "towers" ? 0 : size), 0)) / text;
  if (runtime.family === "vLLM") {
    if (name.includes("nvfp4")) return "vllm-4bit-float";
    return bits > 6 && bits < 14 ? "vllm-8bit" : "plain";
  }
  return bits < 4.05 || ["iq", "q2", "q3"].some((start) => name.startsWith(start)) ? "low-bit" : "plain";
}

/**
 * Return US dollars of a month on owned hardware; null if the month has too few hours.
 * @param {number} tokens tokens of answers in the month
 * @param {{ price_usd: number, power_w: number, idle_w: number, usd_per_kwh: number, years: number }} owned
 * @param {{ prompt: number|null, answer: number, ratio: number }} speed tokens/s, and prompt tokens for each of an answer
 */
export function monthlyCost(tokens, owned, { prompt, answer, ratio }) {
  const hours = (tokens / answer + (prompt ? (tokens * ratio) / prompt : 0)) / 3600;
  const month = 8760 / 12;
  if (hours > month) return null;
  const energy = ((owned.power_w * hours + owned.idle_w * (month - hours)) / 1000) * owned.usd_per_kwh;
  return owned.price_usd / (owned.years * 12) + energy;
}

/**
 * Return the tokens of answers a month from which on owned hardware costs less; null if that never happens.
 * @param {{ usd_per_m_in: number, usd_per_m_out: number }} price
 * @param {Parameters<typeof monthlyCost>[1]} owned
 * @param {Parameters<typeof monthlyCost>[2]} speed
 */
export function breakEven(price, owned, speed) {
  const hosted = (speed.ratio * price.usd_per_m_in + price.usd_per_m_out) / 1e6;
  const seconds = 1 / speed.answer + (speed.prompt ? speed.ratio / speed.prompt : 0);
  const extra = (((seconds / 3600) * (owned.power_w - owned.idle_w)) / 1000) * owned.usd_per_kwh;
  const base = monthlyCost(0, owned, speed);
  if (base === null || hosted <= extra) return null;
  const tokens = base / (hosted - extra);
  return tokens * seconds <= (8760 / 12) * 3600 ? tokens : null;
}

/** @param {number} value */
export const grouped = (value) => value.toLocaleString("en-US");
