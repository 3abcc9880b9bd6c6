"""Recall of one or several facts from a text with unrelated sentences.

Texts are drawn anew for every question. Held out: a twentieth of the pairs of a person and a value, by hash;
evaluation asks for such pairs, among ten facts. `long` uses texts of 1k to 16k tokens, training up to
`LONGEST`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ...evals.words import CITIES, PEOPLE, THINGS, filler, joined
from .question import Question, held_out

NAMES, MAX_FACTS = list(PEOPLE), 10
LONGEST = 1800
"""Tokens of the longest text of training and of skill ``"recall"``, its facts included."""
LENGTHS = {"1k": 1000, "4k": 4000, "8k": 8000, "16k": 16000}
"""Group of skill ``"long recall"`` -> tokens of the text."""

_FACTS = {
    "code": ("The code of {who} is {what}.", "The number that {who} chose is {what}."),
    "thing": ("{who} has the {what}.", "{who} found the {what}."),
    "city": ("{who} lives in {what}.", "{who} moved to {what}."),
}
_ASK = {
    "code": (
        ("What is the code of {who}?", "Tell me the code of {who}."),
        ("What is the number that {who} chose?", "Which number did {who} choose?"),
    ),
    "thing": (("What does {who} have?",), ("What did {who} find?",)),
    "city": (("Where does {who} live?", "In which city does {who} live?"), ("Where did {who} move to?",)),
}
_ASK_SEVERAL = {
    "code": (("What are the codes of {who}?",), ("Which numbers did {who} choose?",)),
    "thing": (("What do {who} have?",), ("What did {who} find?",)),
    "city": (("Where do {who} live?",), ("Where did {who} move to?",)),
}
_SEVERAL = 0.25  # share of questions that ask for more than one fact
_SEVERAL_TRAINED = 0.4  # the same in training: each of them is three chances to be wrong


def ask(rng: random.Random, held: bool, *, most: int = MAX_FACTS, longest: int = LONGEST) -> Question:
    """Draw a text of facts and a question about one or several of them.

    Parameters
    ----------
    held
        Evaluation asks about held-out pairs in texts of ten facts, training about 2 to `most` facts.
    most
        Largest number of facts; training begins with few.
    longest
        Tokens of the longest text; half of the texts of training contain only facts. 0: all of them do.
    """
    kind, form, facts = _draw(rng, MAX_FACTS if held else rng.randint(2, most), held)
    several = _SEVERAL if held else _SEVERAL_TRAINED
    asked = [
        _question(rng, kind, form, facts, several=several) for _ in range(1 if held else rng.randint(1, 6))
    ]
    tokens = rng.randint(0, longest) if held or rng.random() < 0.5 else 0
    (question, answer), *more = asked
    text = _write_text(rng, kind, form, facts, tokens)
    group = _group(kind, facts, answer)
    return Question("recall", f"{text} {question}", answer, group=group, more=tuple(more))


def facts(rng: random.Random, held: bool) -> Question:
    """Draw a question about ten facts without other sentences."""
    kind, form, drawn = _draw(rng, MAX_FACTS, held)
    question, answer = _question(rng, kind, form, drawn)
    text = _write_text(rng, kind, form, drawn, 0)
    return Question("facts", f"{text} {question}", answer, group=_group(kind, drawn, answer))


def long(rng: random.Random, held: bool, *, group: str | None = None) -> Question:
    """Draw a question about one of ten facts at a random position of a long text.

    Parameters
    ----------
    group
        A key of `LENGTHS`; default any.
    """
    group = group or rng.choice(list(LENGTHS))
    kind, form, facts = _draw(rng, MAX_FACTS, held)
    who = rng.choice(list(facts))
    question = rng.choice(_ASK[kind][form]).format(who=who)
    text = _write_text(rng, kind, form, facts, LENGTHS[group])
    return Question("long recall", f"{text} {question}", facts[who], group=group)


def retold(rng: random.Random, *, most: int = MAX_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and the same facts in another order.

    Returns
    -------
    tuple
        The text, and each fact as the words before its value and the value.
    """
    kind, form, facts = _draw(rng, rng.randint(2, most), False)
    again = [_FACTS[kind][form].format(who=who, what="|").split("|")[0] for who in facts]
    parts = list(zip(again, facts.values(), strict=True))
    rng.shuffle(parts)
    return _write_text(rng, kind, form, facts, 0), parts


