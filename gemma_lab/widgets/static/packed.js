// A widget in a file of its own whose bytes stand deflated in the page: opened when the page opens, or when asked for.

/** Read one deflated part of the page as a DataView. */
async function inflated(number) {
  const text = document.getElementById(`gemma-lab-part-${number}`).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new DataView(await new Response(stream).arrayBuffer());
}

/** Return a state with its parts read. */
async function opened(value) {
  if (Array.isArray(value)) return Promise.all(value.map(opened));
  if (typeof value?.part === "number") return inflated(value.part);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(await Promise.all(Object.entries(value).map(async ([key, each]) => [key, await opened(each)])));
}

/** What the widget would hold in Jupyter. Its traits never change here; what it asks for is read from the page. */
class PackedModel {
  constructor(state, answers, name) {
    [this.state, this.answers, this.name, this.hearers] = [state, answers, name, []];
  }

  get(name) {
    return this.state[name];
  }

  async send(message) {
    const name = this.name(message);
    if (!(name in this.answers)) return;
    const buffer = await inflated(this.answers[name]);
    for (const hear of this.hearers) hear({ ...message }, [buffer]);
  }

  on(name, hear) {
    if (name === "msg:custom") this.hearers.push(hear);
  }

  off() {}
}

/** Draw the page's widget; `name` says what the answer to a message is called. */
export async function openPage(render, name) {
  const page = JSON.parse(document.getElementById("gemma-lab-state").textContent);
  const model = new PackedModel(await opened(page.state), page.answers, name);
  const place = document.getElementById("gemma-lab-widget");
  place.replaceChildren();
  render({ model, el: place });
}
