"""Labels of the soft tokens of an image: what each shows, and what changed since the previous image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from .drawing import COLOURS, MORE_COLOURS, MORE_SHAPES, SHAPES, Thing

ALL_COLOURS, ALL_SHAPES = (*COLOURS, *MORE_COLOURS), (*SHAPES, *MORE_SHAPES)
PLACES = 8
"""Number of parts per side of an image."""
UNKNOWN = -100
"""Label of soft tokens that show two things or the edge of one."""
NEWS = ("nothing", "moved", "left", "other colour", "other shape", "same digit", "other digit", "rested")
"""What may be new at a soft token since the picture before: ``"nothing"`` where no thing is either time,
``"rested"`` where the same one is. With one class for both, whatever showed a thing was told as moved."""
_INSIDE, _OUTSIDE = 0.85, 1.0  # radii within which a thing covers the centre of a soft token, or outside not
_CORE = 0.7  # how much of a thing's radius a soft token's centre lies in that surely shows it


def shown(scene: Sequence[Thing], grid: int) -> list[int]:
    """Return which thing each soft token of an image shows, row by row.

    Counted from 1; 0 is the background, -100 is undefined.

    Parameters
    ----------
    grid
        Soft tokens per side.
    """
    found, half = [], 0.5 / grid
    for x, y in _centres(grid):
        far = [math.dist((x, y), (one.x, one.y)) for one in scene]
        surely = [
            place
            for place, (one, away) in enumerate(zip(scene, far, strict=True), 1)
            if away < _CORE * one.radius or max(abs(one.x - x), abs(one.y - y)) < half
        ]
        clear = all(away > one.radius + half * math.sqrt(2) for one, away in zip(scene, far, strict=True))
        found.append(_only(surely, nothing=clear))
    return found


def _centres(grid: int) -> list[tuple[float, float]]:
    """Return the centres of an image's soft tokens, row by row."""
    along = [(number + 0.5) / grid for number in range(grid)]
    return [(x, y) for y in along for x in along]


def _only(places: Sequence[int], *, nothing: bool) -> int:
    """Return the one place, 0 if there is nothing, and otherwise that it is unknown."""
    return places[0] if len(places) == 1 else 0 if nothing else UNKNOWN


def cells(scene: Sequence[Thing], grid: int) -> list[tuple[int, int, int, int]]:
    """Return the labels of each soft token of an image, row by row: colour, shape, column, row.

    Colour and shape are counted from 1; 0 is the background, -100 is undefined.
    """
    found = []
    for number, place in enumerate(shown(scene, grid)):
        colour = shape = place
        if place > 0:
            one = scene[place - 1]
            colour, shape = ALL_COLOURS.index(one.colour) + 1, ALL_SHAPES.index(one.shape) + 1
        column, row = (int(PLACES * (at + 0.5) / grid) for at in (number % grid, number // grid))
        found.append((colour, shape, column, row))
    return found


def changes(scenes: Sequence[Sequence[Thing]], grid: int) -> list[int]:
    """Return the change at each soft token of consecutive images, an index into `NEWS` or unknown.

    A thing moves by about one soft token at a time, so that most of those that show it showed it before, as
    if it rested. ``"moved"`` are those which it came to cover, ``"left"`` those which it uncovered; others
    that it covers are unknown.

    Parameters
    ----------
    scenes
        Things of each image, always the same ones in the same order. Changes in the first image are unknown.
    grid
        Soft tokens per side.
    """
    news, seen = [UNKNOWN] * grid**2, [shown(scene, grid) for scene in scenes]
    covered = [_covered(scene, grid) for scene in scenes]
    for at, (before, after) in enumerate(itertools.pairwise(scenes)):
        happened = _kinds(before, after)
        news += [
            _news(happened, *labels)
            for labels in zip(seen[at], seen[at + 1], covered[at], covered[at + 1], strict=True)
        ]
    return news


def _news(happened: Sequence[int], was: int, now: int, there: int, here: int) -> int:
    """Return the change at one soft token from what it showed and shows (`shown`, `_covered`)."""
    moved = NEWS.index("moved")
    if here > 0 and happened[here - 1] == moved:
        return moved if there == 0 else UNKNOWN
    if there > 0 and happened[there - 1] == moved:
        return NEWS.index("left") if here == 0 else UNKNOWN
    if now > 0:
        return happened[now - 1] or NEWS.index("rested")
    return NEWS.index("nothing") if now == was == 0 else UNKNOWN


def _covered(scene: Sequence[Thing], grid: int) -> list[int]:
    """Return which thing covers the centre of each soft token, as `shown`, which is surer and says less."""
    found = []
    for x, y in _centres(grid):
        far = [math.dist((x, y), (one.x, one.y)) / one.radius for one in scene]
        within = [place for place, away in enumerate(far, 1) if away < _INSIDE]
        found.append(_only(within, nothing=all(away > _OUTSIDE for away in far)))
    return found


def events(scenes: Sequence[Sequence[Thing]]) -> list[dict[str, int]]:
    """Return what happened in each of consecutive images: its kind, and the shape that it happened to.

    Parameters
    ----------
    scenes
        Things of each image, always the same ones in the same order, of which one changes at most.

    Returns
    -------
    list of dict
        ``happened``, an index into `NEWS`, and ``which``, a shape counted from 1 or 0 for none; nothing for
        the first image.
    """
    found: list[dict[str, int]] = [{}]
    for before, after in itertools.pairwise(scenes):
        kinds = _kinds(before, after)
        shapes = [ALL_SHAPES.index(one.shape) + 1 for one, kind in zip(after, kinds, strict=True) if kind]
        found.append({"happened": max(kinds), "which": shapes[0] if shapes else 0})
    return found


def _kinds(before: Sequence[Thing], after: Sequence[Thing]) -> list[int]:
    """Return what happened to each thing between two images, an index into `NEWS`."""
    return [NEWS.index(_happened(old, new)) for old, new in zip(before, after, strict=True)]


def _happened(old: Thing, new: Thing) -> str:
    if (old.x, old.y) != (new.x, new.y):
        return "moved"
    if old.colour != new.colour:
        return "other colour"
    return "other shape" if old.shape != new.shape else "nothing"
