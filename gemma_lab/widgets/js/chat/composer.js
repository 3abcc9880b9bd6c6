// Where a prompt is written: text, media, send and stop.
import { button, h, textField } from "../shared/dom.js";
import { describe, waveform } from "./previews.js";

/** @import { ChatModel, MediaEntry } from "../shared/wire_types.js" */
/** @import { Player } from "./previews.js" */
/** @typedef {MediaEntry["kind"]} Kind */

const PART = 2_000_000; // bytes per message: the server closes a connection whose message exceeds 10 MB
const LARGEST = 50_000_000; // bytes of a file
/** @type {Record<Kind, string>} */
const TYPES = {
  image:
    "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff," +
    ".png,.jpg,.jpeg,.webp,.gif,.bmp,.tif,.tiff",
  video: "video/*,.mp4,.m4v,.mov,.webm,.mkv,.avi,.mpg,.mpeg,.ogv",
  audio: "audio/*,.wav,.mp3,.m4a,.aac,.ogg,.oga,.opus,.flac,.weba",
};
/** @type {Record<Kind, string>} */
const NOUNS = { image: "an image", video: "a video", audio: "an audio clip" };
/** @type {Kind[]} */
const KINDS = ["image", "video", "audio"];

/**
 * Return the kind of a file, by its type or its name, as gemma_lab/widgets/chat/attachments.py does.
 * @param {File} file
 * @returns {Kind}
 */
export function kindOf({ name, type }) {
  const [major] = type.split("/");
  const ending = `.${(name.split(".").pop() ?? "").toLowerCase()}`;
  const byType = KINDS.find((kind) => kind === major);
  return byType ?? KINDS.find((kind) => TYPES[kind].split(",").includes(ending)) ?? "image";
}

export class Composer {
  /**
   * @param {ChatModel} model
   * @param {HTMLElement} root
   * @param {(what: string) => void} report
   * @param {Player} player
   */
  constructor(model, root, report, player) {
    this.model = model;
    this.report = report;
    this.player = player;
    /** @type {Set<string>} */
    this.uploading = new Set(); // ids of files sent to Python that have not come back yet
    const { name, modalities } = model.get("_facts");
    this.kinds = KINDS.filter((kind) => modalities.includes(kind));
    this.field = textField({ rows: 1, placeholder: `Ask ${name}`, "aria-label": "Your prompt" });
    this.field.addEventListener("input", () => this.grow());
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    this.tray = h("div", { class: "gl-tray", role: "list", "aria-label": "Media to send", hidden: true });
    const accept = this.kinds.map((kind) => TYPES[kind]).join(",");
    this.chooser = h("input", { type: "file", accept, multiple: true, hidden: true, "data-testid": "file" });
    this.chooser.addEventListener("change", () => this.takeChosen());
    this.attach = button({ name: `Add ${this.nouns()}`, class: "gl-attach" }, "picture");
    this.attach.addEventListener("click", () => this.chooser.click());
    this.attach.hidden = !this.kinds.length;
    this.submit = button({ name: "Send", class: "gl-go", "data-testid": "send" }, "send");
    this.submit.addEventListener("click", () => this.send());
    this.halt = button({ name: "Stop", class: "gl-go gl-halt", "data-testid": "stop" }, "stop");
    this.halt.addEventListener("click", () => this.stop());
    const line = h(
      "div",
      { class: "gl-line" },
      this.attach,
      this.chooser,
      this.field,
      this.submit,
      this.halt,
    );
    this.node = h("div", { class: "gl-composer" }, h("div", { class: "gl-box" }, this.tray, line));
    this.acceptDrops(root);
    this.showAttachments();
    this.showBusy();
  }

  /** Return what the model takes beside text: "an image, a video or an audio clip". */
  nouns() {
    const nouns = this.kinds.map((kind) => NOUNS[kind]);
    return nouns.length > 1 ? `${nouns.slice(0, -1).join(", ")} or ${nouns.at(-1)}` : nouns.join("");
  }

  grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight, 180)}px`;
    const empty = !this.field.value.trim() && !this.model.get("_attachments").length;
    this.submit.disabled = empty || this.uploading.size > 0;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Enter") return;
    // JupyterLab must not run the cell or leave it; Escape goes on to the widget's root, which stops.
    event.stopPropagation();
    const composing = event.isComposing || event.keyCode === 229;
    if (event.shiftKey || composing) return;
    event.preventDefault();
    this.send();
  }

  send() {
    if (this.model.get("busy")) {
      this.report("An answer is still being generated. Esc stops it.");
      return;
    }
    if (this.submit.disabled) return;
    this.model.send({ type: "ask", text: this.field.value });
    this.field.value = "";
    this.grow();
  }

  stop() {
    if (this.model.get("busy")) this.model.send({ type: "stop" });
  }

  /** Show a prompt that failed again, unless something new has been written meanwhile. */
  restore() {
    if (this.field.value) return;
    this.field.value = this.model.get("_returned").text ?? "";
    this.grow();
  }

  showBusy() {
    const busy = this.model.get("busy");
    const { activeElement } = document;
    const focused = activeElement === this.submit || activeElement === this.halt;
    this.submit.hidden = busy;
    this.halt.hidden = !busy;
    if (focused) (busy ? this.halt : this.field).focus();
    this.grow();
  }

  showAttachments() {
    const entries = this.model.get("_attachments");
    for (const { id } of entries) this.uploading.delete(id);
    const waiting = [...this.uploading].map(() =>
      h("div", { class: "gl-thumb gl-reading", role: "listitem", "aria-label": "Reading the file" }),
    );
    this.tray.replaceChildren(...entries.map((entry) => this.thumbnail(entry)), ...waiting);
    this.tray.hidden = !this.tray.childElementCount;
    this.grow();
  }

  /** @param {MediaEntry} entry */
  thumbnail(entry) {
    const { id, kind, name } = entry;
    const remove = button({ name: `Remove ${name}`, class: "gl-drop" }, "remove");
    remove.addEventListener("click", () => this.model.send({ type: "remove_attachment", id }));
    return h(
      "div",
      { class: `gl-thumb gl-${kind}`, role: "listitem", title: describe(entry) },
      ...this.thumbnailOf(entry),
      remove,
      h("span", { class: "gl-size" }, sizeOf(entry)),
    );
  }

  /** @param {MediaEntry} entry */
  thumbnailOf(entry) {
    if (entry.kind === "audio") return [waveform(entry, 60), this.player.button(entry)];
    const src = entry.kind === "video" ? entry.frames[0][0] : entry.src;
    return [h("img", { src, alt: entry.name })];
  }

  /** Python has answered for every file it was sent: those that are not attached now were refused. */
  refused() {
    this.uploading.clear();
    this.showAttachments();
  }

  takeChosen() {
    this.upload([...(this.chooser.files ?? [])]);
    this.chooser.value = "";
    this.field.focus();
  }

  /**
   * @param {Event} event
   * @param {DataTransfer | null} data
   */
  take(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.upload(files);
  }

  /** @param {HTMLElement} root */
  acceptDrops(root) {
    let depth = 0; // dragenter and dragleave fire for every child
    /** @type {Record<"dragenter" | "dragover" | "dragleave" | "drop", (event: DragEvent) => void>} */
    const actions = {
      dragenter: () => {
        depth += 1;
      },
      dragover: () => {},
      dragleave: () => {
        depth -= 1;
      },
      drop: (event) => {
        depth = 0;
        this.take(event, event.dataTransfer);
      },
    };
    for (const name of /** @type {(keyof typeof actions)[]} */ (Object.keys(actions))) {
      root.addEventListener(name, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        event.stopPropagation();
        actions[name](event);
        root.classList.toggle("gl-dropping", depth > 0);
      });
    }
  }

  /** @param {File[]} files */
  async upload(files) {
    const { name: model } = this.model.get("_facts");
    for (const file of files) {
      const kind = kindOf(file);
      if (!this.kinds.includes(kind)) {
        const takes = this.kinds.length ? `: it takes ${this.nouns()}` : ", only text";
        this.report(`${model} cannot take ${NOUNS[kind]}${takes}.`);
      } else if (file.size > LARGEST) {
        this.report(`${file.name} is larger than ${LARGEST / 1e6} MB. Choose a smaller copy.`);
      } else await this.sendFile(file);
    }
  }

  /** @param {File} file */
  async sendFile(file) {
    const id = `p${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
    this.uploading.add(id);
    this.showAttachments();
    const bytes = await file.arrayBuffer();
    const parts = Math.max(1, Math.ceil(bytes.byteLength / PART));
    for (let part = 0; part < parts; part += 1) {
      const { name, type: mime } = file;
      const slice = bytes.slice(part * PART, (part + 1) * PART);
      this.model.send({ type: "upload", id, name, mime, part, parts }, undefined, [slice]);
    }
  }
}

/** @param {MediaEntry} entry */
function sizeOf(entry) {
  if (entry.kind === "audio") return `${entry.seconds.toFixed(1)} s`;
  return entry.kind === "video" ? `${entry.seen} frames` : `${entry.width} × ${entry.height}`;
}
