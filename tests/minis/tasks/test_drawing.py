"""Things lie apart, inside the picture, in their colours; held-out combinations stay out of training."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from gemma_lab.minis.tasks import drawing


@pytest.mark.parametrize("held", [False, True])
def test_a_combination_is_of_its_part(held):
    drawn = {drawing.combination(random.Random(seed), held) for seed in range(400)}
    everything = {(colour, shape) for colour in drawing.COLOURS for shape in drawing.SHAPES}
    assert drawn == (drawing.HELD_OUT if held else everything - drawing.HELD_OUT)


def test_training_draws_more_colours_and_shapes_and_never_what_is_held_out():
    drawn = {drawing.combination(random.Random(seed), False, more=True) for seed in range(2000)}
    colours, shapes = (*drawing.COLOURS, *drawing.MORE_COLOURS), (*drawing.SHAPES, *drawing.MORE_SHAPES)
    assert drawn == {(colour, shape) for colour in colours for shape in shapes} - drawing.HELD_OUT


def test_what_is_held_out_leaves_every_colour_and_every_shape_to_training():
    assert sorted(shape for _, shape in drawing.HELD_OUT) == sorted(drawing.SHAPES)
    assert len({colour for colour, _ in drawing.HELD_OUT}) == len(drawing.HELD_OUT)


@pytest.mark.parametrize("seed", range(8))
def test_things_lie_apart_and_inside(seed):
    rng = random.Random(seed)
    placed = drawing.place(rng, [("red", "circle")] * 4)
    assert len(placed) == 4
    for number, one in enumerate(placed):
        assert one.radius <= min(one.x, one.y, 1 - one.x, 1 - one.y)
        for other in placed[:number]:
            assert math.dist((one.x, one.y), (other.x, other.y)) > one.radius + other.radius


@pytest.mark.parametrize("shape", [*drawing.SHAPES, "arrow", "diamond"])
def test_a_shape_is_drawn_where_it_lies_in_its_colour_with_smooth_edges(shape):
    one = drawing.Thing("blue", shape, x=0.3, y=0.6, radius=0.2)
    pixels = np.asarray(drawing.draw([one], size=100, background=(240, 240, 240)), dtype=int)
    assert pixels.shape == (100, 100, 3)
    assert tuple(pixels[60, 30]) == drawing.COLOURS["blue"]
    assert tuple(pixels[5, 95]) == (240, 240, 240)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3
    inked = np.argwhere((pixels != 240).any(-1))
    assert (np.abs(inked - [60, 30]) <= 21).all()


def test_a_moon_is_hollow():
    moon = drawing.Thing("blue", "moon", x=0.5, y=0.5, radius=0.3)
    pixels = np.asarray(drawing.draw([moon], size=100, background=(240, 240, 240)), dtype=int)
    assert tuple(pixels[50, 50]) == (240, 240, 240)
    assert tuple(pixels[50, 25]) == drawing.COLOURS["blue"]


def test_the_shapes_that_are_asked_for_differ_in_area():
    def area(shape):
        one = drawing.Thing("black", shape, x=0.5, y=0.5, radius=0.3)
        return (np.asarray(drawing.draw([one], size=96).convert("L")) < 128).sum()

    areas = sorted(area(shape) for shape in drawing.SHAPES)
    assert all(larger > smaller * 1.05 for smaller, larger in itertools.pairwise(areas))
