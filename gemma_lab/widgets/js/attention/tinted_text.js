// The text, the pictures and the sounds, tinted by where the token that is read looks.
import { fresh } from "../shared/colors.js";
import { Flow } from "../shared/token_text.js";
import { Medium } from "../shared/media.js";
import { strength } from "./painting.js";
import { part } from "./attention_store.js";

export class LookText extends Flow {
  constructor(side) {
    super(side);
    this.scroller.setAttribute("aria-label", "Text; left and right read one token at a time, up and down change the layer, Enter keeps the token, Escape lets go");
  }

  update(what) {
    const said = new Set(what);
    if (what.has("head") || what.has("toward") || what.has("arrived")) said.add("layer");
    super.update(said);
  }

  medium(tokens, width) {
    return new LookMedium(this.scene, tokens, width);
  }

  /** Background and ink of a token, as one string. */
  look(token) {
    const { scene, store } = this;
    const { looks } = scene;
    if (!looks) return "";
    let share = 0;
    // A character of several tokens is as bright as the brightest of them.
    for (let at = token; at >= 0 && store.codes.cluster[at] === store.codes.cluster[token]; at--) share = Math.max(share, looks.share(at));
    if (share < 0.004) return "";
    const [step, kept] = [scene.ramp.step(share), strength(share)];
    // Where the page shines through, its own ink stays the legible one.
    return kept < 1 ? `color-mix(in srgb, ${scene.ramp.css[step]} ${Math.round(100 * kept)}%, transparent)|${kept > 0.6 ? scene.ramp.ink[step] : ""}` : `${scene.ramp.css[step]}|${scene.ramp.ink[step]}`;
  }
}

class LookMedium extends Medium {
  draw() {
    const { scene } = this;
    const paint = fresh(this.canvas, this.width, this.height);
    if (this.picture) paint.drawImage(this.picture, 0, 0, this.width, this.height);
    const { looks } = scene;
    const timed = this.kind === "audio";
    this.boxes.forEach(([x, y, wide, tall], at) => {
      const share = looks ? looks.share(this.tokens[at]) : 0;
      const gap = Math.min(1, wide / 6);
      const lit = share >= 0.004;
      paint.globalAlpha = lit ? 0.78 : 1;
      paint.fillStyle = lit ? scene.ramp.of(share) : this.picture ? (looks ? scene.inks.veil : "transparent") : scene.inks.empty;
      paint.fillRect(x + gap / 2, y + gap / 2, wide - gap, tall - gap);
      if (!timed || !lit) return;
      paint.globalAlpha = 1; // along a time the share is a height, too
      paint.fillRect(x + gap / 2, y + tall * (1 - share), wide - gap, tall * share);
    });
    paint.globalAlpha = 1;
    this.boxes.forEach((box, at) => this.outline(paint, box, this.tokens[at]));
    this.write(paint);
    this.say(looks);
  }

  outline(paint, [x, y, wide, tall], token) {
    super.outline(paint, [x, y, wide, tall], token);
    if (token !== this.scene.key) return;
    [paint.lineWidth, paint.strokeStyle] = [2, this.scene.inks.text];
    paint.strokeRect(x + 1, y + 1, wide - 2, tall - 2);
  }

  /** How much of the row lies on this medium, as far as that is known. */
  say(looks) {
    let words = "";
    if (looks && !this.scene.scene.toward && looks.how !== "pooled") {
      const sum = this.tokens.reduce((total, token) => total + looks.weight(token), 0);
      words = ` · ${looks.how === "heaviest" ? `${part(sum)} of the row by its heaviest keys` : `${part(sum)} of the row`}`;
    }
    if (words === this.said) return;
    this.said = words;
    this.key.replaceChildren(words.slice(3));
  }
}
