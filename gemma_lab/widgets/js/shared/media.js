// Images with their patches drawn on them, video frames as a strip, audio along its time.
import { fitCanvas } from "./colors.js";
import { h } from "./dom.js";

/** @import { TokenScene } from "./scene.js" */
/** @import { MediaPosition } from "./token_store.js" */
/** @typedef {[x: number, y: number, width: number, height: number]} Box */
/** @typedef {[x: number, y: number, text: string, share?: number]} Title */

const IMAGE = 264; // largest side of an image, in pixels
const FRAME = 84; // width of a video frame, about
const AUDIO = 34; // height of a band of audio
/** @type {MediaPosition} */
const NOWHERE = {
  medium: 0,
  frame: -1,
  box: new Int32Array([-1, -1, -1, -1]),
  time: new Int32Array([-1, -1]),
};

/**
 * One medium: its tokens (of a video, those of all frames) and where they lie. A subclass draws its boxes.
 * @template {TokenScene} [S=TokenScene]
 */
export class Medium {
  /**
   * @param {S} scene
   * @param {number[]} tokens
   * @param {number} width
   */
  constructor(scene, tokens, width) {
    this.scene = scene;
    this.store = scene.store;
    this.tokens = tokens;
    this.modality = scene.store.name("modality", tokens[0]);
    this.medium = this.store.positions.get(tokens[0])?.medium ?? 0;
    this.canvas = h("canvas", { "data-testid": "medium" });
    this.legend = h("div", { class: "gl-key" });
    const count = tokens.length;
    const caption = `${this.modality} ${this.medium + 1} · ${count} ${count === 1 ? "token" : "tokens"}`;
    this.node = h(
      "figure",
      { class: "gl-medium", "aria-label": caption },
      this.canvas,
      h("figcaption", {}, caption, this.legend),
    );
    /** @type {Box[]} */
    this.boxes = [];
    /** @type {Title[]} */
    this.titles = [];
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    this.width = width;
    this.height = 0;
    this.layOut(width);
    this.canvas.addEventListener("pointermove", (event) => scene.point(this.under(event)));
    this.canvas.addEventListener("pointerleave", () => scene.point(-1));
    this.canvas.addEventListener("click", (event) => this.pick(event));
  }

  /** Draw the medium; a subclass draws its boxes between the image and the outlines. */
  draw() {
    const ctx = fitCanvas(this.canvas, this.width, this.height);
    if (this.bitmap) ctx.drawImage(this.bitmap, 0, 0, this.width, this.height);
    this.drawBoxes(ctx);
    ctx.globalAlpha = 1;
    this.boxes.forEach((box, at) => {
      this.outline(ctx, box, this.tokens[at]);
    });
    this.drawTitles(ctx);
  }

  /** @param {CanvasRenderingContext2D} _ctx */
  drawBoxes(_ctx) {}

  /**
   * Find a box on the canvas for every token: on the image, in its frame, or along the time.
   * @param {number} width
   */
  layOut(width) {
    const positions = this.tokens.map((token) => this.store.positions.get(token) ?? NOWHERE);
    const isFlat = positions.every(({ box }) => box[2] > box[0]);
    if (!isFlat) return this.layOutAlongTime(positions, width);
    const image = this.modality === "image" ? this.store.images[this.medium] : undefined;
    const wide = image?.width ?? Math.max(...positions.map(({ box }) => box[2]));
    const tall = image?.height ?? Math.max(...positions.map(({ box }) => box[3]));
    const frames = [...new Set(positions.map(({ frame }) => frame))];
    if (frames.length > 1) return this.layOutFrames(positions, frames, width, wide, tall);
    this.width = Math.min(width, IMAGE, (IMAGE * wide) / tall);
    const scale = this.width / wide;
    this.height = tall * scale;
    this.boxes = positions.map(({ box }) => scaled(box, scale, 0, 0));
    this.bitmap = image?.bitmap ?? null;
  }

