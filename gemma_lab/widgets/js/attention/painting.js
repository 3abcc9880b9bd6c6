// Parts of an attention map: the pooled map, single rows over it, the first token's strip beside it.
import { imageCanvas } from "../shared/colors.js";
import { FRACTION_STEPS } from "../shared/wire.js";

/** @import { Ramp } from "../shared/colors.js" */
/** @import { HeadMap } from "./head_map.js" */
/** How many of the rows in sight are drawn in full, by their top keys, or not at all. */
/** @typedef {{ full: number, top: number, missing: number }} DrawnRows */

const SCALE_TOP = 0.35; // the weight at which the colours of single rows end

/**
 * Return whether single rows are drawn over the pooled map: where a token is wide enough to be told apart.
 * @param {HeadMap} map
 */
export function showsRows(map) {
  const { store, cell } = map;
  const bin = cell * store.binSize(0);
  return !store.isUnbinned && (cell >= 1.5 || (cell >= 0.45 && bin >= 60));
}

/**
 * Return how opaque a share of the scale is drawn: small ones recede into the page.
 * @param {number} share
 */
export function opacityOf(share) {
  return Math.min(1, 0.08 + 9 * share);
}

/**
 * Return the colour of a share as it lies in an image's memory, with its opacity.
 * @param {Ramp} ramp
 * @param {number} share
 */
export function packedColor(ramp, share) {
  return ((ramp.packed[ramp.step(share)] & 0xffffff) | (Math.round(255 * opacityOf(share)) << 24)) >>> 0;
}

