from __future__ import annotations

import dataclasses

import numpy as np
from support.attention_traces import arabic, behind
from support.routing_traces import arabic_trace, hostile_trace, picture_trace

from gemma_lab.views.trace.token_summary import (
    answer_tokens,
    deciding_row,
    mean_attention,
    token_summary_html,
    token_summary_text,
)


def test_a_written_token_is_decided_by_the_row_before_it() -> None:
    trace = behind(arabic_trace())
    first = int(np.flatnonzero(trace.tokens.generated)[0])
    assert (deciding_row(trace, first), deciding_row(trace, 5)) == (first - 1, 5)
    assert answer_tokens(trace)[0] == first
    prompt = dataclasses.replace(trace.tokens, generated=np.zeros(len(trace), bool))
    hide_frame = dataclasses.replace(trace, tokens=prompt, generation=None)
    assert answer_tokens(hide_frame) == list(range(len(trace) - 8, len(trace)))


def test_the_means_are_those_of_all_layers_and_heads() -> None:
    trace = behind(arabic_trace(), top_k=39)
    means = mean_attention(trace, 30)
    whole = np.mean([trace.attention.pooled(layer)[:, 30] for layer in range(6)], axis=(0, 1))
    np.testing.assert_allclose(means, whole, atol=1e-5)


def test_the_twin_lists_what_stands_behind_each_token_without_scripts() -> None:
    trace = behind(picture_trace(), window=64)
    html = token_summary_html(trace)
    assert html == token_summary_html(behind(picture_trace(), window=64))
    assert "<script" not in html
    assert "of the attention of the answer" in html
    first = answer_tokens(trace)[0]
    one = trace.routing.layer(5)
    best = one.ids[0][first - 1][np.argsort(-one.weights[0][first - 1], kind="stable")[:3]].tolist()
    assert ", ".join(map(str, best)) in html
    assert "A red disc" in token_summary_text(trace)
    assert "215 tokens with attention, routing, logit_lens" in token_summary_text(trace)


def test_what_is_not_known_has_no_column_and_hostile_text_stays_text() -> None:
    assert "attends to most" not in token_summary_html(arabic_trace())
    assert "experts of" not in token_summary_html(dataclasses.replace(arabic(), routing=None))
    html = token_summary_html(hostile_trace())
    assert "<img src=x" not in html
