// The text and its media, tinted by the attention of the token that is shown.
import { weightPercentage } from "../shared/format.js";
import { Medium } from "../shared/media.js";
import { TokenText } from "../shared/token_text.js";
import { opacityOf } from "./painting.js";

/** @import { Changes } from "../shared/scene.js" */
/** @import { Box } from "../shared/media.js" */
/** @import { AttentionTextScene } from "./attention_scene.js" */

/** What else than the tints of generated tokens tints the text. */
export const ATTENTION_TINTS = { attention: "attention", plain: "nothing" };
const FAINT = 0.004; // share of the scale below which nothing is tinted
const TEXT_LABEL =
  "Text; left and right read one token at a time, up and down change the layer, Enter selects the token, " +
  "Escape clears the selection";

/** @extends {TokenText<AttentionTextScene>} */
export class AttentionText extends TokenText {
  /** @param {AttentionTextScene} scene */
  constructor(scene) {
    super(scene, TEXT_LABEL);
  }

  /** @param {Changes} what */
  update(what) {
    const repaint = what.has("head") || what.has("toward") || what.has("arrived");
    super.update(repaint ? new Set([...what, "layer"]) : what);
  }

  /**
   * @param {number[]} tokens
   * @param {number} width
   * @returns {Medium}
   */
  createMedium(tokens, width) {
    return new AttentionMedium(this.scene, tokens, width);
  }

  /**
   * @param {number} token
   * @returns {string}
   */
  tintOf(token) {
    const drawn = this.drawTint(token);
    if (drawn !== null) return drawn;
    if (this.scene.tone === "plain") return "";
    const { row, ramp, tone, featureShares: feature } = this.scene;
    const byFeature = tone === "feature" && feature;
    if (!row && !byFeature) return "";
    let share = 0;
    // A character of several tokens is as bright as the brightest of them.
    this.store.eachOfCharacter(token, (at) => {
      const own = byFeature ? (feature.shares.get(at) ?? 0) / (feature.top || 1) : (row?.share(at) ?? 0);
      share = Math.max(share, own);
    });
    if (share < FAINT) return "";
    const step = ramp.step(share);
    const opacity = opacityOf(share);
    if (opacity >= 1) return `${ramp.css[step]}|${ramp.ink[step]}`;
    // Where the page shines through, its own text colour stays legible.
    const background = `color-mix(in srgb, ${ramp.css[step]} ${Math.round(100 * opacity)}%, transparent)`;
    return `${background}|${opacity > 0.6 ? ramp.ink[step] : ""}`;
  }
}

/** @extends {Medium<AttentionTextScene>} */
class AttentionMedium extends Medium {
  /** @param {CanvasRenderingContext2D} ctx */
  drawBoxes(ctx) {
    const { row, ramp } = this.scene;
    this.boxes.forEach((box, at) => {
      const share = row ? row.share(this.tokens[at]) : 0;
      const [x, y, wide, tall] = box;
      const lit = share >= FAINT;
      ctx.globalAlpha = lit ? 0.78 : 1;
      ctx.fillStyle = lit ? ramp.of(share) : this.restColor();
      this.fillBox(ctx, box);
      if (this.modality !== "audio" || !lit) return;
      ctx.globalAlpha = 1; // along a time the share is a height, too
      this.fillBox(ctx, [x, y + tall * (1 - share), wide, tall * share]);
    });
    this.explain();
  }

  restColor() {
    const { row, theme } = this.scene;
    if (!this.bitmap) return theme.empty;
    return row ? theme.veil : "transparent";
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Box} box
   * @param {number} token
   */
  outline(ctx, box, token) {
    super.outline(ctx, box, token);
    if (token !== this.scene.key) return;
    const [x, y, wide, tall] = box;
    ctx.lineWidth = 2;
    ctx.strokeStyle = this.scene.theme.text;
    ctx.strokeRect(x + 1, y + 1, wide - 2, tall - 2);
  }

  /** Show how much of the row is on this medium, as far as it is known. */
  explain() {
    const { row, toward } = this.scene;
    let words = "";
    if (row && !toward && row.source !== "pooled") {
      const sum = this.tokens.reduce((total, token) => total + row.weight(token), 0);
      words = `${weightPercentage(sum)} of the row${row.source === "top" ? " by its top keys" : ""}`;
    }
    if (words !== this.legend.textContent) this.legend.replaceChildren(words);
  }
}
