// A conversation with a model: the turns, the composer, the settings. Python owns all state.
import { appendText, button, everyFrame, followTheme, h, icon, listen } from "../shared/dom.js";
import { number } from "../shared/format.js";
import { isTint, TINTS, tintLegend } from "../shared/tints.js";
import { Answer, errorText } from "./answer.js";
import { Composer } from "./composer.js";
import { Player, preview } from "./previews.js";
import { Settings } from "./settings.js";
import { Readout } from "./tokens.js";

/** @import { AnswerToken, Buffer, ChatModel, Notice, Turn } from "../shared/wire_types.js" */
/** @typedef {{ type: "tokens", key: number, at: number, tokens: AnswerToken[], value?: unknown }} TokenMessage */
/** @typedef {{ node: HTMLElement, answer: Answer | null }} ShownTurn */

/** @type {[string, string][]} */
const KEYS = [
  ["Enter", "send"],
  ["Shift Enter", "new line"],
  ["Esc", "stop"],
];

/**
 * Build a prompt: its media, then its text.
 * @param {Turn} turn
 * @param {Player} player
 */
function prompt(turn, player) {
  const media = turn.media.map((entry) => preview(entry, player));
  const bubble = h("div", { class: "gl-text gl-bubble", dir: "auto" });
  return h(
    "article",
    { class: "gl-turn gl-user", "aria-label": "You" },
    media.length ? h("div", { class: "gl-pictures" }, ...media) : null,
    turn.text.trim() ? appendText(bubble, turn.text) : null,
  );
}

class ChatView {
  /**
   * @param {ChatModel} model
   * @param {HTMLElement} element
   */
  constructor(model, element) {
    this.model = model;
    /** @type {Map<number, ShownTurn>} */
    this.turns = new Map(); // by key
    /** @type {TokenMessage[]} */
    this.inbox = []; // since the last frame
    /** @type {HTMLElement | null} */
    this.empty = null;
    const { name } = model.get("_facts");
    this.root = h("section", { class: "gl gl-chat", "aria-label": `Chat with ${name}` });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.readout = new Readout(this.root);
    this.status = h("div", { class: "gl-unseen", role: "status", "aria-live": "polite" });
    this.notice = h("div", { class: "gl-notice", role: "alert", hidden: true });
    this.log = h("div", {
      class: "gl-log",
      role: "log",
      "aria-live": "polite",
      "aria-label": "Conversation",
      tabindex: 0,
    });
    /** @param {string} what */
    const report = (what) => this.showNotice({ what });
    this.settings = new Settings(model);
    this.player = new Player(model, report);
    this.composer = new Composer(model, this.root, report, this.player);
    this.again = button({ name: "Answer again", "data-testid": "again" }, "again", "Again");
    this.again.addEventListener("click", () => model.send({ type: "regenerate" }));
    this.fresh = button({ name: "New conversation", "data-testid": "clear" }, "fresh", "New");
    this.fresh.addEventListener("click", () => model.send({ type: "clear" }));
    const offered = Object.entries(TINTS).filter(
      ([tint]) => tint !== "drafted" || model.get("_facts").drafter,
    );
    const tints = offered.map(([value, { label }]) => h("option", { value }, label));
    this.tint = h(
      "select",
      {
        class: "gl-tint-choice",
        "aria-label": "Tint tokens by",
        "data-testid": "tint",
        "data-lm-suppress-shortcuts": "true",
      },
      h("option", { value: "none" }, "no tint"),
      ...tints,
    );
    this.tint.addEventListener("change", () => this.changeTint());
    this.legend = h("div", { class: "gl-tint-legend" });
    this.gauge = h("span", { class: "gl-gauge" });
    this.drain = everyFrame(() => this.drawTokens());
    this.root.append(
      this.header(name),
      this.settings.node,
      this.log,
      this.legend,
      this.notice,
      this.composer.node,
      this.status,
    );
    this.log.addEventListener("scroll", () => this.readout.follow(this.log));
    element.append(this.root);
    this.showTurns();
    this.showSettings();
    this.showBusy();
    if (model.get("busy")) model.send({ type: "resume" });
  }

  /** @param {string} name */
  header(name) {
    const label = appendText(h("bdi", { class: "gl-name", dir: "auto" }), name);
    const tint = h("span", { class: "gl-tint-box" }, icon("tint"), this.tint);
    const tools = h("div", { class: "gl-tools" }, tint, this.settings.opener(), this.fresh);
    return h("header", { class: "gl-head" }, h("div", { class: "gl-title" }, label, this.gauge), tools);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Escape") return;
    if (this.readout.hide() || this.model.get("busy")) event.stopPropagation();
    this.composer.stop();
  }

  changeTint() {
    this.model.send({ type: "change_settings", settings: { tint: this.tint.value } });
  }

  /** @param {Notice} notice */
  showNotice(notice) {
    const close = button({ name: "Dismiss" }, "remove");
    close.addEventListener("click", () => {
      this.notice.hidden = true;
    });
    this.notice.replaceChildren(icon("warn"), errorText(notice), close);
    this.notice.hidden = false;
  }

  /**
   * @param {TokenMessage | { type: "settings" } | { type: "audio", id: string }} message
   * @param {Buffer[]} buffers
   */
  onMessage(message, buffers) {
    if (message.type === "settings") this.settings.show();
    if (message.type === "audio") this.player.receive(message.id, buffers[0]);
    if (message.type !== "tokens") return;
    this.inbox.push(message);
    this.drain();
  }

