// A widget in a file of its own: its state and what Python would answer are deflated parts of the page.

/** Read one deflated part of the page. */
async function inflated(number) {
  const text = document.getElementById(`gemma-lab-part-${number}`)?.textContent ?? "";
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new DataView(await new Response(stream).arrayBuffer());
}

/** Return a state with its parts read. */
async function withParts(value) {
  if (Array.isArray(value)) return Promise.all(value.map(withParts));
  if (typeof value?.part === "number") return inflated(value.part);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(async ([key, each]) => [key, await withParts(each)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** The model of a page without a kernel: its traits never change, and it answers from the page. */
class SavedModel {
  constructor(state, answers, answerNames) {
    this.state = state;
    this.answers = answers;
    this.answerNames = answerNames;
    this.listeners = [];
  }

  get(name) {
    return this.state[name];
  }

  async send(message) {
    for (const name of this.answerNames(message)) {
      if (!(name in this.answers)) continue;
      const buffer = await inflated(this.answers[name]);
      for (const listener of this.listeners) listener({ ...message, epoch: this.state.facts?.epoch }, [buffer]);
    }
  }

  on(name, listener) {
    if (name === "msg:custom") this.listeners.push(listener);
  }

  off() {}
}

/** Draw the page's widget; `answerNames` returns the names of the answers to a message. */
export async function openPage(render, answerNames) {
  const page = JSON.parse(document.getElementById("gemma-lab-state")?.textContent ?? "{}");
  const model = new SavedModel(await withParts(page.state), page.answers, answerNames);
  const element = document.getElementById("gemma-lab-widget");
  if (!element) return;
  element.replaceChildren();
  render({ model, el: element });
}
