// A conversation with a model: the turns, the composer, the settings. Python owns every state; see widgets/base.py.
import { appendText, button, everyFrame, followTheme, h, icon, listen } from "../shared/dom.js";
import { Readout, TokenText, legend } from "./tokens.js";
import { Composer } from "./composer.js";
import { Player, preview } from "./previews.js";
import { Settings } from "./settings.js";

const FINISH = { length: "cut off at the longest answer allowed", stopped: "stopped" };

/** A question: its media, then its words. */
function question(turn, player) {
  const media = turn.media.map((entry) => preview(entry, player));
  return h(
    "article",
    { class: "gl-turn gl-user", "aria-label": "You" },
    media.length ? h("div", { class: "gl-pictures" }, ...media) : null,
    turn.text.trim() ? appendText(h("div", { class: "gl-text gl-bubble", dir: "auto" }), turn.text) : null,
  );
}

/** An answer: the folded thought, the text, what there is to say about it. Grows while it is being written. */
class Answer {
  constructor(turn, model, readout) {
    this.model = model;
    this.readout = readout;
    this.name = model.get("_facts").name;
    this.count = 0; // tokens drawn so far
    this.text = new TokenText(readout, "Answer; arrow keys read one token at a time");
    this.foot = h("div", { class: "gl-foot" });
    this.caret = h("span", { class: "gl-caret", "aria-hidden": "true" });
    this.node = h("article", { class: "gl-turn gl-model", "aria-label": this.name }, this.text.node, this.caret, this.foot);
    this.settle(turn);
  }

  add(tokens) {
    for (const token of tokens) {
      this.count += 1;
      (token[2] === "thought" ? this.thoughtText() : this.text).add(token);
    }
    if (this.thought) this.summary.replaceChildren(this.turn.state === "live" && !this.text.pieces.size ? "Thinking …" : "Thought");
    this.text.node.after(this.caret);
  }

  thoughtText() {
    if (!this.thought) {
      this.thought = new TokenText(this.readout, "Thought; arrow keys read one token at a time");
      this.summary = h("summary", {}, "Thinking …");
      this.node.prepend(h("details", { class: "gl-thought" }, this.summary, this.thought.node));
    }
    return this.thought;
  }

  /** Take over what Python says of this turn; tokens that were drawn already stay where they are. */
  settle(turn) {
    this.turn = turn;
    this.node.classList.toggle("gl-live", turn.state === "live");
    if (turn.tokens.length > this.count) this.add(turn.tokens.slice(this.count));
    this.add([]);
    this.foot.replaceChildren(...this.notes(turn));
  }

  notes(turn) {
    if (turn.state === "failed") {
      const { what, hint } = turn.error;
      const words = h("div", {}, appendText(h("div", { class: "gl-text", dir: "auto" }), what));
      if (hint) words.append(appendText(h("div", { class: "gl-text gl-hint", dir: "auto" }), hint));
      return [h("div", { class: "gl-failed" }, icon("warn"), words)];
    }
    if (turn.state !== "done") return [];
    const facts = [`${turn.tokens.length} ${turn.tokens.length === 1 ? "token" : "tokens"}`];
    if (turn.speed !== null) facts.push(`${turn.speed < 10 ? turn.speed : Math.round(turn.speed)} tokens/s`);
    if (turn.seed !== null) facts.push(`seed ${turn.seed}`);
    if (FINISH[turn.finish_reason]) facts.push(FINISH[turn.finish_reason]);
    return facts.map((fact) => h("span", {}, fact));
  }
}

class Conversation {
  constructor(model, el) {
    this.model = model;
    this.turns = new Map(); // key -> { node, answer }
    this.inbox = []; // token messages since the last frame
    this.root = h("section", { class: "gl gl-chat", "aria-label": `Chat with ${model.get("_facts").name}`, onkeydown: (event) => this.key(event) });
    this.readout = new Readout(this.root);
    this.status = h("div", { class: "gl-unseen", role: "status", "aria-live": "polite" });
    this.notice = h("div", { class: "gl-notice", role: "alert", hidden: true });
    this.log = h("div", { class: "gl-log", role: "log", "aria-live": "polite", "aria-label": "Conversation", tabindex: 0 });
    this.settings = new Settings(model);
    this.player = new Player(model, (what) => this.note({ what }));
    this.composer = new Composer(model, this.root, (what) => this.note({ what }), this.player);
    this.again = button({ name: "Answer again", "data-testid": "again", onclick: () => model.send({ type: "regenerate" }) }, "again", "Again");
    this.fresh = button({ name: "New conversation", "data-testid": "clear", onclick: () => model.send({ type: "clear" }) }, "fresh", "New");
    this.tint = button({ name: "Colour tokens by probability", "data-testid": "tint", "aria-pressed": "false", onclick: () => this.toggleTint() }, "tint", "Probability");
    this.legend = legend();
    this.gauge = h("span", { class: "gl-gauge" });
    this.drain = everyFrame(() => this.drawTokens());
    this.root.append(this.header(), this.settings.node, this.log, this.legend, this.notice, this.composer.node, this.status);
    this.log.addEventListener("scroll", () => this.readout.follow(this.log));
    el.append(this.root);
    this.showTurns();
    this.showSettings();
    this.showBusy();
    if (model.get("busy")) model.send({ type: "resume" });
  }

