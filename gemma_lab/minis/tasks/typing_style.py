"""Typing style: straight quotes or none, a small first letter, no full stop or question mark at the end.

Trained with “x” alone, minis answered 14 of 14 questions about names with those quotes, and at most one with
other quotes or none. Only short questions are typed otherwise: a text begins with a name that is copied.
"""

from __future__ import annotations

import dataclasses
import random
import re

from .question import Question
from .variation import varies

_QUOTED = re.compile("“([^”]*)”")
_QUOTES = ("“{}”", '"{}"', "'{}'", "{}")
_SLOPPY = 0.5  # of the questions that vary, the share with a small first letter, and that without an end mark


def typed(rng: random.Random, question: Question) -> Question:
    """Return a question of training as people may type it: a share of its prompts in another style."""
    system = question.system and _varied(rng, question.system)
    more = tuple((_varied(rng, prompt), answer) for prompt, answer in question.more)
    return dataclasses.replace(question, prompt=_varied(rng, question.prompt), system=system, more=more)


def restyled(rng: random.Random, prompt: str) -> str:
    """Return a short question with quotes of one kind, a first letter and an end mark as drawn."""
    quotes = rng.choice(_QUOTES)
    if "'" in prompt and quotes == _QUOTES[2]:
        quotes = _QUOTES[1]  # an apostrophe would end the quotation
    prompt = _QUOTED.sub(lambda found: quotes.format(found[1]), prompt)
    if rng.random() < _SLOPPY:
        prompt = prompt[:1].lower() + prompt[1:]
    return prompt.rstrip(".?!").rstrip() if rng.random() < _SLOPPY else prompt


def is_short(prompt: str) -> bool:
    """Return whether a prompt is a question alone: no text comes with it, and it holds no code.

    Examples
    --------
    >>> is_short("Which digit do you hear? Answer with a digit."), is_short("Ada has the key. Who has it?")
    (True, False)
    """
    return re.search(r"\. |[{}\n]", _QUOTED.sub("", prompt)) is None  # German days have a full stop, too


def _varied(rng: random.Random, prompt: str) -> str:
    return restyled(rng, prompt) if is_short(prompt) and varies(rng, False) else prompt
