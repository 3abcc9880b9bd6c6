"""Names of countries, months and languages in twelve languages, from Babel's CLDR data.

Held out: triples of (thing, source language, target language). Both names occur in training with other
languages; their pairing has to be inferred.
"""

from __future__ import annotations

import functools
import random

from .question import Question, held_out

LANGUAGES = {
    "en": "English", "de": "German", "ar": "Arabic", "vi": "Vietnamese", "fr": "French", "es": "Spanish",
    "hi": "Hindi", "ja": "Japanese", "ko": "Korean", "zh": "Chinese", "ru": "Russian", "tr": "Turkish",
}  # fmt: skip
COUNTRIES = [
    "DE", "FR", "ES", "IT", "GB", "NL", "CH", "PL", "SE", "NO", "GR", "TR", "RU", "EG", "SA", "IN",
    "CN", "JP", "KR", "TH", "VN", "US", "MX", "BR",
]  # fmt: skip
SPOKEN = list(LANGUAGES)
#: Languages whose months have a separate form outside of dates. For the others Babel follows an alias, which
#: resolves to a wrong language once several are loaded.
_STANDING_ALONE = ("ru",)
_ASK = (
    "What is “{name}” in {language}?",
    "Say “{name}” in {language}.",
    "What is the {language} word for “{name}”?",
)


@functools.cache
def things() -> dict[str, dict[str, str]]:
    """Return thing -> language code -> its name there, e.g. ``["country DE"]["fr"] == "Allemagne"``."""
    from babel import Locale
    from babel.dates import get_month_names

    found: dict[str, dict[str, str]] = {}
    for code in LANGUAGES:
        locale = Locale.parse(code)
        for country in COUNTRIES:
            found.setdefault(f"country {country}", {})[code] = locale.territories[country]
        for spoken in SPOKEN:
            found.setdefault(f"language {spoken}", {})[code] = locale.languages[spoken]
        months = get_month_names("wide", "stand-alone" if code in _STANDING_ALONE else "format", code)
        for month in range(1, 13):
            found.setdefault(f"month {month}", {})[code] = months[month]
    return found


def is_held_out(thing: str, source: str, target: str) -> bool:
    """Return whether the question for this thing's name in `target`, given that in `source`, is held out.

    Languages that share a name (Iran in English and German) have the same question: all must be held out.
    """
    by_language = things()[thing]
    same = [code for code in LANGUAGES if code != target and by_language[code] == by_language[source]]
    return all(held_out(f"{thing} {code} {target}") for code in same)


def _draw(rng: random.Random, held: bool) -> tuple[str, str, str]:
    while True:
        thing = rng.choice(list(things()))
        source, target = rng.sample(list(LANGUAGES), 2)
        if is_held_out(thing, source, target) == held and things()[thing][source] != things()[thing][target]:
            return thing, source, target


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one question about a name, from the held-out pairings or from the others."""
    thing, source, target = _draw(rng, held)
    name, answer = things()[thing][source], things()[thing][target]
    return Question(
        "names", rng.choice(_ASK).format(name=name, language=LANGUAGES[target]), answer, group=target
    )


def corpus() -> list[str]:
    """Return texts of this task for the tokenizer, in more languages than are asked."""
    from babel import Locale

    texts = [name for names in things().values() for name in names.values()]
    for code in (*LANGUAGES, "it", "pt", "th", "el", "pl", "nl", "sv", "fa"):
        locale = Locale.parse(code)
        texts += [
            *locale.territories.values(),
            *locale.languages.values(),
            *locale.days["format"]["wide"].values(),
        ]
    asked = [ask.format(name="", language=name) for ask in _ASK for name in LANGUAGES.values()]
    known = [name for names in things().values() for name in names.values()]
    return [str(text) for text in texts] + [f"“{name}”" for name in known] * 3 + asked * 10
