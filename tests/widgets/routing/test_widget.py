from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from support.routing_traces import arabic_trace, hostile_trace, long_trace, picture_trace, routing

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.widgets.routing.widget import RoutingExplorer
from gemma_lab.widgets.shared.wire import (
    bytes_of,
    layer_buffer,
    load_buffer,
    pack,
    scale_max,
    token_buffer,
    unpack,
)

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def sent(monkeypatch):
    """Return an explorer, and the messages that it posts."""

    def make(trace, **options):
        explorer = RoutingExplorer(trace, **options)
        posted = []
        monkeypatch.setattr(
            explorer, "_post", lambda content, buffers=None: posted.append((content, buffers))
        )
        return explorer, posted

    return make


# ── what travels ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("precision", ["compact", "full"])
def test_a_layer_takes_28_bytes_per_token(precision) -> None:
    made = routing(50, layers=3)
    whole = type(made).of(
        made.ids,
        made.gate_weights,
        scale=made.scale,
        entropy=made.entropy,
        expert_output_fraction=made.expert_output_fraction,
        layers=made.layers,
        experts=128,
        precision=precision,
    )
    buffer = layer_buffer(whole, [1])
    assert bytes_of(whole) == 3 * 50 * 28
    assert len(buffer) < 50 * 28 + 400
    arrays, meta = unpack(buffer)
    assert meta == {"start": 0, "count": 50}
    np.testing.assert_array_equal(arrays["expert_ids"][0], whole.ids[1])
    gate_weights = arrays["gate_weights"][0] / 65535
    np.testing.assert_allclose(gate_weights, whole.gate_weights[1], atol=0.5 / 65535 + 1e-6)
    np.testing.assert_allclose(arrays["entropy"][0] / 65535 * np.log(128), whole.entropy[1], atol=1e-4)
    np.testing.assert_allclose(
        arrays["expert_fraction"][0] / 65535, whole.expert_output_fraction[1], atol=1e-5
    )


def test_more_experts_than_a_byte_holds_and_an_odd_number_of_choices_travel_too() -> None:
    wide = routing(20, layers=2, experts=300, top_k=5)
    arrays, _ = unpack(layer_buffer(wide, [0, 1], start=4))
    assert arrays["expert_ids"].dtype == np.uint16
    np.testing.assert_array_equal(arrays["expert_ids"], wide.ids[:, 4:])
    np.testing.assert_allclose(arrays["gate_weights"] / 65535, wide.gate_weights[:, 4:], atol=1e-6)
    assert bytes_of(wide) == 2 * 20 * (5 * 2 + 5 * 2 + 4)


def test_tokens_travel_with_their_texts_codes_and_places() -> None:
    trace = picture_trace()
    arrays, meta = unpack(token_buffer(trace.tokens))
    text = arrays["text"].tobytes()
    starts = [0, *arrays["text_ends"].tolist()]
    texts = [text[a:b].decode() for a, b in pairwise(starts)]
    assert texts == trace.tokens.texts.tolist()
    assert [meta["modalities"][code] for code in arrays["modality"]] == trace.tokens.modalities.tolist()
    assert [meta["roles"][code] for code in arrays["role"]] == trace.tokens.roles.tolist()
    assert [meta["scripts"][code] for code in arrays["script"]] == trace.tokens.scripts.tolist()
    assert len(arrays["media_tokens"]) == 192
    np.testing.assert_array_equal(arrays["box"], trace.tokens.boxes[arrays["media_tokens"]])
    later, meta = unpack(token_buffer(trace.tokens, start=200))
    assert meta["start"] == 200
    assert len(later["role"]) == meta["count"] == len(trace) - 200


def test_loads_and_the_end_of_the_scale() -> None:
    trace = arabic_trace()
    arrays, meta = unpack(load_buffer(trace.routing))
    assert meta["tokens"] == len(trace)
    assert (arrays["token_counts"].sum(axis=1) == len(trace) * 8).all()
    np.testing.assert_array_equal(arrays["expert_scale"], trace.routing.scale)
    top = scale_max(trace.routing)
    assert 0.985 < (trace.routing.weights <= top).mean() < 0.995


def test_packing_refuses_what_the_browser_has_no_array_for() -> None:
    with pytest.raises(TypeError, match="float64"):
        pack({"a": np.zeros(3)})
    arrays, meta = unpack(pack({"a": np.arange(3, dtype=np.int16), "b": np.float32([1.5])}, meta={"x": "ü"}))
    assert (arrays["a"].tolist(), arrays["b"].tolist(), meta) == ([0, 1, 2], [1.5], {"x": "ü"})


