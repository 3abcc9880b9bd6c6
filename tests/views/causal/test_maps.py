"""Views of causal maps draw what the map holds, escaped, and say what was left out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.views.base.colors import signed_colors
from gemma_lab.views.causal.html import causal_grid_html, causal_map_html

CLEAN, CORRUPTED = "<b>7</b> is it?", "<i>3</i> is it?"


@pytest.fixture(scope="module")
def found(tiny_lab):
    return tiny_lab("26B-A4B").causal_map(CLEAN, CORRUPTED, parts="all", controls=2, progress=False)


@pytest.mark.parametrize("part", ["residual", "attention", "mlp", "experts", "head", "expert"])
def test_every_part_has_a_figure_and_a_table(found, part):
    for measure in ("effect", "normalised"):
        plot = found.figure(part=part, measure=measure)
        assert plot.png()
        assert f"{found.corrupted_logprob:.2f} corrupted" in plot.text
    html = causal_grid_html(found, part)
    assert "<b>" not in html
    assert "<i>" not in html
    grid = found.grid(part)
    assert len(re.findall(r'<th scope="row"', html)) == len(grid.layers)
    assert html.count("font-weight:700") == int(found.stands_out(part)[:, _shown(grid.effects)].sum())


def _shown(effects):
    largest = np.nan_to_num(np.abs(effects)).max(axis=0)
    return sorted(np.argsort(-largest, kind="stable")[:48])


def test_the_figure_frames_what_stands_out_and_names_the_method(found):
    from dataclasses import replace

    axes = found.figure().figure.axes[0]
    assert len(axes.patches) == 2 * int(found.stands_out("residual").sum())
    assert "gradient" not in axes.get_title(loc="left")
    assert "gradient" in replace(found, method="gradient").figure().figure.axes[0].get_title(loc="left")


def test_layers_can_be_chosen_and_parts_must_exist(found):
    assert found.figure(layers=[0, 2]).png()
    for wrong in ({"part": "heads"}, {"layers": [99]}, {"measure": "logit"}):
        with pytest.raises(LabError):
            found.figure(**wrong)


def test_the_html_lists_the_largest_effects_with_p_values(found):
    html = causal_map_html(found)
    for cell in found.top(3):
        assert f"{cell.effect:+.3f}" in html
    assert "controls of 2" in html


def test_the_html_of_a_part_lists_the_effects_of_that_part(found):
    listed = re.findall(r">layer \d+, ([a-z]+)", causal_map_html(found, "head"))
    assert listed == ["head"] * 8


def test_signed_colours_are_purple_white_and_orange():
    low, zero, high = signed_colors(np.array([-1.0, 0.0, 1.0])).astype(int)
    assert low[2] > low[0] > low[1]
    assert zero.min() > 240
    assert high[0] > high[1] > high[2]
    assert signed_colors(np.array([9.0])).tolist() == [high.tolist()]


def test_a_picture_is_drawn_with_the_effects_of_its_soft_tokens(tiny_lab):
    lab = tiny_lab("31B")
    red, blue = (Image.new("RGB", (96, 96), color) for color in ("red", "blue"))
    clean, corrupted = (lab.request("Which?", images=[each], max_soft_tokens=70) for each in (red, blue))
    found = lab.causal_map(clean, corrupted, controls=0, spans=1, progress=False)
    assert gl.plots.causal_picture_figure(found).png()
    assert found.figure().png()
    for wrong in ({"image": 1}, {"layers": [99]}):
        with pytest.raises(LabError):
            gl.plots.causal_picture_figure(found, **wrong)
    coarse = lab.causal_map(clean, corrupted, controls=0, spans=8, progress=False)
    with pytest.raises(LabError, match="span"):
        gl.plots.causal_picture_figure(coarse)
