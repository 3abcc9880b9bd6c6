// Colours of data: viridis for amounts, Okabe–Ito for the few kinds; both hold for any kind of colour vision.

// Seventeen points of matplotlib's viridis.
const VIRIDIS = [
  "440154", "481a6c", "472f7d", "414487", "39568c", "31688e", "2a788e", "23888e", "1f988b",
  "22a884", "35b779", "54c568", "7ad151", "a5db36", "d2e21b", "f4e61e", "fde725",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const STEPS = 64;
const [AMOUNT_TEXT_LIGHT, AMOUNT_TEXT_DARK] = ["#10131a", "#fff"];

/** Seven colours for the experts that lead most often; everything else is grey. */
const OKABE_ITO = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];

export const MODALITY = { text: "", image: "#56b4e9", video: "#e69f00", audio: "#009e73", special: "#8a8f98" };

function viridis(share) {
  const at = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const [low, part] = [Math.min(Math.floor(at), VIRIDIS.length - 2), at % 1 || (at === VIRIDIS.length - 1 ? 1 : 0)];
  return VIRIDIS[low].map((value, channel) => Math.round(value + (VIRIDIS[low + 1][channel] - value) * part));
}

/** By day: viridis from green to violet, its small amounts paler, so that they recede (view/ramp.py does the same). */
function onPaper(share) {
  const white = 0.7 * (1 - share) ** 1.4;
  return viridis(0.62 * (1 - share)).map((value) => Math.round(value * (1 - white) + 255 * white));
}

/** The scale of amounts: nothing looks like the page, much is what stands out from it, by day and by night. */
export class Ramp {
  constructor(theme) {
    this.theme = theme;
    const point = theme === "dark" ? (share) => viridis(0.25 + 0.75 * share) : onPaper;
    this.rgb = Array.from({ length: STEPS }, (_, step) => point(step / (STEPS - 1)));
    this.packed = Uint32Array.from(this.rgb, ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0); // as ImageData lies in memory
    this.css = this.rgb.map(([red, green, blue]) => `rgb(${red} ${green} ${blue})`);
    this.ink = this.rgb.map(([red, green, blue]) => (0.3 * red + 0.59 * green + 0.11 * blue > 128 ? AMOUNT_TEXT_LIGHT : AMOUNT_TEXT_DARK));
  }

  /** The step of a share in 0 … 1. */
  step(share) {
    return share >= 1 ? STEPS - 1 : share <= 0 ? 0 : Math.floor(share * STEPS);
  }

  of(share) {
    return this.css[this.step(share)];
  }

  /** The scale as a background of a legend. */
  gradient() {
    return `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => this.of(share)).join(", ")})`;
  }
}

/** Colours for the experts that come first most often, most frequent first. */
export function leaders(firsts) {
  const counts = new Map();
  for (const expert of firsts) counts.set(expert, (counts.get(expert) ?? 0) + 1);
  const ranked = [...counts].sort((one, other) => other[1] - one[1] || one[0] - other[0]);
  const colours = new Map(ranked.slice(0, OKABE_ITO.length).map(([expert], place) => [expert, OKABE_ITO[place]]));
  return { colours, ranked };
}

/** The page's own colours, read where the canvas stands. */
export function inks(root) {
  const style = getComputedStyle(root);
  const pick = (name) => style.getPropertyValue(name).trim();
  return { text: pick("--gl-ink"), muted: pick("--gl-muted"), line: pick("--gl-line"), soft: pick("--gl-soft"), accent: pick("--gl-accent"), page: pick("--gl-ground"), empty: pick("--gl-empty"), font: style.fontFamily };
}

/** Fit a canvas to its size on the page in device pixels; returns its context, in CSS pixels, cleared. */
export function fresh(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  const context = canvas.getContext("2d");
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  } else {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, across, down);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
