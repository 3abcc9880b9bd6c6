"""Architectures, parameters and caches as tables."""

from __future__ import annotations

from gemma_lab.family.architecture import SIZES, get_architecture
from gemma_lab.family.caches import kv_caches
from gemma_lab.family.parameters import count_parameters
from gemma_lab.views.family.architecture import architecture_html, kv_cache_html, parameters_html


def test_runs_of_equal_layers_share_a_row():
    for size in SIZES:
        shape = get_architecture(size)
        html = architecture_html(shape)
        assert 1 < html.count("<tr") - 1 <= len(shape.layers)
        assert f"window {shape.window:,}" in html


def test_every_group_and_sum_is_listed():
    counts = count_parameters(get_architecture("26B-A4B"))
    html = parameters_html(counts)
    for number in (*counts.parts.values(), counts.total, counts.active):
        assert f"{number:,}" in html


def test_a_cache_ends_at_the_context():
    cache = kv_caches()[0]
    assert "128K" in kv_cache_html(cache)
