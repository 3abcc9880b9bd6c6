// Media in a conversation: an image, frames with their times, a waveform that can be played.
import { button, h, svg } from "../shared/dom.js";

/** @import { AudioPreview, Buffer, ChatModel, MediaEntry, VideoPreview } from "../shared/wire_types.js" */

const ANSWER_TIME = 5000; // milliseconds in which Python sends audio

/**
 * Format seconds as m:ss.s.
 * @param {number} seconds
 */
function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

/** Plays audio that Python holds: it sends a clip when it is asked for, as the model receives it. */
export class Player {
  /**
   * @param {ChatModel} model
   * @param {(what: string) => void} report
   */
  constructor(model, report) {
    this.model = model;
    this.report = report;
    /** @type {Map<string, string>} */
    this.urls = new Map(); // id -> address of the bytes
    /** @type {HTMLAudioElement | null} */
    this.audio = null;
    /** @type {HTMLElement | null} */
    this.playing = null; // the button that shows it
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
  }

  /**
   * Build the button that plays a clip.
   * @param {AudioPreview} entry
   */
  button({ id, name }) {
    const node = button(
      { name: `Play ${name}`, class: "gl-play", "aria-pressed": "false", "data-testid": "play" },
      "play",
    );
    node.addEventListener("click", () => this.toggle(id, node));
    return node;
  }

  /**
   * @param {string} id
   * @param {HTMLElement} node
   */
  toggle(id, node) {
    const same = this.playing === node;
    this.stop();
    if (same) return;
    this.playing = node;
    node.setAttribute("aria-pressed", "true");
    if (this.urls.has(id)) {
      this.start(id);
      return;
    }
    this.model.send({ type: "play_audio", id });
    this.waiting = setTimeout(() => {
      this.stop();
      this.report("The audio did not arrive: is the kernel running?");
    }, ANSWER_TIME);
  }

  /**
   * @param {string} id
   * @param {Buffer} buffer
   */
  receive(id, buffer) {
    const blob = new Blob([buffer], { type: "audio/wav" });
    if (!this.urls.has(id)) this.urls.set(id, URL.createObjectURL(blob));
    clearTimeout(this.waiting);
    if (this.playing) this.start(id);
  }

  /** @param {string} id */
  start(id) {
    this.audio = new Audio(this.urls.get(id));
    this.audio.addEventListener("ended", () => this.stop());
    this.audio.play().catch((error) => {
      this.stop();
      if (error.name !== "AbortError") this.report(`The browser cannot play it: ${error.message}`);
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

/**
 * Build the preview of a medium in a prompt.
 * @param {MediaEntry} entry
 * @param {Player} player
 */
export function preview(entry, player) {
  if (entry.kind === "video") return film(entry);
  if (entry.kind === "audio") return recording(entry, player);
  const { name, width, height, src } = entry;
  const size = `${width} × ${height}`;
  return h("img", { src, alt: `${name}, ${size} pixels`, title: `${name} · ${size}` });
}

/**
 * Describe a medium, for a tooltip.
 * @param {MediaEntry} entry
 */
export function describe(entry) {
  if (entry.kind === "audio") return `${entry.name} · ${entry.seconds.toFixed(1)} s`;
  const size = `${entry.width} × ${entry.height}`;
  if (entry.kind === "video") return `${entry.name} · ${entry.seen} of ${entry.total} frames · ${size}`;
  return `${entry.name} · ${size}`;
}

/** @param {VideoPreview} entry */
function film(entry) {
  const cells = entry.frames.map(([src, seconds]) => {
    const image = h("img", { src, alt: `${entry.name} at ${clock(seconds)}` });
    return h("figure", { class: "gl-frame" }, image, h("figcaption", {}, clock(seconds)));
  });
  const label = describe(entry);
  return h(
    "div",
    {
      class: "gl-film",
      role: "group",
      tabindex: 0,
      "aria-label": label,
      title: label,
      "data-testid": "film",
    },
    ...cells,
  );
}

/**
 * @param {AudioPreview} entry
 * @param {Player} player
 */
function recording(entry, player) {
  const label = describe(entry);
  return h(
    "div",
    { class: "gl-sound", role: "group", "aria-label": label, title: label, "data-testid": "sound" },
    player.button(entry),
    waveform(entry),
    h("span", { class: "gl-length" }, `${entry.seconds.toFixed(1)} s`),
  );
}

/**
 * Draw the peaks of audio in the colour of the text around it.
 * @param {AudioPreview} entry
 * @param {number} [height]
 */
export function waveform({ peaks, name, seconds }, height = 34) {
  const bars = peaks.map((peak, at) => {
    const half = Math.max(0.5, peak * (height / 2 - 1));
    return `M${at + 0.5} ${height / 2 - half}v${2 * half}`;
  });
  return svg(
    "svg",
    {
      role: "img",
      "aria-label": `Waveform of ${name}, ${seconds.toFixed(1)} seconds`,
      viewBox: `0 0 ${peaks.length} ${height}`,
      preserveAspectRatio: "none",
      class: "gl-wave",
    },
    svg("path", { d: bars.join("") }),
  );
}
