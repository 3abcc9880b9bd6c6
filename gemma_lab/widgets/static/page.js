// The explorer in a file of its own: the state stands in the page, and nobody answers what is sent.
import { render } from "./routing.js";

/** What the widget would hold in Jupyter. It never changes here: the explorer keeps its own selection. */
class Saved {
  constructor(state) {
    this.state = state;
  }

  get(name) {
    return this.state[name];
  }

  send() {} // there is no kernel to hear it
  on() {}
  off() {}
}

/** Turn what JSON cannot hold back into bytes. */
function revive(_, value) {
  if (typeof value?.base64 !== "string") return value;
  const bytes = Uint8Array.from(atob(value.base64), (sign) => sign.charCodeAt(0));
  return new DataView(bytes.buffer);
}

const state = JSON.parse(document.getElementById("gemma-lab-state").textContent, revive);
const place = document.getElementById("gemma-lab-widget");
place.replaceChildren();
render({ model: new Saved(state), el: place });
