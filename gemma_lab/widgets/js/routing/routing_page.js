// The routing explorer in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./routing.js";

/** @import { RoutingMessage } from "../shared/wire_types.js" */

/** @param {RoutingMessage} message */
function answerNames(message) {
  return message.type === "layers" ? message.layer_indices.map((index) => `layers-${index}`) : [];
}

openPage(render, answerNames);
