// Where a question is written: text, pictures, send and stop.
import { button, h, textField } from "../shared/dom.js";
import { told, waveform } from "./previews.js";

const PART = 2_000_000; // bytes a message; the server closes a connection whose message is longer than 10 MB
const TYPES = {
  image: "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff,.png,.jpg,.jpeg,.webp,.gif,.bmp,.tif,.tiff",
  video: "video/*,.mp4,.m4v,.mov,.webm,.mkv,.avi,.mpg,.mpeg,.ogv",
  audio: "audio/*,.wav,.mp3,.m4a,.aac,.ogg,.oga,.opus,.flac,.weba",
};
const NOUNS = { image: "a picture", video: "a video", audio: "a sound" };

/** What a file is, by its type or its name: as widgets/tray.py decides. */
function kindOf({ name, type }) {
  const major = type.split("/")[0];
  if (NOUNS[major]) return major;
  const ending = `.${name.split(".").pop().toLowerCase()}`;
  return ["video", "audio"].find((kind) => TYPES[kind].split(",").includes(ending)) ?? "image";
}

export class Composer {
  constructor(model, root, say, player) {
    Object.assign(this, { model, say, player });
    this.reading = new Set(); // files sent to Python that have not come back yet
    this.kinds = Object.keys(NOUNS).filter((kind) => model.get("_facts").modalities.includes(kind));
    this.field = textField({
      rows: 1,
      placeholder: `Ask ${model.get("_facts").name}`,
      "aria-label": "Your question",
      oninput: () => this.grow(),
      onkeydown: (event) => this.key(event),
      onpaste: (event) => this.take(event, event.clipboardData),
    });
    this.tray = h("div", { class: "gl-tray", role: "list", "aria-label": "Media to send", hidden: true });
    this.chooser = h("input", { type: "upload", accept: this.kinds.map((kind) => TYPES[kind]).join(","), multiple: true, hidden: true, "data-testid": "file", onchange: () => this.chosen() });
    this.attach = button({ name: `Add ${this.nouns()}`, class: "gl-attach", onclick: () => this.chooser.click() }, "picture");
    this.attach.hidden = !this.kinds.length;
    this.submit = button({ name: "Send", class: "gl-go", "data-testid": "send", onclick: () => this.send() }, "send");
    this.halt = button({ name: "Stop", class: "gl-go gl-halt", "data-testid": "stop", onclick: () => this.stop() }, "stop");
    this.box = h("div", { class: "gl-box" }, this.tray, h("div", { class: "gl-line" }, this.attach, this.chooser, this.field, this.submit, this.halt));
    this.node = h("div", { class: "gl-composer" }, this.box);
    this.acceptDrops(root);
    this.showTray();
    this.showBusy();
  }

  /** What the model takes beside text: "a picture, a video or a sound". */
  nouns() {
    const named = this.kinds.map((kind) => NOUNS[kind]);
    return named.length > 1 ? `${named.slice(0, -1).join(", ")} or ${named.at(-1)}` : named.join("");
  }

  grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight, 180)}px`;
    this.submit.disabled = !(this.field.value.trim() || this.model.get("_attachments").length) || this.reading.size > 0;
  }

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      this.send();
    }
    // JupyterLab must not run the cell or leave it; Escape goes on to the widget's root, which stops.
    if (event.key === "Enter") event.stopPropagation();
  }

  send() {
    if (this.model.get("busy")) return this.say("An answer is still being written. Esc stops it.");
    if (this.submit.disabled) return undefined;
    this.model.send({ type: "ask", text: this.field.value });
    this.field.value = "";
    this.grow();
    return undefined;
  }

  stop() {
    if (this.model.get("busy")) this.model.send({ type: "stop" });
  }

  /** A question that failed comes back, unless something new has been written meanwhile. */
  restore() {
    if (this.field.value) return;
    this.field.value = this.model.get("_returned").text ?? "";
    this.grow();
  }

  showBusy() {
    const busy = this.model.get("busy");
    const focused = [this.submit, this.halt].includes(document.activeElement);
    this.submit.hidden = busy;
    this.halt.hidden = !busy;
    if (focused) (busy ? this.halt : this.field).focus();
    this.grow();
  }

  showTray() {
    const entries = this.model.get("_attachments");
    for (const { id } of entries) this.reading.delete(id);
    const pictures = entries.map((entry) => this.thumbnail(entry));
    const waiting = [...this.reading].map(() => h("div", { class: "gl-thumb gl-reading", role: "listitem", "aria-label": "Reading the file" }));
    this.tray.replaceChildren(...pictures, ...waiting);
    this.tray.hidden = !this.tray.childElementCount;
    this.grow();
  }

  thumbnail(entry) {
    const { id, kind, name } = entry;
    const drop = button({ name: `Remove ${name}`, class: "gl-drop", onclick: () => this.model.send({ type: "remove_attachment", id }) }, "remove");
    const shown = kind === "audio" ? [waveform(entry, 60), this.player.button(entry)] : [h("img", { src: kind === "video" ? entry.frames[0][0] : entry.src, alt: name })];
    const words = { audio: () => `${entry.seconds.toFixed(1)} s`, video: () => `${entry.seen} frames`, image: () => `${entry.width} × ${entry.height}` };
    return h("div", { class: `gl-thumb gl-${kind}`, role: "listitem", title: told(entry) }, ...shown, drop, h("span", { class: "gl-size" }, words[kind]()));
  }

  /** Python answered about every file it was sent: what is not on the tray now was refused. */
  refused() {
    this.reading.clear();
    this.showTray();
  }

  chosen() {
    this.upload([...this.chooser.files]);
    this.chooser.value = "";
    this.field.focus();
  }

  take(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.upload(files);
  }

  acceptDrops(root) {
    let depth = 0; // dragenter and dragleave fire for every child
    const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const on = (name, work) =>
      root.addEventListener(name, (event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        event.stopPropagation();
        work(event);
        root.classList.toggle("gl-dropping", depth > 0);
      });
    on("dragenter", () => (depth += 1));
    on("dragover", () => {});
    on("dragleave", () => (depth -= 1));
    on("drop", (event) => {
      depth = 0;
      this.take(event, event.dataTransfer);
    });
  }

  async upload(files) {
    for (const file of files) {
      const kind = kindOf(file);
      if (!this.kinds.includes(kind)) {
        this.say(`${this.model.get("_facts").name} cannot take ${NOUNS[kind]}${this.kinds.length ? `: it takes ${this.nouns()}` : ", only text"}.`);
        continue;
      }
      if (file.size > 50_000_000) {
        this.say(`${file.name} is larger than 50 MB. Choose a smaller copy.`);
        continue;
      }
      const id = `p${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
      this.reading.add(id);
      this.showTray();
      const bytes = await file.arrayBuffer();
      const parts = Math.max(1, Math.ceil(bytes.byteLength / PART));
      for (let part = 0; part < parts; part += 1) {
        const slice = bytes.slice(part * PART, (part + 1) * PART);
        this.model.send({ type: "upload", id, name: file.name, mime: file.type, part, parts }, undefined, [slice]);
      }
    }
  }
}
