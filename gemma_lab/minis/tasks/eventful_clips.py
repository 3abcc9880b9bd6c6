"""Clips in which something may happen to any of several shapes in any frame, for a drill.

In the clips of questions, how many shapes there are tells what kind of change to expect: two where one moves,
one where a colour changes. Probes of soft tokens learned that instead of comparing frames: they found "moved"
on the resting shape, too, and no motion where a shape was alone. Here nothing but the frame before tells.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random

from .drawing import COLOURS, HELD_OUT, SHAPES, Thing, combination, place

_HAPPENS = 0.6  # share of frames in which something happens to one thing
_MOST = 3  # things of a clip
_RADIUS = 0.13, 0.18  # of the frame's side
_FAR = 0.15  # how far a thing moves at least, of the frame's side
_KINDS = ("moves", "colour", "shape")


def eventful(rng: random.Random) -> list[list[Thing]]:
    """Draw the things of each frame of a clip, always in the same order.

    Each frame differs from the one before in one thing at most: it moves, or has another colour or shape. All
    shapes of a frame differ, and no combination of colour and shape is held out.
    """
    frames = [_first(rng)]
    for _ in range(rng.randint(3, 5)):
        before = frames[-1]
        after = _other(rng, before) if rng.random() < _HAPPENS else None
        frames.append(after or before)
    return frames


def _first(rng: random.Random) -> list[Thing]:
    count = rng.randint(1, _MOST)
    while True:
        names = [combination(rng, False, more=True) for _ in range(count)]
        if len({shape for _, shape in names}) == count:
            return place(rng, names, radius=_RADIUS)


def _other(rng: random.Random, before: list[Thing]) -> list[Thing] | None:
    """Return the things after something happened to one of them; None if a draw does not fit."""
    number, kind = rng.randrange(len(before)), rng.choice(_KINDS)
    one, others = before[number], [*before[:number], *before[number + 1 :]]
    if kind == "moves":
        new = _moved(rng, one)
        while any(_apart(new, other) < new.radius + other.radius for other in others):
            new = _moved(rng, one)  # there is room for one more, or it would happen less among many
        fits = True
    elif kind == "colour":
        new = dataclasses.replace(one, colour=rng.choice([name for name in COLOURS if name != one.colour]))
        fits = new.name not in HELD_OUT
    else:
        known = {other.shape for other in before}
        free = [shape for shape in SHAPES if shape not in known]
        if not free:
            return None
        new = dataclasses.replace(one, shape=rng.choice(free))
        fits = new.name not in HELD_OUT
    return [*before[:number], new, *before[number + 1 :]] if fits else None


def _moved(rng: random.Random, one: Thing) -> Thing:
    while True:
        x, y = (rng.uniform(one.radius, 1 - one.radius) for _ in range(2))
        if _apart(one, new := dataclasses.replace(one, x=x, y=y)) > _FAR:
            return new


def _apart(one: Thing, other: Thing) -> float:
    return math.dist((one.x, one.y), (other.x, other.y))


def cues(frames: list[list[Thing]], times: list[str]) -> list[tuple[str, str]]:
    """Return short cues about a clip and their answers.

    Parameters
    ----------
    times
        Timestamp of each frame, all different.

    Returns
    -------
    list of tuple
        A time and ``changes`` for the shape to which something happened then; ``changes`` and a shape for the
        time of the one thing that happened to it; a time and a shape for its colour then.
    """
    found: list[tuple[str, str]] = []
    when: dict[str, list[str]] = {}
    for time, (before, after) in zip(times[1:], itertools.pairwise(frames), strict=True):
        for old, new in zip(before, after, strict=True):
            if old != new:
                found.append((f"{time} changes", new.shape))
                when.setdefault(new.shape, []).append(time)
    found += [(f"{shape} changes", at[0]) for shape, at in when.items() if len(at) == 1]
    for time, things in zip(times, frames, strict=True):
        found += [(f"{time} {one.shape} colour", one.colour) for one in things]
    return found
