"""A scene of one to four coloured shapes: colour, shape, number, position.

Held out: four combinations of colour and shape (`drawing.HELD_OUT`); every held-out scene has at least one.
Accuracy by chance, without the image: `CHANCE`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .drawing import COLOURS, MORE_COLOURS, MORE_SHAPES, SHAPES, Thing, combination, draw, paper, place
from .question import Question

CHANCE = {"colour": 0.25, "shape": 0.27, "count": 0.35, "where": 1 / 2}
"""Kind of question -> the accuracy of the best guess without looking: always the commonest answer."""

SIDE = 144
"""Side of a scene in pixels."""

MOST = 4
"""The most things in a scene."""

_CLEAR = 0.12  # how far from the middle a thing must lie for its side to be asked for, of the picture's side
_ASK = {
    "colour": ("What colour is the {shape}?", "Which colour does the {shape} have?"),
    "shape": ("Which shape is {colour}?", "What shape is the {colour} object?"),
    "count": ("How many objects are there? Answer with a digit.", "Count the objects. Answer with a digit."),
    "left": ("Is the {colour} {shape} on the left or on the right?",),
    "top": ("Is the {colour} {shape} at the top or at the bottom?",),
}
_MORE = 6  # questions of training about a scene beside the first
_COUNT_SOME = ("How many {some} are there? Answer with a digit.",)


def things(rng: random.Random, held: bool, *, count: int, more: bool = False) -> list[Thing]:
    """Draw `count` things; a held-out scene has at least one held-out combination.

    Parameters
    ----------
    more
        Include colours and shapes that only training uses.
    """
    names = [combination(rng, held, more=more)]
    while len(names) < count:
        names.append(combination(rng, held and rng.random() < 0.2, more=more))
    rng.shuffle(names)
    return place(rng, names)


def questions(rng: random.Random, scene: Sequence[Thing]) -> list[tuple[str, str, str]]:
    """Return the possible questions about a scene, as (kind, prompt, answer)."""
    asked = [("count", *_count(rng, scene))]
    shapes, colours = [one.shape for one in scene], [one.colour for one in scene]
    alone = [one for one in scene if shapes.count(one.shape) == 1]
    if alone:
        one = rng.choice(alone)
        asked.append(("colour", rng.choice(_ASK["colour"]).format(shape=one.shape), one.colour))
    alone = [one for one in scene if colours.count(one.colour) == 1]
    if alone:
        one = rng.choice(alone)
        asked.append(("shape", rng.choice(_ASK["shape"]).format(colour=one.colour), one.shape))
    names = [one.name for one in scene]
    sides = [side for one in scene if names.count(one.name) == 1 for side in _sides(one)]
    if sides:
        asked.append(("where", *rng.choice(sides)))
    return asked


def cue(rng: random.Random, scene: Sequence[Thing]) -> tuple[str, str]:
    """Draw a question about a scene in one or two words, and its answer.

    A shape asks for its colour, a colour for its shape, both together for the side (left or right, top or
    bottom), and the word objects for their number.
    """
    shapes, colours = [one.shape for one in scene], [one.colour for one in scene]
    found = [("objects", str(len(scene)))]
    found += [(one.shape, one.colour) for one in scene if shapes.count(one.shape) == 1]
    found += [(one.colour, one.shape) for one in scene if colours.count(one.colour) == 1]
    names = [one.name for one in scene]
    for one in scene:
        if names.count(one.name) == 1:
            for across, (_, side) in zip(("side", "height"), _where(one), strict=True):
                found += [(f"{one.colour} {one.shape} {across}", side)] if side else []
    return rng.choice(found)


def _count(rng: random.Random, scene: Sequence[Thing]) -> tuple[str, str]:
    if len(scene) > 1 and rng.random() < 0.2:
        one = rng.choice(scene)
        if rng.random() < 0.5:
            some, many = f"{one.colour} objects", sum(other.colour == one.colour for other in scene)
        else:
            some, many = _plural(one.shape), sum(other.shape == one.shape for other in scene)
        return rng.choice(_COUNT_SOME).format(some=some), str(many)
    return rng.choice(_ASK["count"]), str(len(scene))


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _sides(one: Thing) -> list[tuple[str, str]]:
    return [
        (_ASK[ask][0].format(colour=one.colour, shape=one.shape), side) for ask, side in _where(one) if side
    ]


def _where(one: Thing) -> list[tuple[str, str]]:
    """Return left or right and top or bottom, each with its key in `_ASK`; "" where a thing is between."""
    return [
        (ask, names[where > 0.5] if abs(where - 0.5) > _CLEAR else "")
        for ask, where, names in (("left", one.x, ("left", "right")), ("top", one.y, ("top", "bottom")))
    ]


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one scene with its question; training asks up to `_MORE` further ones about the same scene."""
    kind = rng.choice(list(CHANCE))
    while True:
        scene = things(rng, held, count=rng.randint(1, MOST), more=not held)
        asked = {name: (prompt, answer) for name, prompt, answer in questions(rng, scene)}
        if kind in asked:
            break
    prompt, answer = asked[kind]
    more: dict[str, str] = {}
    for _ in range(0 if held else rng.randint(1, _MORE)):
        _, another, right = rng.choice(questions(rng, scene))
        more[another] = right
    more.pop(prompt, None)
    picture = draw(scene, size=SIDE, background=paper(rng))
    return Question(
        "scenes", prompt, answer, images=(picture,), group=kind, more=tuple(more.items()),
        pictures=({"count": len(scene) - 1},),
    )  # fmt: skip


def corpus() -> list[str]:
    """Return the questions and their words, for the tokenizer."""
    colours, shapes = (*COLOURS, *MORE_COLOURS), (*SHAPES, *MORE_SHAPES)
    named = [(colour, shape) for colour in colours for shape in shapes]
    texts = [ask.format(colour=c, shape=s) for asks in _ASK.values() for ask in asks for c, s in named]
    some = [*(f"{colour} objects" for colour in colours), *map(_plural, shapes)]
    texts += [ask.format(some=many) for ask in _COUNT_SOME for many in some]
    return texts + [*colours, *shapes, "left", "right", "top", "bottom"] * 20
