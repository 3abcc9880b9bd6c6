"""One HTML page a notebook, with the widgets alive and nothing fetched from anywhere.

nbconvert's own way to show widgets loads a widget manager from a CDN. Ours are plain ES modules with a
``render``, so a page can host them itself: module, style and state are in it, and ``static/host.js`` is the
manager. There is no kernel behind a page, so messages to Python are not answered. The page's
Content-Security-Policy allows no connection and no script but the host and the modules in the page.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .form import WIDGET_VIEW

if TYPE_CHECKING:
    import nbformat

_STATE = "application/vnd.jupyter.widget-state+json"
_HOST = Path(__file__).parent / "static" / "host.js"
# JupyterLab's own look, without what nbconvert would load from a CDN. Mathematics stays as its source.
_TEMPLATE = """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def page(notebook: nbformat.NotebookNode, *, title: str) -> str:
    """Return an executed notebook as one HTML page.

    Parameters
    ----------
    notebook
        Executed with live widgets (``execute(path, static=False)``), its widget state kept.
    title
        Of the page.
    """
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    models = notebook.metadata.get("widgets", {}).get(_STATE, {}).get("state", {})
    shown: dict[str, dict[str, Any]] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(WIDGET_VIEW, None)
            state = _whole(models.get(view["model_id"], {})) if view else {}
            if "_esm" in state:  # anything else (a plain slider) shows its text
                shown[view["model_id"]] = state
                fallback = output.data.get("text/html", "")
                output.data = {"text/html": _mount(view["model_id"], fallback)}
    notebook.metadata.pop("widgets", None)
    body, _ = HTMLExporter(raw_template=_TEMPLATE).from_notebook_node(
        notebook, resources={"metadata": {"name": title}}
    )
    text = str(body).replace("</body>", _script(shown) + "</body>") if shown else str(body)
    return text.replace(
        "<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{_policy()}">', 1
    )


def _policy() -> str:
    """Return a policy that allows the host, modules made from the page itself, and no connection."""
    digest = base64.b64encode(hashlib.sha256(_host().encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


def _host() -> str:
    return _HOST.read_text(encoding="utf-8")


def _whole(model: dict[str, Any]) -> dict[str, Any]:
    """Return a saved state with its binary traits in place, as ``{"base64": …}``, which the host reads."""
    state = copy.deepcopy(model.get("state", {}))
    for buffer in model.get("buffers", ()):
        *path, last = buffer["path"]
        place: Any = state
        for step in path:
            place = place[step]
        place[last] = {"base64": buffer["data"]}
    return dict(state)


def _mount(model: str, fallback: str) -> str:
    """Return the element of a widget; it shows the static fallback until the widget is drawn."""
    return f'<div class="gemma-lab-live" data-model="{html.escape(model, quote=True)}">{fallback}</div>'


def _script(models: dict[str, dict[str, Any]]) -> str:
    state = json.dumps(models).replace("<", "\\u003c")  # no text in it can end the script element
    return (
        f'<script type="application/json" id="gemma-lab-models">{state}</script>\n'
        f'<script type="module">{_host()}</script>\n'
    )
