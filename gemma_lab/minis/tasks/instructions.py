"""Obedience to a system prompt that sets the form of the answer: its language, its length, digits or words.

The same question is asked under different system prompts, so that only they tell which form is right. Held
out: a fifth of the pairs of a number and a language, and the pairs of a person and a value that recall holds
out. Accuracy of knowing every answer but not reading the system prompt: `CHANCE`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ...evals.words import CITIES, DAYS, JOBS, PEOPLE, THINGS
from . import recall
from .numbers import LANGUAGES, words
from .question import Question, held_out
from .variation import varies

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
_MORE_LANGUAGE = (
    "Reply in {language}.",
    "Respond only in {language}.",
    "You are a helpful assistant. Answer in {language}.",
)
_MORE_LENGTH = {
    "word": ("Reply with a single word.", "You are a helpful assistant. Answer in one word."),
    "sentence": ("Reply with a whole sentence.", "You are a helpful assistant. Answer in a sentence."),
}
_MORE_NUMBERS = {
    "digits": ("Reply with numbers in digits.", "You are a helpful assistant. Write numbers in digits."),
    "words": ("Reply with numbers in words.", "You are a helpful assistant. Write numbers in words."),
}
_AGES, _CODES = [str(age) for age in range(18, 90)], [str(code) for code in range(10, 100)]
_MORE_FACTS: tuple[tuple[Sequence[str], str, str], ...] = (
    (CITIES, "{who} lives in {what}.", "Where does {who} live?"),
    (JOBS, "{who} is a {what}.", "What is the job of {who}?"),
    (DAYS, "{who} is free on {what}.", "On which day is {who} free?"),
    (THINGS, "{who} bought the {what}.", "What did {who} buy?"),
    (_CODES, "The code of {who} is {what}.", "What is the code of {who}?"),
    (_AGES, "{who} is {what} years old.", "How old is {who}?"),
)
"""Values, how a text says them, and how they are asked for; only in training."""
_NUMERIC = (*_MORE_FACTS[-2:], (_CODES, "{who} has the number {what}.", "Which number does {who} have?"))
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
    system = rng.choice(_MORE_LANGUAGE if varies(rng, held) else _LANGUAGE)
    system = system.format(language=LANGUAGES[language])
    prompt = rng.choice(_NUMBER).format(n=number)
    return Question("instructions", prompt, words(number, language), group="language", system=system)


def _length(rng: random.Random, held: bool) -> Question:
    form = rng.choice(list(_LENGTH))
    systems = (_MORE_LENGTH if varies(rng, held) else _LENGTH)[form]
    if varies(rng, held):
        prompt, what, sentence = _other_fact(rng, _MORE_FACTS)
    else:
        text, who, what = having(rng, held)
        prompt, sentence = f"{text} What does {who} have?", f"{who} has the {what}."
    answer = what if form == "word" else sentence
    return Question("instructions", prompt, answer, group="length", system=rng.choice(systems))


def _numbers(rng: random.Random, held: bool) -> Question:
    form = rng.choice(list(_NUMBERS))
    systems = (_MORE_NUMBERS if varies(rng, held) else _NUMBERS)[form]
    if varies(rng, held):
        prompt, number, _ = _other_fact(rng, _NUMERIC)
    else:
        codes = _pairs(rng, held, _CODES)
        who = rng.choice(list(codes))
        text = " ".join(f"The code of {one} is {code}." for one, code in codes.items())
        prompt, number = f"{text} What is the code of {who}?", codes[who]
    answer = number if form == "digits" else words(int(number), "en")
    return Question("instructions", prompt, answer, group="numbers", system=rng.choice(systems))


def _other_fact(rng: random.Random, kinds: Sequence[tuple[Sequence[str], str, str]]) -> tuple[str, str, str]:
    """Return a text of training with its question, the value asked for, and the sentence that says it."""
    values, fact, asked = rng.choice(kinds)
    known = _pairs(rng, False, values)
    who = rng.choice(list(known))
    text = " ".join(fact.format(who=one, what=what) for one, what in known.items())
    return f"{text} {asked.format(who=who)}", known[who], fact.format(who=who, what=known[who])


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
