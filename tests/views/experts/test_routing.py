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
    picture_trace,
    sound_trace,
)

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.views.base.fonts import families, writable
from gemma_lab.views.experts.routing import load_by_layer_figure, routing_figure, routing_html, routing_text


class Reader(HTMLParser):
    """Collects tags, and the attributes that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.active: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("src", "href") and not value.startswith("data:image/png;base64,")
            ):
                self.active.append((name, value))
            if name == "title":
                self.titles.append(value)

    def handle_data(self, data):
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def test_the_twin_shows_the_text_its_experts_and_its_layer_without_scripts() -> None:
    trace = arabic_trace()
    reader = read(routing_html(trace, layer=3))
    assert reader.active == []
    assert "script" not in reader.tags
    shown = "".join(reader.text)
    assert "سبعة نجوم تلمع فوق البحر." in shown
    assert "Seven stars shine over the sea.⭐" in shown
    ids = ", ".join(map(str, trace.routing.layer(3).ids[0, 5].tolist()))
    assert f"experts {ids}" in reader.titles
    assert "layer 3" in shown


def test_the_twin_is_the_same_every_time_and_its_line_is_stable() -> None:
    assert routing_html(arabic_trace(), layer=2) == routing_html(arabic_trace(), layer=2)
    line = routing_text(arabic_trace(), layer=2)
    counts = np.bincount(arabic_trace().routing.layer(2).ids.reshape(-1), minlength=128)
    assert f"busiest {counts.argmax()} ({counts.max()})" in line
    assert f"{(counts == 0).sum()} unused" in line


def test_selected_experts_tint_the_text_by_their_weight() -> None:
    trace = arabic_trace()
    one = trace.routing.layer(3)
    expert = int(one.ids[0, 5, 0])
    html = routing_html(trace, layer=3, experts=[expert])
    spans = re.findall(
        r'<span title="experts ([\d, ]+)" style="background-color:rgba\(230,159,0,([\d.]+)\)"', html
    )
    assert len(spans) > 20
    for experts, strength in spans:
        assert (float(strength) > 0) <= (str(expert) in experts.split(", "))
    assert any(float(strength) == 0.6 for _, strength in spans)


def test_pictures_are_drawn_with_their_patches_and_soft_tokens_collapse() -> None:
    reader = read(routing_html(picture_trace(), layer=1))
    shown = "".join(reader.text)
    assert "image × 192" in shown
    assert "192 patches" in shown
    assert {"img", "figure", "figcaption"} <= reader.tags
    assert "video × 40" in "".join(read(routing_html(sound_trace(), layer=1)).text)


def test_hostile_text_stays_text() -> None:
    reader = read(routing_html(hostile_trace(), layer=1))
    assert reader.active == []
    assert not reader.tags & {"script", "style", "b"}
    shown = "".join(reader.text)
    assert HOSTILE[0] in shown
    assert "\u202e" not in shown
    assert "[U+202E]evil" in shown


def test_a_long_trace_has_a_small_twin_that_says_what_it_pools() -> None:
    html = routing_html(long_trace(3000, layers=4), layer=2)
    assert len(html) < 200_000
    assert "2,600 more tokens" in html
    assert "one row per 10 tokens" in html


def test_figures_say_what_they_pool() -> None:
    few, many = routing_figure(arabic_trace(), layer=2), routing_figure(long_trace(1000, layers=3), layer=2)
    assert "pooled" not in few.text
    assert "4 tokens pooled per row" in many.text
    assert few.png() == routing_figure(arabic_trace(), layer=2).png()
    part = routing_figure(long_trace(1000, layers=3), layer=2, start=100, stop=130)
    assert "30 tokens × 128 experts" in part.text


def test_loads_are_counted_against_an_even_split() -> None:
    trace = arabic_trace()
    figure = load_by_layer_figure(trace)
    rates = [np.bincount(ids.reshape(-1), minlength=128) / len(trace.tokens) for ids in trace.routing.ids]
    assert f"{max(rate.max() for rate in rates):.0%}" in figure.text
    assert f"5: {(rates[5] == 0).sum()}" in figure.text
    assert len(load_by_layer_figure(long_trace(50, layers=30)).figure.axes) == 10
    assert len(load_by_layer_figure(trace, layers=[1, 4]).figure.axes) == 2


def test_a_trace_without_experts_or_layer_is_refused() -> None:
    trace = arabic_trace()
    with pytest.raises(BadTrace, match="no routing"):
        routing_html(dataclasses.replace(trace, routing=None), layer=0)
    with pytest.raises(LabError, match="Layer 77"):
        routing_text(trace, layer=77)


def test_rows_of_a_figure_are_named_in_their_own_script_where_it_can_be_written() -> None:
    axes = routing_figure(arabic_trace(), layer=2).figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 39
    assert names[2] == "user"
    assert names[5] in ("␣جملة", "token 5")
    assert writable("user ␣جملة") == (names[5] == "␣جملة")
    assert not writable("\U0010ffff")
    assert families()[0] == "DejaVu Sans"


def test_tokens_of_media_are_named_by_their_place() -> None:
    shown = "".join(read(routing_html(picture_trace(), layer=1)).text)
    assert re.search(r"column \d+, row \d+", shown)
    assert re.search(r"\d\.\d\d s", "".join(read(routing_html(sound_trace(), layer=1)).text))
