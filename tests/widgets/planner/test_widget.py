"""The planner's traits, messages, static fallback and saved page."""

from __future__ import annotations

import json

import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.planner import plan
from gemma_lab.widgets.planner.widget import Planner

DAY = "2026-11-29"


def planner(**settings) -> Planner:
    return Planner(**{"models": ["12B", "26B-A4B"], "hardware": "RTX 3090", "day": DAY, **settings})


def test_its_plans_are_those_of_plan() -> None:
    widget = planner(quantization="IQ4_XS", context=65_536)
    assert [made.shape.key for made in widget.plans] == ["12B", "26B-A4B"]
    alone = plan("26B-A4B", hardware="RTX 3090", quantization="IQ4_XS", context=65_536)
    assert widget.plans[1].to_dict() == alone.to_dict()
    assert "26B-A4B" in repr(widget)
    assert "\n" not in repr(widget)


def test_a_context_beyond_a_models_own_is_cut_to_it() -> None:
    widget = planner(models=["E2B", "31B"], context=262_144)
    assert [made.setting.context for made in widget.plans] == [131_072, 262_144]


def test_attributes_are_checked_and_follow_each_other() -> None:
    widget = planner()
    widget.hardware = "RTX 5060 Ti"
    assert widget.hardware == "RTX 5060 Ti 16GB"
    widget.hardware = "2x RTX 3090"
    assert widget.plans[0].hardware.devices == 2
    assert widget._facts["hardware"][0]["name"] == "2× RTX 3090"
    widget.hardware = "RTX 5060 Ti"
    widget.models = ["google/gemma-4-31B-it"]
    assert widget.models == ["31B"]
    for name, value, word in (
        ("hardware", "RTX 3095", "RTX 3095"),
        ("models", [], "model"),
        ("models", ["27B"], "27B"),
        ("quantization", "w4a16", "llama.cpp"),
        ("context", -1, "-1"),
        ("batch", 0, "0"),
        ("cache", "fp8", "fp8"),
        ("day", "tomorrow", "tomorrow"),
        ("prompt_per_answer", -1.0, "-1"),
        ("ownership", {"years": 0.0}, "years"),
        ("ownership", {"prize": 3.0}, "prize"),
        ("ownership", {"price_usd": "dear"}, "dear"),
    ):
        with pytest.raises(LabError, match=word):
            setattr(widget, name, value)
    assert (widget.hardware, widget.models, widget.context) == ("RTX 5060 Ti 16GB", ["31B"], 8192)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"models": None}, "None"),
        ({"models": 3}, "3"),
        ({"ownership": None}, "None"),
        ({"prompt_per_answer": "four"}, "four"),
        ({"prompt_per_answer": float("nan")}, "nan"),
        ({"quantization": 5e9}, "name"),
    ],
)
def test_settings_of_another_type_are_refused(settings: dict, word: str) -> None:
    with pytest.raises(LabError, match=word):
        planner(**settings)


def test_one_model_is_taken_by_its_name() -> None:
    assert planner(models="12B").models == ["12B"]


def test_several_attributes_change_together_or_not_at_all() -> None:
    widget = planner()
    widget.set(runtime="vLLM", quantization="w4a16", hardware="H100")
    assert (widget.runtime, widget.quantization, widget.hardware) == ("vLLM", "w4a16", "H100 SXM")
    with pytest.raises(LabError, match="Q4_K_M"):
        widget.set(batch=7, quantization="Q4_K_M")
    assert widget.batch == 1
    with pytest.raises(LabError, match="batches"):
        widget.set(batches=7)


def test_a_page_changes_it_by_messages_and_reads_of_a_refusal() -> None:
    widget = planner()
    widget._receive(widget, {"type": "set_values", "values": {"context": 4096, "batch": 2}}, [])
    assert (widget.context, widget.batch) == (4096, 2)
    widget._receive(widget, {"type": "set_values", "values": {"hardware": "<script>"}}, [])
    assert "<script>" in widget._notice["what"]
    assert widget.hardware == "RTX 3090"
    widget._receive(widget, {"type": "set_values", "values": "nonsense"}, [])
    widget._receive(widget, {"type": "other"}, [])
    assert widget.context == 4096


def test_hardware_of_ones_own_is_known_by_its_name() -> None:
    mine = {"name": "my card", "memory_gib": 20, "bandwidth_gb_s": 700, "price_usd": 900, "power_w": 250}
    widget = planner(hardware=mine)
    assert widget.hardware == "my card"
    assert widget._facts["hardware"][0]["name"] == "my card"
    assert widget.plans[0].hardware.bandwidth_gb_s == 700
    widget.hardware = "RTX 3090"
    widget.hardware = "my card"
    assert widget.plans[0].hardware.memory_gib == 20


def test_the_facts_are_plain_data() -> None:
    facts = json.loads(json.dumps(planner()._facts))
    assert set(facts["models"]) >= {"E2B", "31B", "Qwen3.6-35B-A3B"}
    assert all(run["source"] for run in facts["runs"])
    assert all(price["checked"] for price in facts["prices"])


def test_the_static_fallback_holds_the_numbers_and_no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    widget = planner()
    bundle, _ = widget._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<script" not in bundle["text/html"]
    for text in bundle.values():
        assert "26B-A4B" in text
        assert "GiB" in text


def test_a_saved_page_stands_alone(tmp_path) -> None:
    path = planner().to_html(tmp_path / "planner.html")
    text = path.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in text
    assert path.stat().st_size < 400_000
    with pytest.raises(LabError, match="missing"):
        planner().to_html(tmp_path / "missing" / "planner.html")
