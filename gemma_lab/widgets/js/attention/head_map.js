// One head's map with the text on both edges: from the whole text, pooled, down to single rows and keys.
import { fitCanvas, imageCanvas, MODALITY_COLORS } from "../shared/colors.js";
import { h } from "../shared/dom.js";
import { number } from "../shared/format.js";
import { drawFirstToken, drawMap, drawRows, fillVisible, packedColor, showsRows } from "./painting.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { AttentionSide } from "./attention_scene.js" */
/** @import { DrawnRows } from "./painting.js" */
/** @typedef {{ x: number, y: number, query0: number, key0: number, moved: boolean }} Drag */

const MAP_LEFT = 112; // width of the queries' labels, in pixels
const MAP_TOP = 82; // height of the keys' labels
const STRIP = 15; // width of the first token's strip
const RIGHT = 14;
const BOTTOM = 6;
const LARGEST = 520;
const LETTER = 12; // height of a line of text
const INSET = 44; // side of the whole map, drawn while zoomed

export class HeadMap {
  /** @param {AttentionSide} side */
  constructor(side) {
    this.side = side;
    this.store = side.store;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.node = h(
      "div",
      {
        class: "gl-map",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "attention map",
        "data-testid": "map",
      },
      this.base,
      this.over,
    );
    this.width = 480;
    /** @type {DrawnRows} */
    this.rows = { full: 0, top: 0, missing: 0 };
    /** @type {Drag | null} */
    this.dragged = null;
    /** @type {{ name: string, canvas: HTMLCanvasElement | null }} */
    this.inset = { name: "", canvas: null };
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.dragged || side.point(-1));
    this.node.addEventListener("pointerdown", (event) => this.press(event));
    this.node.addEventListener("dblclick", (event) => this.zoomIn(event));
    this.node.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.node.addEventListener("blur", () => side.point(-1));
  }

  /** The square of the map, in pixels. */
  get frame() {
    const side = Math.max(120, Math.min(LARGEST, this.width - MAP_LEFT - STRIP - 5 - RIGHT));
    return { left: MAP_LEFT + STRIP + 5, top: MAP_TOP, side };
  }

  get height() {
    return MAP_TOP + this.frame.side + BOTTOM;
  }

  /** The size of a token, in pixels. */
  get cell() {
    return this.frame.side / this.side.wide;
  }

  /** @param {number} key */
  x(key) {
    return this.frame.left + (key - this.side.key0) * this.cell;
  }

  /** @param {number} query */
  y(query) {
    return MAP_TOP + (query - this.side.query0) * this.cell;
  }

  /** @param {Changes} what */
  update(what) {
    if (what.has("size")) this.node.style.height = `${this.height}px`;
    if (["size", "theme", "head", "zoom", "arrived", "data"].some((one) => what.has(one))) this.draw();
    if (what.has("head") || what.has("size")) this.describe();
    this.drawOver();
  }

  describe() {
    const { scene, layout } = this.side;
    const label =
      `Map of layer ${layout.layer}, head ${scene.headNumber}: queries down, keys across. Arrow keys move ` +
      "along tokens and keys, plus and minus zoom, 0 shows the whole map, Page Up and Page Down change the " +
      "layer, square brackets the head, Enter selects the token.";
    this.node.setAttribute("aria-label", label);
  }

  draw() {
    const { side, store } = this;
    const ctx = fitCanvas(this.base, this.width, this.height);
    fillVisible(ctx, this);
    if (!store.maps.has(side.layerIndex)) {
      this.drawWaiting(ctx);
      return;
    }
    drawMap(ctx, this, showsRows(this) ? 0.3 : 1);
    this.rows = drawRows(ctx, this);
    drawFirstToken(ctx, this);
    this.drawEdges(ctx);
    this.drawInset(ctx);
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawWaiting(ctx) {
    const { left, top, side } = this.frame;
    ctx.font = `12px ${this.side.theme.font}`;
    ctx.textAlign = "center";
    ctx.fillStyle = this.side.theme.muted;
    ctx.fillText(`Layer ${this.side.layout.layer} is being loaded …`, left + side / 2, top + side / 2);
  }

  /** How many tokens apart the labels of an edge are. */
  get labelStep() {
    return Math.max(1, Math.ceil((LETTER + 1) / this.cell));
  }

  /**
   * Return the tokens along an edge that have a label.
   * @param {number} from
   */
  labelled(from) {
    const step = this.labelStep;
    const end = Math.min(this.side.store.facts.tokens, from + this.side.wide);
    const tokens = [];
    for (let at = Math.ceil(from / step) * step; at < end; at += step) tokens.push(at);
    return tokens;
  }

  /** @param {CanvasRenderingContext2D} ctx */
  drawEdges(ctx) {
    const { side } = this;
    const { left, top } = this.frame;
    const { theme } = side;
    this.drawModalities(ctx);
    ctx.font = `11px ${theme.font}`;
    ctx.textBaseline = "middle";
    const middle = this.labelStep > 1 ? LETTER / 2 : Math.max(LETTER, this.cell) / 2;
    for (const token of this.labelled(side.query0)) {
      const y = this.y(token) + middle;
      this.drawLabel(ctx, token, { x: 6, y, room: MAP_LEFT - 20, align: "right" });
      if (this.labelStep > 1) this.drawNumber(ctx, token, y);
    }
    for (const token of this.labelled(side.key0)) {
      turned(ctx, this.x(token) + middle, top - 10, () => {
        this.drawLabel(ctx, token, { x: 0, y: 0, room: MAP_TOP - 14, align: "left" });
      });
    }
    ctx.font = `10.5px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.textAlign = "right";
    ctx.direction = "ltr";
    ctx.fillText("queries ↓", MAP_LEFT - 8, 10);
    ctx.fillText("keys →", MAP_LEFT - 8, 24);
    turned(ctx, left - STRIP / 2 - 5, top - 10, () => {
      ctx.textAlign = "left";
      ctx.fillStyle = theme.text;
      ctx.fillText("first token", 0, 0);
    });
  }

  /**
   * Draw a token's text in its own direction.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} token
   * @param {{ x: number, y: number, room: number, align: "left" | "right" }} where
   */
  drawLabel(ctx, token, { x, y, room, align }) {
    const { store, theme } = this.side;
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y - 8, room, 16);
    ctx.clip();
    ctx.textAlign = align;
    ctx.direction = store.name("direction", token) === "rtl" ? "rtl" : "ltr";
    ctx.fillStyle = store.name("modality", token) === "text" ? theme.text : theme.muted;
    ctx.fillText(this.shortName(token), align === "right" ? x + room : x, y);
    ctx.restore();
  }

  /**
   * Draw a token's number, where a label is for several tokens.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} token
   * @param {number} y
   */
  drawNumber(ctx, token, y) {
    const { theme } = this.side;
    ctx.save();
    ctx.textAlign = "left";
    ctx.direction = "ltr";
    ctx.font = `10px ${theme.font}`;
    const name = number(token);
    ctx.fillStyle = theme.page;
    ctx.fillRect(0, y - 6, ctx.measureText(name).width + 8, 12);
    ctx.fillStyle = theme.muted;
    ctx.fillText(name, 2, y);
    ctx.restore();
  }

  /**
   * Return a token's label; of an image patch only its column and row.
   * @param {number} token
   */
  shortName(token) {
    const { store } = this;
    const box = store.positions.get(token)?.box;
    if (!box || box[0] < 0) return store.shortLabel(token, 40);
    const [x0, y0, x1, y1] = box;
    return `${Math.round(x0 / (x1 - x0)) + 1} · ${Math.round(y0 / (y1 - y0)) + 1}`;
  }

  /**
   * Draw the modality of what is not text as a stripe along both edges.
   * @param {CanvasRenderingContext2D} ctx
   */
  drawModalities(ctx) {
    const { side, store } = this;
    const { left } = this.frame;
    const step = Math.max(1, Math.floor(1 / this.cell));
    const size = Math.max(1, this.cell * step);
    /**
     * @param {number} from
     * @param {(token: number) => void} stripe
     */
    const along = (from, stripe) => {
      for (let at = Math.floor(from); at < from + side.wide && at < store.count; at += step) {
        const modality = store.name("modality", at);
        if (!MODALITY_COLORS[modality] || modality === "special") continue;
        ctx.fillStyle = MODALITY_COLORS[modality];
        stripe(at);
      }
    };
    along(side.query0, (token) => ctx.fillRect(MAP_LEFT - 5, Math.max(MAP_TOP, this.y(token)), 3, size));
    along(side.key0, (token) => ctx.fillRect(Math.max(left, this.x(token)), MAP_TOP - 6, size, 3));
  }

  /**
   * While zoomed, draw the whole map small in the corner between the edges.
   * @param {CanvasRenderingContext2D} ctx
   */
  drawInset(ctx) {
    const { side } = this;
    if (!side.isZoomed) return;
    const x = 3;
    const y = 8;
    const scale = INSET / side.store.facts.tokens;
    ctx.fillStyle = side.theme.page;
    ctx.fillRect(x - 3, y - 3, INSET + 6, INSET + 6);
    const whole = this.wholeMap();
    if (whole) ctx.drawImage(whole, x, y, INSET, INSET);
    ctx.strokeStyle = side.theme.line;
    ctx.lineWidth = 1;
    ctx.strokeRect(x - 0.5, y - 0.5, INSET + 1, INSET + 1);
    ctx.strokeStyle = side.theme.accent;
    ctx.lineWidth = 1.5;
    const wide = Math.max(4, side.wide * scale);
    const across = Math.min(INSET - wide, side.key0 * scale);
    const down = Math.min(INSET - wide, side.query0 * scale);
    ctx.strokeRect(x + across, y + down, wide, wide);
  }

  /** Return the whole map, one pixel per bin. */
  wholeMap() {
    const { side, store } = this;
    const name = `${side.layerIndex}:${side.head}:${store.version}:${side.ramp.theme}`;
    const part = store.maps.get(side.layerIndex);
    if (this.inset.name === name || !part) return this.inset.canvas;
    const image = new ImageData(store.bins, store.bins);
    const pixels = new Uint32Array(image.data.buffer);
    const from = side.head * store.bins * store.bins;
    for (let at = 0; at < pixels.length; at++) {
      const root = part.maps[from + at];
      if (root) pixels[at] = packedColor(side.ramp, (root / 255) ** 2 / part.scale_max[side.head]);
    }
    this.inset = { name, canvas: imageCanvas(image) };
    return this.inset.canvas;
  }

  drawOver() {
    const { side, store } = this;
    const ctx = fitCanvas(this.over, this.width, this.height);
    const { left, top, side: square } = this.frame;
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, 0, left + square + RIGHT, top + square + BOTTOM);
    ctx.clip();
    for (const token of side.tokens) this.drawQuery(ctx, token, false);
    if (side.reading >= 0) this.drawQuery(ctx, side.reading, true);
    if (side.key >= 0) this.drawKey(ctx, side.key);
    const { row } = side;
    if (row) {
      ctx.beginPath();
      ctx.rect(left - 1, 0, square + 2, top + square + 2);
      ctx.clip();
      for (const { key, bin, weight } of row.list) {
        const size = bin === undefined ? 1 : store.binSize(bin);
        this.drawMark(ctx, key, size, Math.min(1, weight / row.top));
      }
    }
    ctx.restore();
  }

  /**
   * Mark a key of the row that is shown, above the map, as tall as its share of the heaviest.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} key
   * @param {number} tokens
   * @param {number} share
   */
  drawMark(ctx, key, tokens, share) {
    const { side } = this;
    const { left, top } = this.frame;
    const size = this.cell * tokens;
    const tall = 4 + 14 * share;
    ctx.fillStyle = side.theme.accent;
    if (side.toward) ctx.fillRect(left - 4, this.y(key), 4, Math.max(2, size));
    else ctx.fillRect(this.x(key) + size / 2 - 1.5, top - tall, 3, tall);
  }

  /**
   * Mark the row of a query; of a pooled map, that of its bin.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} token
   * @param {boolean} shown
   */
  drawQuery(ctx, token, shown) {
    const { side } = this;
    const [from, to] = this.tokensOfStep(token);
    const y = this.y(from);
    const x = this.x(from);
    const size = Math.max(2, this.cell * (to - from));
    const { left, top, side: square } = this.frame;
    if (y + size < top || y > top + square) return;
    const toward = side.toward && shown;
    ctx.fillStyle = side.theme.soft;
    if (toward) ctx.fillRect(x, top, size, square);
    else ctx.fillRect(0, y, left + square, size);
    ctx.fillStyle = side.theme.accent;
    if (toward) for (const at of [x - 1, x + size]) ctx.fillRect(at, top, 1, square);
    else if (shown) for (const at of [y - 1, y + size]) ctx.fillRect(0, at, left + square, 1);
    else ctx.fillRect(0, y, 3, size);
  }

  /**
   * Mark the column of a key.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} key
   */
  drawKey(ctx, key) {
    const [from, to] = this.tokensOfStep(key);
    const { top, side: square } = this.frame;
    const x = this.x(from);
    const wide = Math.max(2, this.cell * (to - from));
    ctx.fillStyle = this.side.theme.text;
    for (const at of [x - 1, x + wide]) ctx.fillRect(at, top, 1, square);
  }

  /**
   * Return the tokens that are one step of the map at this zoom: one where single rows are drawn, else a bin.
   * @param {number} token
   * @returns {[from: number, to: number]}
   */
  tokensOfStep(token) {
    const { store } = this;
    if (store.isUnbinned || showsRows(this)) return [token, token + 1];
    const bin = store.bin(token);
    return [store.edges[bin], store.edges[bin + 1]];
  }

  /**
   * Return the query and the key under the pointer; on the strip the key is the first token.
   * @param {MouseEvent} event
   * @returns {[query: number, key: number] | null}
   */
  under({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    const { side, store } = this;
    const { left, top, side: square } = this.frame;
    const across = clientX - box.left;
    const down = clientY - box.top;
    /**
     * @param {number} at
     * @param {number} from
     */
    const token = (at, from) => {
      return Math.max(0, Math.min(store.facts.tokens - 1, Math.floor(from + at / this.cell)));
    };
    if (down < top)
      return across >= left && across < left + square ? [token(across - left, side.key0), -1] : null;
    if (down >= top + square || across >= left + square) return null;
    const query = token(down - top, side.query0);
    if (across >= left) return [query, token(across - left, side.key0)];
    return [query, across >= MAP_LEFT ? 0 : -1];
  }

  /** @param {PointerEvent} event */
  point(event) {
    if (this.dragged) this.drag(event, this.dragged);
    else this.side.point(...(this.under(event) ?? [-1, -1]));
  }

  /** @param {PointerEvent} event */
  press(event) {
    const { query0, key0 } = this.side;
    this.dragged = { x: event.clientX, y: event.clientY, query0, key0, moved: false };
    this.node.setPointerCapture(event.pointerId);
    const end = () => {
      const moved = this.dragged?.moved;
      this.dragged = null;
      if (!moved) this.pick(event);
    };
    this.node.addEventListener("lostpointercapture", end, { once: true });
  }

  /**
   * @param {PointerEvent} event
   * @param {Drag} drag
   */
  drag({ clientX, clientY }, drag) {
    const across = clientX - drag.x;
    const down = clientY - drag.y;
    drag.moved ||= Math.hypot(across, down) > 4;
    if (!drag.moved || !this.side.isZoomed) return;
    this.side.moveTo(drag.query0 - down / this.cell, drag.key0 - across / this.cell);
  }

  /** @param {MouseEvent} event */
  pick(event) {
    const at = this.under(event);
    if (at) this.side.toggleToken(at[0], event.shiftKey || event.ctrlKey || event.metaKey);
  }

  /** @param {MouseEvent} event */
  zoomIn(event) {
    const at = this.under(event);
    if (at) this.side.zoom(4, at[0], Math.max(0, at[1]));
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    const at = this.under(event);
    if (at) this.side.zoom(Math.exp(-event.deltaY / 200), at[0], Math.max(0, at[1]));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { side } = this;
    const { scene } = side;
    const step = event.ctrlKey ? Math.max(1, Math.round(side.wide / 10)) : 1;
    /** @param {number} factor */
    const zoom = (factor) => {
      side.zoom(factor, Math.max(0, side.reading), side.key < 0 ? this.heaviestKey : side.key);
    };
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowDown: () => this.walk(step, 0),
      ArrowUp: () => this.walk(-step, 0),
      Home: () => this.walk(Number.NEGATIVE_INFINITY, 0),
      End: () => this.walk(Number.POSITIVE_INFINITY, 0),
      ArrowRight: () => this.walk(0, step),
      ArrowLeft: () => this.walk(0, -step),
      PageDown: () => side.stepLayer(1),
      PageUp: () => side.stepLayer(-1),
      "]": () => scene.open(scene.layerIndex, scene.head + 1),
      "[": () => scene.open(scene.layerIndex, scene.head - 1),
      "+": () => zoom(2),
      "=": () => zoom(2),
      "-": () => zoom(0.5),
      0: () => side.resetZoom(),
      Escape: () => side.clearSelection(),
    };
    if (side.token >= 0) actions.Enter = () => side.toggleToken(side.token, event.shiftKey);
    if (!Object.hasOwn(actions, event.key)) return;
    actions[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }

  /** The heaviest key of the row that is shown. */
  get heaviestKey() {
    return this.side.row?.list[0]?.key ?? 0;
  }

  /**
   * Move along the queries; along the keys from the heaviest one.
   * @param {number} down
   * @param {number} across
   */
  walk(down, across) {
    const { side, store } = this;
    const last = store.facts.tokens - 1;
    const before = side.reading < 0 ? -Math.sign(down || 1) : side.reading - Math.sign(down);
    const from = side.token < 0 ? before : side.token;
    const query = Math.max(0, Math.min(last, down ? from + down : Math.max(0, from)));
    let { key } = side;
    if (across && key < 0) key = store.rowOf(side.layerIndex, side.head, query)?.list[0]?.key ?? 0;
    else if (across) key = Math.max(0, Math.min(last, key + across));
    side.reveal(query, key);
    side.point(query, key);
  }
}

/**
 * Draw upwards from a point.
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} x
 * @param {number} y
 * @param {() => void} draw
 */
function turned(ctx, x, y, draw) {
  ctx.save();
  ctx.translate(x, y);
  ctx.rotate(-Math.PI / 2);
  draw();
  ctx.restore();
}
