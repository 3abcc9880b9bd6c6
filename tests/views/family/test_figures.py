"""The family's figures: drawn from the configurations, the same bytes twice, and with a text form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from gemma_lab.family.architecture import SIZES, configuration, from_config, get_architecture
from gemma_lab.family.memory import kv_cache_bytes
from gemma_lab.family.parameters import count_parameters
from gemma_lab.views.base.figure import Plot
from gemma_lab.views.family.benchmarks import benchmarks_figure
from gemma_lab.views.family.figures import (
    GLOBAL,
    LOCAL,
    kv_cache_figure,
    layer_types_figure,
    parameters_figure,
)

FIGURES = (layer_types_figure, parameters_figure, kv_cache_figure, benchmarks_figure)


@pytest.mark.parametrize("draw", FIGURES)
def test_the_same_picture_twice_has_the_same_bytes(draw: Callable[[], Plot]) -> None:
    first, second = draw(), draw()
    assert first.png() == second.png()
    assert first.png().startswith(b"\x89PNG")
    assert len(first.png()) < 60_000


@pytest.mark.parametrize("draw", FIGURES)
def test_nothing_is_drawn_outside_the_card(draw: Callable[[], Plot]) -> None:
    figure = draw().figure
    figure.draw_without_rendering()
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert tight.x0 >= -0.02
    assert tight.y0 >= -0.02
    assert tight.x1 <= width + 0.02
    assert tight.y1 <= height + 0.02


def test_strips_have_one_box_a_layer_and_hollow_ones_where_the_cache_is_shared() -> None:
    (axes,) = layer_types_figure().figure.axes
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    rows = Counter(round(-(box.get_y() + box.get_height() / 2)) for box in boxes)
    assert [rows[row] for row in range(5)] == [len(get_architecture(size).layers) for size in SIZES]
    kinds = Counter(to_hex(box.get_edgecolor()).upper() for box in boxes)
    assert kinds == {
        LOCAL: sum(get_architecture(s).kinds["local"] for s in SIZES),
        GLOBAL: 7 + 7 + 8 + 5 + 10,
    }
    assert sum(to_hex(box.get_facecolor()) == "#ffffff" for box in boxes) == 20 + 18


def test_bars_are_as_long_as_the_counts() -> None:
    (axes,) = parameters_figure().figure.axes
    lengths: Counter[int] = Counter()
    for container in axes.containers:
        for patch in container.patches:
            lengths[round(patch.get_y() + patch.get_height() / 2)] += patch.get_width()
    for row, size in enumerate(SIZES):
        assert lengths[row] == pytest.approx(count_parameters(get_architecture(size)).total / 1e9)


def test_curves_end_at_each_context() -> None:
    (axes,) = kv_cache_figure().figure.axes
    for line, size in zip(axes.lines, SIZES, strict=True):
        shape = get_architecture(size)
        xs, ys = line.get_data()
        assert xs[-1] == shape.context
        assert ys[-1] * 2**30 == kv_cache_bytes(shape, shape.context)


def test_any_model_can_be_drawn() -> None:
    config = configuration("26B-A4B")
    config["text_config"].update(num_hidden_layers=6, max_position_embeddings=4096)
    config["text_config"]["layer_types"] = config["text_config"]["layer_types"][:6]
    mini = from_config(config, name="mini-test")
    for draw in (layer_types_figure, parameters_figure, kv_cache_figure):
        picture = draw([mini])
        assert "mini-test" in picture.text
        assert picture.png().startswith(b"\x89PNG")
