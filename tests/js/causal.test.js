import assert from "node:assert/strict";
import { test } from "node:test";
import { CausalScene } from "../../gemma_lab/widgets/js/causal/causal_scene.js";
import { SignedRamp } from "../../gemma_lab/widgets/js/shared/colors.js";
import { packed } from "./packed.js";

function scene({ draws = 19, canRun = true } = {}) {
  /** @type {any[]} */
  const sent = [];
  /** @type {Record<string, any>} */
  const state = {
    _facts: { draws, parts: ["residual"] },
    _ack: {},
    _can_run: canRun,
    cell: [],
    part: "residual",
  };
  const words = new TextEncoder().encode("onetwo");
  const cells = packed(
    {
      text: [words, [6]],
      text_ends: [Uint32Array.of(3, 6), [2]],
      differs: [Uint8Array.of(0, 1), [2]],
      effects: [Float32Array.of(0.5, -2, 4, Number.NaN), [2, 2]],
      p: [Float32Array.of(0.5, 1, 0.05, Number.NaN), [2, 2]],
      thresholds: [Float32Array.of(1, 1), [2]],
    },
    { part: "residual", layers: [3, 7] },
  );
  /** @type {any} */
  const model = {
    get: (/** @type {string} */ name) => state[name],
    send: (/** @type {any} */ message) => sent.push(message),
  };
  return { scene: new CausalScene(model, cells), sent, state };
}

test("the last layer is on top, and cells are read by row and column", () => {
  const { scene: found } = scene();
  assert.deepEqual(found.layers, [7, 3]);
  assert.deepEqual(found.labels, ["one", "two"]);
  assert.equal(found.effect(0, 0), 4);
  assert.ok(Number.isNaN(found.effect(0, 1)));
  assert.equal(found.effect(1, 1), -2);
  assert.equal(found.limit, 4);
});

test("only cells with the smallest possible p value stand out", () => {
  const { scene: found } = scene();
  assert.equal(found.standsOut(0, 0), true);
  assert.equal(found.standsOut(1, 0), false);
  assert.equal(found.standsOut(0, 1), false);
  assert.equal(scene({ draws: 0 }).scene.standsOut(0, 0), false);
});

test("selecting a cell asks for its trace; selecting it again releases it", () => {
  const { scene: found, sent } = scene();
  found.select(0, 0);
  found.postNow();
  assert.deepEqual(found.cell, [7, 0]);
  assert.deepEqual(sent[0], { type: "open", part: "residual", layer: 7, column: 0 });
  assert.deepEqual(sent[1].cell, [7, 0]);
  assert.equal(sent[1].type, "select");
  assert.deepEqual(found.shown, { column: 0, row: 0 });
  found.select(0, 0);
  found.postNow();
  assert.deepEqual(sent[2].cell, []);
  assert.equal(sent.length, 3);
});

test("where there is no cell nothing is selected, and without a model nothing is asked for", () => {
  const { scene: found, sent } = scene();
  found.select(1, 0);
  assert.deepEqual(found.cell, []);
  assert.deepEqual(sent, []);
  const { scene: alone, sent: none } = scene({ canRun: false });
  alone.select(0, 1);
  alone.postNow();
  assert.deepEqual(
    none.map((message) => message.type),
    ["select"],
  );
});

test("an older selection of Python does not replace a newer one of the view", () => {
  const { scene: found, state } = scene();
  found.select(0, 0);
  state.cell = [3, 1];
  found.syncFromModel();
  assert.deepEqual(found.cell, [7, 0]);
  found.postNow();
  state._ack = { view: found.view, seq: found.seq };
  found.syncFromModel();
  assert.deepEqual(found.cell, [3, 1]);
});

test("signed colours are purple below zero and orange above, on both pages", () => {
  for (const theme of ["light", "dark"]) {
    const ramp = new SignedRamp(theme);
    const [low, high] = [-1, 1].map((value) => (ramp.of(value).match(/\d+/g) ?? []).map(Number));
    assert.ok(low[2] > low[1]);
    assert.ok(high[0] > high[1] && high[1] > high[2]);
    assert.equal(ramp.of(5), ramp.of(1));
    assert.match(ramp.gradient(), /^linear-gradient/);
  }
});
