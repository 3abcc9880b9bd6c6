import assert from "node:assert/strict";
import { test } from "node:test";
import { AttentionScene, AttentionSide } from "../../gemma_lab/widgets/js/attention/attention_scene.js";
import { AttentionStore, heaviest, scaledRow } from "../../gemma_lab/widgets/js/attention/attention_store.js";
import { distance, weightPercentage } from "../../gemma_lab/widgets/js/shared/format.js";
import { FakeModel, packed, tokens } from "./packed.js";

const LAYOUT = { heads: 4, kv_heads: 2, window: null, kv_shared_from: null, k_eq_v: false };

/**
 * @param {number} count Tokens.
 * @param {number[]} edges
 */
function createStore(count, edges) {
  const store = new AttentionStore({
    name: "test",
    tokens: count,
    bin_edges: edges,
    layers: [
      { ...LAYOUT, layer: 0, kind: "local" },
      { ...LAYOUT, layer: 3, kind: "global" },
    ],
    heads: [0, 2, 3],
    chunk: 4,
  });
  store.addTokens(tokens(Array.from({ length: count }, (_, at) => `t${at}`)));
  return store;
}

/**
 * Maps in which query q gives key k (q + 2k + 1) / 255, squared, and the first token (q + 1) / 100.
 * @param {number} layer
 * @param {number} bins
 */
function maps(layer, bins) {
  const heads = 3;
  const cells = new Uint8Array(heads * bins * bins);
  const first = new Uint16Array(heads * bins);
  for (let head = 0; head < heads; head++) {
    for (let query = 0; query < bins; query++) {
      first[head * bins + query] = Math.round(((query + 1) / 100) * 65535);
      for (let key = 1; key <= query; key++) cells[(head * bins + query) * bins + key] = query + 2 * key + 1;
    }
  }
  return packed(
    {
      maps: [cells, [heads, bins, bins]],
      first_token: [first, [heads, bins]],
      scale_max: [new Float32Array(heads).fill(0.5), [heads]],
    },
    { layer_index: layer },
  );
}

/** @param {number} start */
function keys(start) {
  const none = 65535;
  const heads = 3;
  const [count, k] = [4, 2];
  const size = heads * count;
  return packed(
    {
      keys: [Uint16Array.from({ length: size * k }, (_, at) => (at % k ? none : 1)), [heads, count, k]],
      key_weights: [Uint16Array.from({ length: size * k }, () => 32768), [heads, count, k]],
      entropy: [new Uint16Array(size).fill(32768), [heads, count]],
      distance: [new Uint16Array(size).fill(6554), [heads, count]],
      first_token: [new Uint16Array(size).fill(65535), [heads, count]],
      mass: [Uint8Array.from({ length: 2 * size }, (_, at) => (at < size ? 255 : 51)), [2, heads, count]],
    },
    { layer_index: 1, start, count, k, labels: ["text", "image"] },
  );
}

test("a token is found in its bin", () => {
  const store = createStore(10, [0, 1, 4, 7, 10]);
  assert.deepEqual(
    [0, 1, 3, 4, 6, 7, 9].map((token) => store.bin(token)),
    [0, 1, 1, 2, 2, 3, 3],
  );
  assert.deepEqual(
    [0, 2].map((bin) => store.span(bin)),
    ["0", "4–6"],
  );
  assert.equal(store.isUnbinned, false);
});

test("the key-value head is that of the head's own number", () => {
  const store = createStore(4, [0, 1, 2, 3, 4]);
  assert.deepEqual(
    [0, 1, 2].map((head) => store.kvHead(0, head)),
    [0, 1, 1],
  );
});

test("a row comes from the most exact source that has arrived", () => {
  const store = createStore(8, [0, 2, 4, 6, 8]);
  assert.equal(store.rowOf(1, 0, 5), null);
  store.addMaps(maps(1, 4));
  const pooled = store.rowOf(1, 0, 5);
  assert.equal(pooled?.source, "pooled");
  assert.deepEqual(pooled?.list[0], { bin: 2, key: 4, weight: (7 / 255) ** 2 });
  assert.equal(pooled?.weight(5), (7 / 255) ** 2 / 2);
  store.addKeys(keys(4));
  const top = store.rowOf(1, 0, 5);
  assert.equal(top?.source, "top");
  assert.deepEqual(top?.list, [{ key: 1, weight: 32768 / 65535 }]);
  assert.equal(top?.weight(4), 0);
  store.addRows(
    packed({ row_5: [Uint16Array.from({ length: 18 }, (_, at) => at), [3, 6]] }, { layer_index: 1 }),
  );
  const full = store.rowOf(1, 1, 5);
  assert.equal(full?.source, "full");
  assert.equal(full?.weight(5), 11 / 65535);
  assert.equal(full?.weight(7), 0);
});

