// The combined explorer as a widget.
import { ExplorerView } from "./explorer_view.js";

/** @import { ExplorerModel } from "../shared/wire_types.js" */

/** @param {{ model: ExplorerModel, el: HTMLElement }} options */
export function render({ model, el }) {
  return new ExplorerView(model, el).listen();
}

export default { render };
