"""The figures of a long context: the caches' own numbers, inside the card, the same bytes twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from matplotlib.text import Text

from gemma_lab.family.caches import kv_caches
from gemma_lab.views.base.figure import Plot
from gemma_lab.views.family.context import (
    kv_cache_comparison_figure,
    kv_cache_comparison_text,
    run_cost_figure,
    window_savings_figure,
)


def costs() -> Plot:
    lines = {"plain": [(1024, 0.5), (4096, 2.5)], "traced": [(1024, 0.7), (4096, 3.5)]}
    return run_cost_figure(lines, unit="seconds", title="A prompt read")


@pytest.mark.parametrize("draw", [kv_cache_comparison_figure, window_savings_figure, costs])
def test_the_same_picture_twice_has_the_same_bytes_and_lies_inside_the_card(
    draw: Callable[[], Plot],
) -> None:
    first, second = draw(), draw()
    assert first.png() == second.png()
    assert len(first.png()) < 60_000
    figure = first.figure
    figure.draw_without_rendering()
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert tight.x0 >= -0.02
    assert tight.y0 >= -0.02
    assert tight.x1 <= width + 0.02
    assert tight.y1 <= height + 0.02


def test_a_curve_is_the_cache_at_every_length() -> None:
    (axes,) = kv_cache_comparison_figure().figure.axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
    assert len(lines) == len(kv_caches())
    for line, model in zip(lines, kv_caches(), strict=True):
        for length, size in zip(line.get_xdata(), line.get_ydata(), strict=True):
            assert size == pytest.approx(model.bytes(int(length)) / 2**30)
        assert max(line.get_xdata()) == model.context


def test_labels_do_not_touch() -> None:
    (axes,) = kv_cache_comparison_figure().figure.axes
    figure = axes.figure
    figure.draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in axes.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_bars_end_where_the_cache_ends() -> None:
    (axes,) = window_savings_figure(length=4096).figure.axes
    widths = [container.patches[0].get_width() for container in axes.containers]
    for model, whole, real in zip(kv_caches(), widths[::2], widths[1::2], strict=True):
        assert whole == pytest.approx(model.without_savings(4096) / 2**30)
        assert real == pytest.approx(model.bytes(4096) / 2**30)


def test_the_table_says_what_a_model_cannot_read() -> None:
    head, *rows = kv_cache_comparison_text(lengths=(4096, 262_144)).splitlines()
    assert head.split() == ["KiB", "per", "token", "4K", "256K"]
    assert [row.split()[-1] for row in rows[:2]] == ["–", "–"]
    assert rows[3].split() == ["26B-A4B", "20", "0.27", "GiB", "5.20", "GiB"]