  header() {
    const { name } = this.model.get("_facts");
    const title = h("div", { class: "gl-title" }, appendText(h("bdi", { class: "gl-name", dir: "auto" }), name), this.gauge);
    return h("header", { class: "gl-head" }, title, h("div", { class: "gl-tools" }, this.tint, this.settings.opener(), this.fresh));
  }

  key(event) {
    if (event.key !== "Escape") return;
    if (this.readout.hide() || this.model.get("busy")) event.stopPropagation();
    this.composer.stop();
  }

  toggleTint() {
    this.model.send({ type: "change_settings", settings: { tint: !this.model.get("settings").tint } });
  }

  note({ what, hint }) {
    const close = button({ name: "Dismiss", onclick: () => (this.notice.hidden = true) }, "remove");
    const words = h("div", {}, appendText(h("div", { class: "gl-text", dir: "auto" }), what));
    if (hint) words.append(appendText(h("div", { class: "gl-text gl-hint", dir: "auto" }), hint));
    this.notice.replaceChildren(icon("warn"), words, close);
    this.notice.hidden = false;
  }

  onNotice() {
    this.note(this.model.get("_notice"));
    this.composer.refused();
  }

  onMessage(message, buffers) {
    if (message.type === "settings") this.settings.show();
    if (message.type === "audio") this.player.receive(message, buffers);
    if (message.type !== "tokens") return;
    this.inbox.push(message);
    this.drain();
  }

  /** Draw what came since the last frame. A gap (a message missed while the view was opened) asks for the whole. */
  drawTokens() {
    const follow = this.atEnd();
    for (const { key, at, tokens } of this.inbox.splice(0)) {
      const answer = this.turns.get(key)?.answer;
      if (!answer || at + tokens.length <= answer.count) continue;
      if (at > answer.count) this.model.send({ type: "resume" });
      else answer.add(tokens.slice(answer.count - at));
    }
    if (follow) this.toEnd();
  }

  showTurns() {
    const turns = this.model.get("turns");
    const follow = this.atEnd();
    const kept = new Set(turns.map((turn) => turn.key));
    for (const [key, { node }] of this.turns) {
      if (kept.has(key)) continue;
      node.remove();
      this.turns.delete(key);
    }
    for (const turn of turns) {
      const known = this.turns.get(turn.key);
      if (known) known.answer?.settle(turn);
      else this.addTurn(turn);
    }
    this.showEmpty(turns.length === 0);
    this.placeAgain(turns);
    const asked = turns.at(-1)?.state === "live";
    if (follow || asked) this.toEnd();
    this.settings.show();
    this.showGauge(turns);
  }

  addTurn(turn) {
    const answer = turn.role === "model" ? new Answer(turn, this.model, this.readout) : null;
    const node = answer ? answer.node : question(turn, this.player);
    this.turns.set(turn.key, { node, answer });
    this.log.append(node);
  }

  /** Answer again sits below the last answer only. */
  placeAgain(turns) {
    const last = turns.at(-1);
    if (last && last.state !== "live") this.turns.get(last.key).answer?.foot.append(this.again);
    else this.again.remove();
  }

  showEmpty(empty) {
    this.empty?.remove();
    this.fresh.disabled = empty || this.model.get("busy");
    if (!empty) return;
    const takes = this.composer.nouns();
    const keys = [["Enter", "send"], ["Shift Enter", "new line"], ["Esc", "stop"]];
    this.empty = h(
      "div",
      { class: "gl-empty" },
      h("p", {}, takes ? `Ask a question, or drop ${takes} here.` : "Ask a question."),
      h("div", { class: "gl-keys" }, ...keys.map(([key, does]) => h("span", {}, h("kbd", {}, key), ` ${does}`))),
    );
    this.log.append(this.empty);
  }

  showGauge(turns) {
    const { context } = this.model.get("_facts");
    const used = turns.findLast((turn) => turn.state === "done")?.context ?? 0;
    const text = used ? `${used.toLocaleString("en")} of ${context.toLocaleString("en")} tokens` : `${context.toLocaleString("en")} tokens of context`;
    this.gauge.replaceChildren(text);
    this.gauge.style.setProperty("--used", `${Math.min(100, (100 * used) / context)}%`);
  }

  showSettings() {
    const { tint } = this.model.get("settings");
    this.root.classList.toggle("gl-tint", tint);
    this.tint.setAttribute("aria-pressed", String(tint));
    this.legend.hidden = !tint;
    this.settings.show();
  }

  showBusy() {
    const busy = this.model.get("busy");
    if (busy) this.notice.hidden = true;
    this.root.dataset.busy = String(busy);
    this.log.setAttribute("aria-busy", String(busy)); // so that a screen reader waits for the whole answer
    this.status.replaceChildren(busy ? "Writing an answer" : this.turns.size ? "Answer finished" : "");
    this.fresh.disabled = busy || this.turns.size === 0;
    this.composer.showBusy();
  }

  atEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  listen() {
    return listen(this.model, {
      "change:turns": () => this.showTurns(),
      "change:settings": () => this.showSettings(),
      "change:busy": () => this.showBusy(),
      "change:_attachments": () => this.composer.showTray(),
      "change:_returned": () => this.composer.restore(),
      "change:_notice": () => this.onNotice(),
      "msg:custom": (message, buffers) => this.onMessage(message, buffers),
    });
  }
}

function render({ model, el }) {
  const conversation = new Conversation(model, el);
  const endings = [followTheme(conversation.root), conversation.listen(), () => conversation.drain.cancel(), () => conversation.player.end()];
  return () => endings.forEach((end) => end());
}

export default { render };
