// What stands for a medium in a conversation: a picture, frames with their times, a waveform that can be played.
import { button, h } from "../shared/dom.js";

const DRAWING = "http://www.w3.org/2000/svg";

/** Format seconds as m:ss.s. */
function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

/** Plays sounds that Python holds: it sends one when it is asked for, as the model hears it. */
export class Player {
  constructor(model, say) {
    Object.assign(this, { model, say });
    this.urls = new Map(); // id -> address of the bytes
    this.audio = null;
    this.playing = null; // the button that shows it
  }

  /** Build the button that plays one sound. */
  button({ id, name }) {
    const node = button({ name: `Play ${name}`, class: "gl-play", "aria-pressed": "false", "data-testid": "play", onclick: () => this.toggle(id, node) }, "play");
    return node;
  }

  toggle(id, node) {
    const same = this.playing === node;
    this.stop();
    if (same) return;
    this.playing = node;
    node.setAttribute("aria-pressed", "true");
    if (this.urls.has(id)) this.start(id);
    else {
      this.model.send({ type: "play_audio", id });
      this.waiting = setTimeout(() => this.silent(), 5000); // a page without a kernel
    }
  }

  silent() {
    this.stop();
    this.say("The sound did not come: is the kernel running?");
  }

  receive({ id }, buffers) {
    if (!this.urls.has(id)) this.urls.set(id, URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" })));
    clearTimeout(this.waiting);
    if (this.playing) this.start(id);
  }

  start(id) {
    this.audio = new Audio(this.urls.get(id));
    this.audio.addEventListener("ended", () => this.stop());
    this.audio.play().catch((error) => {
      this.stop();
      if (error.name !== "AbortError") this.say(`The browser cannot play it: ${error.message}`);
    });
  }

  stop() {
    clearTimeout(this.waiting);
    this.audio?.pause();
    this.audio = null;
    this.playing?.setAttribute("aria-pressed", "false");
    this.playing = null;
  }

  end() {
    this.stop();
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
  }
}

/** Draw one medium as it stands in a question. */
export function preview(entry, player) {
  if (entry.kind === "video") return film(entry);
  if (entry.kind === "audio") return recording(entry, player);
  const { name, width, height, src } = entry;
  return h("img", { src, alt: `${name}, ${width} × ${height} pixels`, title: `${name} · ${width} × ${height}` });
}

/** Say what a medium is, for a tooltip. */
export function told({ kind, name, width, height, seen, total, seconds }) {
  if (kind === "audio") return `${name} · ${seconds.toFixed(1)} s`;
  return kind === "video" ? `${name} · ${seen} of ${total} frames · ${width} × ${height}` : `${name} · ${width} × ${height}`;
}

function film(entry) {
  const { name, frames } = entry;
  const cells = frames.map(([src, time]) => h("figure", { class: "gl-frame" }, h("img", { src, alt: `${name} at ${clock(time)}` }), h("figcaption", {}, clock(time))));
  return h("div", { class: "gl-film", role: "group", tabindex: 0, "aria-label": told(entry), title: told(entry), "data-testid": "film" }, ...cells);
}

function recording(entry, player) {
  const length = h("span", { class: "gl-length" }, `${entry.seconds.toFixed(1)} s`);
  return h("div", { class: "gl-sound", role: "group", "aria-label": told(entry), title: told(entry), "data-testid": "sound" }, player.button(entry), waveform(entry), length);
}

/** Draw the peaks of a sound in the colour of the text around it. */
export function waveform({ peaks, name, seconds }, height = 34) {
  const svg = document.createElementNS(DRAWING, "svg");
  const path = document.createElementNS(DRAWING, "path");
  const bars = peaks.map((peak, at) => `M${at + 0.5} ${height / 2 - Math.max(0.5, peak * (height / 2 - 1))}v${2 * Math.max(0.5, peak * (height / 2 - 1))}`);
  const labels = { role: "img", "aria-label": `Waveform of ${name}, ${seconds.toFixed(1)} seconds`, viewBox: `0 0 ${peaks.length} ${height}`, preserveAspectRatio: "none", class: "gl-wave" };
  for (const [key, value] of Object.entries(labels)) svg.setAttribute(key, value);
  path.setAttribute("d", bars.join(""));
  svg.append(path);
  return svg;
}