  /**
   * @param {MediaPosition[]} positions
   * @param {number[]} frames
   * @param {number} width
   * @param {number} wide
   * @param {number} tall
   */
  layOutFrames(positions, frames, width, wide, tall) {
    const across = Math.max(1, Math.min(frames.length, Math.floor(width / FRAME)));
    const frameWidth = (width - 6 * (across - 1)) / across;
    const scale = frameWidth / wide;
    const cellTall = tall * scale + 20;
    /** @type {(at: number) => [number, number]} */
    const corner = (at) => [(at % across) * (frameWidth + 6), Math.floor(at / across) * cellTall];
    this.boxes = positions.map(({ box, frame }) => scaled(box, scale, ...corner(frames.indexOf(frame))));
    this.titles = frames.map((frame, at) => {
      const [x, y] = corner(at);
      const time = positions.find((one) => one.frame === frame)?.time[0] ?? 0;
      return [x, y + tall * scale + 12, clockTime(time)];
    });
    this.width = width;
    this.height = Math.ceil(frames.length / across) * cellTall;
  }

  /**
   * @param {MediaPosition[]} positions
   * @param {number} width
   */
  layOutAlongTime(positions, width) {
    const isTimed = positions.every(({ time }) => time[1] > time[0]);
    const first = isTimed ? positions[0].time[0] : 0;
    const last = isTimed ? positions[positions.length - 1].time[1] : positions.length;
    /** @type {(time: number) => number} */
    const x = (time) => ((time - first) / Math.max(1, last - first)) * width;
    this.boxes = positions.map(({ time }, at) => {
      const [from, to] = isTimed ? time : [at, at + 1];
      return [x(from), 0, x(to) - x(from), AUDIO];
    });
    this.titles = isTimed
      ? [0, 0.25, 0.5, 0.75, 1].map((share) => [
          share * width,
          AUDIO + 13,
          clockTime(first + share * (last - first)),
          share,
        ])
      : [];
    this.height = isTimed ? AUDIO + 20 : AUDIO + 2;
  }

  /**
   * Fill the box of a token, with a gap to the next.
   * @param {CanvasRenderingContext2D} ctx
   * @param {Box} box
   */
  fillBox(ctx, [x, y, wide, tall]) {
    const gap = Math.min(1, wide / 6);
    ctx.fillRect(x + gap / 2, y + gap / 2, wide - gap, tall - gap);
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Box} box
   * @param {number} token
   */
  outline(ctx, [x, y, wide, tall], token) {
    const { scene } = this;
    const pointed = token === scene.token;
    if (!pointed && !scene.tokens.has(token)) return;
    ctx.lineWidth = pointed ? 2 : 1.5;
    ctx.strokeStyle = scene.theme.page;
    ctx.strokeRect(x - 0.5, y - 0.5, wide + 1, tall + 1);
    ctx.strokeStyle = scene.theme.accent;
    ctx.strokeRect(x + 1, y + 1, wide - 2, tall - 2);
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawTitles(ctx) {
    ctx.font = `11px ${this.scene.theme.font}`;
    ctx.fillStyle = this.scene.theme.muted;
    for (const [x, y, text, share = 0] of this.titles) {
      ctx.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
      ctx.fillText(text, x, y);
    }
  }

  /**
   * Return the token under the pointer, or -1.
   * @param {MouseEvent} event
   */
  under(event) {
    const canvas = this.canvas.getBoundingClientRect();
    const x = event.clientX - canvas.left;
    const y = event.clientY - canvas.top;
    const at = this.boxes.findIndex(
      ([left, top, wide, tall]) => x >= left && x < left + wide && y >= top && y < top + tall,
    );
    return at < 0 ? -1 : this.tokens[at];
  }

  /** @param {MouseEvent} event */
  pick(event) {
    const token = this.under(event);
    if (token >= 0) this.scene.toggleToken(token, event.shiftKey || event.ctrlKey || event.metaKey);
  }
}

/**
 * @param {Int32Array} box
 * @param {number} scale
 * @param {number} x
 * @param {number} y
 * @returns {Box}
 */
function scaled([x0, y0, x1, y1], scale, x, y) {
  return [x + x0 * scale, y + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
}

/**
 * Format milliseconds as m:ss.s, or m:ss from a minute on.
 * @param {number} milliseconds
 */
function clockTime(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  const short = seconds < 60;
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(short ? 1 : 0).padStart(short ? 4 : 2, "0")}`;
}