def test_small_routings_travel_whole_and_of_large_ones_one_layer(monkeypatch) -> None:
    small = RoutingExplorer(arabic_trace())
    assert unpack(small._layers)[0]["layer_indices"].tolist() == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr("gemma_lab.widgets.routing.widget.SENT_WHOLE", 1000)
    large = RoutingExplorer(arabic_trace(), layer=4)
    assert unpack(large._layers)[0]["layer_indices"].tolist() == [4]


# ── the widget ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_selection_is_read_and_set_from_python_and_checked() -> None:
    explorer = RoutingExplorer(arabic_trace())
    assert explorer.layer == 3
    explorer.layer = 5
    explorer.selected_experts = [17, 3, 17]
    explorer.selected_tokens = [4]
    assert (explorer.layer, explorer.selected_experts, explorer.selected_tokens) == (5, [3, 17], [4])
    with pytest.raises(LabError, match="6"):
        explorer.layer = 6
    with pytest.raises(LabError, match="no expert 128"):
        explorer.selected_experts = [128]
    with pytest.raises(LabError, match="no token -1"):
        explorer.selected_tokens = [-1]
    assert (explorer.layer, explorer.selected_experts, explorer.selected_tokens) == (5, [3, 17], [4])


def test_a_layer_number_is_the_models_own() -> None:
    trace = arabic_trace()
    odd = dataclasses.replace(trace.routing, layers=(1, 3, 5, 7, 9, 11))
    explorer = RoutingExplorer(dataclasses.replace(trace, routing=odd), layer=9)
    assert explorer.layer == 9
    with pytest.raises(LabError, match="1, 3, 5, 7, 9, 11"):
        explorer.layer = 4


def test_views_choose_and_get_layers_by_intent(sent) -> None:
    explorer, posted = sent(arabic_trace())
    explorer._receive(explorer, {"type": "select", "layer": 2, "tokens": [7, 1], "experts": [5]}, [])
    assert (explorer.layer, explorer.selected_tokens, explorer.selected_experts) == (2, [7, 1], [5])
    explorer._receive(explorer, {"type": "layers", "layer_indices": [0, 99, "x", 4]}, [])
    messages = [
        (content, unpack(buffers[0])[0]["layer_indices"].tolist())
        for content, buffers in posted
        if content["type"] == "layers"
    ]
    assert messages == [({"type": "layers", "epoch": 1}, [0]), ({"type": "layers", "epoch": 1}, [4])]


def test_a_wrong_choice_of_a_view_becomes_a_notice(sent) -> None:
    explorer, _ = sent(arabic_trace())
    explorer._receive(explorer, {"type": "select", "layer": 2, "tokens": [], "experts": [999]}, [])
    assert "no expert 999" in explorer._notice["what"]


def test_the_twin_follows_layer_and_experts_and_a_saved_output_is_small() -> None:
    explorer = RoutingExplorer(long_trace(2000, layers=8))
    html, text = explorer._static_fallback()
    assert f"layer {explorer.layer}" in text
    explorer.layer = 1
    explorer.selected_experts = [9]
    assert "weight of experts 9" in explorer._static_fallback()[0]
    assert len(html) * 10 < 5_000_000 / 2  # ten of them leave half of a saved notebook's five megabytes
    bundle, _ = explorer._repr_mimebundle_()
    assert {"text/html", "text/plain"} <= set(bundle)


def test_a_repr_says_which_trace_and_layer() -> None:
    explorer = RoutingExplorer(arabic_trace())
    assert (
        repr(explorer) == "RoutingExplorer(Trace(mini-moe: 39 tokens, 6 MoE layers, 18 generated), layer 3)"
    )


def test_a_trace_without_routing_is_refused() -> None:
    with pytest.raises(BadTrace, match="holds no routing"):
        RoutingExplorer(dataclasses.replace(arabic_trace(), routing=None))


def test_a_hostile_name_is_sent_as_text() -> None:
    explorer = RoutingExplorer(hostile_trace())
    assert explorer._facts["name"].startswith("</script>")
    assert "<script>alert(2)" not in explorer._static_fallback()[0]


def test_under_static_only_the_fallback_is_shown(monkeypatch) -> None:
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    bundle, _ = RoutingExplorer(arabic_trace())._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
