"""Abstention: greetings, and requests that a mini without declared functions cannot serve.

Without such questions in training, a mini writes a call to a function that nobody declared when it is greeted
(mini-moe did for two of three greetings). A greeting is returned, small talk of the tool task has its answer,
a question about a short text is answered from it, and everything else is answered with `UNKNOWN`, also what
the text does not say. No functions are declared: trained for 20 minutes on requests that none of several
declared functions serves, mini-moe answered requests that one of them does serve with `UNKNOWN`, too (calls
fell from 125 to some 50 of 125).

Held out, by hash: a fifth of the open requests and of the people that greetings name, the pairs of a person
and a thing that recall holds out, and the argument values that `gemma_lab.minis.tasks.calling` holds out.
(Greetings without a name are the same in both.)
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ...evals.words import PEOPLE, THINGS
from . import calling, instructions
from .question import Question, held_out

UNKNOWN = "I do not know."
"""The answer to a request that cannot be served."""

_UNSAID = 0.35  # share of questions about a text that it has no answer to
_NAMELESS = 0.4  # share of greetings without a name
_GREETINGS = (
    "Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Hey", "Good morning!", "Good evening!", "Good day.",
    "Hello, how are you?", "How are you?", "Nice to meet you.",
)  # fmt: skip
_NAMED = ("Hello, I am {}.", "Hi, my name is {}.", "Good morning, I am {}.", "My name is {}.", "This is {}.")
_OPEN = (
    "Why is the sky blue?", "Who are you?", "What can you do?", "What are you?", "Tell me a joke.",
    "Tell me a story.", "Write a poem.", "Help me.", "Can you help me?", "What do you think?",
    "What is love?", "What is the meaning of life?", "Explain gravity.", "Explain how a computer works.",
    "Who was Einstein?", "Who wrote this book?", "Who won the match?", "What happened yesterday?",
    "How does a car work?", "How do I cook rice?", "How do birds fly?", "Where do I live?",
    "Where are my keys?", "Why do cats sleep?", "What is a transformer?", "What is machine learning?",
    "What is an expert?", "What is attention?", "Give me some advice.", "Recommend a film.",
    "Plan a holiday for me.", "Write some code.", "Write a function in Python.", "Sort this list.",
    "Summarise the news.", "What should I eat?", "What is on television?", "Who is the president?",
    "When was the war?", "How big is the moon?", "Is there life on Mars?", "What is the best phone?",
    "Can I trust you?", "What comes next?", "Continue.", "Go on.", "Thank you.", "Please explain.",
    "I do not understand.", "I am bored.", "What is this?", "What does it mean?", "Tell me more.", "Why?",
    "What?", "test", "asdf", "What is XIV?", "Fix my bug.",
)  # fmt: skip
_ABOUT = (
    "Tell me about the {}.", "What is a {}?", "Describe the {}.", "Write a poem about the {}.",
    "Write a story about a {}.", "Why do people like the {}?", "How is a {} made?", "Who made the {}?",
    "Explain the {}.", "What do you know about the {}?", "Draw a {}.", "Is a {} useful?",
    "What is the history of the {}?", "Give me three facts about the {}.", "How do I repair a {}?",
)  # fmt: skip


def ask(rng: random.Random, held: bool) -> Question:
    """Draw one request without a right call, of the held-out part or of the rest."""
    return _KINDS[rng.choice(list(_KINDS))](rng, held)


def is_held_out(request: str) -> bool:
    """Return whether an open request, or a greeting that names a person, is held out."""
    return held_out(f"off topic {request}", share=0.2)


def _greeting(rng: random.Random, held: bool) -> Question:
    if rng.random() < _NAMELESS:
        return Question("abstention", rng.choice(_GREETINGS), "Hello!", group="greeting")
    who = rng.choice([name for name in PEOPLE if is_held_out(name) == held])
    return Question("abstention", rng.choice(_NAMED).format(who), f"Hello, {who}!", group="greeting")


def _open(rng: random.Random, held: bool) -> Question:
    every = _OPEN if rng.random() < 0.5 else _ABOUT
    request = rng.choice([one for one in every if is_held_out(one) == held])
    return Question("abstention", request.format(rng.choice(THINGS)), UNKNOWN, group="open")


def _without_tools(rng: random.Random, held: bool) -> Question:
    return Question("abstention", calling.requested(rng, held), UNKNOWN, group="no tools")


def _small_talk(rng: random.Random, held: bool) -> Question:
    prompt, answer = calling.small_talk(rng, held)
    return Question("abstention", prompt, answer, group="small talk")


def _about_a_text(rng: random.Random, held: bool) -> Question:
    text, who, what = instructions.having(rng, held, least=1)
    if rng.random() < _UNSAID:
        who, what = rng.choice([name for name in PEOPLE if name not in text]), UNKNOWN
    group = "not in the text" if what == UNKNOWN else "text"
    return Question("abstention", f"{text} What does {who} have?", what, group=group)


_KINDS: dict[str, Callable[[random.Random, bool], Question]] = {
    "greeting": _greeting,
    "open": _open,
    "no tools": _without_tools,
    "small talk": _small_talk,
    "text": _about_a_text,
}


def corpus() -> list[str]:
    """Return requests and answers, for the tokenizer."""
    named = [asked.format(who) for asked in _NAMED for who in PEOPLE]
    return [*_GREETINGS, *_OPEN, *(asked.format("") for asked in _ABOUT), *named, "Hello!", UNKNOWN] * 5
