// Colours of data: viridis for amounts, Okabe–Ito for the few kinds; both suit every kind of colour vision.

/** @typedef {[red: number, green: number, blue: number]} Rgb */
/** @typedef {"text" | "muted" | "line" | "soft" | "accent" | "font"} ForegroundName */
/** @typedef {"page" | "empty" | "veil" | "sink"} BackgroundName */
/**
 * The theme's colours and font for canvases, as CSS: `veil` covers what is not selected, `sink` is the first
 * token.
 * @typedef {Record<ForegroundName | BackgroundName, string>} ThemeColors
 */

// Seventeen points of matplotlib's viridis.
/** @type {Rgb[]} */
const VIRIDIS = [
  "440154",
  "481a6c",
  "472f7d",
  "414487",
  "39568c",
  "31688e",
  "2a788e",
  "23888e",
  "1f988b",
  "22a884",
  "35b779",
  "54c568",
  "7ad151",
  "a5db36",
  "d2e21b",
  "f4e61e",
  "fde725",
].map((hex) => [channel(hex, 0), channel(hex, 2), channel(hex, 4)]);
const RAMP_STEPS = 64;
const DARK_TEXT = "#10131a";
const LIGHT_TEXT = "#fff";

/** Seven colours for the experts that lead most often; everything else is grey. */
const OKABE_ITO = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];

/** @type {Record<string, string>} */
export const MODALITY_COLORS = {
  text: "",
  image: "#56b4e9",
  video: "#e69f00",
  audio: "#009e73",
  special: "#8a8f98",
};

/**
 * @param {string} hex
 * @param {number} at
 */
function channel(hex, at) {
  return Number.parseInt(hex.slice(at, at + 2), 16);
}

/**
 * @param {number} share
 * @returns {Rgb}
 */
function viridis(share) {
  const at = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const part = at - low;
  const between = VIRIDIS[low].map((value, index) => {
    return Math.round(value + (VIRIDIS[low + 1][index] - value) * part);
  });
  return /** @type {Rgb} */ (between);
}

/**
 * On a light page: viridis from green to violet, its small amounts paler, so that they recede
 * (gemma_lab/views/base/colors.py does the same).
 * @param {number} share
 * @returns {Rgb}
 */
function onLightPage(share) {
  const white = 0.7 * (1 - share) ** 1.4;
  const mixed = viridis(0.62 * (1 - share)).map((value) => Math.round(value * (1 - white) + 255 * white));
  return /** @type {Rgb} */ (mixed);
}

/** The colour scale of amounts: small ones are close to the page, large ones stand out from it. */
export class Ramp {
  /** @param {string} theme "dark" or "light". */
  constructor(theme) {
    this.theme = theme;
    /** @type {(share: number) => Rgb} */
    const point = theme === "dark" ? (share) => viridis(0.25 + 0.75 * share) : onLightPage;
    this.rgb = Array.from({ length: RAMP_STEPS }, (_, step) => point(step / (RAMP_STEPS - 1)));
    /** The colours as they lie in an image's memory. */
    this.packed = Uint32Array.from(this.rgb, ([red, green, blue]) => {
      return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    this.css = this.rgb.map(([red, green, blue]) => `rgb(${red} ${green} ${blue})`);
    /** The colour of text on each colour. */
    this.ink = this.rgb.map(([red, green, blue]) => {
      return 0.3 * red + 0.59 * green + 0.11 * blue > 128 ? DARK_TEXT : LIGHT_TEXT;
    });
  }

  /**
   * Return the step of a share in 0 … 1.
   * @param {number} share
   */
  step(share) {
    return share >= 1 ? RAMP_STEPS - 1 : share <= 0 ? 0 : Math.floor(share * RAMP_STEPS);
  }

  /**
   * Return the colour of a share in 0 … 1, as CSS.
   * @param {number} share
   */
  of(share) {
    return this.css[this.step(share)];
  }

  /** Return the scale as the background of a legend. */
  gradient() {
    const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => this.of(share));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }
}

// ColorBrewer's PuOr, from purple to orange (gemma_lab/views/base/colors.py has the same).
/** @type {Rgb[]} */
const PURPLE_ORANGE = [
  "2d004b",
  "542788",
  "8073ac",
  "b2abd2",
  "d8daeb",
  "f7f7f7",
  "fee0b6",
  "fdb863",
  "e08214",
  "b35806",
  "7f3b08",
].map((hex) => [channel(hex, 0), channel(hex, 2), channel(hex, 4)]);
/** On a dark page 0 is close to the page, and large values are light. @type {Rgb[]} */
const DARK_PURPLE_ORANGE = [
  "d8ccff",
  "a58fe6",
  "7458c4",
  "463a80",
  "2b2a40",
  "24272d",
  "3d2f22",
  "80501a",
  "c5790f",
  "f2a33c",
  "ffd79a",
].map((hex) => [channel(hex, 0), channel(hex, 2), channel(hex, 4)]);

/** The colour scale of signed values: purple below 0, close to the page at 0, orange above. */
export class SignedRamp {
  /** @param {string} theme "dark" or "light". */
  constructor(theme) {
    this.points = theme === "dark" ? DARK_PURPLE_ORANGE : PURPLE_ORANGE;
  }

