// The whole heat map beside the part of it that is in sight; a drag moves through it.
import { fitCanvas, imageCanvas } from "../shared/colors.js";
import { h } from "../shared/dom.js";

/** @import { HeatMap } from "./heat_map.js" */
/** @import { RoutingScene } from "./routing_scene.js" */

const WIDTH = 40;

export class Minimap {
  /**
   * @param {RoutingScene} scene
   * @param {HeatMap} heat
   */
  constructor(scene, heat) {
    this.scene = scene;
    this.heat = heat;
    this.base = h("canvas", {});
    this.over = h("canvas", {});
    this.node = h("div", { class: "gl-minimap", "aria-hidden": "true" }, this.base, this.over);
    this.node.addEventListener("pointerdown", (event) => this.drag(event));
  }

  /** Draw the heaviest weight of every pixel: tokens that share one are pooled, never left out. */
  draw() {
    if (this.node.hidden) return;
    const { scene } = this;
    const { height } = this.heat;
    const ctx = fitCanvas(this.base, WIDTH, height);
    const ratio = window.devicePixelRatio || 1;
    const across = Math.round(WIDTH * ratio);
    const down = Math.min(scene.length, Math.round(height * ratio));
    if (!down) return;
    const pooled = this.pooled(across, down);
    const image = new ImageData(across, down);
    const pixels = new Uint32Array(image.data.buffer);
    for (let pixel = 0; pixel < pooled.length; pixel++) {
      if (pooled[pixel]) pixels[pixel] = scene.ramp.packed[scene.ramp.step(scene.share(pooled[pixel]))];
    }
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(imageCanvas(image), 0, 0, WIDTH, height);
  }

  /**
   * @param {number} across
   * @param {number} down
   */
  pooled(across, down) {
    const { scene } = this;
    const { k, experts } = scene.store;
    const layer = scene.store.layers.get(scene.layerIndex);
    const pooled = new Float32Array(across * down);
    for (let place = 0; layer && place < scene.length; place++) {
      const token = scene.at(place);
      if (token >= layer.count) break;
      const y = Math.floor((place * down) / scene.length);
      for (let at = token * k; at < (token + 1) * k; at++) {
        const pixel = y * across + Math.floor((layer.ids[at] * across) / experts);
        if (layer.weights[at] > pooled[pixel]) pooled[pixel] = layer.weights[at];
      }
    }
    return pooled;
  }

  drawOver() {
    if (this.node.hidden) return;
    const { scene, heat } = this;
    const { height } = heat;
    const unit = height / scene.length;
    const ctx = fitCanvas(this.over, WIDTH + 14, height);
    const total = heat.spacer.offsetHeight || 1;
    ctx.fillStyle = scene.theme.soft;
    ctx.strokeStyle = scene.theme.muted;
    const top = (heat.top / total) * height;
    const tall = Math.max(6, (height / total) * height);
    ctx.fillRect(0, top, WIDTH, tall);
    ctx.strokeRect(0.5, top + 0.5, WIDTH - 1, tall - 1);
    // Everywhere in the text: a tick for each token of the focused experts.
    const marks = new Float32Array(Math.ceil(height) + 1);
    for (const expert of scene.focus) {
      scene.store.eachToken(scene.layerIndex, expert, (token, weight) => {
        const place = scene.place(token);
        const y = Math.floor(place * unit);
        if (place >= 0 && weight > marks[y]) marks[y] = weight;
      });
    }
    marks.forEach((weight, y) => {
      if (!weight) return;
      ctx.fillStyle = scene.ramp.of(scene.share(weight));
      ctx.fillRect(WIDTH + 2, y, 9, Math.max(1.5, Math.min(4, unit)));
    });
    ctx.fillStyle = scene.theme.accent;
    for (const token of scene.tokens) {
      const place = scene.place(token);
      if (place >= 0) ctx.fillRect(WIDTH + 11, place * unit, 3, Math.max(2, unit));
    }
  }

  /** @param {PointerEvent} event */
  drag(event) {
    /** @param {PointerEvent} moved */
    const move = ({ clientY }) => {
      const box = this.node.getBoundingClientRect();
      const share = (clientY - box.top) / box.height;
      this.heat.scroller.scrollTop = share * this.heat.spacer.offsetHeight - this.heat.height / 2;
    };
    this.node.setPointerCapture(event.pointerId);
    this.node.addEventListener("pointermove", move);
    const end = () => this.node.removeEventListener("pointermove", move);
    this.node.addEventListener("lostpointercapture", end, { once: true });
    move(event);
    event.preventDefault();
  }
}
