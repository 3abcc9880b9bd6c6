"""Functions of the tool task: names, parameters, requests and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...evals.words import CITIES, DAYS, PEOPLE, THINGS

_COUNTS = tuple(range(2, 60))
_TIMES = tuple(f"{hour}:{minute:02d}" for hour in range(6, 23) for minute in (0, 15, 30, 45))
_WEATHER = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy")
_ROOMS = ("kitchen", "hall", "garden", "office", "cellar", "bedroom")
_TONGUES = ("German", "French", "Spanish", "Turkish", "Russian", "Hindi")
_MUSIC = ("jazz", "rock", "folk", "soul", "opera", "blues")
_NUMBERS = tuple(range(2, 100))
_MORE_ROOMS = (
    "attic", "library", "garage", "studio", "lobby", "stable", "tower", "bathroom", "porch", "shed",
)  # fmt: skip
_MORE_TONGUES = (
    "English", "Italian", "Arabic", "Thai", "Korean", "Japanese", "Chinese", "Greek", "Dutch", "Polish",
)  # fmt: skip
_MORE_MUSIC = ("pop", "metal", "disco", "swing", "techno", "polka", "tango", "samba", "waltz", "funk")
NAME_PREFIXES = ("find", "do", "new", "my", "ask", "run", "make", "open", "show", "use", "get", "set", "add")
"""First parts of the compound names that only training declares."""
_FURTHER = (
    "baker pilot nurse farmer painter teacher doctor singer driver river road wind market garden dog "
    "train sea school bird house street forest boat red green blue yellow black white orange purple brown "
    "circle square triangle star moon sun tree leaf flower grass field hill valley lake island beach "
    "bridge window door table chair bottle plate spoon fork basket box bag coat glove scarf button needle "
    "thread wheel engine ladder hammer nail saw pencil paper letter stamp ticket bread butter cheese milk "
    "sugar salt pepper onion carrot potato tomato banana cherry grape melon peach horse cow sheep goat "
    "pig duck goose mouse rabbit fox wolf bear lion tiger monkey piano violin guitar trumpet mirror "
    "candle pillow blanket carpet curtain wall roof floor pantry balcony terrace chapel harbour station "
    "museum theatre Lisbon Warsaw Geneva Helsinki Naples Bergen Havana Manila Nairobi Denver Swedish "
    "Danish Finnish Czech Hebrew Bengali Swahili Anna Boris Clara David Elena Felix Greta Henry Irene "
    "Jonas Karin Lukas Maria Nora Oscar Petra Quinn Ralf Sonja Tomas Ursula Viktor Wanda "
)
FURTHER_WORDS = tuple(_FURTHER.split())
"""Words that training passes whatever the function, unless they are held out for it."""


@dataclass(frozen=True, eq=False)
class Function:
    """A function, under any of several names.

    Attributes
    ----------
    names
        Its possible names.
    description
        What it does, in three or four words.
    values
        Parameter → its possible values.
    asked
        How a person requests it, with ``{parameter}`` as placeholder.
    result
        Key of its result and the possible values; None for functions without a result.
    more
        Parameter → values that only training uses. Of few values nearly all may be held out, and the rest
        would be memorised instead of read from the request.
    """

    names: tuple[str, ...]
    description: str
    values: dict[str, Sequence[Any]]
    asked: tuple[str, ...]
    result: tuple[str, Sequence[Any]] | None = None
    more: dict[str, Sequence[Any]] = field(default_factory=dict)

    def declared(self, name: str) -> dict[str, Any]:
        """Return the declaration under one of its names, as the chat format takes it."""
        kinds = {
            key: "integer" if isinstance(some[0], int) else "string" for key, some in self.values.items()
        }
        parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in kinds.items()}}
        function = {"name": name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


FUNCTIONS = (
    Function(
        ("weather", "get_weather", "forecast"), "Weather in a city", {"city": CITIES},
        ("What is the weather in {city}?", "How is the weather in {city} today?", "Will it rain in {city}?"),
        ("weather", _WEATHER),
    ),
    Function(
        ("clock", "get_time", "local_time"), "Time in a city", {"city": CITIES},
        ("What time is it in {city}?", "Tell me the time in {city}."), ("time", _TIMES),
    ),
    Function(
        ("timer", "set_timer", "countdown"), "Start a timer", {"minutes": _COUNTS},
        ("Set a timer for {minutes} minutes.", "Start a timer of {minutes} minutes."),
    ),
    Function(
        ("alarm", "set_alarm", "wake"), "Set an alarm", {"time": _TIMES},
        ("Wake me at {time}.", "Set an alarm for {time}."),
    ),
    Function(
        ("light", "set_light", "switch"), "Switch a light", {"room": _ROOMS, "state": ("on", "off")},
        ("Turn {state} the light in the {room}.", "Switch the light in the {room} {state}."),
        more={"room": _MORE_ROOMS},
    ),
    Function(
        ("music", "play_music", "radio"), "Play music", {"style": _MUSIC},
        ("Play some {style}.", "I want to hear {style}."), more={"style": _MORE_MUSIC},
    ),
    Function(
        ("translate", "to_language", "translator"), "Translate a word",
        {"word": THINGS, "language": _TONGUES},
        ("Translate {word} into {language}.", "Translate the word {word} into {language}."),
        more={"language": _MORE_TONGUES},
    ),
    Function(
        ("price", "get_price", "cost"), "Price of a thing", {"thing": THINGS},
        ("What does the {thing} cost?", "What is the price of the {thing}?"), ("price", _NUMBERS),
    ),
    Function(
        ("stock", "count_stock", "store"), "How many are left", {"thing": THINGS},
        ("How many of the {thing} are left?", "Is the {thing} in stock?"), ("count", _NUMBERS),
    ),
    Function(
        ("phone", "call_person", "dial"), "Call a person", {"person": PEOPLE},
        ("Call {person}.", "I want to speak to {person}."),
    ),
    Function(
        ("age", "get_age", "birthday"), "Age of a person", {"person": PEOPLE},
        ("How old is {person}?", "Tell me the age of {person}."), ("age", _NUMBERS),
    ),
    Function(
        ("meet", "add_meeting", "calendar"), "Plan a meeting", {"person": PEOPLE, "day": DAYS},
        ("Plan a meeting with {person} on {day}.", "I meet {person} on {day}, note it."),
    ),
    Function(
        ("distance", "get_distance", "route"), "Way between cities", {"start": CITIES, "goal": CITIES},
        ("How far is it from {start} to {goal}?", "How long is the way from {start} to {goal}?"),
        ("hours", _NUMBERS),
    ),
    Function(
        ("buy", "order", "shop"), "Buy things", {"thing": THINGS, "count": _COUNTS},
        ("Buy the {thing} {count} times.", "Order the {thing}, {count} of them."),
    ),
)  # fmt: skip

MORE_REQUESTS = {
    "weather": ("How is it outside in {city}?", "Check the weather in {city}.",
                "Give me the weather of {city}."),
    "clock": ("What is the local time of {city}?", "How late is it in {city}?",
              "Give me the time in {city}."),
    "timer": ("Remind me in {minutes} minutes.", "Count down {minutes} minutes.",
              "Let me know after {minutes} minutes."),
    "alarm": ("I have to get up at {time}.", "The alarm should ring at {time}.", "Let it ring at {time}."),
    "light": ("The light in the {room} should be {state}.", "Light {state} in the {room}, please.",
              "Make the light in the {room} go {state}."),
    "music": ("Put on {style}.", "Could you play {style}?", "I am in the mood for {style}."),
    "translate": ("Look up {word} in {language}.", "I need {word} in {language}.",
                  "Give me a translation of {word} into {language}."),
    "price": ("How much is the {thing}?", "Tell me what the {thing} costs.", "How expensive is the {thing}?"),
    "stock": ("How many of the {thing} do we have?", "Do you still have the {thing}?",
              "Check the stock of the {thing}."),
    "phone": ("Please ring {person}.", "Get me {person} on the phone.", "Put me through to {person}."),
    "age": ("What is the age of {person}?", "In years, how old is {person}?",
            "Find out how old {person} is."),
    "meet": ("Arrange a meeting on {day} with {person}.", "On {day} I see {person}.",
             "Put {person} into my calendar for {day}."),
    "distance": ("What is the distance between {start} and {goal}?",
                 "I go from {start} to {goal}, how far is it?",
                 "How far away is {goal} if I start in {start}?"),
    "buy": ("I need {count} of the {thing}.", "Get me {count} times the {thing}.",
            "Put the {thing} into the basket, {count} of them."),
}  # fmt: skip
"""First name of a function -> requests that only training makes."""
