"""Tool use: call the right one of several declared functions, or none, or answer from a call's result.

Held out, by hash: a fifth of the sets of declared functions, and a fifth of the argument values of every
function. Evaluation asks for held-out values under held-out sets; training sees neither. Training passes
words of other functions, further words and invented ones as well ("Play some bedroom."), so that arguments
are read from the request, not memorised, and declares functions under compound names ("find_price"), so that
names are read from the declarations. (Parameters with two values, on and off, and the requests that need no
call are the same in both.)
"""

from __future__ import annotations

import functools
import random
from typing import Any

from ...evals.words import CITIES, PEOPLE, THINGS
from .functions import FUNCTIONS, FURTHER_WORDS, NAME_PREFIXES, Function
from .question import Question, held_out

_CALLS, _RESULTS = 0.6, 0.2  # shares of questions; the rest need no call
_STRANGE = 0.7  # share of the words passed in training that may be any word at all
_FURTHER, _INVENTED = 0.25, 0.1  # of these, the shares of further words and of words that do not exist
_OFTEN = 0.5  # share of the arguments of the drill that are words which are hard to copy
_COMPOUND = 0.4  # share of the names in training that are made of two words
_DECLARED = (4, 5, 6)
_FEW = 5  # values of a parameter that are too few to hold some out
_OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("day", "night"), ("open", "closed"),
    ("long", "short"), ("black", "white"), ("wet", "dry"), ("up", "down"),
)  # fmt: skip
_WORDS = (*CITIES, *THINGS, *PEOPLE)
_PASSED = tuple(dict.fromkeys(
    value for function in FUNCTIONS for values in (function.values, function.more)
    for some in values.values() for value in some if isinstance(value, str) and value.isalpha()
))  # fmt: skip
"""Every word that some function takes."""


def passed_words() -> tuple[str, ...]:
    """Return every word that some function takes."""
    return _PASSED


def ask(rng: random.Random, held: bool) -> Question:
    """Draw a question with four to six declared functions: a call, no call, or an answer from a result."""
    share = rng.random()
    if share < _CALLS:
        function, name, values, tools = _drawn(rng, held)
        call = {"name": name, "arguments": values}
        return Question("tools", _request(rng, function, values), "", group="call", tools=tools, call=call)
    if share < _CALLS + _RESULTS:
        return _from_result(rng, held)
    prompt, answer = small_talk(rng, held)
    return Question("tools", prompt, answer, group="no call", tools=_declared(rng, held, [])[0])


def is_held_out(key: str, value: object) -> bool:
    """Return whether this value is held out for the function whose first name is `key`."""
    return held_out(f"argument {key} {value}", share=0.2)


def is_held_out_set(names: list[str]) -> bool:
    """Return whether this set of functions, under these names, is held out."""
    return held_out("functions " + " ".join(sorted(names)), share=0.2)


def _drawn(
    rng: random.Random, held: bool, *, telling: bool = False
) -> tuple[Function, str, dict[str, Any], tuple[dict[str, Any], ...]]:
    """Draw a function, one of its names, its arguments, and the declarations that contain it."""
    function = rng.choice([each for each in FUNCTIONS if each.result or not telling])
    values = _arguments(rng, function, held)
    tools, names = _declared(rng, held, [function])
    return function, names[function], values, tools


def called(
    rng: random.Random, *, count: int, often: tuple[str, ...] = ()
) -> tuple[tuple[dict[str, Any], ...], list[tuple[str, Any]]]:
    """Draw declared functions of training, and requests for one of them with their calls.

    Parameters
    ----------
    count
        Number of calls.
    often
        Words that half of the arguments are drawn from, where the function takes words.
    """
    tools, names = _declared(rng, False, [])
    asked = []
    for function in rng.choices(list(names), k=count):
        values = _arguments(rng, function, False, often=often)
        asked.append((_request(rng, function, values), {"name": names[function], "arguments": values}))
    return tools, asked


def requested(rng: random.Random, held: bool) -> str:
    """Draw a request for a function, without any declaration."""
    function = rng.choice(FUNCTIONS)
    return _request(rng, function, _arguments(rng, function, held))


