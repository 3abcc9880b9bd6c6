// A widget in a file of its own: its state and what Python would answer are deflated parts of the page.

/** @import { Buffer } from "./wire_types.js" */
/** @typedef {{ [name: string]: any }} State */
/** @typedef {(message: any, buffers: Buffer[]) => void} MessageListener */
/** @typedef {{ state: State, answers: Record<string, number> }} Page */

/**
 * Read one deflated part of the page.
 * @param {number} part
 * @returns {Promise<Buffer>}
 */
async function inflated(part) {
  const text = document.getElementById(`gemma-lab-part-${part}`)?.textContent ?? "";
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new DataView(await new Response(stream).arrayBuffer());
}

/**
 * Return a state with its parts read.
 * @param {any} value
 * @returns {Promise<any>}
 */
async function withParts(value) {
  if (Array.isArray(value)) return Promise.all(value.map(withParts));
  if (typeof value?.part === "number") return inflated(value.part);
  if (value === null || typeof value !== "object") return value;
  /** @type {State} */
  const read = {};
  for (const [name, each] of Object.entries(value)) read[name] = await withParts(each);
  return read;
}

/** The model of a page without a kernel: its traits never change, and it answers from the page. */
class SavedModel {
  /**
   * @param {State} state
   * @param {Record<string, number>} answers
   * @param {(message: any) => string[]} answerNames
   */
  constructor(state, answers, answerNames) {
    this.state = state;
    this.answers = answers;
    this.answerNames = answerNames;
    /** @type {MessageListener[]} */
    this.listeners = [];
  }

  /** @param {string} name */
  get(name) {
    return this.state[name];
  }

  /** @param {any} message */
  async send(message) {
    for (const name of this.answerNames(message)) {
      if (!Object.hasOwn(this.answers, name)) continue;
      const buffer = await inflated(this.answers[name]);
      const answer = { ...message, epoch: this.state._facts?.epoch };
      for (const listener of this.listeners) listener(answer, [buffer]);
    }
  }

  /**
   * @param {string} name
   * @param {MessageListener} listener
   */
  on(name, listener) {
    if (name === "msg:custom") this.listeners.push(listener);
  }

  off() {}
}

/**
 * Draw the page's widget.
 * @param {(options: { model: any, el: HTMLElement }) => void} render
 * @param {(message: any) => string[]} answerNames Returns the names of the answers to a message.
 */
export async function openPage(render, answerNames) {
  /** @type {Page} */
  const page = JSON.parse(document.getElementById("gemma-lab-state")?.textContent ?? "");
  const model = new SavedModel(await withParts(page.state), page.answers, answerNames);
  const element = document.getElementById("gemma-lab-widget");
  if (!element) return;
  element.replaceChildren();
  render({ model, el: element });
}
