import assert from "node:assert/strict";
import { test } from "node:test";
import { strings, unpack } from "../../gemma_lab/widgets/js/shared/wire.js";
import { packed, utf8 } from "./packed.js";

for (const shift of [0, 1, 3, 8]) {
  test(`arrays of every kind are read from a buffer ${shift} bytes into its memory`, () => {
    /** @type {any} */
    const part = unpack(
      packed(
        {
          a: [new Uint8Array([1, 255]), [2]],
          b: [new Uint16Array([65535, 0, 7]), [3]],
          c: [new Int32Array([-1, 2 ** 31 - 1]), [1, 2]],
          d: [new Float32Array([0.5, -2]), [2]],
          e: [new Uint32Array([2 ** 32 - 1]), [1]],
          f: [new Int16Array([-32768]), [1]],
          none: [new Uint16Array(), [0, 8]],
        },
        { start: 3 },
        shift,
      ),
    );
    assert.deepEqual([...part.a], [1, 255]);
    assert.deepEqual([...part.b], [65535, 0, 7]);
    assert.deepEqual([...part.c], [-1, 2 ** 31 - 1]);
    assert.deepEqual([...part.d], [0.5, -2]);
    assert.deepEqual([...part.e], [2 ** 32 - 1]);
    assert.deepEqual([...part.f], [-32768]);
    assert.equal(part.none.length, 0);
    assert.deepEqual(part.shapes.c, [1, 2]);
    assert.deepEqual(part.meta, { start: 3 });
  });
}

test("joined strings are cut at their ends, whatever their script", () => {
  const words = ["", "a", "ß", "", "نجمة", "👩‍🚀", "\u0000", ""];
  assert.deepEqual(strings(...utf8(words)), words);
  assert.deepEqual(strings(...utf8([])), []);
});
