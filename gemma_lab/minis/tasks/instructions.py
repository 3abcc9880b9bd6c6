"""Obedience to a system prompt that sets the form of the answer: its language, its length, digits or words.

The same question is asked under different system prompts, so that only they tell which form is right. Held
out: a fifth of the pairs of a number and a language, and the pairs of a person and a value that recall holds
out. Accuracy of knowing every answer but not reading the system prompt: `CHANCE`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ...evals.words import PEOPLE, THINGS
from . import recall
from .numbers import LANGUAGES, words
from .question import Question, held_out

CHANCE = {"language": 1 / len(LANGUAGES), "length": 1 / 2, "numbers": 1 / 2}
"""Kind of instruction -> the accuracy of right answers in a form that is always the same."""

_LANGUAGE = (
    "Answer in {language}.",
    "Always answer in {language}.",
    "Your answers are in {language}.",
)
_LENGTH = {
    "word": ("Answer in one word.", "Always answer in one word.", "Your answers have one word."),
    "sentence": (
        "Answer in a sentence.",
        "Always answer in a sentence.",
        "Your answers are whole sentences.",
    ),
}
_NUMBERS = {
    "digits": ("Write numbers in digits.", "Always write numbers in digits."),
    "words": ("Write numbers in words.", "Always write numbers in words."),
}
_NUMBER = ("How do you write {n} in words?", "Write {n} in words.", "Which word is {n}?")
_FACTS = 4  # most facts of a text


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one question with its system prompt, of held-out pairs or of others."""
    return _KINDS[rng.choice(list(_KINDS))](rng, held)


def is_held_out(number: int, language: str) -> bool:
    """Return whether a number is held out in a language."""
    return held_out(f"instructions {number} {language}", share=0.2)


def _language(rng: random.Random, held: bool) -> Question:
    while True:
        number, language = rng.randrange(100), rng.choice(list(LANGUAGES))
        if is_held_out(number, language) == held:
            break
    system = rng.choice(_LANGUAGE).format(language=LANGUAGES[language])
    prompt = rng.choice(_NUMBER).format(n=number)
    return Question("instructions", prompt, words(number, language), group="language", system=system)


def _length(rng: random.Random, held: bool) -> Question:
    form = rng.choice(list(_LENGTH))
    text, who, what = having(rng, held)
    answer = what if form == "word" else f"{who} has the {what}."
    prompt = f"{text} What does {who} have?"
    return Question("instructions", prompt, answer, group="length", system=rng.choice(_LENGTH[form]))


def _numbers(rng: random.Random, held: bool) -> Question:
    form = rng.choice(list(_NUMBERS))
    codes = _pairs(rng, held, [str(code) for code in range(10, 100)])
    who = rng.choice(list(codes))
    text = " ".join(f"The code of {one} is {code}." for one, code in codes.items())
    answer = codes[who] if form == "digits" else words(int(codes[who]), "en")
    prompt = f"{text} What is the code of {who}?"
    return Question("instructions", prompt, answer, group="numbers", system=rng.choice(_NUMBERS[form]))


def having(rng: random.Random, held: bool, *, least: int = 2) -> tuple[str, str, str]:
    """Return a text of `least` to four facts (who has which thing), one of the people, and their thing."""
    things = _pairs(rng, held, THINGS, least=least)
    who = rng.choice(list(things))
    return " ".join(f"{one} has the {what}." for one, what in things.items()), who, things[who]


def _pairs(rng: random.Random, held: bool, values: Sequence[str], *, least: int = 2) -> dict[str, str]:
    """Draw people with different values, all of them held-out pairs or none."""
    count, found = rng.randint(least, _FACTS), dict[str, str]()
    while len(found) < count:
        who, what = rng.choice(PEOPLE), rng.choice(values)
        if who not in found and what not in found.values() and recall.is_held_out(who, what) == held:
            found[who] = what
    return found


_KINDS: dict[str, Callable[[random.Random, bool], Question]] = {
    "language": _language,
    "length": _length,
    "numbers": _numbers,
}


def corpus() -> list[str]:
    """Return the system prompts and the questions, for the tokenizer."""
    systems = [ask.format(language=name) for ask in _LANGUAGE for name in LANGUAGES.values()]
    systems += [ask for asks in (*_LENGTH.values(), *_NUMBERS.values()) for ask in asks] * 4
    return [*systems, *(ask.format(n="") for ask in _NUMBER)] * 5
