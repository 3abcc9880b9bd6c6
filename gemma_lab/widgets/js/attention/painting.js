// What an attention map is painted of: the pooled map, single rows over it, the first token's strip beside it.

/** Whether single rows are drawn over the pooled map: a token is wide enough to be told from its neighbour. */
export function overlaid(map) {
  const { store, cell } = map;
  const bin = cell * (store.edges[1] - store.edges[0]);
  return !store.fine && (cell >= 1.5 || (cell >= 0.45 && bin >= 60));
}

/** How much of its colour a share of the scale keeps: little recedes into the page. */
export function strength(share) {
  return Math.min(1, 0.08 + 9 * share);
}

/** A colour of the scale as it lies in an image's memory, receding where it is little. */
export function tinted(ramp, share) {
  return ((ramp.packed[ramp.step(share)] & 0xffffff) | (Math.round(255 * strength(share)) << 24)) >>> 0;
}

/** What the layer may see: keys up to the query, and on local layers only as far back as the window. */
export function clear(paint, map) {
  const { left, top, side: square } = map.frame;
  paint.save();
  paint.beginPath();
  paint.rect(left, top, square, square);
  paint.clip();
  paint.fillStyle = map.side.inks.empty;
  reached(paint, map);
  paint.fill();
  paint.restore();
}

function reached(paint, map) {
  const { side } = map;
  const { window: reach } = side.layout;
  const { tokens } = side.store.facts;
  paint.beginPath();
  paint.moveTo(map.x(0), map.y(0));
  paint.lineTo(map.x(tokens), map.y(tokens));
  if (reach && reach < tokens) {
    paint.lineTo(map.x(tokens - reach), map.y(tokens));
    paint.lineTo(map.x(0), map.y(reach));
  } else paint.lineTo(map.x(0), map.y(tokens));
  paint.closePath();
}

/** The bins under each device pixel of an edge that begins at a token. */
function binsUnder(map, from, pixels) {
  const { store } = map;
  const [bins, step] = [new Int32Array(pixels), map.side.wide / pixels];
  let bin = store.bin(Math.floor(from));
  for (let at = 0; at < pixels; at++) {
    const token = from + (at + 0.5) * step;
    while (bin < store.bins - 1 && token >= store.edges[bin + 1]) bin += 1;
    bins[at] = token < store.facts.tokens ? bin : -1;
  }
  return bins;
}

/** The map's cells, each pixel from its own bin, so that bins of any size stand where they belong. */
export function drawMap(paint, map, opacity) {
  const { side, store } = map;
  const { left, top, side: square } = map.frame;
  const ratio = window.devicePixelRatio || 1;
  const pixels = Math.round(square * ratio);
  const { maps, scale_max: ends } = store.maps.get(side.row);
  const colours = new Uint32Array(256);
  for (let root = 1; root < 256; root++) colours[root] = tinted(side.ramp, (root / 255) ** 2 / ends[side.head]);
  const [rows, columns] = [binsUnder(map, side.query0, pixels), binsUnder(map, side.key0, pixels)];
  const image = new ImageData(pixels, pixels);
  const sheet = new Uint32Array(image.data.buffer);
  const from = side.head * store.bins * store.bins;
  for (let y = 0, at = 0; y < pixels; y++) {
    if (y && rows[y] === rows[y - 1]) {
      sheet.copyWithin(at, at - pixels, at);
      at += pixels;
      continue;
    }
    const line = from + rows[y] * store.bins;
    for (let x = 0; x < pixels; x++, at++) if (columns[x] >= 0 && rows[y] >= 0) sheet[at] = colours[maps[line + columns[x]]];
  }
  const canvas = map.canvas ?? (map.canvas = document.createElement("canvas"));
  [canvas.width, canvas.height] = [pixels, pixels];
  canvas.getContext("2d").putImageData(image, 0, 0);
  paint.save();
  // A bin on the diagonal is half of what is still to come; only in pictures, on local layers, that is seen.
  if (overlaid(map) && !(side.layout.window && store.places.size)) {
    reached(paint, map);
    paint.clip();
  }
  paint.globalAlpha = opacity;
  paint.imageSmoothingEnabled = false;
  paint.drawImage(canvas, left, top, square, square);
  paint.restore();
}

/** Rows that are known key by key, over the pooled map. Returns how many of those in sight are whole, and how many not. */
export function drawRows(paint, map) {
  const { side, store } = map;
  const counted = { whole: 0, heaviest: 0, missing: 0 };
  if (!overlaid(map)) return counted;
  const { left, top, side: square } = map.frame;
  const scale = side.scaleTop;
  const size = Math.max(1.5, map.cell - (map.cell > 6 ? 1 : 0));
  paint.save();
  paint.beginPath();
  paint.rect(left, top, square, square);
  paint.clip();
  const put = (key, weight, y) => {
    if (key === 0 || key + 1 < side.key0 || key > side.key0 + side.wide) return;
    paint.globalAlpha = strength(weight / scale);
    paint.fillStyle = side.ramp.of(weight / scale);
    paint.fillRect(map.x(key), y, size, size);
  };
  for (let query = Math.floor(side.query0); query < Math.min(store.facts.tokens, side.query0 + side.wide); query++) {
    const y = map.y(query);
    const whole = store.whole(side.row, side.head, query);
    const list = whole ? null : store.heaviest(side.row, side.head, query);
    counted[whole ? "whole" : list ? "heaviest" : "missing"] += 1;
    if (whole) {
      paint.globalAlpha = 1;
      paint.fillStyle = side.inks.ground;
      paint.fillRect(left, y, square, map.cell);
      const end = Math.min(whole.length, Math.ceil(side.key0 + side.wide));
      for (let key = Math.max(1, Math.floor(side.key0)); key < end; key++) if (whole[key] > 6) put(key, whole[key] / 65535, y);
    } else list?.forEach(({ key, weight }) => put(key, weight, y));
  }
  paint.restore();
  return counted;
}

/** The share on the first token, row by row. */
export function drawSink(paint, map) {
  const { side, store } = map;
  const { left, top, side: square } = map.frame;
  const [x, wide] = [left - 20, 15];
  paint.fillStyle = side.inks.empty;
  paint.fillRect(x, top, wide, square);
  const each = overlaid(map);
  paint.fillStyle = side.inks.sink;
  const bar = (query, size, share) => {
    const [from, to] = [Math.max(top, map.y(query)), Math.min(top + square, map.y(query + size))];
    if (to > from) paint.fillRect(x, from, wide * share, Math.max(0.75, to - from - (map.cell * size > 5 ? 0.75 : 0)));
  };
  if (!each) {
    for (let bin = 0; bin < store.bins; bin++) bar(store.edges[bin], store.edges[bin + 1] - store.edges[bin], store.sink(side.row, side.head, bin));
    return;
  }
  for (let query = Math.floor(side.query0); query < Math.min(store.facts.tokens, side.query0 + side.wide); query++) {
    bar(query, 1, store.facts_of(side.row, side.head, query)?.first ?? store.sink(side.row, side.head, store.bin(query)));
  }
}