  /**
   * Return the colour of a value in −1 … 1, as CSS.
   * @param {number} value
   */
  of(value) {
    const at = ((Math.max(-1, Math.min(1, value)) + 1) / 2) * (this.points.length - 1);
    const low = Math.min(Math.floor(at), this.points.length - 2);
    const [red, green, blue] = this.points[low].map((from, index) => {
      return Math.round(from + (this.points[low + 1][index] - from) * (at - low));
    });
    return `rgb(${red} ${green} ${blue})`;
  }

  /** Return the scale as the background of a legend. */
  gradient() {
    const stops = [-1, -0.6, -0.2, 0, 0.2, 0.6, 1].map((value) => this.of(value));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }
}

/**
 * Return colours for the experts that come first most often, and all of them with their counts, most first.
 * @param {number[]} firsts
 * @returns {{ colors: Map<number, string>, ranked: [expert: number, count: number][] }}
 */
export function leaders(firsts) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const expert of firsts) counts.set(expert, (counts.get(expert) ?? 0) + 1);
  const ranked = [...counts].sort((one, other) => other[1] - one[1] || one[0] - other[0]);
  const leading = ranked.slice(0, OKABE_ITO.length);
  return { colors: new Map(leading.map(([expert], rank) => [expert, OKABE_ITO[rank]])), ranked };
}

/**
 * Return the theme's colours, read from the page.
 * @param {HTMLElement} root
 * @returns {ThemeColors}
 */
export function themeColors(root) {
  const style = getComputedStyle(root);
  /** @param {string} name */
  const pick = (name) => style.getPropertyValue(name).trim();
  const dark = root.dataset.theme === "dark";
  return {
    text: pick("--gl-ink"),
    muted: pick("--gl-muted"),
    line: pick("--gl-line"),
    soft: pick("--gl-soft"),
    accent: pick("--gl-accent"),
    page: pick("--gl-ground"),
    empty: pick("--gl-empty"),
    font: style.fontFamily,
    veil: dark ? "rgb(20 22 26 / 80%)" : "rgb(255 255 255 / 75%)",
    sink: dark ? "#e69f00" : "#c47f00",
  };
}

/**
 * Give a canvas its size on the page in device pixels; return its context, in CSS pixels, cleared.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
export function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const across = Math.max(1, Math.round(width * ratio));
  const down = Math.max(1, Math.round(height * ratio));
  const ctx = context2d(canvas);
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  } else {
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, across, down);
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return ctx;
}

/**
 * Return a canvas with the pixels of an image.
 * @param {ImageData} image
 */
export function imageCanvas(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  context2d(canvas).putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
function context2d(canvas) {
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("This browser gives no 2D canvas.");
  return ctx;
}
