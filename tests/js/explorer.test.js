import assert from "node:assert/strict";
import { test } from "node:test";
import { ExplorerScene } from "../../gemma_lab/widgets/js/explorer/explorer_scene.js";
import { FakeModel, packed, tokens } from "./packed.js";

/** Two layers, three rows (tokens 1 to 3), keys 0 to 2. */
function createScene() {
  const summary = packed(
    {
      rows: [Uint32Array.of(1, 2, 3), [3]],
      keys: [Uint32Array.of(0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 0, 2), [2, 3, 2]],
      key_weights: [Uint16Array.from({ length: 12 }, (_, at) => 1000 * (at + 1)), [2, 3, 2]],
      top_edges: [Uint32Array.of(0, 1, 2, 1, 0, 1, 0, 0, 0), [3, 1, 3]],
      edge_weights: [Uint16Array.of(65535, 6554, 0), [3, 1]],
      expert_ids: [Uint16Array.from({ length: 12 }, (_, at) => at), [2, 3, 2]],
      expert_weights: [new Uint16Array(12).fill(65535), [2, 3, 2]],
      lens_positions: [Uint32Array.of(2), [1]],
      top_words: [Uint32Array.of(1, 0, 0, 1), [2, 1, 2]],
      probabilities: [Uint16Array.of(65535, 0, 6554, 0), [2, 1, 2]],
      final_ranks: [Uint32Array.of(0, 7), [2, 1]],
      feature_ids: [Uint32Array.of(0, 0, 7, 5, 5, 0, 7, 0), [4, 2]],
      feature_values: [Uint16Array.of(0, 0, 65535, 6554, 13107, 0, 32768, 0), [4, 2]],
    },
    {
      attention: { layers: [4, 9], kinds: ["local", "global"], heads: [0, 5] },
      routing: { layers: [4, 9], experts: 16, scale_max: 0.5 },
      logit_lens: { layers: [4, 9], words: ["x", "y"], k: 2 },
      features: { fits: true, kept: 2, top: 10 },
    },
  );
  const facts = { epoch: 1, name: "test", tokens: 4, answer_start: 3, records: ["attention"] };
  const model = new FakeModel({
    _ack: {},
    _facts: facts,
    _tokens: tokens(["a", "b", "c", "d"], { generated: [3] }),
    _summary: summary,
    selected_tokens: [],
    feature: -1,
  });
  return new ExplorerScene(model);
}

test("a generated token is read from the row before it", () => {
  const scene = createScene();
  assert.equal(scene.row, null);
  scene.point(3);
  assert.equal(scene.rowIndex, 1);
  assert.deepEqual(scene.edges, [{ layer: 9, head: 0, key: 1, weight: 6554 / 65535 }]);
  scene.point(2);
  assert.equal(scene.rowIndex, 1);
  scene.point(0);
  assert.equal(scene.rowIndex, -1);
});

test("the mean over all layers is the sum of the layers' shares, and one layer is its own", () => {
  const scene = createScene();
  scene.point(2);
  const unit = 1000 / 65535;
  const weights = new Map(scene.row?.list.map(({ key, weight }) => [key, weight / unit]));
  // row 1: layer 4 has keys 2 and 1 with 3 and 4, layer 9 keys 1 and 0 with 9 and 10
  assert.deepEqual(
    [0, 1, 2].map((key) => Math.round(2 * (weights.get(key) ?? 0))),
    [10, 13, 3],
  );
  scene.pointLayer(9);
  assert.equal(Math.round((scene.row?.weight(0) ?? 0) / unit), 10);
  assert.equal(scene.row?.weight(2), 0);
  assert.ok(Math.abs((scene.row?.top ?? 0) - 9 * unit) < 1e-9);
});

test("experts and words are those of the row", () => {
  const scene = createScene();
  scene.point(2);
  assert.deepEqual(scene.experts(1), [
    { expert: 8, share: 1 },
    { expert: 9, share: 1 },
  ]);
  assert.deepEqual(scene.lensWords(1), {
    list: [
      { word: "x", probability: 6554 / 65535 },
      { word: "y", probability: 0 },
    ],
    rank: 7,
  });
  scene.point(1);
  assert.equal(scene.lensWords(1), null);
});

test("a feature tints the tokens that have it, and a second click ends that", () => {
  const scene = createScene();
  const half = 32768 / 65535;
  assert.deepEqual(scene.featuresOf(1), [
    { feature: 7, share: 1 },
    { feature: 5, share: 6554 / 65535 },
  ]);
  assert.deepEqual(scene.featuresOf(0), []);
  assert.equal(scene.featureAt(1), 0);
  scene.tintByFeature(7);
  assert.equal(scene.tone, "feature");
  assert.deepEqual(
    [...scene.featureShares.shares],
    [
      [1, 1],
      [3, half],
    ],
  );
  assert.deepEqual(scene.featureRange, { top: 1, tokens: 2 });
  scene.tintByFeature(5);
  assert.deepEqual([...scene.featureShares.shares.keys()], [1, 2]);
  scene.tintByFeature(5);
  assert.equal(scene.tone, "attention");
  assert.equal(scene.feature, -1);
});

test("the feature that Python sets tints the text", () => {
  const scene = createScene();
  /** @type {any} */ (scene.model).traits.feature = 7;
  scene.syncFromModel();
  assert.equal(scene.tone, "feature");
  assert.equal(scene.featureAt(3), 32768 / 65535);
});
