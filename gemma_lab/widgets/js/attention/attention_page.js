// The attention explorer in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./attention.js";

/** @import { AttentionMessage } from "../shared/wire_types.js" */

/**
 * @param {AttentionMessage} message
 * @returns {string[]}
 */
function answerNames(message) {
  if (message.type === "select" || message.type === "fetch") return [];
  const name = `${message.type}-${message.side}-${message.layer_index}`;
  return [message.type === "keys" ? `${name}-${message.start}` : name];
}

openPage(render, answerNames);
