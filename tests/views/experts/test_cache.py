"""Curves of hit rates and speeds draw their numbers, and the table prints every assumption."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.cache import ExpertCacheCurve
from gemma_lab.analysis.experts.offload import offload_speed
from gemma_lab.views.experts.cache import expert_cache_figure, offload_figure, offload_html


@pytest.fixture
def curve() -> ExpertCacheCurve:
    sizes = np.arange(1, 129)
    lru = np.round(7_872 * np.sqrt(sizes / 128)).astype(np.int64)[None]
    best = np.round(7_872 * (sizes / 128) ** 0.25).astype(np.int64)[None]
    return ExpertCacheCurve(
        layers=(0,), experts=128, top_k=8, tokens=1_000, shared=False, hits={"lru": lru, "belady": best},
        first_uses=np.asarray([128]), profile="this trace",
    )  # fmt: skip


def test_every_policy_is_a_line_of_its_own_colour_and_dash(curve):
    axes = expert_cache_figure(curve).figure.axes[0]
    by_label = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(by_label["LRU"].get_ydata(), 100 * curve.hit_rate("lru"))
    np.testing.assert_allclose(by_label["Belady's bound"].get_ydata(), 100 * curve.hit_rate("belady"))
    assert by_label["LRU"].get_linestyle() != by_label["Belady's bound"].get_linestyle()
    assert axes.get_xlabel() == "experts on the GPU, % of all"


def test_the_text_has_the_rates_at_a_quarter_and_a_half(curve):
    assert expert_cache_figure(curve).text == (
        "Hit rates with a quarter and a half of the experts cached: LRU 49% and 70%; "
        "Belady's bound 70% and 83%"
    )


def test_the_most_that_fits_is_marked(curve):
    found = offload_speed(curve, gpu="RTX 4060 Laptop", link=12)
    axes = offload_figure(found, labels=["laptop"]).figure.axes[0]
    line, mark = axes.lines[:2]
    np.testing.assert_allclose(line.get_ydata(), found.tokens_per_second)
    np.testing.assert_allclose(mark.get_ydata(), found.tokens_per_second[found.largest_fit])
    assert (
        f"laptop: {found.tokens_per_second[found.largest_fit]:.1f} tokens/s"
        in offload_figure(found, labels=["laptop"]).text
    )


def test_the_table_marks_what_fits_and_lists_the_assumptions(curve):
    found = offload_speed(curve, gpu="RTX 4060 Laptop", link=12, source="<b>mine</b>")
    page = offload_html(found)
    assert page.count("(largest that fits)") == 1
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "<script" not in page
    assert page.count("<div>") >= len(found.assumptions.lines())


def test_labels_must_match_the_results(curve):
    with pytest.raises(ValueError, match="shorter"):
        offload_figure(
            offload_speed(curve, gpu="L4", link=12), offload_speed(curve, gpu="T4", link=12), labels=["one"]
        )
