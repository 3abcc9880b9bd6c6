import assert from "node:assert/strict";
import { test } from "node:test";
import { leaders, Ramp } from "../../gemma_lab/widgets/js/shared/colors.js";

for (const theme of ["light", "dark"]) {
  test(`the ${theme} scale has one colour per step, and the ends are distinct`, () => {
    const ramp = new Ramp(theme);
    assert.equal(new Set(ramp.css).size > 55, true);
    assert.equal(ramp.step(-1), 0);
    assert.equal(ramp.step(0), 0);
    assert.equal(ramp.step(0.5), 32);
    assert.equal(ramp.step(1), 63);
    assert.equal(ramp.step(7), 63);
    assert.equal(ramp.of(1), ramp.css[63]);
    for (const [red, green, blue] of ramp.rgb) {
      for (const value of [red, green, blue])
        assert.ok(Number.isInteger(value) && value >= 0 && value <= 255);
    }
  });

  test(`a ${theme} colour in memory is the same as in the stylesheet`, () => {
    const ramp = new Ramp(theme);
    ramp.packed.forEach((packed, step) => {
      const [red, green, blue] = ramp.rgb[step];
      assert.deepEqual([packed & 255, (packed >> 8) & 255, (packed >> 16) & 255], [red, green, blue]);
      assert.equal(packed >>> 24, 255);
    });
  });

  test(`amounts get steadily darker or brighter on the ${theme} page`, () => {
    const light = new Ramp(theme).rgb.map(([red, green, blue]) => 0.3 * red + 0.59 * green + 0.11 * blue);
    const falls = light.every((value, at) => at === 0 || value <= light[at - 1] + 1);
    const rises = light.every((value, at) => at === 0 || value >= light[at - 1] - 1);
    assert.equal(theme === "dark" ? rises : falls, true);
  });
}

test("on a dark page the scale ends in viridis' yellow", () => {
  assert.deepEqual(new Ramp("dark").rgb[63], [0xfd, 0xe7, 0x25]);
});

test("the experts that lead most often get colours, ties by number", () => {
  const { colors, ranked } = leaders([5, 3, 5, 9, 3, 1, 2, 4, 6, 7, 8]);
  assert.deepEqual(ranked.slice(0, 3), [
    [3, 2],
    [5, 2],
    [1, 1],
  ]);
  assert.equal(colors.size, 7);
  assert.equal(new Set(colors.values()).size, 7);
  assert.equal(colors.has(9), false);
});
