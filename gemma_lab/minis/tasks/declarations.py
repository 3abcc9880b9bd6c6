"""Declarations of functions: in training also under other names and with more said about them.

A mini that always sees the parameter ``city`` writes ``city`` where ``town`` is declared. So training renames
functions and parameters: to synonyms, compounds of them, in snake_case and camelCase, and to words that do
not exist; the descriptions then tell what they are for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from .functions import Function
from .invented_words import invented

_NOUNS = {
    "weather": ("climate", "sky", "temperature", "conditions", "outlook"),
    "clock": ("hour", "now", "timezone", "watch", "current_time"),
    "timer": ("stopwatch", "remind_in", "wait", "egg_timer", "delay"),
    "alarm": ("wakeup", "morning_call", "reminder", "ring_at", "awake"),
    "light": ("lamp", "lights", "bulb", "lighting", "toggle"),
    "music": ("song", "playlist", "tune", "player", "sound"),
    "translate": ("dictionary", "interpreter", "words_abroad", "say_in", "foreign_word"),
    "price": ("charge", "fee", "expense", "price_tag", "value_of"),
    "stock": ("inventory", "supply", "remaining", "warehouse", "left_over"),
    "phone": ("ring_up", "telephone", "talk_to", "contact", "call_up"),
    "age": ("years_old", "birth_year", "how_old", "seniority", "lifetime"),
    "meet": ("appointment", "meeting", "schedule", "diary", "agenda"),
    "distance": ("way", "trip", "journey", "mileage", "how_far"),
    "buy": ("purchase", "basket", "checkout", "acquire", "cart"),
}
"""First name of a function -> what training also calls it; none of them is a name of another function."""
_PARAMETERS = {
    "city": ("town", "place", "location", "municipality", "city_name", "where"),
    "minutes": ("duration", "mins", "length", "how_long", "minute_count"),
    "time": ("hour", "when", "moment", "clock_time", "at_time"),
    "room": ("place", "where", "location", "area", "room_name"),
    "state": ("mode", "setting", "power", "position", "on_or_off"),
    "style": ("genre", "kind", "music_type", "category", "taste"),
    "word": ("text", "term", "phrase", "expression", "source_text"),
    "language": ("target", "lang", "tongue", "target_language", "into"),
    "thing": ("item", "product", "object", "article", "goods"),
    "person": ("name", "who", "contact", "full_name", "somebody"),
    "day": ("date", "weekday", "when", "week_day", "on_day"),
    "start": ("origin", "departure", "source", "from_city", "begin"),
    "goal": ("destination", "target", "arrival", "to_city", "end"),
    "count": ("number", "quantity", "amount", "how_many", "pieces"),
}
"""Parameter -> what training also calls it."""
_VERBS = ("get", "find", "my", "fetch", "check", "lookup", "show", "query", "do", "run", "new", "the")
_ADDITIONS = ("tool", "service", "api", "request", "helper", "v2")
_DETERMINERS = ("my", "the", "wanted", "input", "given", "chosen")
_KINDS = ("value", "name", "param", "arg", "field")
_ABOUT = {
    "city": "Name of the city", "minutes": "Number of minutes", "time": "Time of day",
    "room": "Name of the room", "state": "Whether on or off", "style": "Style of the music",
    "word": "The word to translate", "language": "Language to translate into", "thing": "Name of the thing",
    "person": "Name of the person", "day": "Day of the week", "start": "City to start from",
    "goal": "City to go to", "count": "How many to buy",
}  # fmt: skip
_FRAMES = (
    "{}.", "Use this to do the following: {}.", "{}, for the user.", "This function serves to: {}.",
    "{}. Returns the result.", "Tool: {}. Call it if the user asks for that.",
)  # fmt: skip
_RENAMED = 0.75  # of the functions of declarations that vary, the share under other names; of parameters, too
_INVENTED = 0.2  # of other names, the share that do not exist
_COMPOUND = 0.5  # of other names, the share with a further word before or after
_CAMEL = 0.4  # of other names, the share in camelCase
_SAID_MORE = 0.4  # shares of required lists, of described parameters, and of longer descriptions


@dataclass(frozen=True)
class Declaration:
    """A function as it is declared.

    Attributes
    ----------
    name
        Its declared name.
    parameters
        The function's own parameters -> their declared names.
    tool
        The declaration as the chat format takes it.
    """

    name: str
    parameters: dict[str, str]
    tool: dict[str, Any]

    def renamed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return arguments under the declared names."""
        return {self.parameters[parameter]: value for parameter, value in values.items()}


def usual(function: Function, name: str) -> Declaration:
    """Return the declaration of a function under one of its names, with its own parameters."""
    return Declaration(name, {key: key for key in function.values}, function.declared(name))


def varied(rng: random.Random, function: Function, name: str) -> Declaration:
    """Draw a declaration under other names, or with more said, of which any part may stay as it is."""
    name = _function_name(rng, function) if rng.random() < _RENAMED else name
    keys, strange = _parameter_names(rng, function)
    tool = function.declared(name)
    declared = tool["function"]["parameters"]
    described = strange or rng.random() < _SAID_MORE  # nothing else tells what an invented name is for
    declared["properties"] = {
        keys[key]: kind | ({"description": _ABOUT[key]} if described else {})
        for key, kind in declared["properties"].items()
    }
    if rng.random() < _SAID_MORE:
        declared["required"] = list(declared["properties"])
    if rng.random() < _SAID_MORE:
        tool["function"]["description"] = rng.choice(_FRAMES).format(function.description)
    return Declaration(name, keys, tool)


def _function_name(rng: random.Random, function: Function) -> str:
    nouns = [invented(rng)] if rng.random() < _INVENTED else _NOUNS[function.names[0]]
    parts = rng.choice(nouns).split("_")
    return _compound(rng, parts, _VERBS, _ADDITIONS)


def _parameter_names(rng: random.Random, function: Function) -> tuple[dict[str, str], bool]:
    """Draw the names of the parameters, all different, and whether some of them do not exist."""
    strange = rng.random() < _INVENTED
    while True:
        keys = {key: key for key in function.values}
        if rng.random() < _RENAMED:
            for key in keys:
                parts = [invented(rng)] if strange else rng.choice((key, *_PARAMETERS[key])).split("_")
                keys[key] = _compound(rng, parts, _DETERMINERS, _KINDS)
        if len({*keys.values()}) == len(keys):
            return keys, strange and keys != {key: key for key in keys}


def _compound(rng: random.Random, parts: list[str], before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Return an identifier of some words, with a further one before or after them, or alone."""
    if rng.random() < _COMPOUND:
        parts = rng.choice(([rng.choice(before), *parts], [*parts, rng.choice(after)]))
    if rng.random() < _CAMEL:
        return parts[0] + "".join(part.capitalize() for part in parts[1:])
    return "_".join(parts)
