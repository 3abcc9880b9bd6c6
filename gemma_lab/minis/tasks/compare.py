"""Comparison of two images: the same digit or not, which has more objects, what changed.

Held out: handwritten digits (those of `digits`) and combinations of colour and shape (`drawing.HELD_OUT`).
Accuracy by chance, without the images: `CHANCE`.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable

from . import digits
from .cells import NEWS, UNKNOWN, changes, events
from .drawing import COLOURS, HELD_OUT, SHAPES, Thing, draw, paper, place
from .question import Question
from .scenes import MOST, SIDE, things

CHANCE = {"same": 1 / 2, "more": 1 / 2, "changed": 1 / 3}
"""Kind of question -> the accuracy of a guess without looking."""

_ASK = {
    "same": ("Do both pictures show the same digit?", "Is it the same digit in both pictures?"),
    "more": (
        "Which picture has more objects, the first or the second?",
        "Are there more objects in the first or in the second picture?",
    ),
    "changed": ("What changed: the colour, the shape or the place?",),
}
_ALSO = {
    "same": "Which digit is in the {which} picture?",
    "more": "How many objects are in the {which} picture? Answer with a digit.",
    "colour": "Which colour is in the {which} picture?",
    "shape": "Which shape is in the {which} picture?",
}
_Parts = dict[str, list[str]]
"""A key of `_ALSO` -> the answer for each picture."""
_News = Callable[[int], list[int]] | None
_Said = tuple[dict[str, int], dict[str, int]]
_Pair = tuple[tuple[object, ...], str, _Parts, _News, _Said]
"""Two pictures, the answer, what can be asked about each, `Question.news` and `Question.pictures`."""
_FAR = 0.3  # how far a thing must have moved to be in another place, of the picture's side


def ask(rng: random.Random, held: bool) -> Question:
    """Draw two images with their question; training also asks about each of the two."""
    kind = rng.choice(list(_KINDS))
    images, answer, parts, news, said = _KINDS[kind](rng, held)
    more = [
        (_ALSO[part].format(which=which), change)
        for part, each in parts.items()
        for which, change in zip(("first", "second"), each, strict=True)
    ]
    rng.shuffle(more)
    prompt, more = rng.choice(_ASK[kind]), [] if held else more
    return Question(
        "compare", prompt, answer, images=images, group=kind, more=tuple(more), news=news, pictures=said
    )


@functools.cache
def _of_digit(held: bool) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {digit: [] for digit in range(10)}
    for index in digits.indices(held):
        found[digits.truth(index)].append(index)
    return found


def _same(rng: random.Random, held: bool) -> _Pair:
    drawings = _of_digit(held)
    first = second = rng.randrange(10)
    same = rng.random() < 0.5
    while not same and second == first:
        second = rng.randrange(10)
    images = tuple(digits.draw(rng.choice(drawings[digit]), rng, fixed=held) for digit in (first, second))
    change = "same digit" if same else "other digit"
    said = {"digit": first}, {"digit": second, "happened": NEWS.index(change)}
    news = functools.partial(_other, change)
    return images, "yes" if same else "no", {"same": [str(first), str(second)]}, news, said


def _other(change: str, grid: int) -> list[int]:
    """Return the changes at the soft tokens of two digits: the same at all of the second one's."""
    return [UNKNOWN] * grid**2 + [NEWS.index(change)] * grid**2


def _more(rng: random.Random, held: bool) -> _Pair:
    counts = rng.sample(range(1, MOST + 1), 2)
    unseen = rng.randrange(2)  # which of the two has a combination that training never draws
    images = tuple(
        draw(scene, size=SIDE, background=paper(rng))
        for number, count in enumerate(counts)
        for scene in [things(rng, held and number == unseen, count=count, more=not held)]
    )
    answer = "first" if counts[0] > counts[1] else "second"
    said = {"count": counts[0] - 1}, {"count": counts[1] - 1}
    return images, answer, {"more": [str(count) for count in counts]}, None, said


def _changed(rng: random.Random, held: bool) -> _Pair:
    what = rng.choice(("colour", "shape", "place"))
    while True:
        before, after = _one_changed(rng, what)
        if any(name in HELD_OUT for name in (before.name, after.name)) == held:
            break
    background = paper(rng)
    images = tuple(draw([one], size=SIDE, background=background) for one in (before, after))
    parts = {"colour": [before.colour, after.colour], "shape": [before.shape, after.shape]}
    first, second = events([[before], [after]])
    return images, what, parts, functools.partial(changes, [[before], [after]]), (first, second)


def _one_changed(rng: random.Random, what: str) -> tuple[Thing, Thing]:
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    before, elsewhere = place(rng, [(colour, shape)] * 2)
    if what == "colour":
        other = rng.choice([name for name in COLOURS if name != colour])
        return before, dataclasses.replace(before, colour=other)
    if what == "shape":
        other = rng.choice([name for name in SHAPES if name != shape])
        return before, dataclasses.replace(before, shape=other)
    while abs(before.x - elsewhere.x) + abs(before.y - elsewhere.y) < _FAR:
        _, elsewhere = place(rng, [(colour, shape)] * 2)
    return before, dataclasses.replace(before, x=elsewhere.x, y=elsewhere.y)


_KINDS: dict[str, Callable[[random.Random, bool], _Pair]] = {
    "same": _same,
    "more": _more,
    "changed": _changed,
}


def corpus() -> list[str]:
    """Return the questions and their answers, for the tokenizer."""
    texts = [ask for asks in _ASK.values() for ask in asks]
    texts += [ask.format(which=which) for ask in _ALSO.values() for which in ("first", "second")]
    return ([*texts, "yes", "no", "first", "second", "colour", "shape", "place"]) * 20
