import assert from "node:assert/strict";
import { test } from "node:test";
import { KL_ROW, VersusScene } from "../../gemma_lab/widgets/js/versus/versus_scene.js";
import { packed } from "./packed.js";

function scene() {
  /** @type {any[]} */
  const sent = [];
  /** @type {Record<string, any>} */
  const state = {
    _facts: { names: ["a", "b"], prompts: [], rounding: {}, chance: 0.9 },
    _ack: {},
    layer: KL_ROW,
    selected_tokens: [],
  };
  const words = new TextEncoder().encode("onetwo");
  const cells = packed(
    {
      text: [words, [6]],
      text_ends: [Uint32Array.of(3, 6), [2]],
      generated: [Uint8Array.of(0, 1), [2]],
      kl: [Float32Array.of(Number.NaN, 0.5), [2]],
      flipped: [Uint16Array.of(0, 65535, 32768, 0), [2, 2]],
      weight: [Uint16Array.of(0, 13107, 0, 0), [2, 2]],
      first_ids: [Uint16Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2, 2, 2]],
      first_weights: [Uint16Array.of(65535, 0, 1, 2, 3, 4, 5, 6), [2, 2, 2]],
      second_ids: [Uint16Array.of(1, 2, 9, 4, 5, 6, 7, 8), [2, 2, 2]],
      second_weights: [Uint16Array.of(0, 65535, 1, 2, 3, 4, 5, 6), [2, 2, 2]],
    },
    { start: 10, layers: [2, 5], tops: [{ row: 11, next: "x", sides: [[], []] }] },
  );
  /** @type {any} */
  const model = {
    get: (/** @type {string} */ name) => state[name],
    send: (/** @type {any} */ message) => sent.push(message),
  };
  return { scene: new VersusScene(model, cells), sent, state };
}

test("cells are read by row of the map and column of the text", () => {
  const { scene: found } = scene();
  assert.deepEqual(found.labels, ["one", "two"]);
  assert.deepEqual(found.rows, [KL_ROW, 2, 5]);
  assert.ok(Number.isNaN(found.share(0, 0)));
  assert.equal(found.share(0, 1), 1);
  assert.equal(found.share(1, 1), 1);
  assert.ok(Math.abs(found.share(2, 0) - 0.5) < 1e-4);
  found.measure = "weight";
  assert.ok(Math.abs(found.share(1, 1) - 0.2) < 1e-4);
  assert.deepEqual(
    found.experts("first", 1, 0).map(([expert]) => expert),
    [1, 2],
  );
  assert.deepEqual(found.experts("second", 1, 1)[0][0], 9);
  assert.deepEqual(found.experts("first", 0, 0), []);
});

test("selecting a cell selects its token and its layer, selecting it again releases it", () => {
  const { scene: found, sent } = scene();
  found.select(1, 2);
  found.postNow();
  assert.deepEqual(sent.at(-1).tokens, [11]);
  assert.equal(sent.at(-1).layer, 5);
  assert.deepEqual(found.shown, { column: 1, row: 2 });
  found.point(0, 1);
  assert.deepEqual(found.shown, { column: 0, row: 1 });
  found.point(-1);
  found.select(1, 2);
  found.postNow();
  assert.deepEqual(sent.at(-1).tokens, []);
  assert.equal(found.shown, null);
});

test("a selection of Python replaces that of the view once it is acknowledged", () => {
  const { scene: found, state } = scene();
  state.selected_tokens = [10];
  state.layer = 2;
  found.syncFromModel();
  assert.deepEqual(found.shown, { column: 0, row: 1 });
});
