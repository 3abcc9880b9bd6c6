"""A needle in a haystack: one fact at a chosen depth of a long text, asked for and graded.

The pattern is G. Kamradt's (2023, "Needle In A Haystack"): a grid of lengths by depths. Texts are our own
sentences, newly drawn for every question, and say nothing about the fact; other facts of the same kind may
stand among them, so that an answer has to be looked up and cannot be guessed from what is in sight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import Displayed
from ..errors import LabError
from .grading import is_correct
from .statistics import wilson_interval
from .words import PEOPLE, filler

if TYPE_CHECKING:
    from .model import EvaluatedModel

_FACT, _QUESTION = "The code of {who} is {what}.", "What is the code of {who}?"


@dataclass(frozen=True)
class Needle:
    """One long text with a fact in it, and the question about it.

    Attributes
    ----------
    text
        The text, without the question.
    fact, question, answer
        The needle, what is asked, and the one right answer.
    tokens
        Length of the text in the model's tokens.
    depth
        Where the fact begins, as a share of the text: 0 is its start, 1 its end.
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
    """A needle's answer: which cell of the grid it belongs to, what was asked, said and right."""

    length: int
    depth: float
    question: str
    answer: str
    said: str
    right: bool


@dataclass(frozen=True, eq=False)
class Haystack(Displayed):
    """How often the fact was found, by depth and length.

    Attributes
    ----------
    model
        Which model was asked.
    lengths
        Tokens of the texts, ascending.
    depths
        Where the fact stood, as shares of the text.
    right, asked
        Answers that were right, and questions, int ``[depths, lengths]``.
    answers
        Every question with what was said.
    """

    model: str
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    right: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False)
    asked: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False)
    answers: tuple[NeedleAnswer, ...] = field(repr=False, default=())

    def interval(self, depth: float, length: int) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the share found in one cell of the grid."""
        row, column = self.depths.index(depth), self.lengths.index(length)
        return wilson_interval(int(self.right[row, column]), int(self.asked[row, column]))

    def by_length(self) -> dict[int, tuple[float, float, float]]:
        """Return share found and its 95 % interval for each length, all depths together."""
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
    """Return a text of about so many tokens with a fact at a depth.

    Parameters
    ----------
    lab
        Whose tokens are counted.
    tokens
        Of the text; it ends with the last whole sentence that fits. The facts are in it in any case.
    depth
        0 puts the fact first, 1 last.
    others
        Facts about other people, at random places; at most 29.
    seed
        The same seed draws the same text.

    Raises
    ------
    LabError
        If a number is out of range.
    """
    if not 0 <= depth <= 1 or not 0 <= others < len(PEOPLE) or tokens < 1:
        raise LabError(
            f"depth={depth}, others={others}, tokens={tokens} describe no text.",
            hint=f"depth is 0 to 1, others 0 to {len(PEOPLE) - 1}, tokens 1 or more.",
        )
    rng = random.Random(f"{seed} {tokens} {depth} {others}")  # noqa: S311
    count = _counter(lab)
    who, *rest = rng.sample(PEOPLE, others + 1)
    codes = rng.sample(range(10, 100), others + 1)
    fact = _FACT.format(who=who, what=codes[0])
    told = [_FACT.format(who=name, what=code) for name, code in zip(rest, codes[1:], strict=True)]
    left = tokens - sum(map(count, (fact, *told)))
    said: list[str] = []
    while True:
        line = filler(rng)
        left -= count(line)
        if left < 0:
            break
        said.append(line)
    for line in told:
        said.insert(rng.randint(0, len(said)), line)
    place = round(depth * len(said))
    said.insert(place, fact)
    text = " ".join(said)
    total = len(lab.tokenizer(text, add_special_tokens=False)["input_ids"])
    before = count(" ".join(said[:place])) if place else 0
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
    """Ask for a fact at every depth of texts of every length, greedily, and grade the answers.

    Parameters
    ----------
    lab
        The model.
    lengths, depths
        The grid: tokens of the text, and where the fact stands.
    asked
        Questions a cell, each about a text of its own.
    others, seed
        As for `needle`.
    progress
        Show a progress bar.

    Raises
    ------
    LabError
        If the grid is empty, or a number out of range.
    ContextFull
        If a text does not fit the model's context.
    """
    grid = tuple(sorted(set(lengths))), tuple(sorted(set(depths)))
    if not all(grid) or asked < 1:
        raise LabError("The grid of needles is empty.", hint="Give lengths, depths and asked=5.")
    from tqdm.auto import tqdm

    found: list[NeedleAnswer] = []
    right = np.zeros((len(grid[1]), len(grid[0])), dtype=np.int64)
    bar = tqdm(
        total=right.size * asked, unit=" questions", desc=f"needles for {lab.name}", disable=not progress,
        leave=False,
    )  # fmt: skip
    with bar:
        for column, length in enumerate(grid[0]):
            for row, depth in enumerate(grid[1]):
                for number in range(asked):
                    made = needle(lab, tokens=length, depth=depth, others=others, seed=seed + number)
                    reply = lab.chat(made.prompt, temperature=0, max_new_tokens=24, top_logprobs=0)
                    good = is_correct(reply.text, made.answer)
                    right[row, column] += good
                    found.append(NeedleAnswer(length, depth, made.question, made.answer, reply.text, good))
                    bar.update()
    return Haystack(lab.name, *grid, right, np.full_like(right, asked), tuple(found))


def _counter(lab: EvaluatedModel) -> Callable[[str], int]:
    """Return what counts the tokens of a sentence in a text: a space stands before it."""
    known: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in known:
            known[text] = len(lab.tokenizer(f" {text}", add_special_tokens=False)["input_ids"])
        return known[text]

    return count
