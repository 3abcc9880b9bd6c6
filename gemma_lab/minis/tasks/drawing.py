"""Coloured shapes, their positions, and their drawing.

Shared by images and clips, with their split: four combinations of colour and shape are held out, one per
shape. Both the colour and the shape of such a combination occur in training with others.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from .outlines import MORE_OUTLINES, turned

COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 150, 60),
    "blue": (45, 85, 215),
    "yellow": (240, 205, 35),
    "purple": (140, 50, 165),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "star")
MORE_COLOURS = {
    "orange": (245, 130, 20),
    "pink": (245, 135, 190),
    "brown": (120, 70, 30),
    "grey": (140, 140, 140),
    "cyan": (40, 190, 215),
}
"""Colours of training alone, for a shape to be learned apart from the few colours that it is asked in."""
MORE_SHAPES = tuple(MORE_OUTLINES)
"""Shapes of training alone: the more of them have a colour, the less its look depends on the shape."""
HELD_OUT = frozenset({("yellow", "circle"), ("blue", "square"), ("red", "triangle"), ("purple", "star")})
"""The (colour, shape) that training never draws."""

_FINER = 3  # drawn this much larger, then averaged: smooth edges
_GAP = 0.03  # between two things, of the picture's side
_SHADE = 14  # how far a channel may lie from its colour
_MORE = 0.25, 0.4  # share of a training's things with a colour, and with a shape, of training alone
_INKS = COLOURS | MORE_COLOURS


@dataclass(frozen=True)
class Thing:
    """A coloured shape in an image.

    Attributes
    ----------
    colour, shape
        Keys of `COLOURS` or `MORE_COLOURS`, members of `SHAPES` or `MORE_SHAPES`.
    x, y
        Its centre, from the left and from the top, as fractions of the image's side.
    radius
        From the centre to the farthest point, as a fraction of the side.
    turn
        Its rotation in degrees.
    shade
        Added to each channel of its colour.
    """

    colour: str
    shape: str
    x: float
    y: float
    radius: float
    turn: float = 0.0
    shade: tuple[int, int, int] = (0, 0, 0)

    @property
    def name(self) -> tuple[str, str]:
        """Its colour and its shape."""
        return self.colour, self.shape


def combination(rng: random.Random, held: bool, *, more: bool = False) -> tuple[str, str]:
    """Draw a colour and a shape, from the held-out combinations or from the others.

    Parameters
    ----------
    more
        Include colours and shapes that only training uses.
    """
    while True:
        strange = [more and rng.random() < share for share in _MORE]
        colour = rng.choice(list(MORE_COLOURS if strange[0] else COLOURS))
        shape = rng.choice(MORE_SHAPES if strange[1] else SHAPES)
        if ((colour, shape) in HELD_OUT) == held:
            return colour, shape


def thing(
    rng: random.Random, name: tuple[str, str], *, x: float = 0.5, y: float = 0.5, radius: float = 0.16
) -> Thing:
    """Return a thing of one colour and shape, with small variations of tilt and shade."""
    shade = rng.randint(-_SHADE, _SHADE), rng.randint(-_SHADE, _SHADE), rng.randint(-_SHADE, _SHADE)
    return Thing(*name, x=x, y=y, radius=radius, turn=rng.uniform(-12, 12), shade=shade)


def place(
    rng: random.Random, names: list[tuple[str, str]], *, radius: tuple[float, float] = (0.12, 0.19)
) -> list[Thing]:
    """Return things of these colours and shapes at random positions, complete and not touching."""
    while True:
        placed: list[Thing] = []
        for name in names:
            size = rng.uniform(*radius)
            for _ in range(20):
                x, y = rng.uniform(size, 1 - size), rng.uniform(size, 1 - size)
                if all(math.dist((x, y), (t.x, t.y)) > size + t.radius + _GAP for t in placed):
                    placed.append(thing(rng, name, x=x, y=y, radius=size))
                    break
        if len(placed) == len(names):
            return placed


def paper(rng: random.Random) -> tuple[int, int, int]:
    """Draw a light background."""
    grey = rng.randint(222, 250)
    return grey + rng.randint(-5, 5), grey + rng.randint(-5, 5), grey + rng.randint(-5, 5)


def draw(things: list[Thing], *, size: int, background: tuple[int, int, int] = (245, 245, 245)) -> Any:
    """Return a square RGB image of things, with smooth edges.

    Parameters
    ----------
    size
        Side in pixels.
    """
    from PIL import Image, ImageDraw

    large = Image.new("RGB", (size * _FINER,) * 2, background)
    pen = ImageDraw.Draw(large)
    for one in things:
        base = _INKS[one.colour]
        ink = tuple(min(255, max(0, part + more)) for part, more in zip(base, one.shade, strict=True))
        pen.polygon([(x * size * _FINER, y * size * _FINER) for x, y in _outline(one)], fill=ink)
    return large.reduce(_FINER)


def _outline(one: Thing) -> list[tuple[float, float]]:
    points = _around(one) if one.shape in SHAPES else turned(MORE_OUTLINES[one.shape], one.turn)
    return [(one.x + one.radius * x, one.y + one.radius * y) for x, y in points]


def _around(one: Thing) -> list[tuple[float, float]]:
    corners = {"circle": 40, "square": 4, "triangle": 3, "star": 10}[one.shape]
    first = -90.0 + (45.0 if one.shape == "square" else 0.0) + (0.0 if one.shape == "circle" else one.turn)
    points = []
    for corner in range(corners):
        angle = math.radians(first + 360 * corner / corners)
        reach = 0.42 if one.shape == "star" and corner % 2 else 1.0
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return points
