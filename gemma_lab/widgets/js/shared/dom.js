// Shared by every widget: elements built without markup, icons, theme, text that cannot act.

const SVG = "http://www.w3.org/2000/svg";

/** Build an element. Strings among the children become text nodes; nothing is ever parsed as HTML. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
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
  warn: "M12 8.2v5M12 16.4h.01M12 3.8 21 19.6H3z",
};

/** Build one of the icons, 20 px, in the colour of the text around it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" })) {
    svg.setAttribute(key, value);
  }
  svg.setAttribute("class", "gl-icon");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Build a button; without a visible label its name is the tooltip. */
export function button(props, iconName, label) {
  const { name, ...rest } = props;
  const node = h("button", { type: "button", title: name, "aria-label": name, ...rest });
  if (iconName) node.append(icon(iconName));
  if (label) node.append(h("span", { class: "gl-label" }, label));
  return node;
}

// C0 and C1 except tab and newline, and whatever overrides, embeds or isolates writing direction. What text needs
// (joiners, LRM, RLM) stays as it is.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/** Append text in which control characters are shown by their code and isolated, so that they cannot act. */
export function appendText(parent, text) {
  if (!CONTROL.test(text)) {
    parent.append(text);
    return parent;
  }
  for (const part of text.split(new RegExp(`(${CONTROL.source})`))) {
    if (part.length !== 1 || !CONTROL.test(part)) {
      if (part) parent.append(part);
      continue;
    }
    const code = part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    // The character itself stays, so that copied text is unchanged; the label comes from the stylesheet.
    parent.append(h("bdi", { class: "gl-control", "data-code": `U+${code}` }, part));
  }
  return parent;
}

/** Return a function that runs `work` once in the next animation frame, however often it is called. */
export function everyFrame(work) {
  let asked = 0;
  const run = () => {
    asked = 0;
    work();
  };
  const ask = () => {
    if (!asked) asked = requestAnimationFrame(run);
  };
  ask.cancel = () => cancelAnimationFrame(asked);
  return ask;
}

function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false"; // JupyterLab, Notebook 7
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.endsWith("light"); // VS Code
  if (page.getAttribute("theme")) return page.getAttribute("theme") === "dark"; // Colab
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Keep `data-theme` of a widget's root equal to the page's theme; returns a function that ends it. */
export function followTheme(root) {
  const apply = () => {
    root.dataset.theme = isDark() ? "dark" : "light";
  };
  const media = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(apply);
  const watched = { attributes: true, attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind", "theme"] };
  observer.observe(document.body, watched);
  observer.observe(document.documentElement, watched);
  media.addEventListener("change", apply);
  apply();
  return () => {
    observer.disconnect();
    media.removeEventListener("change", apply);
  };
}

/** A text field whose keys stay its own: JupyterLab neither runs shortcuts on them nor cancels a line break. */
export function textField(props) {
  // JupyterLab adds a listener to the field at each key, which would cancel a line break inside a cell.
  const stop = (event) => event.stopImmediatePropagation();
  return h("textarea", { dir: "auto", "data-lm-suppress-shortcuts": "true", onbeforeinput: stop, ...props });
}

/** Return a selection after a choice: alone or `adding`; what was the only one, or is added again, is taken away. */
export function toggled(known, value, adding) {
  const next = new Set(adding ? known : []);
  if (known.has(value) && (adding || known.size === 1)) next.delete(value);
  else next.add(value);
  return next;
}

/** Listen to a model and return a function that stops listening. */
export function listen(model, handlers) {
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
  return () => {
    for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
  };
}

/** Format a log-probability (nats) as a percentage. */
export function percent(logprob) {
  if (logprob === null || logprob === undefined) return "0 %";
  const share = 100 * Math.exp(logprob);
  if (share >= 0.1) return `${share.toFixed(1)} %`;
  return share >= 0.0001 ? `${share.toPrecision(2)} %` : "< 0.0001 %";
}