test("where every bin is a token, the map is the row, and its column says who attends", () => {
  const store = createStore(5, [0, 1, 2, 3, 4, 5]);
  store.addMaps(maps(0, 5));
  const row = store.rowOf(0, 2, 3);
  assert.equal(row?.source, "map");
  assert.equal(row?.weight(2), (8 / 255) ** 2);
  assert.ok(Math.abs((row?.weight(0) ?? 0) - 0.04) < 1e-4);
  assert.equal(row?.list[0].key, 0);
  const column = store.columnOf(0, 2, 2);
  assert.deepEqual(
    column?.list.map(({ key }) => key),
    [4, 3, 2],
  );
});

test("statistics have their units", () => {
  const store = createStore(8, [0, 2, 4, 6, 8]);
  assert.equal(store.statistics(1, 0, 5), null);
  store.addKeys(keys(4));
  const known = store.statistics(1, 2, 7);
  assert.ok(known);
  assert.ok(Math.abs(known.entropy - Math.log(9) / 2) < 1e-4);
  assert.ok(Math.abs(known.distance - 0.8) < 1e-3);
  assert.deepEqual(known.masses, [
    ["text", 1],
    ["image", 0.2],
  ]);
});

test("the heaviest weights come first, eight at most, without zeros", () => {
  const weights = [0, 3, 1, 0, 9, 2, 8, 4, 7, 6, 5];
  const list = heaviest(weights.length, (key) => weights[key]);
  assert.deepEqual(
    list.map(({ weight }) => weight),
    [9, 8, 7, 6, 5, 4, 3, 2],
  );
  assert.deepEqual(
    heaviest(3, () => 0),
    [],
  );
});

test("the first token does not set the scale of the others", () => {
  const list = [
    { key: 0, weight: 0.9 },
    { key: 4, weight: 0.05 },
  ];
  const row = scaledRow({ source: "top", list, weight: (key) => (key ? 0.05 : 0.9) }, false);
  assert.equal(row.top, 0.05);
  assert.deepEqual([row.share(0), row.share(4)], [1, 1]);
});

/** @returns {{ scene: AttentionScene, side: AttentionSide, model: FakeModel }} */
function createSide() {
  const model = new FakeModel({ _ack: {}, layer: 3, head: 2, selected_tokens: [5] });
  const scene = new AttentionScene(model);
  const side = new AttentionSide(scene, 0, createStore(1000, [0, 500, 1000]));
  scene.sides.push(side);
  return { scene, side, model };
}

test("zooming keeps the point it is around, and stays within the text", () => {
  const { side } = createSide();
  side.zoom(4, 500, 100);
  assert.equal(side.wide, 250);
  assert.equal((500 - side.query0) / side.wide, 0.5);
  assert.equal((100 - side.key0) / side.wide, 0.1);
  side.zoom(1000, 0, 0);
  assert.equal(side.wide, 8);
  side.moveTo(-50, 5000);
  assert.deepEqual([side.query0, side.key0], [0, 992]);
  side.reveal(500);
  assert.equal(side.query0, 496);
  side.resetZoom();
  assert.deepEqual([side.query0, side.key0, side.wide, side.isZoomed], [0, 0, 1000, false]);
});

test("what is missing is requested once", () => {
  const { side, scene, model } = createSide();
  scene.showHead();
  scene.showHead();
  assert.deepEqual(model.sent, [
    { type: "maps", side: 0, layer_index: 0 },
    { type: "rows", side: 0, layer_index: 0 },
  ]);
  side.moveTo(10, 10, 8);
  side.moveTo(11, 10, 8);
  assert.deepEqual(
    model.sent.slice(2).map((message) => [message.type, "start" in message ? message.start : -1]),
    [
      ["keys", 8],
      ["keys", 12],
      ["keys", 16],
    ],
  );
});

test("Python's choice is taken over", () => {
  const { scene, side } = createSide();
  scene.syncFromModel();
  assert.deepEqual([scene.layerIndex, scene.head, side.reading], [1, 1, 5]);
});

test("weights and distances are written with as many digits as they deserve", () => {
  assert.deepEqual([0, 0.00001, 0.0012, 0.0567, 0.123, 0.9999].map(weightPercentage), [
    "0 %",
    "< 0.01 %",
    "0.12 %",
    "5.7 %",
    "12.3 %",
    "100 %",
  ]);
  assert.deepEqual([3.08, 4200].map(distance), ["3.1 tokens", "4,200 tokens"]);
});