  /** Draw what came since the last frame. After a gap (a message was missed) all tokens are requested. */
  drawTokens() {
    const follow = this.isAtEnd();
    for (const { key, at, tokens, value } of this.inbox.splice(0)) {
      const answer = this.turns.get(key)?.answer;
      if (answer && value !== undefined && answer.turn.state === "live") answer.showValue(value);
      if (!answer || at + tokens.length <= answer.count) continue;
      if (at > answer.count) this.model.send({ type: "resume" });
      else answer.add(tokens.slice(answer.count - at));
    }
    if (follow) this.scrollToEnd();
  }

  showTurns() {
    const turns = this.model.get("turns");
    const follow = this.isAtEnd();
    const kept = new Set(turns.map((turn) => turn.key));
    for (const [key, { node }] of this.turns) {
      if (kept.has(key)) continue;
      node.remove();
      this.turns.delete(key);
    }
    for (const turn of turns) {
      const shown = this.turns.get(turn.key);
      if (shown) shown.answer?.update(turn);
      else this.addTurn(turn);
    }
    this.showCalls();
    this.showEmpty(turns.length === 0);
    const last = turns.at(-1);
    this.placeAgain(last);
    if (follow || last?.state === "live") this.scrollToEnd();
    this.settings.show();
    this.showGauge(turns);
  }

  /** Show the cards of tool calls, and say which of them wait for a decision. */
  showCalls() {
    const calls = this.model.get("_calls");
    const follow = this.isAtEnd();
    const began = [];
    for (const [key, { answer }] of this.turns) {
      if (answer) began.push(...answer.showCalls(calls[String(key)] ?? []));
    }
    if (follow || began.length) this.scrollToEnd();
    if (!began.length) return;
    const names = began.map(({ name }) => h("bdi", {}, name));
    this.status.replaceChildren("Waiting for you: run, edit or deny the call of ", ...names);
  }

  /** @param {Turn} turn */
  addTurn(turn) {
    const answer = turn.role === "model" ? new Answer(turn, this.model, this.readout) : null;
    const node = answer ? answer.node : prompt(turn, this.player);
    this.turns.set(turn.key, { node, answer });
    this.log.append(node);
  }

  /**
   * Put the button that answers again below the last answer.
   * @param {Turn | undefined} last
   */
  placeAgain(last) {
    if (last && last.state !== "live" && !this.model.get("busy"))
      this.turns.get(last.key)?.answer?.foot.append(this.again);
    else this.again.remove();
  }

  /** @param {boolean} empty */
  showEmpty(empty) {
    this.empty?.remove();
    this.fresh.disabled = empty || this.model.get("busy");
    if (!empty) return;
    const media = this.composer.nouns();
    const keys = KEYS.map(([key, action]) => h("span", {}, h("kbd", {}, key), ` ${action}`));
    this.empty = h(
      "div",
      { class: "gl-empty" },
      h("p", {}, media ? `Ask a question, or drop ${media} here.` : "Ask a question."),
      h("div", { class: "gl-keys" }, ...keys),
    );
    this.log.append(this.empty);
  }

  /** @param {Turn[]} turns */
  showGauge(turns) {
    const { context } = this.model.get("_facts");
    const used = turns.findLast((turn) => turn.state === "done")?.context ?? 0;
    const text = used
      ? `${number(used)} of ${number(context)} tokens`
      : `${number(context)} tokens of context`;
    this.gauge.replaceChildren(text);
    this.gauge.style.setProperty("--used", `${Math.min(100, (100 * used) / context)}%`);
  }

  showSettings() {
    const { tint } = this.model.get("settings");
    this.root.dataset.tint = tint;
    this.tint.value = tint;
    this.legend.hidden = !isTint(tint);
    this.legend.replaceChildren(...(isTint(tint) ? [tintLegend(tint)] : []));
    for (const { answer } of this.turns.values()) answer?.paint(tint);
    this.settings.show();
  }

  showBusy() {
    const busy = this.model.get("busy");
    if (busy) this.notice.hidden = true;
    this.root.dataset.busy = String(busy);
    this.log.setAttribute("aria-busy", String(busy)); // so that a screen reader waits for the whole answer
    this.status.replaceChildren(busy ? "Writing an answer" : this.turns.size ? "Answer finished" : "");
    this.fresh.disabled = busy || this.turns.size === 0;
    this.placeAgain(this.model.get("turns").at(-1));
    this.composer.showBusy();
  }

  isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
  }

  scrollToEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  listen() {
    const stop = listen(this.model, {
      "change:turns": () => this.showTurns(),
      "change:_calls": () => this.showCalls(),
      "change:settings": () => this.showSettings(),
      "change:busy": () => this.showBusy(),
      "change:_attachments": () => this.composer.showAttachments(),
      "change:_returned": () => this.composer.restore(),
      "change:_notice": () => {
        this.showNotice(this.model.get("_notice"));
        this.composer.refused();
      },
      "msg:custom": (message, buffers) => this.onMessage(message, buffers),
    });
    const endTheme = followTheme(this.root);
    return () => {
      stop();
      endTheme();
      this.drain.cancel();
      this.player.end();
    };
  }
}

/** @param {{ model: ChatModel, el: HTMLElement }} options */
function render({ model, el }) {
  return new ChatView(model, el).listen();
}

export default { render };
