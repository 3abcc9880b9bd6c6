from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from support.routing_traces import HOSTILE, arabic_trace, hostile_trace, picture_trace

from gemma_lab.errors import LabError
from gemma_lab.widgets.routing.widget import RoutingExplorer
from gemma_lab.widgets.shared.saved_page import page
from gemma_lab.widgets.shared.wire import unpack


@pytest.fixture
def saved(tmp_path):
    def write(trace, **options):
        return (
            RoutingExplorer(trace, **options).to_html(tmp_path / "explorer.html").read_text(encoding="utf-8")
        )

    return write


def state_of(html: str) -> dict:
    text = re.search(r'<script type="application/json" id="gemma-lab-state">(.*?)</script>', html, re.DOTALL)[
        1
    ]
    return json.loads(text)


def test_the_page_names_its_own_script_and_nothing_else_may_run_or_load(saved) -> None:
    html = saved(arabic_trace())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1].replace(
        "&#x27;", "'"
    )
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy  # so default-src holds: no connection at all
    assert html.count("<script") == 2 + 6


def test_the_page_asks_nothing_of_anybody(saved) -> None:
    html = saved(picture_trace())
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([a-z]+:[^"')\s]{0,40})""", html)
    assert all(address.startswith("data:image/png;base64,") for address in addresses), addresses
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    for banned in ("fetch(", "XMLHttpRequest", "import(", "eval(", "new Function", "innerHTML", "WebSocket"):
        assert banned not in script
    assert not re.search(r'^import .* from "', script, re.MULTILINE)


def test_the_page_holds_every_layer_and_the_selection(saved) -> None:
    trace = arabic_trace()
    html = saved(trace, layer=1)
    state = state_of(html)
    assert unpack(base64.b64decode(state["routes"]["base64"]))[0]["rows"].tolist() == [1]
    parts = re.findall(r'id="gemma-lab-part-(\d+)">([^<]*)<', html)
    assert [int(row) for row, _ in parts] == [0, 1, 2, 3, 4, 5]
    for row, part in parts:
        arrays, meta = unpack(base64.b64decode(part))
        assert meta == {"start": 0, "count": len(trace)}
        assert arrays["ids"][0].tolist() == trace.routing.ids[int(row)].tolist()
    assert state["layer"] == 1
    assert state["can_run"] is False


def test_no_text_can_leave_its_place(saved) -> None:
    html = saved(hostile_trace())
    assert html.count("<script") == 2 + 6
    assert "<img src=x" not in html
    assert HOSTILE[2] not in html
    assert state_of(html)["facts"]["name"] == HOSTILE[1]


def test_a_folder_that_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(LabError, match="nowhere does not exist"):
        RoutingExplorer(arabic_trace()).to_html(tmp_path / "nowhere" / "explorer.html")


def test_bytes_anywhere_in_the_state_are_carried() -> None:
    html = page({"a": [{"b": b"\x00\xff"}], "c": 1}, title="<T>", twin="twin", program="page.js", style="")
    assert state_of(html) == {"a": [{"b": {"base64": "AP8="}}], "c": 1}
    assert "<title>&lt;T&gt;</title>" in html
