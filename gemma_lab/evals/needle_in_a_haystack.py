"""Needle in a haystack: retrieval of one fact at a chosen depth of a long text.

The pattern is G. Kamradt's (2023, "Needle In A Haystack"): a grid of lengths by depths. The texts are drawn
anew for every question, from sentences unrelated to the fact. Distractors, facts of the same kind about other
people, can be added, so that the answer must be retrieved and cannot be guessed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import real_number, short_repr, whole_number
from ..display import Displayed
from ..errors import ContextFull, LabError
from .grading import is_correct
from .statistics import wilson_interval
from .words import PEOPLE, filler

if TYPE_CHECKING:
    from .model import EvaluatedModel

_FACT, _QUESTION = "The code of {who} is {what}.", "What is the code of {who}?"


@dataclass(frozen=True)
class Needle:
    """A long text with a fact in it, and a question about the fact.

    Attributes
    ----------
    text
        The text, without the question.
    fact, question, answer
        The needle, the question, and the one right answer.
    tokens
        Length of the text in the model's tokens.
    depth
        Position of the fact as a fraction of the text: 0 is its start, 1 its end.
    """

    text: str = field(repr=False)
    fact: str
    question: str
    answer: str
    tokens: int
    depth: float

    @property
    def prompt(self) -> str:
        """The text and the question, as the user's turn."""
        return f"{self.text} {self.question}"


@dataclass(frozen=True)
class NeedleAnswer:
    """A graded answer, with the grid cell of its needle."""

    length: int
    depth: float
    question: str
    answer: str
    reply: str
    right: bool


