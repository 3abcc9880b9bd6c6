import assert from "node:assert/strict";
import { test } from "node:test";
import { signed } from "../../gemma_lab/widgets/js/explorer/strength_slider.js";

test("a strength has its sign and no more digits than it needs", () => {
  assert.deepEqual([0, -0, 2, -0.25, 1 / 3].map(signed), ["0", "0", "+2", "−0.25", "+0.3333"]);
});
