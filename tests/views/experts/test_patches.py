from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.routing_traces import arabic_trace, picture_trace

from gemma_lab.errors import LabError
from gemma_lab.views.base.colors import amount_colors, heat_image, png
from gemma_lab.views.experts.patches import (
    TOP_COLOURS,
    colours,
    describe_patches,
    draw_patches,
    expert_patches,
    expert_patches_figure,
)


def test_patches_lie_where_the_table_says_and_lead_with_their_heaviest_expert() -> None:
    trace = picture_trace()
    found = expert_patches(trace, layer=2)
    assert len(found.tokens) == 16 * 12
    np.testing.assert_array_equal(found.boxes[17], [48, 48, 96, 96])
    one = trace.routing.layer(2)
    for at, token in enumerate(found.tokens.tolist()):
        assert found.top_experts[at] == one.ids[0, token][one.weights[0, token].argmax()]
    assert sum(count for _, count in found.ranked) == 192
    assert found.ranked[0][1] == max(count for _, count in found.ranked)


def test_weights_are_those_of_the_experts_asked_about() -> None:
    trace = picture_trace()
    expert = expert_patches(trace, layer=2).ranked[0][0]
    found = expert_patches(trace, layer=2, experts=[expert, 3])
    one = trace.routing.layer(2)
    for at, token in enumerate(found.tokens.tolist()):
        expected = sum(
            w for e, w in zip(one.ids[0, token], one.weights[0, token], strict=True) if e in (expert, 3)
        )
        assert found.weights[at] == pytest.approx(expected)
    assert "experts" in describe_patches(found, experts=[expert, 3])


def test_the_picture_is_drawn_on_and_its_patches_have_the_colours_of_their_experts() -> None:
    trace = picture_trace()
    found = expert_patches(trace, layer=2)
    shown = draw_patches(trace, found)
    assert shown.size == (420, 315)
    hide_frame = draw_patches(picture_trace(keep_image=False), found)
    named = {expert: TOP_COLOURS[at] for at, (expert, _) in enumerate(found.ranked[:7])}
    factor = 420 / 768
    for at in (0, 50, 191):
        x, y = (found.boxes[at, :2] * factor + 8).astype(int)
        red, green, blue, strength = colours(found)[at]
        wanted = named.get(int(found.top_experts[at]), "#8a8f98")
        assert f"#{red:02x}{green:02x}{blue:02x}" == wanted.lower()
        under = np.array([0xD5, 0xD8, 0xDD])
        mixed = under + (np.array([red, green, blue]) - under) * strength / 255
        np.testing.assert_allclose(hide_frame.getpixel((int(x), int(y))), mixed, atol=2)
    assert np.asarray(shown).std() > np.asarray(hide_frame).std()  # the picture is seen through its patches


def test_an_unserved_patch_is_veiled_and_the_heaviest_is_darkest() -> None:
    trace = picture_trace()
    expert = expert_patches(trace, layer=1).ranked[0][0]
    found = expert_patches(trace, layer=1, experts=[expert])
    tints = colours(found)
    assert {tints[at] for at in np.flatnonzero(found.weights == 0)} == {(255, 255, 255, 150)}
    lightness = [sum(tint[:3]) for tint in tints]
    assert lightness[int(found.weights.argmax())] == min(lightness)


def test_a_figure_says_what_it_shows_the_same_every_time() -> None:
    trace = picture_trace()
    figure = expert_patches_figure(trace, layer=2)
    assert figure.png() == expert_patches_figure(trace, layer=2).png()
    assert "192 patches" in repr(figure)
    assert Image.open(io.BytesIO(figure.png())).width > 600
    assert expert_patches_figure(trace, layer=2, experts=[5]).text.startswith("layer 2, image 1: ")


def test_a_trace_without_such_a_picture_is_refused() -> None:
    with pytest.raises(LabError, match="no image 0"):
        expert_patches(arabic_trace(), layer=0)
    with pytest.raises(LabError, match=r"no image 1 .* 1 images"):
        expert_patches(picture_trace(), image=1, layer=0)
    with pytest.raises(LabError, match="Layer 99"):
        expert_patches(picture_trace(), layer=99)


def test_amounts_grow_darker_and_pictures_of_them_are_small() -> None:
    steps = amount_colors(np.linspace(0.01, 1, 40)).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(steps) < 0).all()  # lightness alone carries the scale, so any colour vision reads it
    assert amount_colors(np.array([0.0])).min() > 240
    picture = heat_image(np.eye(4), cell=(3, 2))
    assert picture.size == (12, 8)
    assert png(picture) == png(picture)
