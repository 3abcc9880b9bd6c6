"""A record from a text, as JSON with the fields of a schema.

Three or four of the facts of a short text are asked for, each under one of several names and in random order.
Held out: a fifth of the pairs of a person and a value, by hash.
"""

from __future__ import annotations

import json
import random
from typing import Any

from ...evals.words import CITIES, DAYS, JOBS, PEOPLE, THINGS
from .invented_words import strange
from .question import Question, held_out
from .sentences import sentence
from .variation import varies

_FIELDS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "age": (("age", "years"), "integer", ("{who} is {what} years old.", "{who} turned {what}.")),
    "city": (("city", "home"), "string", ("{who} lives in {what}.", "{who}'s home is {what}.")),
    "job": (("job", "work"), "string", ("{who} is a {what}.", "{who} works as a {what}.")),
    "item": (("item", "owns"), "string", ("{who} has the {what}.", "{who} owns the {what}.")),
    "day": (("day", "free"), "string", ("{who} is free on {what}.", "{who} can come on {what}.")),
    "code": (("code", "number"), "integer", ("The code of {who} is {what}.", "{who} has the number {what}.")),
}
"""Fact -> its possible keys, its JSON type, the sentences that say it."""
_MORE_SENTENCES = {
    "age": ("{who}'s age is {what}.", "{who}, aged {what}, is here."),
    "city": ("{who} moved to {what}.", "{who} comes from {what}."),
    "job": ("The job of {who} is {what}.", "{who} is employed as a {what}."),
    "item": ("{who} bought the {what}.", "{who} carries the {what}."),
    "day": ("{who} has time on {what}.", "On {what}, {who} is free."),
    "code": ("{who}'s code is {what}.", "{who}'s number is {what}."),
}
"""Fact -> sentences that only training says it in."""
_NAMED = {
    "city": True,
    "job": False,
    "item": False,
}  # facts that may be any word, with a capital letter or not
_STRANGE = 0.5  # of the people and such values of a text that varies, the share of further and invented words
_REWORDED = 0.3  # of its sentences, the share of others
_NAME_KEYS = ("name", "person")
_ASK = (
    "Write this as JSON with the keys {keys}.",
    "Give me a JSON object with {keys}.",
    "Return JSON with the fields {keys}.",
)


def ask(rng: random.Random, held: bool, *, fixed: bool = False) -> Question:
    """Draw three or four facts about a person, and a schema of three or four fields: the name and others.

    Parameters
    ----------
    fixed
        Draw only people, values and sentences of the check-up, for the tokenizer.
    """
    varied = varies(rng, held or fixed)
    who = strange(rng, name=True) if varied and rng.random() < _STRANGE else rng.choice(PEOPLE)
    chosen = rng.sample(list(_FIELDS), rng.randint(3, 4))
    facts = {fact: _value(rng, who, fact, held, varied) for fact in chosen}
    wanted = rng.sample(chosen, rng.randint(2, 3))
    fields = {rng.choice(_NAME_KEYS): (who, "string")}
    fields |= {rng.choice(_FIELDS[fact][0]): (facts[fact], _FIELDS[fact][1]) for fact in wanted}
    keys = rng.sample(list(fields), len(fields))
    text = " ".join(sentence(_pattern(rng, fact, varied), who=who, what=facts[fact]) for fact in chosen)
    named = ", ".join(f"{key} ({fields[key][1]})" for key in keys)
    return Question(
        "records",
        f"{text} {rng.choice(_ASK).format(keys=named)}",
        json.dumps({key: fields[key][0] for key in keys}),
        group=f"{len(keys)} fields",
        schema=_schema({key: fields[key][1] for key in keys}),
    )


def is_held_out(who: str, fact: str, what: object) -> bool:
    """Return whether this fact with this value of this person is held out."""
    return _hashed(who, fact, what) or (who in PEOPLE and what in _VALUES[True][fact][who])


def _value(rng: random.Random, who: str, fact: str, held: bool, varied: bool) -> Any:
    """Draw a value; of a text that varies, also one that no other text has."""
    if varied and fact in _NAMED and rng.random() < _STRANGE:
        while is_held_out(who, fact, what := strange(rng, name=_NAMED[fact])):
            pass
        return what
    if who in PEOPLE:
        return rng.choice(_VALUES[held][fact][who])
    every = _EVERY[fact]
    return rng.choice([what for what in every if not _hashed(who, fact, what)] or every)


def _pattern(rng: random.Random, fact: str, varied: bool) -> str:
    """Draw a way to say a fact."""
    if varied and rng.random() < _REWORDED:
        return rng.choice(_MORE_SENTENCES[fact])
    return rng.choice(_FIELDS[fact][2])


def _schema(types: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in types.items()},
        "required": list(types),
        "additionalProperties": False,
    }


def _values(held: bool) -> dict[str, dict[str, list[Any]]]:
    return {fact: {who: _split(who, fact, values, held) for who in PEOPLE} for fact, values in _EVERY.items()}


def _split(who: str, fact: str, values: list[Any], held: bool) -> list[Any]:
    """Return the values of one part; where none of a small set is held out, the first one is."""
    part = [what for what in values if _hashed(who, fact, what)] or values[:1]
    return part if held else [what for what in values if what not in part]


def _hashed(who: str, fact: str, what: object) -> bool:
    return held_out(f"record {who} {fact} {what}", share=0.2)


_EVERY: dict[str, list[Any]] = {
    "age": list(range(18, 90)), "city": list(CITIES), "job": list(JOBS), "item": list(THINGS),
    "day": list(DAYS), "code": list(range(100, 1000)),
}  # fmt: skip
#: held out or not -> fact -> person -> its possible values
_VALUES = {held: _values(held) for held in (False, True)}


def corpus() -> list[str]:
    """Return questions and answers, for the tokenizer."""
    rng = random.Random(0)
    drawn = [ask(rng, False, fixed=True) for _ in range(150)]
    return [text for question in drawn for text in (question.prompt, question.answer)] + list(
        JOBS + DAYS
    ) * 20
