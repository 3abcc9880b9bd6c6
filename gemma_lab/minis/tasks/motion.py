"""A short clip of coloured shapes: direction of motion, which one moves, when one changes and into what.

Held out: four combinations of colour and shape (`drawing.HELD_OUT`); in a held-out clip the shape in question
has one of them. Accuracy by chance, without the clip: `CHANCE`.

A frame is square, so at 70 soft tokens per frame Gemma 4's video processor scales it to 384 × 384 pixels: 64
soft tokens. Every thing is large enough to be recognised on a grid of 3 × 3 soft tokens, which training may
use.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...models.media.video import format_timestamp
from .cells import changes, events
from .drawing import (
    COLOURS,
    HELD_OUT,
    MORE_COLOURS,
    MORE_SHAPES,
    SHAPES,
    Thing,
    combination,
    draw,
    paper,
    thing,
)
from .eventful_clips import eventful
from .question import Clip, Question

CHANCE = {"direction": 1 / 4, "which": 1 / 2, "when": 0.26, "colour": 0.2}
"""Kind of question -> the accuracy of the best guess without looking, over many draws. Early seconds are a
little commoner than late ones, since not every clip is as long."""

SIDE = 96
"""Side of a frame in pixels."""

_RADIUS = 0.17  # of the frame's side
_NEAR, _FAR = 0.19, 0.81  # between which a thing moves
_STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_ASK = {
    "direction": (
        "Which way does the {shape} move: left, right, up or down?",
        "In which direction does the {shape} move: left, right, up or down?",
    ),
    "which": ("Which shape moves, the {shape} or the {other}?",),
    "when": (
        "When does the {shape} change its colour? Answer as mm:ss.",
        "At what time does the colour change? Answer as mm:ss.",
    ),
    "colour": ("Which colour does the {shape} turn?", "What colour is the {shape} at the end?"),
}
_ALSO = {
    "colour": "What colour is the {shape}?",
    "then": "What colour is the {shape} at {time}?",
    "moves": "Does the {shape} move?",
    "side": "Is the {shape} on the left or on the right at {time}?",
    "height": "Is the {shape} at the top or at the bottom at {time}?",
}
_MORE = 5  # questions of training about a clip beside the first
_TRAINED = (1, 2, 2, 1)  # how often training asks for each kind: which and when are learned last
_CLEAR = 0.1  # how far from the middle a thing must lie for its side to be asked for, of the frame's side


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one clip with its question; training asks up to `_MORE` further ones about the same clip."""
    weights = (2, 1, 1, 1) if held else _TRAINED
    return _question(rng, rng.choices(list(_KINDS), weights=weights)[0], held)


def direction(rng: random.Random, held: bool) -> Question:
    """Draw one clip and ask for the direction of its moving thing; the directions are the groups."""
    question = _question(rng, "direction", held)
    return dataclasses.replace(question, skill="direction", group=question.answer)


def which(rng: random.Random, held: bool) -> Question:
    """Draw one clip and ask which of its two shapes moves; the pairs of shapes are the groups."""
    question = _question(rng, "which", held)
    pair = [shape for shape in SHAPES if f"the {shape}" in question.prompt]
    return dataclasses.replace(question, skill="which", group=" or ".join(pair))


def when(rng: random.Random, held: bool) -> Question:
    """Draw one clip and ask when the colour of its shape changes; the times are the groups."""
    question = _question(rng, "when", held)
    return dataclasses.replace(question, skill="when", group=question.answer)


@dataclass(frozen=True)
class _Film:
    """Things of every frame, always the same ones in the same order, and their background."""

    frames: list[list[Thing]]
    fps: float
    background: tuple[int, int, int]

    def clip(self) -> Clip:
        """Return the frames, drawn."""
        return Clip(tuple(draw(one, size=SIDE, background=self.background) for one in self.frames), self.fps)


_Asked = tuple[str, str, _Film]
"""A question about a film, its answer, and the film."""


def _path(rng: random.Random, way: str, count: int) -> list[tuple[float, float]]:
    """Return the centres of a thing that moves in one direction through `count` frames."""
    length = rng.uniform(0.36, _FAR - _NEAR)
    start, across = rng.uniform(_NEAR, _FAR - length), rng.uniform(_NEAR, _FAR)
    right, down = _STEPS[way]
    along = [start + length * number / (count - 1) for number in range(count)]
    if right + down < 0:
        along.reverse()
    return [(at, across) if right else (across, at) for at in along]


def _drawn(rng: random.Random) -> tuple[int, float]:
    return rng.randint(4, 6), rng.choice((1.0, 2.0))


