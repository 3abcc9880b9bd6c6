// The attention explorer in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./attention.js";

openPage(render, ({ type, side, layer_index: row, start }) => [
  type === "keys" ? `keys-${side}-${row}-${start}` : `${type}-${side}-${row}`,
]);
