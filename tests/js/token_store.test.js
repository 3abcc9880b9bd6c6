import assert from "node:assert/strict";
import { test } from "node:test";
import { visibleText } from "../../gemma_lab/widgets/js/shared/dom.js";
import { joined, TokenStore } from "../../gemma_lab/widgets/js/shared/token_store.js";
import { tokens } from "./packed.js";

test("tokens are replaced from the first new one on", () => {
  const store = new TokenStore();
  store.addTokens(tokens(["one", " two", ""]));
  store.addTokens(tokens(["", " three", " four"], { start: 2, generated: [1, 2], scripts: ["Arab"] }));
  assert.equal(store.count, 5);
  assert.deepEqual(store.texts, ["one", " two", "", " three", " four"]);
  assert.deepEqual([...store.codes.generated].slice(0, 5), [0, 0, 0, 1, 1]);
  const scripts = [0, 1, 2, 3, 4].map((token) => store.name("script", token));
  assert.deepEqual(scripts, ["Latn", "Latn", "Arab", "Arab", "Arab"]);
  assert.equal(store.label(2), "<piece>");
  assert.equal(store.label(3), "␣three");
});

test("a patch is named by its column and row", () => {
  const store = new TokenStore();
  store.addTokens(tokens(["a", "", ""], { media: [1, 2] }));
  assert.equal(store.label(1), "column 1, row 1");
  assert.equal(store.label(2), "column 2, row 1");
  assert.deepEqual(store.describe(2), ["token 2", "user", "image", "pixels 16–32 × 0–16"]);
});

test("an array grows at its end and keeps what it held", () => {
  const first = new Uint8Array([1, 2]);
  let array = joined(undefined, 0, first);
  assert.notEqual(array, first);
  array = joined(array, 2, new Uint8Array([3, 4, 5]));
  assert.deepEqual([...array.slice(0, 5)], [1, 2, 3, 4, 5]);
  array = joined(array, 1, new Uint8Array([9]));
  assert.deepEqual([...array.slice(0, 5)], [1, 9, 3, 4, 5]);
});

test("spaces, line breaks and controls of a token are seen", () => {
  assert.equal(visibleText(" a b "), "␣a b␣");
  assert.equal(visibleText("▁a\n\t\r"), "␣a⏎⇥␍");
  assert.equal(visibleText("\u202ex\u0007"), "U+202Ex" + "U+0007");
  assert.equal(visibleText(""), "∅");
});
