// The text of the routing explorer, tinted by the weight of the focused experts or by a facet of the router.
import { leaders } from "../shared/colors.js";
import { h } from "../shared/dom.js";
import { Medium } from "../shared/media.js";
import { TokenText } from "../shared/token_text.js";

/** @import { Choice } from "./routing_store.js" */
/** @import { RoutingScene } from "./routing_scene.js" */

const TEXT_LABEL =
  "Text; left and right read one token at a time, up and down change the layer, Enter selects";

/** @extends {TokenText<RoutingScene>} */
export class RoutingText extends TokenText {
  /** @param {RoutingScene} scene */
  constructor(scene) {
    super(scene, TEXT_LABEL);
    this.routing = scene.store;
  }

  /**
   * @param {number[]} tokens
   * @param {number} width
   * @returns {Medium}
   */
  createMedium(tokens, width) {
    return new RoutingMedium(this.scene, tokens, width);
  }

  /**
   * @param {number} token
   * @returns {string}
   */
  tintOf(token) {
    const { scene } = this;
    const experts = scene.focus;
    const drawn = experts.size ? null : this.drawTint(token);
    if (drawn !== null) return drawn;
    if (experts.size) {
      let weight = 0;
      // A character of several tokens is as bright as the brightest of them.
      this.routing.eachOfCharacter(token, (at) => {
        weight = Math.max(weight, this.routing.weight(scene.layerIndex, at, experts));
      });
      const step = scene.ramp.step(scene.share(weight));
      return weight ? `${scene.ramp.css[step]}|${scene.ramp.ink[step]}` : "";
    }
    const tone = scene.toneOf(token);
    if (tone <= 0.02) return "";
    return `color-mix(in srgb, var(--gl-warm) ${Math.round(tone * 46)}%, transparent)|`;
  }
}

/** @extends {Medium<RoutingScene>} */
class RoutingMedium extends Medium {
  /** @param {CanvasRenderingContext2D} ctx */
  drawBoxes(ctx) {
    const { scene } = this;
    const { store } = scene;
    const experts = scene.focus;
    const first = this.tokens.map((token) => store.chosen(scene.layerIndex, token)?.[0]);
    const { colors, ranked } = leaders(first.flatMap((choice) => (choice ? [choice.expert] : [])));
    this.boxes.forEach((box, at) => {
      const token = this.tokens[at];
      const color = experts.size ? this.weightColor(token, experts) : leaderColor(first[at], colors);
      ctx.globalAlpha = (color ? 0.74 : 0.55) * (scene.keep && !scene.keep[token] ? 0.3 : 1);
      ctx.fillStyle = color || this.restColor(experts);
      this.fillBox(ctx, box);
    });
    this.explain(experts, colors, ranked);
  }

  /**
   * Return the colour of the experts' weight on a token; "" where they did not run.
   * @param {number} token
   * @param {Set<number>} experts
   */
  weightColor(token, experts) {
    const { scene } = this;
    const share = scene.share(scene.store.weight(scene.layerIndex, token, experts));
    return share ? scene.ramp.of(share) : "";
  }

  /** @param {Set<number>} experts */
  restColor(experts) {
    if (!experts.size) return "#8a8f98";
    return this.bitmap ? this.scene.theme.veil : this.scene.theme.line;
  }

  /**
   * Show what the colours mean: the leading experts, or the weight of the focused ones.
   * @param {Set<number>} experts
   * @param {Map<number, string>} colors
   * @param {[expert: number, count: number][]} ranked
   */
  explain(experts, colors, ranked) {
    const shown = experts.size ? `weights:${[...experts]}` : `leaders:${ranked}`;
    if (shown === this.legend.dataset.shown) return;
    this.legend.dataset.shown = shown;
    if (experts.size) {
      this.legend.replaceChildren(`weight of expert ${[...experts].join(", ")}`);
      return;
    }
    const parts = [...colors].map(([expert, color]) => {
      const dot = h("i", {});
      dot.style.background = color;
      return h("span", {}, dot, String(expert));
    });
    const others = ranked.length - parts.length;
    this.legend.replaceChildren("heaviest expert", ...parts, others > 0 ? `and ${others} others, grey` : "");
  }
}

/**
 * @param {Choice | undefined} choice
 * @param {Map<number, string>} colors
 */
function leaderColor(choice, colors) {
  return choice ? (colors.get(choice.expert) ?? "") : "";
}
