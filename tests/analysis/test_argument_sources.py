"""Sources of argument values: the mini's real call, the same call with attention made by hand, and text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError


def weather(city: str):
    """Weather in a city."""


@pytest.fixture(scope="module")
def trace():
    lab = gl.load("mini-moe", progress=False)
    return lab.trace(
        "What is the weather in Rome?", tools=[weather], attention=True, max_new_tokens=16, temperature=0
    )


def row_of(trace, piece, *, generated):
    [row] = np.flatnonzero((trace.tokens.pieces == piece) & (trace.tokens.generated == generated))
    return int(row)


def test_the_city_of_a_real_call_comes_from_the_question(trace):
    found = gl.analysis.call_sources(trace)
    [city] = found.arguments
    asked, wrote = row_of(trace, "▁Rome", generated=False), row_of(trace, "Rome", generated=True)
    assert (city.call, city.path, city.value) == ("weather", "city", "Rome")
    assert city.written == (wrote, wrote + 1)
    assert city.source == city.match == (asked, asked + 1)
    assert (city.source_text, city.role, city.copied) == ("Rome", "user", True)
    assert city.share == city.match_share > 10 * city.even
    assert city.heads
    assert "1 argument value, 1 copied" in repr(found)
    assert found.to_pandas()["value"].tolist() == ['"Rome"']


def test_shares_are_the_attention_of_the_token_before(trace):
    found = gl.analysis.call_sources(trace)
    prompt = int((~trace.tokens.generated).sum())
    query = found.arguments[0].written[0] - 1
    expected, heads = np.zeros(prompt), 0
    for layout in trace.attention.layers:
        keys, weights = trace.attention.top_keys(layout.layer)
        for of_head, weight in zip(keys[:, query], weights[:, query], strict=True):
            heads += 1
            for key, value in zip(of_head.tolist(), weight.tolist(), strict=True):
                if 0 <= key < prompt:
                    expected[key] += value
    assert found.attention[0] == pytest.approx(expected / heads)
    text = np.flatnonzero(trace.tokens.modalities[:prompt] == "text")
    start, stop = found.arguments[0].source
    assert found.arguments[0].share == pytest.approx(expected[start:stop].sum() / expected[text].sum())
    assert found.arguments[0].even == pytest.approx(1 / len(text))


def attending(trace, keys):
    """The trace with one head per layer's worth of attention on `keys`, in equal parts."""
    attention = trace.attention
    of_all = np.full_like(attention.per_query["keys"], -1)
    weights = np.zeros_like(attention.per_query["weights"])
    of_all[..., : len(keys)] = keys
    weights[..., : len(keys)] = 1 / len(keys)
    made = {**attention.per_query, "keys": of_all, "weights": weights}
    return replace(trace, attention=replace(attention, per_query=made))


def test_attention_elsewhere_is_no_copy(trace):
    asked = row_of(trace, "▁weather", generated=False)
    [city] = gl.analysis.call_sources(attending(trace, [asked, asked + 1])).arguments
    assert city.source == (asked, asked + 2)
    assert city.source_text == "weather in"
    assert city.share == pytest.approx(1)
    assert (city.match_share, city.copied) == (0, False)


def test_control_tokens_are_no_source(trace):
    [city] = gl.analysis.call_sources(attending(trace, [0, 1])).arguments
    assert city.share == 0


def test_a_value_that_is_not_in_the_prompt_has_no_match(trace):
    texts = trace.tokens.texts.copy()
    texts[row_of(trace, "▁Rome", generated=False)] = " Romeo"
    elsewhere = replace(trace, tokens=replace(trace.tokens, texts=texts))
    [city] = gl.analysis.call_sources(elsewhere).arguments
    assert city.match is not None  # a part of a word, where no whole word is the value
    texts = texts.copy()
    texts[row_of(trace, "▁Rome", generated=False)] = " Oslo"
    [city] = gl.analysis.call_sources(replace(trace, tokens=replace(trace.tokens, texts=texts))).arguments
    assert (city.match, city.match_share, city.copied) == (None, 0, False)


def test_load_of_syntax_values_and_prose(trace):
    found = gl.analysis.call_routing([trace, trace], permutations=20)
    assert found.labels == ("prose", "syntax", "values")
    syntax = row_of(trace, "<tool_call|>", generated=True) - row_of(trace, "<|tool_call>", generated=True)
    assert found.sizes.tolist() == [2 * 7, 2 * syntax, 2 * 1]  # "What is the weather in Rome?"


def test_what_has_no_call_or_no_record_is_refused(trace):
    prompt = int((~trace.tokens.generated).sum())
    free = replace(
        trace,
        tokens=trace.tokens.select(slice(0, prompt)),
        routing=trace.routing.select(slice(0, prompt)),
        attention=None,
        generation=None,
    )
    with pytest.raises(LabError):
        gl.analysis.call_sources(free)
    with pytest.raises(LabError):
        gl.analysis.call_routing(free)
    with pytest.raises(LabError):
        gl.analysis.call_routing(replace(free, routing=None))
    pieces = trace.tokens.pieces.copy()
    pieces[row_of(trace, "{", generated=True)] = "("  # a call that cannot be read
    broken = replace(trace, tokens=replace(trace.tokens, pieces=pieces))
    with pytest.raises(LabError):
        gl.analysis.call_sources(broken)


def test_no_text_becomes_markup(trace):
    texts = trace.tokens.texts.copy()
    texts[row_of(trace, "▁Rome", generated=False)] = "<b>$x</b>"
    hostile = gl.analysis.call_sources(replace(trace, tokens=replace(trace.tokens, texts=texts)))
    assert "<b>" not in hostile._repr_html_()
    assert hostile.figure().png()


def test_the_lens_says_from_which_layer_on_a_value_is_first():
    lab = gl.load("mini-moe", progress=False)
    options = {"tools": [weather], "tool_choice": "auto", "max_new_tokens": 16, "temperature": 0}
    trace = lab.trace("What is the weather in Rome?", attention=True, logit_lens=True, **options)
    found = gl.analysis.call_sources(trace)
    [city] = found.arguments
    start, stop = city.written
    # independently: the lens at the rows before the written ones, layer by layer from the last
    lens, expected = trace.logit_lens, None
    for number in range(len(lens.layers) - 1, -1, -1):
        rows = [lens.index(row - 1) for row in range(start, stop)]
        if lens.ids[number, rows, 0].tolist() != trace.tokens.ids[start:stop].tolist():
            break
        expected = lens.layers[number]
    assert expected is not None
    assert city.lens_layer == expected
    assert found.lens_layers == lens.layers
    assert found.lens.shape == (1, len(lens.layers))
    assert found.lens[0, -1] == 1
    assert found.to_pandas()["lens_layer"].tolist() == [expected]
    assert f"from layer {expected}" in found.figure().text
    assert found.figure().png()
    # a lens elsewhere says nothing
    elsewhere = lab.trace("What is the weather in Rome?", attention=True, logit_lens=[-1], **options)
    [blind] = gl.analysis.call_sources(elsewhere).arguments
    assert blind.lens_layer is None
    assert np.isnan(gl.analysis.call_sources(elsewhere).lens).all()