def _direction(rng: random.Random, held: bool) -> _Asked:
    count, fps = _drawn(rng)
    way = rng.choice(list(_STEPS))
    one = thing(rng, combination(rng, held, more=not held), radius=_RADIUS)
    frames = [[dataclasses.replace(one, x=x, y=y)] for x, y in _path(rng, way, count)]
    prompt = rng.choice(_ASK["direction"]).format(shape=one.shape)
    return prompt, way, _Film(frames, fps, paper(rng))


def _which(rng: random.Random, held: bool) -> _Asked:
    """Two shapes, each in its half, of which one moves along the line between the halves."""
    count, fps = _drawn(rng)
    one = thing(rng, combination(rng, held, more=not held), radius=_RADIUS)
    while True:
        other = thing(rng, combination(rng, False, more=not held), radius=_RADIUS)
        if other.shape != one.shape and other.colour != one.colour:
            break
    way = rng.choice(list(_STEPS))
    here, there = rng.sample((0.24, 0.76), 2)
    rest = rng.uniform(_NEAR, _FAR)
    if _STEPS[way][0]:
        other = dataclasses.replace(other, x=rest, y=there)
        moves = [dataclasses.replace(one, x=x, y=here) for x, _ in _path(rng, way, count)]
    else:
        other = dataclasses.replace(other, x=there, y=rest)
        moves = [dataclasses.replace(one, x=here, y=y) for _, y in _path(rng, way, count)]
    first, second = rng.sample((one.shape, other.shape), 2)
    prompt = rng.choice(_ASK["which"]).format(shape=first, other=second)
    film = _Film([[move, other] for move in moves], fps, paper(rng))
    return prompt, one.shape, film


def _turned(rng: random.Random, held: bool) -> tuple[list[Thing], int]:
    """Return a resting thing in each frame, before and after its colour changes, and the changing frame."""
    count, shape = rng.randint(4, 6), rng.choice(SHAPES if held else SHAPES + MORE_SHAPES)
    while True:
        before, after = rng.sample(list(COLOURS if held else COLOURS | MORE_COLOURS), 2)
        if any((colour, shape) in HELD_OUT for colour in (before, after)) == held:
            break
    x, y = rng.uniform(_NEAR, _FAR), rng.uniform(_NEAR, _FAR)
    one = thing(rng, (before, shape), x=x, y=y, radius=_RADIUS)
    change = rng.randint(1, count - 1)
    return [dataclasses.replace(one, colour=before if n < change else after) for n in range(count)], change


def _when(rng: random.Random, held: bool) -> _Asked:
    """One frame per second, so that every frame has its own time."""
    things, change = _turned(rng, held)
    film = _Film([[one] for one in things], 1.0, paper(rng))
    prompt = rng.choice(_ASK["when"]).format(shape=things[0].shape)
    return prompt, format_timestamp(change), film


def _colour(rng: random.Random, held: bool) -> _Asked:
    things, _ = _turned(rng, held)
    film = _Film([[one] for one in things], rng.choice((1.0, 2.0)), paper(rng))
    prompt = rng.choice(_ASK["colour"]).format(shape=things[0].shape)
    return prompt, things[-1].colour, film


def _question(rng: random.Random, kind: str, held: bool) -> Question:
    prompt, answer, film = _KINDS[kind](rng, held)
    more: dict[str, str] = {}
    if not held:
        asked = _about(rng, film)
        more = dict(rng.sample(asked, min(len(asked), rng.randint(1, _MORE))))
        more.pop(prompt, None)
    news = functools.partial(changes, film.frames)
    return Question(
        "motion", prompt, answer, video=film.clip(), group=kind, more=tuple(more.items()), news=news,
        pictures=tuple(events(film.frames)),
    )  # fmt: skip


_Shown = tuple[Clip, Callable[[int], list[int]], list[dict[str, int]], list[tuple[str, str]]]


def shown(rng: random.Random) -> _Shown:
    """Draw a clip of training and all short cues about it, for a drill.

    Returns
    -------
    tuple
        The clip; `Question.news` and `Question.pictures` of it; cues of one to three words and answers: a
        time and ``colour``, ``side`` or ``height``, ``changes`` for the time, ``moves`` and ``rests`` for a
        shape, a shape and ``way`` or ``end``.
    """
    kind = rng.choices(list(_KINDS), weights=_TRAINED)[0]
    _, _, film = _KINDS[kind](rng, False)
    return film.clip(), functools.partial(changes, film.frames), events(film.frames), _cues(film)


def pointed(rng: random.Random) -> Question:
    """Draw one question of training whose answer lies in a few soft tokens: which moves, or when."""
    kind = rng.choices(("which", "when"), (2, 1))[0]  # which is learned last
    return dataclasses.replace(_question(rng, kind, False), more=())


