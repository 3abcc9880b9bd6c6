"""Recall of one or several facts from a text with unrelated sentences.

Texts are drawn anew for every question. Held out: a twentieth of the pairs of a person and a value, by hash;
evaluation asks for such pairs, among ten facts. `long` uses texts of 1k to 16k tokens, training up to
`LONGEST`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...evals.words import CITIES, PEOPLE, THINGS, filler, joined
from .invented_words import strange
from .question import Question, held_out
from .sentences import sentence
from .variation import varies

NAMES, MAX_FACTS = list(PEOPLE), 10
LONGEST = 1800
"""Tokens of the longest text of training and of skill ``"recall"``, its facts included."""
LENGTHS = {"1k": 1000, "4k": 4000, "8k": 8000, "16k": 16000}
"""Group of skill ``"long recall"`` -> tokens of the text."""


@dataclass(frozen=True)
class Wording:
    """A way to say a fact, and to ask for it.

    Attributes
    ----------
    fact
        With ``{who}`` and, at its end, ``{what}``.
    one, several
        Questions about one person, and about several.
    """

    fact: str
    one: tuple[str, ...]
    several: tuple[str, ...]


_WORDINGS = {
    "code": (
        Wording("The code of {who} is {what}.", ("What is the code of {who}?", "Tell me the code of {who}."),
                ("What are the codes of {who}?",)),
        Wording("The number that {who} chose is {what}.",
                ("What is the number that {who} chose?", "Which number did {who} choose?"),
                ("Which numbers did {who} choose?",)),
    ),
    "thing": (
        Wording("{who} has the {what}.", ("What does {who} have?",), ("What do {who} have?",)),
        Wording("{who} found the {what}.", ("What did {who} find?",), ("What did {who} find?",)),
    ),
    "city": (
        Wording("{who} lives in {what}.", ("Where does {who} live?", "In which city does {who} live?"),
                ("Where do {who} live?",)),
        Wording("{who} moved to {what}.", ("Where did {who} move to?",), ("Where did {who} move to?",)),
    ),
}  # fmt: skip
_MORE_WORDINGS = {
    "code": (
        Wording("{who}'s code is {what}.", ("What is {who}'s code?", "What is the code of {who}?"),
                ("What are the codes of {who}?",)),
        Wording("{who} has the number {what}.", ("Which number does {who} have?",),
                ("Which numbers do {who} have?",)),
        Wording("The PIN of {who} is {what}.", ("What is the PIN of {who}?", "What is {who}'s PIN?"),
                ("What are the PINs of {who}?",)),
    ),
    "thing": (
        Wording("{who} has a {what}.", ("What does {who} have?",), ("What do {who} have?",)),
        Wording("{who} bought a {what}.", ("What did {who} buy?",), ("What did {who} buy?",)),
        Wording("{who} owns the {what}.", ("What does {who} own?",), ("What do {who} own?",)),
        Wording("{who} carries a {what}.", ("What does {who} carry?",), ("What do {who} carry?",)),
        Wording("{who} lost the {what}.", ("What did {who} lose?",), ("What did {who} lose?",)),
    ),
    "city": (
        Wording("{who} works in {what}.", ("Where does {who} work?", "In which city does {who} work?"),
                ("Where do {who} work?",)),
        Wording("{who} was born in {what}.", ("Where was {who} born?",), ("Where were {who} born?",)),
        Wording("{who}'s home is in {what}.", ("Where is {who}'s home?", "Where is the home of {who}?"),
                ("Where are the homes of {who}?",)),
    ),
}  # fmt: skip
_REWORDED = 0.5  # of the texts that vary, the share in another wording
_STRANGE = 0.5  # of the names and values of a text that varies, the share of further and invented words
_LONGER = 0.5  # of the codes of a text that varies, the share with three or four digits
_ASKED_FIRST = 0.3  # of the texts that vary, the share that follow their question
_SEVERAL = 0.25  # share of questions that ask for more than one fact
_SEVERAL_TRAINED = 0.4  # the same in training: each of them is three chances to be wrong


def ask(
    rng: random.Random, held: bool, *, most: int = MAX_FACTS, longest: int = LONGEST, fixed: bool = False
) -> Question:
    """Draw a text of facts and a question about one or several of them.

    Parameters
    ----------
    held
        Evaluation asks about held-out pairs in texts of ten facts, training about 2 to `most` facts.
    most
        Largest number of facts; training begins with few.
    longest
        Tokens of the longest text; half of the texts of training contain only facts. 0: all of them do.
    fixed
        Word texts and questions only as the check-up does, for the tokenizer.
    """
    varied = varies(rng, held or fixed)
    kind, wording, facts = _draw(rng, MAX_FACTS if held else rng.randint(2, most), held, varied)
    several = _SEVERAL if held else _SEVERAL_TRAINED
    asked = [_question(rng, wording, facts, several=several) for _ in range(1 if held else rng.randint(1, 6))]
    tokens = rng.randint(0, longest) if held or rng.random() < 0.5 else 0
    (question, answer), *more = asked
    text = _write_text(rng, wording, facts, tokens)
    group = _group(kind, facts, answer)
    first = varied and rng.random() < _ASKED_FIRST
    prompt = f"{question} {text}" if first else f"{text} {question}"
    return Question("recall", prompt, answer, group=group, more=tuple(more))


def facts(rng: random.Random, held: bool) -> Question:
    """Draw a question about ten facts without other sentences."""
    kind, wording, drawn = _draw(rng, MAX_FACTS, held)
    question, answer = _question(rng, wording, drawn)
    text = _write_text(rng, wording, drawn, 0)
    return Question("facts", f"{text} {question}", answer, group=_group(kind, drawn, answer))


def long(rng: random.Random, held: bool, *, group: str | None = None) -> Question:
    """Draw a question about one of ten facts at a random position of a long text.

    Parameters
    ----------
    group
        A key of `LENGTHS`; default any.
    """
    group = group or rng.choice(list(LENGTHS))
    _, wording, facts = _draw(rng, MAX_FACTS, held)
    who = rng.choice(list(facts))
    question = rng.choice(wording.one).format(who=who)
    text = _write_text(rng, wording, facts, LENGTHS[group])
    return Question("long recall", f"{text} {question}", facts[who], group=group)


def retold(rng: random.Random, *, most: int = MAX_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and the same facts in another order.

    Returns
    -------
    tuple
        The text, and each fact as the words before its value and the value.
    """
    _, wording, facts = _draw(rng, rng.randint(2, most), False, varies(rng, False))
    again = [
        sentence(wording.fact, who=who, what=what).removesuffix(f"{what}.") for who, what in facts.items()
    ]
    parts = list(zip(again, facts.values(), strict=True))
    rng.shuffle(parts)
    return _write_text(rng, wording, facts, 0), parts


