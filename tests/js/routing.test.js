import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { RoutingScene } from "../../gemma_lab/widgets/js/routing/routing_scene.js";
import { RoutingStore } from "../../gemma_lab/widgets/js/routing/routing_store.js";
import { FakeModel, packed, tokens } from "./packed.js";

const LAYERS = [2, 5];
const EXPERTS = 4;
const IDS = [
  [0, 1, 2, 3, 0, 3], // layer 2: tokens of two experts each
  [3, 2, 3, 2, 3, 1],
];

/** @param {string[]} texts */
function createStore(texts = ["a", "b", "c"]) {
  const store = new RoutingStore({
    epoch: 1,
    name: "test",
    layers: LAYERS,
    experts: EXPERTS,
    top_k: 2,
    scale_max: 0.5,
    prefetch: true,
    precision: "",
  });
  store.addTokens(tokens(texts));
  const scale = new Float32Array(2 * EXPERTS).fill(2);
  const counts = new Uint32Array(2 * EXPERTS);
  IDS.forEach((ids, layer) => {
    for (const id of ids) counts[layer * EXPERTS + id] += 1;
  });
  store.addLoads(packed({ token_counts: [counts, [2, 4]], expert_scale: [scale, [2, 4]] }, { tokens: 3 }));
  return store;
}

/**
 * @param {number[]} indices
 * @param {number} [start]
 * @param {number} [end]
 */
function layers(indices, start = 0, end = 3) {
  const ids = indices.flatMap((index) => IDS[index].slice(2 * start, 2 * end));
  const count = end - start;
  const facets = indices.flatMap(() => Array.from({ length: count }, (_, at) => (start + at + 1) * 1000));
  return packed(
    {
      layer_indices: [Uint16Array.from(indices), [indices.length]],
      expert_ids: [Uint8Array.from(ids), [indices.length, count, 2]],
      gate_weights: [Uint16Array.from(ids, (_, at) => (at % 2 ? 16384 : 49151)), [indices.length, count, 2]],
      entropy: [Uint16Array.from(facets), [indices.length, count]],
      expert_fraction: [Uint16Array.from(facets), [indices.length, count]],
    },
    { start, count },
  );
}

test("a layer's experts come heaviest first, with the weights applied", () => {
  const store = createStore();
  assert.equal(store.chosen(0, 1), null);
  assert.deepEqual(store.addLayers(layers([0, 1])), [0, 1]);
  const chosen = store.chosen(0, 1) ?? [];
  assert.deepEqual(
    chosen.map(({ expert }) => expert),
    [2, 3],
  );
  assert.ok(Math.abs(chosen[0].weight - (2 * 49151) / 65535) < 1e-6);
  assert.ok(Math.abs(store.weight(0, 1, new Set([2, 3])) - 2) < 1e-4);
  assert.equal(store.weight(0, 1, new Set([0])), 0);
  assert.ok(Math.abs((store.facets(0, 0)?.entropy ?? 0) - (2 * 1000) / 65535) < 1e-9);
});

test("appended tokens continue a layer, and later ones wait for earlier ones", () => {
  const store = createStore();
  store.addLayers(layers([1], 2, 3));
  assert.equal(store.has(1), false);
  store.addLayers(layers([1], 0, 2));
  assert.equal(store.has(1), false);
  store.addLayers(layers([1], 1, 3));
  assert.equal(store.has(1), true);
  const whole = createStore();
  whole.addLayers(layers([1]));
  for (const token of [0, 1, 2]) assert.deepEqual(store.chosen(1, token), whole.chosen(1, token));
});

test("loads and the tokens of an expert agree with the ids", () => {
  const store = createStore();
  store.addLayers(layers([0, 1]));
  for (const layer of [0, 1]) {
    const counts = Array.from({ length: EXPERTS }, (_, expert) => {
      return IDS[layer].filter((id) => id === expert).length;
    });
    assert.deepEqual([...(store.loads(layer, null) ?? [])], counts);
    assert.deepEqual([...(store.loads(layer, new Uint8Array([1, 1, 1])) ?? [])], counts);
    for (let expert = 0; expert < EXPERTS; expert++) {
      /** @type {number[]} */
      const served = [];
      store.eachToken(layer, expert, (token) => served.push(token));
      const expected = [0, 1, 2].filter((at) => IDS[layer].slice(2 * at, 2 * at + 2).includes(expert));
      assert.deepEqual(served, expected);
    }
  }
});

/** @param {{ [trait: string]: any }} [traits] */
function createScene(traits = {}) {
  const model = new FakeModel({ _ack: {}, layer: 2, selected_tokens: [], selected_experts: [], ...traits });
  const scene = new RoutingScene(createStore(), model);
  return { model, scene };
}

test("the filter keeps the tokens that match", () => {
  const { scene } = createScene();
  scene.store.addTokens(tokens(["", "b", ""], { media: [0, 2] }));
  scene.setFilter("modality", "image");
  assert.equal(scene.length, 2);
  assert.deepEqual([scene.at(0), scene.at(1)], [0, 2]);
  assert.deepEqual(
    [0, 1, 2].map((token) => scene.place(token)),
    [0, -1, 1],
  );
  scene.setFilter("modality", null);
  assert.equal(scene.length, 3);
});

test("layers are requested once, and the selection once it rests", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { scene, model } = createScene();
  scene.goTo(1);
  scene.goTo(9);
  scene.stepLayer(-1);
  scene.toggleToken(2, false);
  scene.toggleToken(0, true);
  scene.toggleExpert(3, false);
  assert.deepEqual(model.sent, [
    { type: "layers", layer_indices: [1] },
    { type: "layers", layer_indices: [0] },
  ]);
  mock.timers.tick(1000);
  const { view, ...rest } = /** @type {{ view?: string }} */ (model.sent[2]);
  assert.equal(view, scene.view);
  assert.deepEqual(rest, { type: "select", seq: 1, layer: 2, tokens: [0, 2], experts: [3] });
  mock.timers.reset();
});

test("a view ignores selections older than its own", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { scene, model } = createScene();
  scene.toggleToken(1, false);
  scene.syncFromModel();
  assert.deepEqual([...scene.tokens], [1]); // not sent yet
  mock.timers.tick(1000);
  model.traits._ack = { view: "another", seq: 9 };
  scene.syncFromModel();
  assert.deepEqual([...scene.tokens], [1]); // sent, not acknowledged
  model.traits._ack = { view: scene.view, seq: 1 };
  model.traits.selected_tokens = [0];
  model.traits.layer = 5;
  scene.syncFromModel();
  assert.deepEqual([[...scene.tokens], scene.layer], [[0], 5]);
  mock.timers.reset();
});

test("the tone of the text runs from the 5th to the 95th percentile", () => {
  const { scene } = createScene();
  assert.equal(scene.toneRange(), null);
  scene.store.addLayers(layers([0]));
  scene.tone = "expert_fraction";
  assert.deepEqual(scene.toneRange(), [1000 / 65535, 2000 / 65535]);
  assert.deepEqual(
    [0, 1, 2].map((token) => scene.toneOf(token)),
    [0, 1, 1],
  );
  scene.tone = "plain";
  assert.equal(scene.toneOf(2), 0);
});
