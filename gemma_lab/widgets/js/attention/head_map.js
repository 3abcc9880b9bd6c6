// One head's map with the text on both edges: from the whole, pooled, down to single rows and keys.
import { h } from "../shared/dom.js";
import { MODALITY, fresh } from "../shared/colors.js";
import { clear, drawMap, drawRows, drawSink, overlaid, tinted } from "./painting.js";

const [LEFT, TOP, STRIP, RIGHT, BOTTOM] = [112, 74, 15, 14, 6];
const [LARGEST, LETTER] = [520, 12];

export class HeadMap {
  constructor(side) {
    [this.side, this.store] = [side, side.store];
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.node = h("div", { class: "gl-map", tabindex: 0, role: "application", "aria-roledescription": "attention map", "data-testid": "map" }, this.base, this.over);
    this.width = 480;
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.dragged || side.point(-1));
    this.node.addEventListener("pointerdown", (event) => this.press(event));
    this.node.addEventListener("dblclick", (event) => this.closer(event));
    this.node.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.node.addEventListener("blur", () => side.point(-1));
  }

  /** Side of the square, and its left and upper edge. */
  get square() {
    return Math.max(120, Math.min(LARGEST, this.width - LEFT - STRIP - 5 - RIGHT));
  }

  get frame() {
    return { left: LEFT + STRIP + 5, top: TOP, side: this.square };
  }

  get height() {
    return TOP + this.square + BOTTOM;
  }

  get cell() {
    return this.square / this.side.wide;
  }

  x(key) {
    return LEFT + STRIP + 5 + (key - this.side.key0) * this.cell;
  }

  y(query) {
    return TOP + (query - this.side.query0) * this.cell;
  }

  update(what) {
    if (what.has("size")) this.node.style.height = `${this.height}px`;
    if (["size", "theme", "head", "zoom", "arrived", "data"].some((one) => what.has(one))) this.draw();
    if (what.has("head") || what.has("size")) this.name();
    this.drawOver();
  }

  name() {
    const { scene, layout } = this.side;
    this.node.setAttribute("aria-label", `Map of layer ${layout.layer}, head ${scene.headNumber}: queries down, keys across. Arrow keys move along tokens and keys, plus and minus zoom, 0 shows the whole, Page Up and Page Down change the layer, square brackets the head, Enter keeps the token.`);
  }

  draw() {
    const { side, store } = this;
    const paint = fresh(this.base, this.width, this.height);
    clear(paint, this);
    if (!store.maps.has(side.row)) return this.waiting(paint);
    drawMap(paint, this, overlaid(this) ? 0.3 : 1);
    this.exact = drawRows(paint, this);
    drawSink(paint, this);
    this.edges(paint);
    this.inset(paint);
  }

  waiting(paint) {
    const { left, top, side } = this.frame;
    [paint.font, paint.textAlign, paint.fillStyle] = [`12px ${this.side.inks.font}`, "center", this.side.inks.muted];
    paint.fillText(`Layer ${this.side.layout.layer} is on its way …`, left + side / 2, top + side / 2);
  }

  /** Tokens at regular distances along an edge: those that begin where there is room for a line of text. */
  *ticks(from) {
    const { tokens } = this.side.store.facts;
    const every = Math.max(1, Math.ceil((LETTER + 1) / this.cell));
    for (let at = Math.ceil(from / every) * every; at < Math.min(tokens, from + this.side.wide); at += every) yield [at, every];
  }

  edges(paint) {
    const { side } = this;
    const { left, top } = this.frame;
    this.kinds(paint);
    [paint.font, paint.textBaseline] = [`11px ${side.inks.font}`, "middle"];
    const tall = Math.max(LETTER, this.cell);
    for (const [token, every] of this.ticks(side.query0)) this.write(paint, token, every, 6, this.y(token) + (every > 1 ? LETTER / 2 : tall / 2), LEFT - 14);
    for (const [token, every] of this.ticks(side.key0)) {
      paint.save();
      paint.translate(this.x(token) + (every > 1 ? LETTER / 2 : tall / 2), top - 10);
      paint.rotate(-Math.PI / 2);
      this.write(paint, token, every, 0, 0, TOP - 14, "left");
      paint.restore();
    }
    [paint.font, paint.fillStyle, paint.textAlign, paint.direction] = [`10.5px ${side.inks.font}`, side.inks.muted, "right", "ltr"];
    paint.fillText("queries ↓", LEFT - 8, 10);
    paint.fillText("keys →", LEFT - 8, 24);
    paint.save();
    paint.translate(left - STRIP / 2 - 5, top - 10);
    paint.rotate(-Math.PI / 2);
    [paint.textAlign, paint.fillStyle] = ["left", side.inks.text];
    paint.fillText("first token", 0, 0);
    paint.restore();
  }

  /** A token's text in its own direction; where labels stand for several tokens, its number, too. */
  write(paint, token, every, x, y, room, align = "right") {
    const { store, inks } = this.side;
    const special = store.name("modality", token) !== "text";
    const label = clip(this.short(token), 40);
    const rtl = store.name("direction", token) === "rtl";
    paint.save();
    paint.beginPath();
    paint.rect(align === "right" ? x : 0, y - 8, room - x, 16);
    paint.clip();
    paint.textAlign = align;
    [paint.direction, paint.fillStyle] = [rtl ? "rtl" : "ltr", special ? inks.muted : inks.text];
    paint.fillText(label, align === "right" ? x + room - 6 : 0, y);
    paint.restore();
    if (every < 2) return;
    if (align === "left") return;
    const number = token.toLocaleString("en");
    paint.save();
    [paint.textAlign, paint.direction, paint.font] = ["left", "ltr", `10px ${inks.font}`];
    const wide = paint.measureText(number).width + 6;
    paint.fillStyle = inks.page;
    paint.fillRect(0, y - 6, wide + 2, 12);
    paint.fillStyle = inks.muted;
    paint.fillText(number, 2, y);
    paint.restore();
  }

  /** A token's name where room is scarce: a patch by its column and row alone. */
  short(token) {
    const { store } = this;
    const box = store.places.get(token)?.box;
    if (!box || box[0] < 0) return store.label(token);
    return `${Math.round(box[0] / (box[2] - box[0])) + 1} · ${Math.round(box[1] / (box[3] - box[1])) + 1}`;
  }

  /** What is not text, as a stripe along both edges. */
  kinds(paint) {
    const { side, store } = this;
    const step = Math.max(1, Math.floor(1 / this.cell));
    for (const [from, axis] of [[side.query0, "y"], [side.key0, "x"]]) {
      for (let at = Math.floor(from); at < from + side.wide && at < store.count; at += step) {
        const colour = MODALITY[store.name("modality", at)];
        if (!colour || store.name("modality", at) === "special") continue;
        paint.fillStyle = colour;
        const size = Math.max(1, this.cell * step);
        if (axis === "y") paint.fillRect(LEFT - 5, Math.max(TOP, this.y(at)), 3, size);
        else paint.fillRect(Math.max(this.x(side.key0), this.x(at)), TOP - 6, size, 3);
      }
    }
  }

  /** Zoomed in, the whole stands small in the corner between the edges. */
  inset(paint) {
    const { side } = this;
    if (!side.zoomed) return;
    const [size, x, y] = [44, 3, 8]; // clear of what names the edges
    const scale = size / side.store.facts.tokens;
    paint.fillStyle = side.inks.page;
    paint.fillRect(x - 3, y - 3, size + 6, size + 6);
    paint.drawImage(this.whole(), x, y, size, size);
    [paint.strokeStyle, paint.lineWidth] = [side.inks.line, 1];
    paint.strokeRect(x - 0.5, y - 0.5, size + 1, size + 1);
    [paint.strokeStyle, paint.lineWidth] = [side.inks.accent, 1.5];
    const wide = Math.max(4, side.wide * scale);
    const [across, down] = [Math.min(size - wide, side.key0 * scale), Math.min(size - wide, side.query0 * scale)];
    paint.strokeRect(x + across, y + down, wide, wide);
  }

  /** The whole map, one pixel a bin. */
  whole() {
    const { side, store } = this;
    const name = `${side.row}:${side.head}:${store.version}:${side.ramp.theme}`;
    if (this.wholeName === name) return this.sheet;
    const { bins } = store;
    const { maps, scale_max: ends } = store.maps.get(side.row);
    const image = new ImageData(bins, bins);
    const pixels = new Uint32Array(image.data.buffer);
    const from = side.head * bins * bins;
    for (let at = 0; at < pixels.length; at++) if (maps[from + at]) pixels[at] = tinted(side.ramp, (maps[from + at] / 255) ** 2 / ends[side.head]);
    this.sheet = h("canvas", { width: bins, height: bins });
    this.sheet.getContext("2d").putImageData(image, 0, 0);
    this.wholeName = name;
    return this.sheet;
  }

  drawOver() {
    const { side, store } = this;
    const paint = fresh(this.over, this.width, this.height);
    const { left, top, side: square } = this.frame;
    paint.save();
    paint.beginPath();
    paint.rect(0, 0, left + square + RIGHT, top + square + BOTTOM);
    paint.clip();
    for (const token of side.tokens) this.row(paint, token, false);
    if (side.reading >= 0) this.row(paint, side.reading, true);
    if (side.key >= 0) this.column(paint, side.key);
    const { looks } = side;
    if (looks) {
      paint.beginPath();
      paint.rect(left - 1, 0, square + 2, top + square + 2);
      paint.clip();
      for (const { key, bin, weight } of looks.list) {
        const wide = bin === undefined ? 1 : store.edges[bin + 1] - store.edges[bin];
        this.mark(paint, key, wide, Math.min(1, weight / looks.top));
      }
    }
    paint.restore();
  }

  /** Where the row that is read looks: a tick above the map, as tall as its share of the heaviest. */
  mark(paint, key, wide, share) {
    const { side } = this;
    const { top } = this.frame;
    const [x, size] = side.scene.toward ? [this.y(key), this.cell * wide] : [this.x(key), this.cell * wide];
    const tall = 4 + 14 * share;
    paint.fillStyle = side.inks.accent;
    if (side.scene.toward) paint.fillRect(this.frame.left - 4, x, 4, Math.max(2, size));
    else paint.fillRect(x + size / 2 - 1.5, top - tall, 3, tall);
  }

  /** The band of a query; of a pooled map, that of its bin. */
  row(paint, token, read) {
    const { side } = this;
    const [from, to] = this.reach(token);
    const [y, tall] = [this.y(from), Math.max(2, this.cell * (to - from))];
    const { left, top, side: square } = this.frame;
    if (y + tall < top || y > top + square) return;
    const toward = side.scene.toward && read;
    paint.fillStyle = side.inks.soft;
    const [x, wide] = [this.x(from), Math.max(2, this.cell * (to - from))];
    if (toward) paint.fillRect(x, top, wide, square);
    else paint.fillRect(0, y, left + square, tall);
    paint.fillStyle = side.inks.accent;
    if (toward) for (const at of [x - 1, x + wide]) paint.fillRect(at, top, 1, square);
    else if (read) for (const at of [y - 1, y + tall]) paint.fillRect(0, at, left + square, 1);
    else paint.fillRect(0, y, 3, tall);
  }

  column(paint, key) {
    const [from, to] = this.reach(key);
    const { top, side: square } = this.frame;
    const [x, wide] = [this.x(from), Math.max(2, this.cell * (to - from))];
    paint.fillStyle = this.side.inks.text;
    for (const at of [x - 1, x + wide]) paint.fillRect(at, top, 1, square);
  }

  /** The tokens that are one step of the map at this zoom: one where single rows are drawn. */
  reach(token) {
    const { store } = this;
    if (store.fine || overlaid(this)) return [token, token + 1];
    const bin = store.bin(token);
    return [store.edges[bin], store.edges[bin + 1]];
  }

  /** The query and the key under the pointer; in the strip of sinks the key is the first token. */
  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const { side, store } = this;
    const { left, top, side: square } = this.frame;
    const [across, down] = [clientX - box.left, clientY - box.top];
    const inside = (at, from) => Math.max(0, Math.min(store.facts.tokens - 1, Math.floor(from + at / this.cell)));
    if (down < top) return across >= left && across < left + square ? [inside(across - left, side.key0), -1] : null;
    if (down >= top + square || across >= left + square) return null;
    const query = inside(down - top, side.query0);
    if (across >= left) return [query, inside(across - left, side.key0)];
    return [query, across >= LEFT ? 0 : -1];
  }

  point(event) {
    if (this.dragged) return this.drag(event);
    const at = this.under(event);
    this.side.point(...(at ?? [-1, -1]));
  }

  press(event) {
    this.dragged = { x: event.clientX, y: event.clientY, query0: this.side.query0, key0: this.side.key0, far: false };
    this.node.setPointerCapture(event.pointerId);
    const end = () => {
      const { far } = this.dragged ?? {};
      this.dragged = null;
      if (!far) this.pick(event);
    };
    this.node.addEventListener("lostpointercapture", end, { once: true });
  }

  drag({ clientX, clientY }) {
    const { side, dragged } = this;
    const [across, down] = [clientX - dragged.x, clientY - dragged.y];
    dragged.far ||= Math.hypot(across, down) > 4;
    if (dragged.far && side.zoomed) side.look(dragged.query0 - down / this.cell, dragged.key0 - across / this.cell);
  }

  pick(event) {
    const at = this.under(event);
    if (at) this.side.toggle("tokens", at[0], event.shiftKey || event.ctrlKey || event.metaKey);
  }

  closer(event) {
    const at = this.under(event);
    if (at) this.side.zoom(4, at[0], Math.max(0, at[1]));
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    const at = this.under(event);
    if (at) this.side.zoom(Math.exp(-event.deltaY / 200), at[0], Math.max(0, at[1]));
  }

  key(event) {
    const { side } = this;
    const { scene } = side;
    const page = Math.max(1, Math.round(side.wide / 10));
    const step = event.ctrlKey ? page : 1;
    const query = { ArrowDown: step, ArrowUp: -step, Home: -Infinity, End: Infinity }[event.key];
    const key = { ArrowRight: step, ArrowLeft: -step }[event.key];
    const layer = { PageDown: 1, PageUp: -1 }[event.key];
    const head = { "]": 1, "[": -1 }[event.key];
    const zoom = { "+": 2, "=": 2, "-": 0.5 }[event.key];
    if (query !== undefined || key !== undefined) this.walk(query ?? 0, key ?? 0);
    else if (layer) scene.open(scene.row + layer, scene.head);
    else if (head) scene.open(scene.row, scene.head + head);
    else if (zoom) side.zoom(zoom, Math.max(0, side.reading), side.key < 0 ? this.heaviest : side.key);
    else if (event.key === "0") this.whole0();
    else if (event.key === "Enter" && side.token >= 0) side.toggle("tokens", side.token, event.shiftKey);
    else if (event.key === "Escape") side.select({ tokens: new Set() });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Where the row that is read looks most. */
  get heaviest() {
    return this.side.looks?.list[0]?.key ?? 0;
  }

  whole0() {
    this.side.whole();
    this.side.tell("zoom");
  }

  /** Along the queries; along the keys from where the row looks most. */
  walk(down, across) {
    const { side, store } = this;
    const last = store.facts.tokens - 1;
    const from = side.token < 0 ? (side.reading < 0 ? -Math.sign(down || 1) : side.reading - Math.sign(down)) : side.token;
    const query = Math.max(0, Math.min(last, down ? from + down : Math.max(0, from)));
    let { key } = side;
    if (across) key = key < 0 ? (store.looks(side.row, side.head, query)?.list[0]?.key ?? 0) : Math.max(0, Math.min(last, key + across));
    side.reveal(query, key);
    side.point(query, key);
  }
}

function clip(text, most) {
  const signs = [...text];
  return signs.length > most ? signs.slice(0, most).join("") : text;
}
