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
    kind, facts = _draw(rng, MOST_FACTS if held else rng.randint(2, most))
    asked = [
        (rng.choice(_ASK[kind]).format(who=who), facts[who])
        for who in rng.choices(list(facts), k=rng.randint(1, 6))  # again and again: what is left says nothing
    ]
    (question, answer), *more = asked
    return Question("recall", f"{_told(kind, facts)} {question}", answer, group=kind, more=tuple(more))


def retold(rng: random.Random, *, most: int = MOST_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and the same facts in another order.

    Returns
    -------
    tuple
        The text, and each fact as what stands before its value and the value.
    """
    kind, facts = _draw(rng, rng.randint(2, most))
    again = [_FACT[kind].format(who=who, what="|").split("|")[0] for who in facts]
    parts = list(zip(again, facts.values(), strict=True))
    rng.shuffle(parts)
    return _told(kind, facts), parts


def asked(rng: random.Random, *, most: int = MOST_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and as many questions about any of them, with their answers."""
    kind, facts = _draw(rng, rng.randint(2, most))
    drawn = rng.choices(list(facts), k=len(facts))
    return _told(kind, facts), [(rng.choice(_ASK[kind]).format(who=who) + " ", facts[who]) for who in drawn]


def _draw(rng: random.Random, count: int) -> tuple[str, dict[str, str]]:
    kind = rng.choice(list(_FACT))
    people = rng.sample(NAMES, count)
    values = rng.sample(THINGS, count) if kind == "thing" else [f"{rng.randrange(10, 100)}" for _ in people]
    return kind, dict(zip(people, values, strict=True))


def _told(kind: str, facts: dict[str, str]) -> str:
    return " ".join(_FACT[kind].format(who=who, what=what) for who, what in facts.items())


def corpus() -> list[str]:
    """Return texts of this kind, for the tokenizer."""
    rng = random.Random(0)
    return [ask(rng, False).prompt for _ in range(200)]
