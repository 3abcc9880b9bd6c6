// Hosts anywidget modules in a page without Jupyter: state in, `render` called, nothing sent anywhere.
class Model {
  #state;
  #listeners = new Map();
  constructor(state) {
    this.#state = { ...state };
  }
  get(name) {
    return this.#state[name];
  }
  set(name, value) {
    const changes = typeof name === "string" ? { [name]: value } : name;
    for (const [key, next] of Object.entries(changes)) {
      if (this.#state[key] === next) continue;
      this.#state[key] = next;
      this.#emit(`change:${key}`, next);
      this.#emit("change", this);
    }
  }
  save_changes() {} // there is no kernel to save to
  send() {}
  on(names, listener) {
    for (const name of names.split(" ")) {
      if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
      this.#listeners.get(name).add(listener);
    }
  }
  off(names, listener) {
    for (const name of names ? names.split(" ") : [...this.#listeners.keys()]) {
      if (listener) this.#listeners.get(name)?.delete(listener);
      else this.#listeners.delete(name);
    }
  }
  #emit(name, ...values) {
    for (const listener of this.#listeners.get(name) ?? []) listener(...values);
  }
  get widget_manager() {
    throw new Error("A saved page has no widget manager.");
  }
}

async function load(source) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    const module = await import(url);
    const made = module.default ?? module;
    return typeof made === "function" ? await made() : made;
  } finally {
    URL.revokeObjectURL(url);
  }
}

function addStyle(css) {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
}

/** Binary traits stand in the page as base64; a widget expects a DataView, as a kernel sends it. */
function revive(_, value) {
  if (typeof value?.base64 !== "string") return value;
  return new DataView(Uint8Array.from(atob(value.base64), (sign) => sign.charCodeAt(0)).buffer);
}

const models = JSON.parse(document.getElementById("gemma-lab-models").textContent, revive);
const styles = new Set();
for (const place of document.querySelectorAll(".gemma-lab-live")) {
  const state = models[place.dataset.model];
  const model = new Model(state);
  const el = document.createElement("div");
  try {
    const widget = await load(state._esm);
    if (state._css && !styles.has(state._css)) {
      styles.add(state._css);
      addStyle(state._css);
    }
    await widget.initialize?.({ model });
    await widget.render?.({ model, el });
    place.replaceChildren(el);
  } catch (error) {
    console.error(error); // the static twin stays in its place
  }
}