def _arguments(
    rng: random.Random, function: Function, held: bool, *, often: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Draw the arguments of a function, all different."""
    values: dict[str, Any] = {}
    for parameter in function.values:
        some = _part(function, parameter, held)
        if not held and rng.random() < _STRANGE:
            some = _strange(rng, function, parameter) or some
        if often and _passed(function, parameter) and rng.random() < _OFTEN:
            left = {*often}.difference(values.values())
            some = tuple(word for word in _passed(function, parameter) if word in left) or some
        values[parameter] = rng.choice([value for value in some if value not in values.values()])
    return values


def _strange(rng: random.Random, function: Function, parameter: str) -> tuple[str, ...]:
    """Return words that training may pass where a word is expected, of one origin; elsewhere, nothing."""
    if not (passed := _passed(function, parameter)) or (share := rng.random()) >= _FURTHER + _INVENTED:
        return passed
    if share < _FURTHER:
        return tuple(word for word in FURTHER_WORDS if not is_held_out(function.names[0], word))
    return tuple(_invented(rng) for _ in range(3))  # as many as may already be passed, and one more


def _invented(rng: random.Random) -> str:
    """Return a word of two or three random syllables."""
    word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))
    return word + rng.choice(("", "n", "l", "r", "s", "k"))


@functools.cache
def _passed(function: Function, parameter: str) -> tuple[str, ...]:
    """Return the words of all functions that training may pass where a word is expected."""
    every, unseen = function.values[parameter], set(_part(function, parameter, True))
    if len(every) < _FEW or not all(value in _PASSED for value in every):
        return ()
    return tuple(word for word in _PASSED if word not in unseen and not is_held_out(function.names[0], word))


@functools.cache
def _part(function: Function, parameter: str, held: bool) -> tuple[Any, ...]:
    """Return the values of one part; parameters with few values have them all in both parts."""
    every = function.values[parameter]
    if len(every) < _FEW:
        return tuple(every)
    part = [value for value in every if is_held_out(function.names[0], value)] or every[:2]
    if held:
        return tuple(part)
    return (*(value for value in every if value not in part), *function.more.get(parameter, ()))


def _declared(
    rng: random.Random, held: bool, wanted: list[Function]
) -> tuple[tuple[dict[str, Any], ...], dict[Function, str]]:
    """Draw four to six functions with `wanted` among them, in random order, under any of their names."""
    while True:
        others = [function for function in FUNCTIONS if function not in wanted]
        chosen = wanted + rng.sample(others, rng.choice(_DECLARED) - len(wanted))
        rng.shuffle(chosen)
        names = {function: _named(rng, function, held) for function in chosen}
        if is_held_out_set(list(names.values())) == held:
            return tuple(function.declared(name) for function, name in names.items()), names


def _named(rng: random.Random, function: Function, held: bool) -> str:
    """Draw a name of a function: in training also one of two words, which is declared nowhere else."""
    name = rng.choice(function.names)
    if held or rng.random() >= _COMPOUND:
        return name
    return f"{rng.choice(NAME_PREFIXES)}_{name.rpartition('_')[2]}"


def _from_result(rng: random.Random, held: bool) -> Question:
    function, name, values, tools = _drawn(rng, held, telling=True)
    assert function.result is not None  # drawn among those that tell something
    key, results = function.result
    result = rng.choice(results)
    earlier = {
        "role": "assistant", "content": "",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": values}}],
        "tool_responses": [{"name": name, "response": {key: result}}],
    }  # fmt: skip
    prompt = function.asked[0].format(**values)  # "Will it rain?" asks for more than the result says
    return Question("tools", prompt, str(result), group="result", tools=tools, history=(earlier,))


def small_talk(rng: random.Random, held: bool) -> tuple[str, str]:
    """Draw a request that no function serves; the word to repeat is held out or not."""
    if rng.random() < 0.5:
        words = _WORDS if held else (*_WORDS, *_PASSED)
        word = rng.choice([
            word for word in words if word not in _WORDS or is_held_out("repeat", word) == held
        ])  # fmt: skip
        return rng.choice(("Repeat the word {}.", "Say the word {}.", "Just say {}.")).format(word), word
    a, b = rng.choice(_OPPOSITES)
    return rng.choice(("What is the opposite of {}?", "Which word is the opposite of {}?")).format(a), b


def _request(rng: random.Random, function: Function, values: dict[str, Any]) -> str:
    return rng.choice(function.asked).format(**values)


def corpus() -> list[str]:
    """Return questions, declarations and values, for the tokenizer."""
    rng = random.Random(0)
    texts: list[str] = []
    for _ in range(300):
        question = ask(rng, False)
        texts += [
            question.prompt,
            question.answer,
            *(_declaration(tool["function"]) for tool in question.tools),
        ]
        if question.call:
            values = ",".join(f"{key}:{value}" for key, value in question.call["arguments"].items())
            texts.append(f"call:{question.call['name']}{{{values}}}")
    # An argument has no space before it: the words need a piece without one too.
    passed = [str(value) for function in FUNCTIONS for some in function.values.values() for value in some]
    passed += [spelled for word in (*_PASSED, *FURTHER_WORDS) for spelled in (word, f" {word}")]
    return texts + ["response:value:null,true,false,", *passed] * 20


def _declaration(function: dict[str, Any]) -> str:
    """Return a declaration approximately as in the chat format: the same words, without control tokens."""
    kinds = ",".join(f"{key}:{{type:{kind['type'].upper()}}}"
                     for key, kind in function["parameters"]["properties"].items())  # fmt: skip
    name, text = function["name"], function["description"]
    return f"declaration:{name}{{description:{text},parameters:{{properties:{{{kinds}}},type:OBJECT}}}}"
