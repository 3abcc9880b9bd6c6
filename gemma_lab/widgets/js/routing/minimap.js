// The whole heat map beside the part of it that is in sight; a drag moves through it.
import { h } from "../shared/dom.js";
import { fresh } from "../shared/colors.js";

const WIDTH = 40;

export class Minimap {
  constructor(scene, heat) {
    [this.scene, this.heat] = [scene, heat];
    this.base = h("canvas", {});
    this.over = h("canvas", {});
    this.node = h("div", { class: "gl-minimap", "aria-hidden": "true" }, this.base, this.over);
    this.node.addEventListener("pointerdown", (event) => this.drag(event));
  }

  /** The heaviest weight of every pixel: tokens that share one are pooled, never left out. */
  draw() {
    if (this.node.hidden) return;
    const { scene, heat } = this;
    const [height, layer] = [heat.height, scene.store.layers.get(scene.row)];
    const paint = fresh(this.base, WIDTH, height);
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(WIDTH * ratio), Math.min(scene.length, Math.round(height * ratio))];
    if (!layer || !down) return;
    const pooled = new Float32Array(across * down);
    const { k, experts } = scene.store;
    for (let place = 0; place < scene.length; place++) {
      const [token, y] = [scene.at(place), Math.floor((place * down) / scene.length)];
      if (token >= layer.count) break;
      for (let at = token * k; at < (token + 1) * k; at++) {
        const pixel = y * across + Math.floor((layer.ids[at] * across) / experts);
        if (layer.weights[at] > pooled[pixel]) pooled[pixel] = layer.weights[at];
      }
    }
    const image = new ImageData(across, down);
    const pixels = new Uint32Array(image.data.buffer);
    const scale = 1 / scene.store.facts.scale_max;
    for (let pixel = 0; pixel < pooled.length; pixel++) if (pooled[pixel]) pixels[pixel] = scene.ramp.packed[scene.ramp.step(pooled[pixel] * scale)];
    const sheet = h("canvas", { width: across, height: down });
    sheet.getContext("2d").putImageData(image, 0, 0);
    paint.imageSmoothingEnabled = false;
    paint.drawImage(sheet, 0, 0, WIDTH, height);
  }

  drawOver() {
    if (this.node.hidden) return;
    const { scene, heat } = this;
    const [height, unit] = [heat.height, heat.height / scene.length];
    const paint = fresh(this.over, WIDTH + 14, height);
    const whole = heat.spacer.offsetHeight || 1;
    paint.fillStyle = scene.inks.soft;
    paint.strokeStyle = scene.inks.muted;
    const [top, tall] = [(heat.top / whole) * height, Math.max(6, (heat.height / whole) * height)];
    paint.fillRect(0, top, WIDTH, tall);
    paint.strokeRect(0.5, top + 0.5, WIDTH - 1, tall - 1);
    // Everywhere in the text: a tick for each token of the experts that stand out.
    const marks = new Float32Array(Math.ceil(height) + 1);
    for (const expert of scene.focus) {
      scene.store.eachToken(scene.row, expert, (token, weight) => {
        const place = scene.place(token);
        const y = Math.floor(place * unit);
        if (place >= 0 && weight > marks[y]) marks[y] = weight;
      });
    }
    marks.forEach((weight, y) => {
      if (!weight) return;
      paint.fillStyle = scene.ramp.of(scene.share(weight));
      paint.fillRect(WIDTH + 2, y, 9, Math.max(1.5, Math.min(4, unit)));
    });
    paint.fillStyle = scene.inks.accent;
    for (const token of scene.tokens) if (scene.place(token) >= 0) paint.fillRect(WIDTH + 11, scene.place(token) * unit, 3, Math.max(2, unit));
  }

  drag(event) {
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
