"""Number words: 0 to 999 in words of twelve languages, and back.

Held out: a fifth of the numbers from 100 on, in every language and both ways.
"""

from __future__ import annotations

import functools
import random

from .question import Question, held_out
from .variation import varies

#: language code -> its English name. num2words has neither Hindi nor Chinese, which have names all the same.
LANGUAGES = {
    "en": "English", "de": "German", "ar": "Arabic", "vi": "Vietnamese", "fr": "French", "es": "Spanish",
    "ja": "Japanese", "ko": "Korean", "ru": "Russian", "tr": "Turkish", "it": "Italian", "th": "Thai",
}  # fmt: skip
_TO_WORDS = (
    "Write {n} in {language} words.",
    "How do you write {n} in {language}?",
    "What is {n} in {language} words?",
)
_TO_DIGITS = ("Which number is “{words}”?", "Write “{words}” in digits.")
_MORE_TO_WORDS = (
    "Write {n} in {language}.",
    "What is {n} in {language}?",
    "Write the number {n} in {language} words.",
)
_MORE_TO_DIGITS = ("Write {words} in digits.", "Which number is {words}?")


@functools.cache
def words(number: int, language: str) -> str:
    """Return a number in words, as num2words spells it."""
    from num2words import num2words

    return str(num2words(number, lang=language)).strip()


def is_held_out(number: int) -> bool:
    """Return whether this number is held out; numbers below 100, the vocabulary, never are."""
    return number >= 100 and held_out(f"number {number}", share=0.2)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one question about a number, from the held-out numbers or from the others."""
    while True:
        number = rng.randrange(1000) if held or rng.random() < 0.6 else rng.randrange(100)
        if is_held_out(number) == held:
            break
    language = rng.choice(list(LANGUAGES))
    phrase = words(number, language)
    if rng.random() < 0.7:
        prompt = rng.choice(_MORE_TO_WORDS if varies(rng, held) else _TO_WORDS).format(
            n=number, language=LANGUAGES[language]
        )
        return Question("numbers", prompt, phrase, group=language)
    prompt = rng.choice(_MORE_TO_DIGITS if varies(rng, held) else _TO_DIGITS).format(words=phrase)
    return Question("numbers", prompt, str(number), group=language)


def corpus() -> list[str]:
    """Return the parts of number words, with and without a leading space, and the questions.

    Complete words beyond a hundred are excluded: a held-out number must be spelt from trained parts, or its
    word would be an untrained token.
    """
    parts = set()
    for language in LANGUAGES:
        for number in (*range(100), *range(100, 1000, 100), 101, 201):
            parts |= {words(number, language), *words(number, language).replace("-", " ").split()}
    asked = [ask.format(n="", words="", language=name) for ask in (*_TO_WORDS, *_TO_DIGITS)
             for name in LANGUAGES.values()]  # fmt: skip
    return [text for part in sorted(parts) for text in (part, f" {part}")] * 4 + asked * 10