@dataclass(frozen=True, eq=False)
class Haystack(Displayed):
    """Needles found, by depth and length.

    Attributes
    ----------
    model
        Name of the model.
    lengths
        Tokens of the texts, ascending.
    depths
        Positions of the fact, as fractions of the text.
    right, asked
        Number of correct answers, and of questions, int ``[depths, lengths]``.
    answers
        Every question with its reply.
    """

    model: str
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    right: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False)
    asked: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False)
    answers: tuple[NeedleAnswer, ...] = field(repr=False, default=())

    def interval(self, depth: float, length: int) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the fraction found in one cell of the grid."""
        row, column = self.depths.index(depth), self.lengths.index(length)
        return wilson_interval(int(self.right[row, column]), int(self.asked[row, column]))

    def by_length(self) -> dict[int, tuple[float, float, float]]:
        """Return the fraction found and its 95 % interval for each length, over all depths."""
        found, asked = self.right.sum(axis=0), self.asked.sum(axis=0)
        return {
            length: (int(r) / int(n), *wilson_interval(int(r), int(n)))
            for length, r, n in zip(self.lengths, found, asked, strict=True)
        }

    def __repr__(self) -> str:
        found, asked = int(self.right.sum()), int(self.asked.sum())
        return (
            f"Haystack({self.model}: {len(self.depths)} depths × {len(self.lengths)} lengths up to "
            f"{self.lengths[-1]:,} tokens, {found:,} of {asked:,} found)"
        )


def needle(lab: EvaluatedModel, *, tokens: int, depth: float = 0.5, others: int = 9, seed: int = 0) -> Needle:
    """Build a text of about a given length with a fact at a given depth.

    Parameters
    ----------
    lab
        Model whose tokens are counted.
    tokens
        Length of the text; it ends with the last sentence that fits. The facts are included in any case.
    depth
        0 puts the fact first, 1 last.
    others
        Distractors: facts about other people, at random positions; at most 29.
    seed
        The same seed draws the same text.

    Returns
    -------
    Needle

    Raises
    ------
    LabError
        If a number is out of range.
    ContextFull
        If the text would not fit the model's context; it is not built then.
    """
    tokens = whole_number("tokens", tokens, minimum=1)
    depth = real_number("depth", depth, minimum=0, maximum=1)
    others = whole_number("others", others, minimum=0, maximum=len(PEOPLE) - 1)
    _check_length(lab, tokens)
    rng = random.Random(f"{seed} {tokens} {depth} {others}")  # noqa: S311
    count = _counter(lab)
    who, *rest = rng.sample(PEOPLE, others + 1)
    codes = rng.sample(range(10, 100), others + 1)
    fact = _FACT.format(who=who, what=codes[0])
    distractors = [_FACT.format(who=name, what=code) for name, code in zip(rest, codes[1:], strict=True)]
    left = tokens - sum(map(count, (fact, *distractors)))
    sentences: list[str] = []
    while True:
        line = filler(rng)
        left -= count(line)
        if left < 0:
            break
        sentences.append(line)
    for line in distractors:
        sentences.insert(rng.randint(0, len(sentences)), line)
    index = round(depth * len(sentences))
    sentences.insert(index, fact)
    text = " ".join(sentences)
    total = len(lab.tokenizer(text, add_special_tokens=False)["input_ids"])
    before = count(" ".join(sentences[:index])) if index else 0
    return Needle(text, fact, _QUESTION.format(who=who), str(codes[0]), total, before / total)


def needles(
    lab: EvaluatedModel,
    *,
    lengths: Sequence[int] = (128, 256, 512, 1024, 2048),
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    asked: int = 5,
    others: int = 9,
    seed: int = 0,
    progress: bool = True,
) -> Haystack:
    """Ask for a fact at every depth of texts of every length, with greedy decoding, and grade the answers.

    Parameters
    ----------
    lab
        The model.
    lengths, depths
        The grid: tokens of the text, and position of the fact.
    asked
        Questions per cell, each about its own text.
    others, seed
        As for `needle`.
    progress
        Show a progress bar.

    Returns
    -------
    Haystack

    Raises
    ------
    LabError
        If the grid is empty, or a number is out of range.
    ContextFull
        If a text does not fit the model's context. Lengths beyond it are refused before the first question.
    """
    grid = _grid(lab, lengths, depths)
    asked = whole_number("asked", asked, minimum=1)
    others = whole_number("others", others, minimum=0, maximum=len(PEOPLE) - 1)
    seed = whole_number("seed", seed, minimum=0)
    from tqdm.auto import tqdm

    answers: list[NeedleAnswer] = []
    right = np.zeros((len(grid[1]), len(grid[0])), dtype=np.int64)
    bar = tqdm(
        total=right.size * asked, unit=" questions", desc=f"needles for {lab.name}", disable=not progress,
        leave=False,
    )  # fmt: skip
    with bar:
        for column, length in enumerate(grid[0]):
            for row, depth in enumerate(grid[1]):
                for number in range(asked):
                    drawn = needle(lab, tokens=length, depth=depth, others=others, seed=seed + number)
                    reply = lab.chat(drawn.prompt, temperature=0, max_new_tokens=24, top_logprobs=0)
                    correct = is_correct(reply.text, drawn.answer)
                    right[row, column] += correct
                    answers.append(
                        NeedleAnswer(length, depth, drawn.question, drawn.answer, reply.text, correct)
                    )
                    bar.update()
    return Haystack(lab.name, *grid, right, np.full_like(right, asked), tuple(answers))


def _grid(
    lab: EvaluatedModel, lengths: Sequence[int], depths: Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the lengths and the depths, ascending and each once; refuse what cannot be asked."""
    for name, values, example in (("lengths", lengths, "[512, 1024]"), ("depths", depths, "[0, 0.5, 1]")):
        if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
            raise LabError(
                f"{name}={short_repr(values)} is not a list of numbers.",
                hint=f"For example {name}={example}.",
            )
    tokens = sorted({whole_number("each length", each, minimum=1) for each in lengths})
    places = sorted({real_number("each depth", each, minimum=0, maximum=1) for each in depths})
    if not tokens or not places:
        raise LabError("The grid of needles is empty.", hint="Give lengths, depths and asked=5.")
    _check_length(lab, tokens[-1])
    return tuple(tokens), tuple(places)


def _check_length(lab: EvaluatedModel, tokens: int) -> None:
    if tokens >= lab.context:
        raise ContextFull(
            f"A text of {tokens:,} tokens and a question do not fit the context of {lab.name}, "
            f"{lab.context:,} tokens.",
            hint="Ask for a shorter text.",
        )


def _counter(lab: EvaluatedModel) -> Callable[[str], int]:
    """Return a function that counts the tokens of a sentence within a text, i.e. after a space."""
    cache: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in cache:
            cache[text] = len(lab.tokenizer(f" {text}", add_special_tokens=False)["input_ids"])
        return cache[text]

    return count
