import assert from "node:assert/strict";
import { test } from "node:test";
import { heightOf, layOut } from "../../gemma_lab/widgets/js/shared/blocks.js";
import { TokenStore } from "../../gemma_lab/widgets/js/shared/token_store.js";
import { tokens } from "./packed.js";

/** @typedef {import("../../gemma_lab/widgets/js/shared/blocks.js").Block} Block */

/**
 * Return a store whose tokens have the given roles.
 * @param {string[]} roles
 */
function storeOf(roles) {
  const store = new TokenStore();
  store.addTokens(tokens(roles.map((_, at) => ` w${at}`)));
  store.names.role = [...new Set(roles)];
  store.codes.role = Uint8Array.from(roles, (role) => store.names.role.indexOf(role));
  return store;
}

test("tokens of one role in a row are a segment, of one block or several", () => {
  const roles = [
    ...Array(3).fill("user"),
    ...Array(600).fill("tool_response"),
    ...Array(2).fill("model"),
    "user",
  ];
  const store = storeOf(roles);
  /** @type {Block[]} */
  const blocks = [];
  layOut(store, blocks);
  assert.equal(blocks[0].start, 0);
  assert.equal(blocks.at(-1)?.stop, roles.length);
  for (const [at, block] of blocks.entries()) {
    if (at) assert.equal(block.start, blocks[at - 1].stop);
    assert.equal(new Set(roles.slice(block.start, block.stop)).size, 1);
    assert.equal(block.heading, block.start === block.segment ? block.role : "");
  }
  assert.ok(blocks.filter(({ segment }) => segment === 3).length > 1);
  assert.deepEqual([...new Set(blocks.map(({ segment }) => segment))], [0, 3, 603, 605]);
});

test("appended tokens go on with the segment before them", () => {
  const roles = ["user", "model", "model", "model"];
  /** @type {Block[]} */
  const blocks = [];
  layOut(storeOf(roles.slice(0, 2)), blocks);
  layOut(storeOf(roles), blocks);
  assert.deepEqual(
    blocks.map(({ start, stop, segment, heading }) => [start, stop, segment, heading]),
    [
      [0, 1, 0, "user"],
      [1, 2, 1, "model"],
      [2, 4, 1, ""],
    ],
  );
});

test("of a folded segment only the heading has a height", () => {
  /** @type {Block[]} */
  const blocks = [];
  layOut(storeOf(Array(600).fill("tool")), blocks);
  assert.ok(blocks.length > 1);
  const folded = new Set([0]);
  const heights = blocks.map((block) => heightOf(block, folded));
  assert.ok(heights[0] > 0);
  assert.ok(heights.slice(1).every((height) => height === 0));
  assert.ok(blocks.every((block) => heightOf(block, new Set()) === block.height));
});
