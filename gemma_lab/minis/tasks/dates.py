"""Days of the year in twelve languages, from one into another, and full dates into digits (CLDR, by Babel).

Held out: a fifth of the days of the year, by hash, in every language.
"""

from __future__ import annotations

import datetime as dt
import functools
import random

from .names import LANGUAGES
from .question import Question, held_out

_YEARS = range(2000, 2040)
_TRANSLATE = (
    "Write “{phrase}” in {language}.",
    "How do you write “{phrase}” in {language}?",
    "What is “{phrase}” in {language}?",
)
_TO_DIGITS = ("Write “{phrase}” as YYYY-MM-DD.", "Which date is “{phrase}”? Write it as YYYY-MM-DD.")
_INTO_DIGITS = 0.35  # share of questions that ask for digits


@functools.cache
def day(month: int, number: int, language: str) -> str:
    """Return a day of the year as a language writes it, e.g. ``"14. März"``."""
    from babel.dates import format_skeleton

    return str(format_skeleton("MMMMd", dt.date(2000, month, number), locale=language))


@functools.cache
def date(year: int, month: int, number: int, language: str) -> str:
    """Return a date as a language writes it in full, e.g. ``"14. März 2026"``."""
    from babel.dates import format_date

    written = str(format_date(dt.date(year, month, number), "long", locale=language))
    return written.replace("\u202f", " ")  # the narrow space before the Russian г., which is not on keyboards


def is_held_out(month: int, number: int) -> bool:
    """Return whether this day of the year is held out."""
    return held_out(f"day {month}-{number}", share=0.2)


@functools.cache
def _days(held: bool) -> tuple[dt.date, ...]:
    year = [dt.date(2000, 1, 1) + dt.timedelta(days) for days in range(366)]
    return tuple(each for each in year if is_held_out(each.month, each.day) == held)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one question about a day, held out or not; its group is the language that has to be known."""
    drawn = rng.choice(_days(held))
    month, number = drawn.month, drawn.day
    if rng.random() < _INTO_DIGITS:
        source = rng.choice(list(LANGUAGES))
        year = rng.choice([year for year in _YEARS if (month, number) != (2, 29) or year % 4 == 0])
        phrase = date(year, month, number, source)
        prompt = rng.choice(_TO_DIGITS).format(phrase=phrase)
        return Question("dates", prompt, f"{year}-{month:02d}-{number:02d}", group=source)
    while True:
        source, target = rng.sample(list(LANGUAGES), 2)
        phrase, answer = day(month, number, source), day(month, number, target)
        if phrase != answer:  # Japanese and Chinese write the same
            prompt = rng.choice(_TRANSLATE).format(phrase=phrase, language=LANGUAGES[target])
            return Question("dates", prompt, answer, group=target)


def corpus() -> list[str]:
    """Return days of training in every language, and the questions, for the tokenizer."""
    rng = random.Random(0)
    texts = [day(each.month, each.day, language) for each in _days(False)[::6] for language in LANGUAGES]
    return texts + [ask(rng, False).prompt for _ in range(400)]
