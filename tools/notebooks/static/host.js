// Hosts anywidget modules in a page without Jupyter: state in, `render` called, nothing sent anywhere.

/** @typedef {{ [name: string]: any }} State */
/** @typedef {(...values: any[]) => void} Listener */
/** @typedef {{ initialize?: (options: object) => unknown, render?: (options: object) => unknown }} Widget */

class Model {
  /** @type {State} */
  #state;
  /** @type {Map<string, Set<Listener>>} */
  #listeners = new Map();

  /** @param {State} state */
  constructor(state) {
    this.#state = { ...state };
  }

  /** @param {string} name */
  get(name) {
    return this.#state[name];
  }

  /**
   * @param {string | State} name
   * @param {unknown} [value]
   */
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

  /**
   * @param {string} names
   * @param {Listener} listener
   */
  on(names, listener) {
    for (const name of names.split(" ")) {
      const listeners = this.#listeners.get(name) ?? new Set();
      this.#listeners.set(name, listeners.add(listener));
    }
  }

  /**
   * @param {string} [names]
   * @param {Listener} [listener]
   */
  off(names, listener) {
    for (const name of names ? names.split(" ") : [...this.#listeners.keys()]) {
      if (listener) this.#listeners.get(name)?.delete(listener);
      else this.#listeners.delete(name);
    }
  }

  /**
   * @param {string} name
   * @param {...unknown} values
   */
  #emit(name, ...values) {
    for (const listener of this.#listeners.get(name) ?? []) listener(...values);
  }

  get widget_manager() {
    throw new Error("A saved page has no widget manager.");
  }
}

/**
 * Return the widget that a module's source exports.
 * @param {string} source
 * @returns {Promise<Widget>}
 */
async function load(source) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    const module = await import(url);
    const exported = module.default ?? module;
    return typeof exported === "function" ? await exported() : exported;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** @param {string} css */
function addStyle(css) {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
}

/**
 * Binary traits stand in the page as base64; a widget expects a DataView, as a kernel sends it.
 * @param {string} _name
 * @param {any} value
 */
function revive(_name, value) {
  if (typeof value?.base64 !== "string") return value;
  const bytes = Uint8Array.from(atob(value.base64), (character) => character.charCodeAt(0));
  return new DataView(bytes.buffer);
}

const models = JSON.parse(document.getElementById("gemma-lab-models")?.textContent ?? "{}", revive);
const styles = new Set();
for (const place of document.querySelectorAll(".gemma-lab-live")) {
  const state = place instanceof HTMLElement ? models[place.dataset.model ?? ""] : undefined;
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
    console.error(error); // the static fallback stays in its place
  }
}

export {};