def eventful_clip(rng: random.Random) -> tuple[Clip, list[list[Thing]]]:
    """Draw a clip of `gemma_lab.minis.tasks.eventful_clips`, one frame per second, and its things."""
    frames = eventful(rng)
    return _Film(frames, 1.0, paper(rng)).clip(), frames


def _cues(film: _Film) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    paths = list(zip(*film.frames, strict=True))
    for path in paths:
        first, last = path[0], path[-1]
        way = _way(first, last)
        found.append((f"{first.shape} way", way) if way else (f"{first.shape} end", last.colour))
        if len(paths) > 1:
            found.append(("moves" if way else "rests", first.shape))
        if film.fps == 1:  # every frame has a different timestamp
            found += _timed(path, alone=len(paths) == 1)
    return found


def _timed(path: Sequence[Thing], *, alone: bool) -> list[tuple[str, str]]:
    found = []
    for second, (before, one) in enumerate(zip((path[0], *path), path, strict=False)):
        time, name = format_timestamp(second), "" if alone else f"{one.shape} "
        if before.colour != one.colour:
            found.append(("changes", time))
        if path[0].colour != path[-1].colour:
            found.append((f"{time} {name}colour", one.colour))
        for kind, at, sides in (("side", one.x, ("left", "right")), ("height", one.y, ("top", "bottom"))):
            if _way(path[0], path[-1]) and abs(at - 0.5) > _CLEAR:
                found.append((f"{time} {name}{kind}", sides[at > 0.5]))
    return found


def _way(first: Thing, last: Thing) -> str:
    """Return the direction in which a thing moved, "" if it did not."""
    across, down = last.x - first.x, last.y - first.y
    if across:
        return "right" if across > 0 else "left"
    return "" if not down else "down" if down > 0 else "up"


def _about(rng: random.Random, film: _Film) -> list[tuple[str, str]]:
    """Return further questions about a clip: its things at the start, in between and at the end."""
    asked: list[tuple[str, str]] = []
    paths = list(zip(*film.frames, strict=True))
    if len(paths) == 2:
        moving = next(path[0].shape for path in paths if _way(path[0], path[-1]))
        one, other = rng.sample([path[0].shape for path in paths], 2)
        asked.append((rng.choice(_ASK["which"]).format(shape=one, other=other), moving))
    for path in paths:
        first, last = path[0], path[-1]
        name = {"shape": first.shape}
        way = _way(first, last)
        asked.append((_ALSO["moves"].format(**name), "yes" if way else "no"))
        if way:
            asked.append((rng.choice(_ASK["direction"]).format(**name), way))
        if first.colour == last.colour:
            asked.append((_ALSO["colour"].format(**name), last.colour))
        else:
            asked.append((rng.choice(_ASK["colour"]).format(**name), last.colour))
        if film.fps == 1 and first.colour != last.colour:
            change = next(second for second, one in enumerate(path) if one.colour != first.colour)
            asked.append((rng.choice(_ASK["when"]).format(**name), format_timestamp(change)))
        if film.fps == 1:  # every frame has a different timestamp
            asked += _then(name, path, changes=first.colour != last.colour)
    return asked


def _then(name: dict[str, str], path: Sequence[Thing], *, changes: bool) -> list[tuple[str, str]]:
    """Return questions about a thing at the time of each frame, in seconds from the start."""
    asked = []
    for second, one in enumerate(path):
        time = format_timestamp(second)
        if changes:
            asked.append((_ALSO["then"].format(time=time, **name), one.colour))
        if abs(one.x - 0.5) > _CLEAR and not changes:
            asked.append((_ALSO["side"].format(time=time, **name), "right" if one.x > 0.5 else "left"))
        if abs(one.y - 0.5) > _CLEAR and not changes:
            asked.append((_ALSO["height"].format(time=time, **name), "bottom" if one.y > 0.5 else "top"))
    return asked


_KINDS: dict[str, Callable[[random.Random, bool], _Asked]] = {
    "direction": _direction,
    "which": _which,
    "when": _when,
    "colour": _colour,
}


def corpus() -> list[str]:
    """Return the questions, their answers and the times of frames, for the tokenizer."""
    texts = [
        ask.format(shape=shape, other=shape) for asks in _ASK.values() for ask in asks for shape in SHAPES
    ]
    texts += [ask.format(shape=shape, time="00:01") for ask in _ALSO.values() for shape in SHAPES]
    texts += [f"00:{second:02d}" for second in range(6)]
    texts += ["changes", "moves", "rests", "way", "end", "side", "height", "colour"]
    return ([*texts, "left", "right", "up", "down"]) * 5
