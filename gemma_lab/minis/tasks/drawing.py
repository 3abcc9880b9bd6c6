"""Simple things to look at: coloured shapes, where they lie, and how they are drawn.

What pictures and clips share, and their split: four combinations of colour and shape that training never
draws, one for each shape. Both halves of such a combination occur in training beside others.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 150, 60),
    "blue": (45, 85, 215),
    "yellow": (240, 205, 35),
    "purple": (140, 50, 165),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "star")
HELD_OUT = frozenset({("yellow", "circle"), ("blue", "square"), ("red", "triangle"), ("purple", "star")})
"""The (colour, shape) that training never draws."""

_FINER = 3  # drawn this much larger, then averaged: smooth edges
_GAP = 0.03  # between two things, of the picture's side
_SHADE = 14  # how far a channel may lie from its colour


@dataclass(frozen=True)
class Thing:
    """A coloured shape in a picture.

    Attributes
    ----------
    colour, shape
        Keys of `COLOURS` and members of `SHAPES`.
    x, y
        Its centre, from the left and from the top, as shares of the picture's side.
    radius
        From the centre to the farthest point, as a share of the side.
    turn
        Its rotation in degrees.
    shade
        What is added to each channel of its colour.
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


def combination(rng: random.Random, held: bool) -> tuple[str, str]:
    """Draw a colour and a shape, from the held-out combinations or from the others."""
    while True:
        name = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        if (name in HELD_OUT) == held:
            return name


def thing(
    rng: random.Random, name: tuple[str, str], *, x: float = 0.5, y: float = 0.5, radius: float = 0.16
) -> Thing:
    """Return a thing of one colour and shape, its tilt and its shade a little varied."""
    shade = rng.randint(-_SHADE, _SHADE), rng.randint(-_SHADE, _SHADE), rng.randint(-_SHADE, _SHADE)
    return Thing(*name, x=x, y=y, radius=radius, turn=rng.uniform(-12, 12), shade=shade)


def place(
    rng: random.Random, names: list[tuple[str, str]], *, radius: tuple[float, float] = (0.12, 0.19)
) -> list[Thing]:
    """Return things of these colours and shapes, whole, apart from each other, anywhere in a picture."""
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
    """Return a square RGB picture of things, with smooth edges.

    Parameters
    ----------
    size
        Side in pixels.
    """
    from PIL import Image, ImageDraw

    large = Image.new("RGB", (size * _FINER,) * 2, background)
    pen = ImageDraw.Draw(large)
    for one in things:
        base = COLOURS[one.colour]
        ink = tuple(min(255, max(0, part + more)) for part, more in zip(base, one.shade, strict=True))
        pen.polygon([(x * size * _FINER, y * size * _FINER) for x, y in _outline(one)], fill=ink)
    return large.reduce(_FINER)


def _outline(one: Thing) -> list[tuple[float, float]]:
    corners = {"circle": 40, "square": 4, "triangle": 3, "star": 10}[one.shape]
    first = -90.0 + (45.0 if one.shape == "square" else 0.0) + (0.0 if one.shape == "circle" else one.turn)
    points = []
    for corner in range(corners):
        angle = math.radians(first + 360 * corner / corners)
        reach = one.radius * (0.42 if one.shape == "star" and corner % 2 else 1.0)
        points.append((one.x + reach * math.cos(angle), one.y + reach * math.sin(angle)))
    return points
