// The routing explorer in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./routing.js";

openPage(render, ({ type, layer_indices: indices }) => (type === "layers" ? indices.map((row) => `layers-${row}`) : []));
