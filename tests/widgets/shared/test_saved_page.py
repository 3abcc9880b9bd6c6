from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib

import pytest
from support.routing_traces import HOSTILE, arabic_trace, hostile_trace, picture_trace

from gemma_lab.errors import LabError
from gemma_lab.widgets.routing.widget import RoutingExplorer
from gemma_lab.widgets.shared.saved_page import page
from gemma_lab.widgets.shared.wire import unpack
from gemma_lab.widgets.shared.wire_types import TRAITS


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


def parts_of(html: str) -> list[bytes]:
    found = re.findall(r'id="gemma-lab-part-(\d+)">([^<]*)<', html)
    assert [int(number) for number, _ in found] == list(range(len(found)))
    return [zlib.decompress(base64.b64decode(part)) for _, part in found]


def test_the_page_names_its_own_script_and_nothing_else_may_run_or_load(saved) -> None:
    html = saved(arabic_trace())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1]
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy  # so default-src holds: no connection at all
    assert html.count("<script") == 2 + len(parts_of(html))


def test_the_page_asks_nothing_of_anybody(saved) -> None:
    html = saved(picture_trace())
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([a-z]+:[^"')\s]{0,40})""", html)
    assert all(address.startswith("data:image/png;base64,") for address in addresses), addresses
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    for banned in (" fetch(", "XMLHttpRequest", "import(", "eval(", "new Function", "innerHTML", "WebSocket"):
        assert banned not in script
    assert not re.search(r'^import .* from "', script, re.MULTILINE)


def test_the_page_holds_every_layer_and_the_selection(saved) -> None:
    trace = arabic_trace()
    html = saved(trace, layer=1)
    state, answers = state_of(html)["state"], state_of(html)["answers"]
    parts = parts_of(html)
    assert unpack(parts[state["_layers"]["part"]])[0]["layer_indices"].tolist() == [1]
    assert sorted(answers) == [f"layers-{layer_index}" for layer_index in range(6)]
    for layer_index in range(6):
        arrays, meta = unpack(parts[answers[f"layers-{layer_index}"]])
        assert meta == {"start": 0, "count": len(trace)}
        assert arrays["expert_ids"][0].tolist() == trace.routing.ids[layer_index].tolist()
    assert state["layer"] == 1
    assert state["_can_run"] is False
    assert set(state) == set(TRAITS["RoutingTraits"])


def test_no_text_can_leave_its_place(saved) -> None:
    html = saved(hostile_trace())
    assert html.count("<script") == 2 + len(parts_of(html))
    assert "<img src=x" not in html
    assert HOSTILE[2] not in html
    assert state_of(html)["state"]["_facts"]["name"] == HOSTILE[1]


def test_a_folder_that_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(LabError, match=r"nowhere.*cannot be written"):
        RoutingExplorer(arabic_trace()).to_html(tmp_path / "nowhere" / "explorer.html")


def test_bytes_anywhere_in_the_state_are_carried() -> None:
    content = {"title": "<T>", "fallback": "twin", "program": "routing/routing_page.js", "style": ""}
    html = page({"a": [{"b": b"\x00\xff"}], "c": 1}, {"name": b"answer"}, **content)
    assert state_of(html) == {"state": {"a": [{"b": {"part": 0}}], "c": 1}, "answers": {"name": 1}}
    assert parts_of(html) == [b"\x00\xff", b"answer"]
    assert "<title>&lt;T&gt;</title>" in html
