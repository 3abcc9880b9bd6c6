"""The views of bits and grids say the numbers of the result, and escape names."""

from __future__ import annotations

import pytest

import gemma_lab as gl
from gemma_lab.models.quantization.q4_0_grid import PartOnGrid, QatGrid
from gemma_lab.models.quantization.weight_bits import PartBits, WeightBits


def _bits(method="nf4", name="<b>model"):
    return WeightBits(
        name=name,
        method=method,
        parts=(
            PartBits("embedding", 1000, 2000.0, {"bfloat16": 2000.0}),
            PartBits("attention", 2000, 1125.0, {"nf4": 1000.0, "scales": 125.0}),
            PartBits("experts", 7000, 14000.0, {"bfloat16": 14000.0}),
        ),
    )


def test_figures_of_the_result():
    bits = _bits()
    assert bits.mean == pytest.approx(8 * 17125 / 10_000)
    assert bits["attention"].bits == 4.5
    assert bits["attention"].format == "nf4"
    assert bits.left_out.part == "experts"
    assert bits.summary == "13.7 bits a weight"
    with pytest.raises(KeyError):
        bits["audio"]


@pytest.mark.parametrize(
    ("mean", "says"),
    [(4.5, "4-bit"), (5.0, "4-bit"), (5.1, ""), (6.9, ""), (8.5, "8-bit"), (9.1, ""), (2.9, ""), (16.0, "")],
)
def test_4_bit_is_said_within_one_bit_of_it(mean, says):
    part = PartBits("experts", 8000, 1000 * mean, {"x": 1000 * mean})
    summary = WeightBits("m", (part,)).summary
    assert summary.startswith(says or f"{mean:.1f} bits")
    assert f"{mean:.1f} bits a weight" in summary


def test_nothing_is_left_out_of_a_model_that_is_not_quantised():
    part = PartBits("experts", 8000, 16000.0, {"bfloat16": 16000.0})
    assert WeightBits("m", (part,)).left_out is None


def test_html_and_text():
    html, text = _bits()._repr_html_(), str(_bits())
    assert "<b>model" not in html
    assert "&lt;b&gt;model" in html
    for shown in (html, text):
        assert "4.50" in shown
        assert "14 kB" in shown
        assert "70%" in shown
    predicted = WeightBits("m", _bits().parts, measured=False)
    assert "Predicted" in str(predicted)
    assert "Predicted" in predicted._repr_html_()


def test_figure_of_one_and_of_several():
    one = _bits().figure()
    assert "experts 16.0" in one.text
    (axes,) = one.figure.axes
    widths = [patch.get_width() for patch in axes.patches]
    heights = [patch.get_height() for patch in axes.patches]
    # areas are bytes
    areas = [width * height for width, height in zip(widths, heights, strict=True)]
    assert [area / areas[0] for area in areas] == pytest.approx([1, 1125 / 2000, 7])
    several = gl.plots.weight_bits_figure([_bits(), _bits("int4-g32")])
    assert len(several.figure.axes) == 2
    assert several.png()


def test_grid_views():
    grid = QatGrid(
        "<i>m", (PartOnGrid("mlp", 200, 199, 12.5), PartOnGrid("attention", 100, 0, 31.0)), 5e-28,
        {"experts": "rows of 16 weights are not whole blocks of 32"},
    )  # fmt: skip
    assert grid.on_grid == ("mlp",)
    html = grid._repr_html_()
    assert "&lt;i&gt;m" in html
    assert "99.5%" in html
    assert "5e-28" in html
    assert "rows of 16" in html
    assert "199 of     200" in str(grid)
    assert "attention 0.0%" in grid.figure().text
