"""A trace at a glance: no script whatever it holds, stable, small, and what its bars say is true."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support.routing_traces import (
    HOSTILE,
    arabic_trace,
    hostile_trace,
    long_trace,
    made_trace,
    picture_trace,
    sound_trace,
    words,
)

from gemma_lab.views.trace.trace import trace_html


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(str(text))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_it_says_what_ran():
    text = Reader(trace_html(picture_trace())).text
    for said in (
        "Trace of", "mini-moe", "215: 192 image, 12 special, 11 text", "5 tokens, complete", "A red disc.",
        "top-8 of 128 in 6 layers", "compact (0.0 MB, 28 B per token and layer)", "768 × 576", "image × 192",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize("make", [hostile_trace, arabic_trace, sound_trace])
def test_nothing_in_a_trace_becomes_markup(make):
    trace = make(meta={"edit": {"<script>alert(1)</script>": "<img src=x onerror=alert(1)>"}})
    trace = dataclasses.replace(trace, meta=trace.meta | {"model": HOSTILE[0]})
    read = Reader(trace_html(trace))
    assert not {"script", "img", "iframe", "style", "a"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "<img src=x onerror=alert(1)>" in read.text


def test_controls_and_overrides_are_spelled_out():
    trace = made_trace(words("Hi"), name="a\u202eb\x00")
    html = trace_html(trace)
    assert "\u202e" not in html
    assert "\x00" not in html
    assert "[U+202E]" in html


def test_it_is_the_same_whenever_and_has_no_timings():
    trace = picture_trace()
    later = dataclasses.replace(trace, timings={"total_s": 123.456})
    assert trace_html(trace) == trace_html(later) == trace_html(picture_trace())
    assert "123.4" not in trace_html(later)


def test_every_layer_has_a_bar_for_each_expert_that_was_used():
    trace = arabic_trace()
    html = trace_html(trace)
    strips = re.findall(r'<svg role="img" aria-label="([^"]*)".*?<path fill="#0072B2" d="([^"]*)"', html)
    assert len(strips) == 6
    for row, (told, steps) in enumerate(strips):
        counts = np.bincount(trace.routing.ids[row].ravel(), minlength=128)
        assert f"Layer {row}: busiest expert {counts.argmax()}, " in told
        assert f"{(counts == 0).sum()} of 128 experts unused" in told
        places = [int(at) for at in re.findall(r"M(\d+) ", steps)]
        assert places == np.flatnonzero(counts).tolist()
        heights = np.array([float(height) for height in re.findall(r"v-([\d.]+)h", steps)])
        assert np.allclose(heights / heights.max(), counts[counts > 0] / counts.max(), atol=0.01)


def test_many_experts_share_bars_and_few_do_not():
    wide = trace_html(arabic_trace(layers=1, experts=512))
    assert 'viewBox="0 0 128 ' in wide
    assert 'viewBox="0 0 8 ' in trace_html(arabic_trace(layers=1, experts=8, top_k=2))


def test_it_says_how_many_unused_experts_are_chance():
    trace = arabic_trace()
    expected = 128 * (1 - 8 / 128) ** 39
    assert f"{expected:.1f} would be unused" in trace_html(trace)


def test_a_long_trace_is_cut_and_says_so():
    html = trace_html(long_trace(3000, layers=3))
    assert "2,800 more tokens are not shown" in html
    assert len(html) < 60_000


def test_a_run_of_soft_tokens_is_not_cut():
    assert "image × 192" in Reader(trace_html(picture_trace())).text
    assert "more tokens are not shown" in trace_html(
        picture_trace(),
    )


def test_what_a_trace_lacks_is_not_shown():
    hide_frame = dataclasses.replace(picture_trace(), routing=None, generation=None, images=())
    text = Reader(trace_html(hide_frame)).text
    assert "no layer with experts" in text
    assert "generated" not in text.split("Text")[0]
    assert "Load of" not in text


def test_no_tokens_can_be_shown():
    trace = made_trace(words("Hi"))
    empty = dataclasses.replace(
        trace, tokens=trace.tokens.select(slice(0, 0)), routing=trace.routing.select(slice(0, 0))
    )
    with np.errstate(all="raise"):
        assert "0: none" in Reader(trace_html(empty)).text


def test_the_notebook_shows_it():
    trace = picture_trace()
    assert trace._repr_html_() == trace_html(trace)
