// Pictures with their patches drawn on them, video frames as a strip, sound along its time.
import { h } from "./dom.js";
import { fresh, leaders } from "./colors.js";

/** One medium: its tokens (of a video, those of all frames), where they lie, and what they say of the experts. */
export class Medium {
  constructor(scene, tokens, width) {
    Object.assign(this, { scene, store: scene.store, tokens });
    this.kind = scene.store.name("modality", tokens[0]);
    this.place = this.store.places.get(tokens[0]);
    this.canvas = h("canvas", { "data-testid": "medium" });
    this.key = h("div", { class: "gl-key" });
    const count = tokens.length;
    this.caption = `${this.kind} ${(this.place?.medium ?? 0) + 1} · ${count} ${count === 1 ? "token" : "tokens"}`;
    this.node = h("figure", { class: "gl-medium", "aria-label": this.caption }, this.canvas, h("figcaption", {}, this.caption, this.key));
    this.measure(width);
    this.canvas.addEventListener("pointermove", (event) => scene.point(this.under(event), -1));
    this.canvas.addEventListener("pointerleave", () => scene.point(-1, -1));
    this.canvas.addEventListener("click", (event) => this.pick(event));
  }

  /** Find a box on the canvas for every token: on the picture, in its frame, or along the time. */
  measure(width) {
    const boxes = this.tokens.map((token) => this.store.places.get(token) ?? { box: [-1, -1, -1, -1], time: [-1, -1], frame: -1 });
    const flat = boxes.every(({ box }) => box[2] > box[0]);
    if (!flat) return this.alongTime(boxes, width);
    const known = this.store.pictures?.[this.kind === "image" ? this.place.medium : -1];
    const wide = known?.width ?? Math.max(...boxes.map(({ box }) => box[2]));
    const tall = known?.height ?? Math.max(...boxes.map(({ box }) => box[3]));
    const frames = [...new Set(boxes.map(({ frame }) => frame))];
    const across = frames.length > 1 ? Math.max(1, Math.min(frames.length, Math.floor(width / 84))) : 1;
    const room = frames.length > 1 ? (width - 6 * (across - 1)) / across : Math.min(width, 264, (264 * wide) / tall);
    const scale = room / wide;
    const [cellWide, cellTall] = [room + 6, tall * scale + (frames.length > 1 ? 20 : 0)];
    this.titles = frames.length > 1 ? frames.map((frame, at) => [(at % across) * cellWide, Math.floor(at / across) * cellTall + tall * scale + 12, seconds(boxes.find((one) => one.frame === frame).time[0])]) : [];
    this.boxes = boxes.map(({ box, frame }) => {
      const at = frames.length > 1 ? frames.indexOf(frame) : 0;
      return [(at % across) * cellWide + box[0] * scale, Math.floor(at / across) * cellTall + box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale];
    });
    this.picture = frames.length === 1 ? known?.bitmap : null;
    [this.width, this.height] = [frames.length > 1 ? width : room, Math.ceil(frames.length / across) * cellTall];
  }

  alongTime(boxes, width) {
    const known = boxes.every(({ time }) => time[1] > time[0]);
    const [first, last] = known ? [boxes[0].time[0], boxes.at(-1).time[1]] : [0, boxes.length];
    const x = (time) => ((time - first) / Math.max(1, last - first)) * width;
    this.boxes = boxes.map(({ time }, at) => (known ? [x(time[0]), 0, x(time[1]) - x(time[0]), 34] : [x(at), 0, x(at + 1) - x(at), 34]));
    const marks = known ? [0, 0.25, 0.5, 0.75, 1].map((share) => [share * width, 47, seconds(first + share * (last - first)), share]) : [];
    [this.titles, this.picture, this.width, this.height] = [marks, null, width, known ? 54 : 36];
  }

  draw() {
    const { scene, store } = this;
    const paint = fresh(this.canvas, this.width, this.height);
    if (this.picture) paint.drawImage(this.picture, 0, 0, this.width, this.height);
    const experts = scene.focus;
    const chosen = this.boxes.map((_, at) => store.chosen(scene.row, this.tokens[at]));
    const { colours, ranked } = leaders(chosen.filter((one) => one?.length).map((one) => one[0].expert));
    this.boxes.forEach(([x, y, wide, tall], at) => {
      const token = this.tokens[at];
      const share = experts.size ? scene.share(store.weight(scene.row, token, experts)) : 0;
      const colour = experts.size ? (share ? scene.ramp.of(share) : null) : colours.get(chosen[at]?.[0].expert);
      paint.globalAlpha = (colour ? 0.74 : 0.55) * (scene.keep && !scene.keep[token] ? 0.3 : 1);
      paint.fillStyle = colour ?? (experts.size && this.picture ? scene.inks.veil : experts.size ? scene.inks.line : "#8a8f98");
      const gap = Math.min(1, wide / 6);
      paint.fillRect(x + gap / 2, y + gap / 2, wide - gap, tall - gap);
    });
    paint.globalAlpha = 1;
    this.boxes.forEach((box, at) => this.outline(paint, box, this.tokens[at]));
    this.write(paint);
    this.explain(experts, colours, ranked);
  }

  outline(paint, [x, y, wide, tall], token) {
    const read = token === this.scene.token;
    if (!read && !this.scene.tokens.has(token)) return;
    paint.lineWidth = read ? 2 : 1.5;
    paint.strokeStyle = this.scene.inks.page;
    paint.strokeRect(x - 0.5, y - 0.5, wide + 1, tall + 1);
    paint.strokeStyle = this.scene.inks.accent;
    paint.strokeRect(x + 1, y + 1, wide - 2, tall - 2);
  }

  write(paint) {
    paint.font = `11px ${this.scene.inks.font}`;
    paint.fillStyle = this.scene.inks.muted;
    for (const [x, y, text, share] of this.titles) {
      paint.textAlign = share === undefined || share === 0 ? "left" : share === 1 ? "right" : "center";
      paint.fillText(text, x, y);
    }
  }

  /** What the colours say: the experts that lead, or the weight of those that are looked at. */
  explain(experts, colours, ranked) {
    const said = experts.size ? `weights:${[...experts]}` : `leaders:${ranked.map(([expert, count]) => `${expert}×${count}`)}`;
    if (said === this.said) return;
    this.said = said;
    if (experts.size) return this.key.replaceChildren(`weight of expert ${[...experts].join(", ")}`);
    const parts = [...colours].map(([expert, colour]) => {
      const dot = h("i", {});
      dot.style.background = colour;
      return h("span", {}, dot, String(expert));
    });
    const others = ranked.length - parts.length;
    this.key.replaceChildren("heaviest expert", ...parts, others > 0 ? `and ${others} others, grey` : "");
  }

  under(event) {
    const at = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - at.left, event.clientY - at.top];
    const found = this.boxes.findIndex(([left, top, wide, tall]) => x >= left && x < left + wide && y >= top && y < top + tall);
    return found < 0 ? -1 : this.tokens[found];
  }

  pick(event) {
    const token = this.under(event);
    if (token >= 0) this.scene.toggle("tokens", token, event.shiftKey || event.ctrlKey || event.metaKey);
  }
}

function seconds(milliseconds) {
  const whole = Math.max(0, milliseconds) / 1000;
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(whole < 60 ? 1 : 0).padStart(whole < 60 ? 4 : 2, "0")}`;
}
