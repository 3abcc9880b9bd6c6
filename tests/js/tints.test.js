import assert from "node:assert/strict";
import { test } from "node:test";
import { drawOf } from "../../gemma_lab/widgets/js/chat/tokens.js";
import { roleClass, roleName } from "../../gemma_lab/widgets/js/shared/roles.js";
import {
  isTint,
  strongest,
  TINTS,
  tintBackground,
  tintMark,
  tintsOf,
  uncertainty,
} from "../../gemma_lab/widgets/js/shared/tints.js";
import { TokenStore } from "../../gemma_lab/widgets/js/shared/token_store.js";
import { tokens } from "./packed.js";

/** @typedef {import("../../gemma_lab/widgets/js/shared/tints.js").Draw} Draw */

/**
 * @param {Partial<Draw>} draw
 * @returns {Draw}
 */
function draw(draw) {
  return { logprob: -0.1, forbidden: null, firstChoice: "", overruled: false, drafted: null, ...draw };
}

test("a probability of one per cent or less, or none, is the end of the scale", () => {
  assert.equal(uncertainty(0), 0);
  assert.ok(Math.abs(uncertainty(Math.log(0.1)) - 0.5) < 1e-12);
  assert.equal(uncertainty(Math.log(0.001)), 1);
  assert.equal(uncertainty(null), 1);
});

test("each tint has a strength in 0 … 1, and lines tell apart what colour tells apart", () => {
  const draws = [
    draw({}),
    draw({ forbidden: 0.25 }),
    draw({ forbidden: 1, overruled: true, firstChoice: "x" }),
    draw({ drafted: true }),
    draw({ drafted: false }),
  ];
  for (const tint of Object.values(TINTS)) {
    for (const each of draws) assert.ok(tint.strength(each) >= 0 && tint.strength(each) <= 1);
    assert.ok(tint.meaning.length > 20);
  }
  assert.match(tintBackground("overruled", draws[1]), /--gl-forbidden.*0\.250/);
  assert.equal(tintBackground("overruled", draws[0]), "");
  assert.equal(tintBackground("none", draws[2]), "");
  assert.equal(tintBackground("overruled", undefined), "");
  const marks = draws.map((each) => tintMark("drafted", each));
  assert.deepEqual(marks, ["", "", "", "gl-accepted", "gl-rejected"]);
  assert.equal(tintMark("overruled", draws[2]), "gl-overruled");
  assert.equal(tintMark("overruled", draws[1]), "");
});

test("a trace is offered the tints that its tokens know", () => {
  assert.deepEqual(tintsOf([]), []);
  assert.deepEqual(tintsOf([draw({})]), ["probability"]);
  assert.deepEqual(tintsOf([draw({}), draw({ forbidden: 0 })]), ["probability", "overruled"]);
  assert.deepEqual(tintsOf([draw({ drafted: false })]), ["probability", "drafted"]);
  assert.ok(isTint("drafted"));
  assert.ok(!isTint("attention"));
});

test("a character of several tokens has the tint of the strongest", () => {
  const weak = draw({ forbidden: 0.9 });
  const overruled = draw({ forbidden: 0.4, overruled: true });
  assert.equal(strongest("overruled", [weak, overruled]), overruled);
  assert.equal(strongest("overruled", []), undefined);
});

test("a token of an answer tells how it was drawn", () => {
  assert.deepEqual(drawOf(["a", -1, "text", 0, [], -1, [0.5, "b", true], false]), {
    logprob: -1,
    forbidden: 0.5,
    firstChoice: "b",
    overruled: true,
    drafted: false,
  });
  assert.equal(drawOf(["a", null, "text", 0, [], -1, null, null]).forbidden, null);
});

test("the draws of a trace are found by token", () => {
  const store = new TokenStore();
  const draws = {
    tokens: [1, 2],
    logprob: [-0.5, -2],
    forbidden: [Number.NaN, 0.75],
    overruled: [0, 1],
    drafted: [2, 1],
    first: ["", "no"],
  };
  store.addTokens(tokens(["a", "b", "c"], { generated: [1, 2], draws }));
  assert.equal(store.draws.get(0), undefined);
  assert.deepEqual(store.draws.get(1), {
    logprob: -0.5,
    forbidden: null,
    firstChoice: "",
    overruled: false,
    drafted: true,
  });
  assert.deepEqual(store.drawsOf(2), [
    { logprob: -2, forbidden: 0.75, firstChoice: "no", overruled: true, drafted: false },
  ]);
});

test("roles of tools have names and classes of their own", () => {
  assert.equal(roleName("tool_call"), "tool call");
  assert.equal(roleName("user"), "user");
  assert.equal(roleClass("tool_response"), "gl-of-tool-response");
  assert.equal(roleClass("thought"), "");
});
