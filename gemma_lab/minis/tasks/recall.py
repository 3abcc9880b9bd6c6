"""Recall of a fact from a paragraph: who has which code. Held-out texts are newly drawn, with ten facts."""

from __future__ import annotations

import random

from .question import Question

NAMES = [
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jan", "Kira", "Leo",
    "Mona", "Nils", "Olga", "Paul", "Rosa", "Sami", "Tara", "Udo", "Vera", "Walid", "Xenia", "Yuki",
    "Zoe", "Amir", "Bela", "Carl", "Dina", "Emil",
]  # fmt: skip
THINGS = [
    "lemon", "apple", "drum", "key", "lamp", "map", "coin", "rope", "bell", "book", "cup", "hat",
    "ring", "shoe", "kite", "stone", "flute", "clock", "knife", "brush",
]  # fmt: skip
MOST_FACTS = 10
_FACT = {"code": "The code of {who} is {what}.", "thing": "{who} has the {what}."}
_ASK = {
    "code": ("What is the code of {who}?", "Tell me the code of {who}."),
    "thing": ("What does {who} have?",),
}


def ask(rng: random.Random, held: bool, *, most: int = MOST_FACTS) -> Question:
    """Draw a text of facts and a question about one of them.

    Parameters
    ----------
    held
        Evaluation asks about ten facts, training about 2 to `most`.
    most
        The most facts of a text; a training begins with few.
    """
    count = MOST_FACTS if held else rng.randint(2, most)
    kind = rng.choice(list(_FACT))
    people = rng.sample(NAMES, count)
    values = rng.sample(THINGS, count) if kind == "thing" else [f"{rng.randrange(10, 100)}" for _ in people]
    facts = dict(zip(people, values, strict=True))
    text = " ".join(_FACT[kind].format(who=who, what=what) for who, what in facts.items())
    asked = [
        (rng.choice(_ASK[kind]).format(who=who), facts[who]) for who in rng.sample(people, min(count, 6))
    ]
    (question, answer), *more = asked
    return Question("recall", f"{text} {question}", answer, group=kind, more=tuple(more))


def corpus() -> list[str]:
    """Return texts of this kind, for the tokenizer."""
    rng = random.Random(0)
    return [ask(rng, False).prompt for _ in range(200)]
