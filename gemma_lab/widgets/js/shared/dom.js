// Elements built without markup, icons, the page's theme, text that cannot act.

/** @typedef {string | number | boolean | null | undefined | ((event: any) => unknown)} Prop */
/** @typedef {Record<string, Prop>} Props */
/** @typedef {Node | string | null | undefined} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Build an element. Strings among the children become text nodes; nothing is ever parsed as HTML.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props] Attributes, `class`, and listeners as `onclick`; false and null are left out.
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = String(value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/**
 * Build an SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const ICONS = {
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7.5 7.5h9v9h-9z",
  play: "M8 5.5v13l11-6.5z",
  picture: "M4 5.5h16v13H4zM4 16l4.8-4.8 4 4 2.6-2.6L20 17M15.6 9.2h.01",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4",
  fresh: "M12 5v14M5 12h14",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4.5v4h-4",
  remove: "M7 7l10 10M17 7 7 17",
  tint: "M5 6h14M5 12h9M5 18h5",
  tool: "M14.5 5.5a4.2 4.2 0 0 0-5.4 5.4L4 16v4h4l5.1-5.1a4.2 4.2 0 0 0 5.4-5.4l-2.6 2.6-2.5-.6-.6-2.5z",
  edit: "M5 19h4L19 9l-4-4L5 15zM13 7l4 4",
  warn: "M12 8.2v5M12 16.4h.01M12 3.8 21 19.6H3z",
};

/**
 * Build an icon, 20 px, in the colour of the text around it.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  const frame = { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", class: "gl-icon" };
  return svg("svg", frame, svg("path", { d: ICONS[name] }));
}

/**
 * Build a button; its name is its tooltip and, without a visible label, what a screen reader says.
 * @param {Props & { name: string }} props
 * @param {keyof typeof ICONS | null} iconName
 * @param {string} [label]
 */
export function button({ name, ...props }, iconName, label) {
  const node = h("button", { type: "button", title: name, "aria-label": name, ...props });
  if (iconName) node.append(icon(iconName));
  if (label) node.append(h("span", { class: "gl-label" }, label));
  return node;
}

let controlCount = 0;

/**
 * Put a label beside a control.
 * @param {string} label
 * @param {HTMLElement} control
 */
export function labelled(label, control) {
  controlCount += 1;
  control.id = `gl-control-${controlCount}`;
  return h("div", { class: "gl-choice" }, h("label", { for: control.id }, label), control);
}

/**
 * Build a list of keys and what they do.
 * @param {[keys: string, action: string][]} keys
 */
export function keyHelp(keys) {
  return h("span", {}, ...keys.flatMap(([key, action]) => [h("kbd", {}, key), ` ${action}   `]));
}

// C0 and C1 except tab and newline, and whatever overrides, embeds or isolates writing direction. What text
// needs (joiners, LRM, RLM) stays as it is.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it matches
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
const EVERY_CONTROL = new RegExp(`(${CONTROL.source})`);

/** @param {string} character */
function codePoint(character) {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/**
 * Append text in which control characters are shown by their code and isolated, so that they cannot act.
 * @template {ParentNode} T
 * @param {T} parent
 * @param {string} text
 * @returns {T}
 */
export function appendText(parent, text) {
  if (!CONTROL.test(text)) {
    parent.append(text);
    return parent;
  }
  for (const part of text.split(EVERY_CONTROL)) {
    if (part.length !== 1 || !CONTROL.test(part)) {
      if (part) parent.append(part);
      continue;
    }
    // The character itself stays, so that copied text is unchanged; the label comes from the stylesheet.
    parent.append(h("bdi", { class: "gl-control", "data-code": codePoint(part) }, part));
  }
  return parent;
}

/** @type {Record<string, string>} */
const WHITESPACE = { "\n": "⏎", "\t": "⇥", "\r": "␍" };
const ACTING = new RegExp(`[\\t\\n]|${CONTROL.source}`, "g");

/**
 * Return a token's text with spaces at its ends, line breaks and control characters made visible.
 * @param {string} text
 */
export function visibleText(text) {
  const shown = text
    .replace(ACTING, (character) => WHITESPACE[character] ?? codePoint(character))
    .replaceAll("▁", "␣")
    .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
  return shown || "∅";
}

/**
 * Return a function that runs `work` once in the next animation frame, however often it is called.
 * @param {() => void} work
 * @returns {{ (): void, cancel(): void }}
 */
export function everyFrame(work) {
  let requested = 0;
  const request = () => {
    if (requested) return;
    requested = requestAnimationFrame(() => {
      requested = 0;
      work();
    });
  };
  request.cancel = () => cancelAnimationFrame(requested);
  return request;
}

function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false"; // JupyterLab, Notebook 7
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.endsWith("light"); // VS Code
  if (page.getAttribute("theme")) return page.getAttribute("theme") === "dark"; // Colab
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/**
 * Keep `data-theme` of a widget's root equal to the page's theme; return a function that ends it.
 * @param {HTMLElement} root
 */
export function followTheme(root) {
  const apply = () => {
    root.dataset.theme = isDark() ? "dark" : "light";
  };
  const media = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(apply);
  const attributeFilter = ["data-jp-theme-light", "data-vscode-theme-kind", "theme"];
  observer.observe(document.body, { attributes: true, attributeFilter });
  observer.observe(document.documentElement, { attributes: true, attributeFilter });
  media.addEventListener("change", apply);
  apply();
  return () => {
    observer.disconnect();
    media.removeEventListener("change", apply);
  };
}

/**
 * Build a text field that keeps its keys: JupyterLab neither runs shortcuts on them nor cancels a line break.
 * @param {Props} props
 */
export function textField(props) {
  // JupyterLab adds a listener to the field at each key, which would cancel a line break inside a cell.
  /** @param {Event} event */
  const stop = (event) => event.stopImmediatePropagation();
  return h("textarea", {
    dir: "auto",
    "data-lm-suppress-shortcuts": "true",
    onbeforeinput: stop,
    ...props,
  });
}

/**
 * Return a selection after a choice: the value alone, or added. A value that was the only one, or is added
 * again, is removed.
 * @param {Set<number>} selected
 * @param {number} value
 * @param {boolean} adding
 */
export function toggled(selected, value, adding) {
  const next = new Set(adding ? selected : []);
  if (selected.has(value) && (adding || selected.size === 1)) next.delete(value);
  else next.add(value);
  return next;
}

/** @typedef {(...values: any[]) => void} Listener */
/** @typedef {(event: string, listener: Listener) => void} Subscribe */
/** @typedef {{ on: Subscribe, off: Subscribe }} Emitter */

/**
 * Listen to a model and return a function that stops listening.
 * @param {Emitter} model
 * @param {Record<string, Listener>} listeners
 */
export function listen(model, listeners) {
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}

/**
 * Format a log-probability (nats) as a percentage.
 * @param {number | null | undefined} logprob
 */
export function percent(logprob) {
  if (logprob === null || logprob === undefined) return "0 %";
  const share = 100 * Math.exp(logprob);
  if (share >= 0.1) return `${share.toFixed(1)} %`;
  return share >= 0.0001 ? `${share.toPrecision(2)} %` : "< 0.0001 %";
}
