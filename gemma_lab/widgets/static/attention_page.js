// The attention explorer in a file of its own.
import { render } from "./attention.js";
import { openPage } from "./packed.js";

openPage(render, ({ type, side, row, start }) => (type === "keys" ? `keys-${side}-${row}-${start}` : `${type}-${side}-${row}`));
