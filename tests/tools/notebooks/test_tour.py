"""A page of the tour carries its widgets itself, and no text can break out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import nbformat

from tools.notebooks.form import WIDGET_VIEW
from tools.notebooks.tour import page

STATE = "application/vnd.jupyter.widget-state+json"
ESM = "export default { render({ model, el }) { el.textContent = model.get('said') } }"


def executed():
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={WIDGET_VIEW: {"model_id": model}, "text/html": "<i>twin</i>", "text/plain": "W()"},
        )
        for model in ("live", "plain")
    ]
    cell = nbformat.v4.new_code_cell("show()", id="one", execution_count=1, outputs=outputs)
    models = {
        "live": {"state": {"_esm": ESM, "_css": "", "said": "</script><img src=x onerror=alert(1)>"}},
        "plain": {"state": {"value": 3}},
    }
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {STATE: {"state": models}}})


def test_the_widget_its_state_and_its_host_are_in_the_page():
    notebook = executed()
    text = page(notebook, title="00_a")
    assert text.count('class="gemma-lab-live"') == 1
    assert "<i>twin</i>" in text
    carried = re.search(r'id="gemma-lab-models">(.*?)</script>', text, re.DOTALL)
    models = json.loads(carried[1])
    assert models == {"live": notebook.metadata.widgets[STATE]["state"]["live"]["state"]}
    assert "onerror=alert(1)>" not in text.replace(carried[1], "")
    assert notebook == executed(), "the notebook that was handed in is not changed"


def test_nothing_is_fetched_for_the_widgets():
    text = page(executed(), title="00_a")
    assert not re.search(r"(src|href|import|from)\W{1,3}https?:", text)


def test_the_policy_allows_the_host_and_no_connection():
    text = page(executed(), title="00_a")
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    (host,) = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(host.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}' blob:;" in policy
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert text.index("Content-Security-Policy") < text.index("<script")


def test_without_widgets_there_is_no_host():
    cell = nbformat.v4.new_markdown_cell("# Title", id="title")
    assert "gemma-lab-models" not in page(nbformat.v4.new_notebook(cells=[cell]), title="x")


def test_binary_traits_stand_in_their_places_as_base64():
    notebook = executed()
    live = notebook.metadata.widgets[STATE]["state"]["live"]
    live["state"]["pictures"] = [{"width": 3}]
    live["buffers"] = [
        {"encoding": "base64", "path": ["table"], "data": "AAEC"},
        {"encoding": "base64", "path": ["pictures", 0, "bytes"], "data": "/w=="},
    ]
    text = page(notebook, title="00_a")
    models = json.loads(re.search(r'id="gemma-lab-models">(.*?)</script>', text, re.DOTALL)[1])
    assert models["live"]["table"] == {"base64": "AAEC"}
    assert models["live"]["pictures"] == [{"width": 3, "bytes": {"base64": "/w=="}}]
    assert "table" not in notebook.metadata.widgets[STATE]["state"]["live"]["state"]
