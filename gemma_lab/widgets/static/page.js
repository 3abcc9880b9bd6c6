// The explorer in a file of its own: the state stands in the page, and so do the layers, each read when it is wanted.
import { render } from "./routing.js";

/** Turn base64 into bytes. */
function decoded(text) {
  if (Uint8Array.fromBase64) return new DataView(Uint8Array.fromBase64(text).buffer);
  const signs = atob(text);
  const bytes = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at++) bytes[at] = signs.charCodeAt(at);
  return new DataView(bytes.buffer);
}

/** What the widget would hold in Jupyter. Its traits never change here: the explorer keeps its own selection. */
class Saved {
  constructor(state) {
    this.state = state;
    this.hearers = [];
  }

  get(name) {
    return this.state[name];
  }

  /** Nobody is there to hear, but a layer that is asked for is in the page. */
  send({ type, rows }) {
    if (type !== "layers") return;
    rows.forEach((row, place) => setTimeout(() => this.answer(row), 12 * place));
  }

  answer(row) {
    const part = document.getElementById(`gemma-lab-part-${row}`);
    if (!part) return;
    const message = { type: "layers", epoch: this.state.facts.epoch };
    for (const hear of this.hearers) hear(message, [decoded(part.textContent)]);
  }

  on(name, hear) {
    if (name === "msg:custom") this.hearers.push(hear);
  }

  off() {}
}

const state = JSON.parse(document.getElementById("gemma-lab-state").textContent, (_, value) => (typeof value?.base64 === "string" ? decoded(value.base64) : value));
const place = document.getElementById("gemma-lab-widget");
place.replaceChildren();
render({ model: new Saved(state), el: place });