def asked(rng: random.Random, *, most: int = MAX_FACTS) -> tuple[str, list[tuple[str, str]]]:
    """Draw a text of 2 to `most` facts, and as many questions about any of them, with their answers."""
    _, wording, facts = _draw(rng, rng.randint(2, most), False, varies(rng, False))
    drawn = [_question(rng, wording, facts, several=_SEVERAL_TRAINED) for _ in facts]
    return _write_text(rng, wording, facts, 0), [(f"{question} ", answer) for question, answer in drawn]


def tokens_of(text: str) -> int:
    """Return the approximate number of tokens of a text of this task: words, digits and punctuation."""
    return len(re.findall(r"\d|[^\W\d]+|[^\w\s]", text))


def is_held_out(who: str, what: str) -> bool:
    """Return whether a pair of a person and a value is held out."""
    return held_out(f"{who} {what}", share=0.05)


def _draw(
    rng: random.Random, count: int, held: bool, varied: bool = False
) -> tuple[str, Wording, dict[str, str]]:
    """Draw a kind of fact, its wording, and its owners; with `held` all of them are held-out pairs."""
    kind = rng.choice(list(_WORDINGS))
    wording = rng.choice(_WORDINGS[kind])
    if varied:
        if rng.random() < _REWORDED:
            wording = rng.choice(_MORE_WORDINGS[kind])
        return kind, wording, _varied_facts(rng, kind, count)
    while True:
        facts: dict[str, str] = {}
        for who in rng.sample(NAMES, len(NAMES)):
            free = [what for what in _VALUES[held][kind][who] if kind == "code" or what not in facts.values()]
            if free and len(facts) < count:
                facts[who] = rng.choice(free)
        if len(facts) == count:
            return kind, wording, facts


def _varied_facts(rng: random.Random, kind: str, count: int) -> dict[str, str]:
    """Draw people and values of training, some of which no other text has."""
    facts: dict[str, str] = {}
    while len(facts) < count:
        who = strange(rng, name=True) if rng.random() < _STRANGE else rng.choice(NAMES)
        what = _code(rng) if kind == "code" else _word(rng, kind)
        clear = who not in {*facts, *facts.values(), what} and what not in facts  # nobody is called as a city
        if clear and (kind == "code" or what not in facts.values()) and not is_held_out(who, what):
            facts[who] = what
    return facts


def _code(rng: random.Random) -> str:
    digits = rng.choice((3, 4)) if rng.random() < _LONGER else 2
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _word(rng: random.Random, kind: str) -> str:
    if rng.random() < _STRANGE:
        return strange(rng, name=kind == "city")
    return rng.choice(CITIES if kind == "city" else THINGS)


def _question(
    rng: random.Random, wording: Wording, facts: dict[str, str], *, several: float = _SEVERAL
) -> tuple[str, str]:
    if len(facts) > 2 and rng.random() < several:
        people = rng.sample(list(facts), rng.randint(2, 3))
        values = [facts[who] for who in people]
        return rng.choice(wording.several).format(who=joined(people)), joined(values)
    who = rng.choice(list(facts))  # again and again the same: what was not asked yet says nothing
    return rng.choice(wording.one).format(who=who), facts[who]


def _group(kind: str, facts: dict[str, str], answer: str) -> str:
    return kind if answer in facts.values() else "several"


def _write_text(rng: random.Random, wording: Wording, facts: dict[str, str], tokens: int) -> str:
    """Return the facts in order among enough other sentences for a text of the given number of tokens."""
    statements = [sentence(wording.fact, who=who, what=what) for who, what in facts.items()]
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
    texts = [ask(rng, False, longest=300, fixed=True).prompt for _ in range(300)]
    return texts + [f" {word}" for word in (*PEOPLE, *THINGS, *CITIES)] * 20
