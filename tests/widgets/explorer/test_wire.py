from __future__ import annotations

import dataclasses

import numpy as np
from support.attention_traces import arabic, attended, behind, long
from support.routing_traces import arabic_trace, picture_trace

from gemma_lab.widgets.explorer.wire import rows_behind, summary_buffer, top_edges
from gemma_lab.widgets.shared.wire import unpack


def test_the_means_of_a_layers_heads_and_the_strongest_looks_are_those_of_the_trace() -> None:
    trace = behind(picture_trace(), window=64)
    arrays, meta = unpack(summary_buffer(trace))
    looks = trace.attention
    row = len(trace) - 3
    assert arrays["rows"].tolist() == list(range(len(trace)))
    for place in (0, 5):
        keys, weights = (each[:, row] for each in looks.top_keys(place))
        mean = np.zeros(len(trace))
        np.add.at(mean, keys[keys >= 0], weights[keys >= 0] / 4)
        best = int(mean.argmax())
        assert arrays["keys"][place, row, 0] == best
        np.testing.assert_allclose(arrays["key_weights"][place, row, 0] / 65535, mean[best], atol=1e-4)
    assert meta["attention"] == {
        "layers": list(range(6)), "kinds": ["local"] * 5 + ["global"], "heads": [0, 1, 2, 3],
    }  # fmt: skip
    place, head, key = arrays["top_edges"][row, 0].tolist()
    found = max(
        (float(w), layer, h, int(k))
        for layer in range(6)
        for h in range(4)
        for k, w in zip(*(each[h, row] for each in looks.top_keys(layer)), strict=True)
        if k > 0
    )
    assert (place, head, key) == found[1:]
    np.testing.assert_allclose(arrays["edge_weights"][row, 0] / 65535, found[0], atol=1e-4)


def test_the_first_token_is_no_strong_look_and_short_rows_have_few() -> None:
    edges, weights = top_edges(arabic().attention, np.array([0, 1, 30]))
    assert not weights[0].any()
    assert (edges[2, :, 2] > 0).all()
    assert (np.diff(weights, axis=1) <= 0).all()


def test_experts_and_words_travel_by_layer() -> None:
    trace = behind(arabic_trace())
    arrays, meta = unpack(summary_buffer(trace))
    row = 30
    one = trace.routing.layer(4)
    np.testing.assert_array_equal(arrays["expert_ids"][4, row], one.ids[0, row])
    shown = arrays["expert_weights"][4, row] / 65535 * meta["routing"]["scale_max"]
    np.testing.assert_allclose(shown, one.weights[0, row], atol=1e-4)
    logit_lens = meta["logit_lens"]
    at = arrays["lens_positions"].tolist().index(row)
    assert [logit_lens["words"][word] for word in arrays["top_words"][5, at]] == [
        " seven",
        "<turn|>",
        " نجمة",
    ]
    first = np.exp(trace.logit_lens.logprobs[5, at, 0])
    np.testing.assert_allclose(arrays["probabilities"][5, at, 0] / 65535, first, atol=1e-4)
    np.testing.assert_array_equal(arrays["final_ranks"], trace.logit_lens.rank())


def test_of_a_long_text_the_end_and_what_is_behind_the_answer_are_kept() -> None:
    trace = long(5000)
    generated = np.zeros(5000, bool)
    generated[[3000, 3001]] = True
    tokens = dataclasses.replace(trace.tokens, generated=generated)
    made = attended(dataclasses.replace(trace, tokens=tokens), trace.attention)
    rows = rows_behind(made)
    assert {2999, 3000} <= set(rows.tolist())
    assert rows[-512:].tolist() == list(range(4488, 5000))
    assert len(rows) == 514


def test_what_a_trace_lacks_is_left_out() -> None:
    trace = arabic_trace()
    assert unpack(summary_buffer(trace))[1].keys() == {"routing"}
    alone = attended(dataclasses.replace(trace, routing=None), arabic().attention)
    assert unpack(summary_buffer(alone))[1].keys() == {"attention"}