/**
 * Fill what the layer may attend to: keys up to the query, and on local layers only those in the window.
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 */
export function fillVisible(ctx, map) {
  ctx.save();
  clipToFrame(ctx, map);
  ctx.fillStyle = map.side.theme.empty;
  traceVisible(ctx, map);
  ctx.fill();
  ctx.restore();
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 */
function clipToFrame(ctx, map) {
  const { left, top, side } = map.frame;
  ctx.beginPath();
  ctx.rect(left, top, side, side);
  ctx.clip();
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 */
function traceVisible(ctx, map) {
  const { window: span } = map.side.layout;
  const { tokens } = map.store.facts;
  ctx.beginPath();
  ctx.moveTo(map.x(0), map.y(0));
  ctx.lineTo(map.x(tokens), map.y(tokens));
  if (span && span < tokens) {
    ctx.lineTo(map.x(tokens - span), map.y(tokens));
    ctx.lineTo(map.x(0), map.y(span));
  } else ctx.lineTo(map.x(0), map.y(tokens));
  ctx.closePath();
}

/**
 * Return the bin under each device pixel of an edge that begins at a token, -1 beyond the text.
 * @param {HeadMap} map
 * @param {number} from
 * @param {number} pixels
 */
function binsUnder(map, from, pixels) {
  const { store } = map;
  const bins = new Int32Array(pixels);
  const step = map.side.wide / pixels;
  let bin = store.bin(Math.floor(from));
  for (let at = 0; at < pixels; at++) {
    const token = from + (at + 0.5) * step;
    while (bin < store.bins - 1 && token >= store.edges[bin + 1]) bin += 1;
    bins[at] = token < store.facts.tokens ? bin : -1;
  }
  return bins;
}

/**
 * Draw the map's cells, each pixel from its own bin, so that bins of any size are where they belong.
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 * @param {number} opacity
 */
export function drawMap(ctx, map, opacity) {
  const { side, store } = map;
  const { left, top, side: square } = map.frame;
  const pixels = Math.round(square * (window.devicePixelRatio || 1));
  const image = mapImage(map, pixels);
  if (!image) return;
  ctx.save();
  // A bin on the diagonal is half of later keys; on local layers with media only what is visible is shown.
  if (showsRows(map) && !(side.layout.window && store.positions.size)) {
    traceVisible(ctx, map);
    ctx.clip();
  }
  ctx.globalAlpha = opacity;
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(imageCanvas(image), left, top, square, square);
  ctx.restore();
}

/**
 * @param {HeadMap} map
 * @param {number} pixels
 */
function mapImage(map, pixels) {
  const { side, store } = map;
  const part = store.maps.get(side.layerIndex);
  if (!part) return null;
  const colors = new Uint32Array(256);
  for (let root = 1; root < 256; root++) {
    colors[root] = packedColor(side.ramp, (root / 255) ** 2 / part.scale_max[side.head]);
  }
  const rows = binsUnder(map, side.query0, pixels);
  const columns = binsUnder(map, side.key0, pixels);
  const image = new ImageData(pixels, pixels);
  const sheet = new Uint32Array(image.data.buffer);
  const from = side.head * store.bins * store.bins;
  for (let y = 0; y < pixels; y++) {
    const start = y * pixels;
    if (y && rows[y] === rows[y - 1]) {
      sheet.copyWithin(start, start - pixels, start);
      continue;
    }
    if (rows[y] < 0) continue;
    const line = from + rows[y] * store.bins;
    for (let x = 0; x < pixels; x++) {
      if (columns[x] >= 0) sheet[start + x] = colors[part.maps[line + columns[x]]];
    }
  }
  return image;
}

/**
 * Draw the rows that are known key by key over the pooled map; return how many are known, and how.
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 * @returns {DrawnRows}
 */
export function drawRows(ctx, map) {
  const { side, store } = map;
  const drawn = { full: 0, top: 0, missing: 0 };
  if (!showsRows(map)) return drawn;
  const { left, side: square } = map.frame;
  const size = Math.max(1.5, map.cell - (map.cell > 6 ? 1 : 0));
  ctx.save();
  clipToFrame(ctx, map);
  /**
   * @param {number} key
   * @param {number} weight
   * @param {number} y
   */
  const drawKey = (key, weight, y) => {
    if (key === 0 || key + 1 < side.key0 || key > side.key0 + side.wide) return;
    ctx.globalAlpha = opacityOf(weight / SCALE_TOP);
    ctx.fillStyle = side.ramp.of(weight / SCALE_TOP);
    ctx.fillRect(map.x(key), y, size, size);
  };
  for (const query of side.queries) {
    const y = map.y(query);
    const full = store.fullRow(side.layerIndex, side.head, query);
    const list = full ? null : store.topKeys(side.layerIndex, side.head, query);
    drawn[full ? "full" : list ? "top" : "missing"] += 1;
    for (const { key, weight } of list ?? []) drawKey(key, weight, y);
    if (!full) continue;
    ctx.globalAlpha = 1;
    ctx.fillStyle = side.theme.page;
    ctx.fillRect(left, y, square, map.cell);
    const end = Math.min(full.length, Math.ceil(side.key0 + side.wide));
    for (let key = Math.max(1, Math.floor(side.key0)); key < end; key++) {
      if (full[key] > 6) drawKey(key, full[key] / FRACTION_STEPS, y);
    }
  }
  ctx.restore();
  return drawn;
}

/**
 * Draw the weight of the first token, row by row.
 * @param {CanvasRenderingContext2D} ctx
 * @param {HeadMap} map
 */
export function drawFirstToken(ctx, map) {
  const { side, store } = map;
  const { left, top, side: square } = map.frame;
  const x = left - 20;
  const wide = 15;
  ctx.fillStyle = side.theme.empty;
  ctx.fillRect(x, top, wide, square);
  ctx.fillStyle = side.theme.sink;
  /**
   * @param {number} query
   * @param {number} size
   * @param {number} weight
   */
  const bar = (query, size, weight) => {
    const from = Math.max(top, map.y(query));
    const to = Math.min(top + square, map.y(query + size));
    const gap = map.cell * size > 5 ? 0.75 : 0;
    if (to > from) ctx.fillRect(x, from, wide * weight, Math.max(0.75, to - from - gap));
  };
  if (!showsRows(map)) {
    for (let bin = 0; bin < store.bins; bin++) {
      bar(store.edges[bin], store.binSize(bin), store.firstToken(side.layerIndex, side.head, bin));
    }
    return;
  }
  for (const query of side.queries) {
    const exact = store.statistics(side.layerIndex, side.head, query)?.first;
    bar(query, 1, exact ?? store.firstToken(side.layerIndex, side.head, store.bin(query)));
  }
}