def asked(rng: random.Random, *, most: int = MAX_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and as many questions about any of them, with their answers."""
    kind, form, facts = _draw(rng, rng.randint(2, most), False)
    drawn = [_question(rng, kind, form, facts, several=_SEVERAL_TRAINED) for _ in facts]
    return _write_text(rng, kind, form, facts, 0), [(f"{question} ", answer) for question, answer in drawn]


def tokens_of(text: str) -> int:
    """Return the approximate number of tokens of a text of this task: words, digits and punctuation."""
    return len(re.findall(r"\d|[^\W\d]+|[^\w\s]", text))


def is_held_out(who: str, what: str) -> bool:
    """Return whether a pair of a person and a value is held out."""
    return held_out(f"{who} {what}", share=0.05)


def _draw(rng: random.Random, count: int, held: bool) -> tuple[str, int, dict[str, str]]:
    """Draw a kind of fact, its wording, and its owners; with `held` all of them are held-out pairs."""
    kind = rng.choice(list(_FACTS))
    form = rng.randrange(len(_FACTS[kind]))
    while True:
        facts: dict[str, str] = {}
        for who in rng.sample(NAMES, len(NAMES)):
            free = [what for what in _VALUES[held][kind][who] if kind == "code" or what not in facts.values()]
            if free and len(facts) < count:
                facts[who] = rng.choice(free)
        if len(facts) == count:
            return kind, form, facts


def _question(
    rng: random.Random, kind: str, form: int, facts: dict[str, str], *, several: float = _SEVERAL
) -> tuple[str, str]:
    if len(facts) > 2 and rng.random() < several:
        people = rng.sample(list(facts), rng.randint(2, 3))
        values = [facts[who] for who in people]
        return rng.choice(_ASK_SEVERAL[kind][form]).format(who=joined(people)), joined(values)
    who = rng.choice(list(facts))  # again and again the same: what was not asked yet says nothing
    return rng.choice(_ASK[kind][form]).format(who=who), facts[who]


def _group(kind: str, facts: dict[str, str], answer: str) -> str:
    return kind if answer in facts.values() else "several"


def _write_text(rng: random.Random, kind: str, form: int, facts: dict[str, str], tokens: int) -> str:
    """Return the facts in order among enough other sentences for a text of the given number of tokens."""
    statements = [_FACTS[kind][form].format(who=who, what=what) for who, what in facts.items()]
    missing = tokens - tokens_of(" ".join(statements))
    others: list[str] = []
    while missing > 0:
        others.append(filler(rng))
        missing -= len(others[-1].split()) + 1
    places = sorted(rng.choices(range(len(others) + 1), k=len(statements)))
    for place, fact in zip(reversed(places), reversed(statements), strict=True):
        others.insert(place, fact)
    return " ".join(others)


def _values(held: bool) -> dict[str, dict[str, list[str]]]:
    all_of: dict[str, Sequence[str]] = {
        "code": [str(code) for code in range(10, 100)], "thing": THINGS, "city": CITIES,
    }  # fmt: skip
    return {
        kind: {who: [what for what in values if is_held_out(who, what) == held] for who in NAMES}
        for kind, values in all_of.items()
    }


#: held out or not -> kind -> person -> what they may have
_VALUES = {held: _values(held) for held in (False, True)}


def corpus() -> list[str]:
    """Return texts of this task, for the tokenizer; every word of it occurs often."""
    rng = random.Random(0)
    texts = [ask(rng, False, longest=300).prompt for _ in range(300)]
    return texts + [f" {word}" for word in (*PEOPLE, *THINGS, *CITIES)] * 20
