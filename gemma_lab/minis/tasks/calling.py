"""Tool use: call the right one of several declared functions, or none, or answer from a call's result.

Held out, by hash: a fifth of the sets of declared functions, and a fifth of the argument values of every
function. Evaluation asks for held-out values under held-out sets; training sees neither. Training passes
words of other functions, further words and invented ones as well ("Play some bedroom."), so that arguments
are read from the request, not memorised, and declares functions under compound names ("find_price"), so that
names are read from the declarations. A share of its declarations is varied, parameters included
(`gemma_lab.minis.tasks.declarations`), and a share of its requests in another wording. (Parameters with two
values, on and off, and the requests that need no call are the same in both.)
"""

from __future__ import annotations

import functools
import random
from typing import Any

from ...evals.words import CITIES, PEOPLE, THINGS
from . import declarations
from .declarations import Declaration
from .functions import FUNCTIONS, FURTHER_WORDS, MORE_REQUESTS, NAME_PREFIXES, Function
from .invented_words import invented
from .question import Question, held_out
from .variation import varies

_CALLS, _RESULTS = 0.6, 0.2  # shares of questions; the rest need no call
_STRANGE = 0.7  # share of the words passed in training that may be any word at all
_FURTHER, _INVENTED = 0.25, 0.1  # of these, the shares of further words and of words that do not exist
_CAPITAL = 0.5  # of those that do not exist, the share with a capital letter where names are expected
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


def ask(rng: random.Random, held: bool, *, fixed: bool = False) -> Question:
    """Draw a question with four to six declared functions: a call, no call, or an answer from a result.

    Parameters
    ----------
    fixed
        Vary neither declarations nor requests, for the tokenizer.
    """
    share, fixed = rng.random(), held or fixed
    if share < _CALLS:
        function, values, declared = _drawn(rng, held, fixed)
        request, call = _request(rng, function, values, fixed), _call(declared[function], values)
        return Question("tools", request, "", group="call", tools=_tools(declared), call=call)
    if share < _CALLS + _RESULTS:
        return _from_result(rng, held, fixed)
    prompt, answer = small_talk(rng, held)
    return Question("tools", prompt, answer, group="no call", tools=_tools(_declared(rng, held, [], fixed)))


def is_held_out(key: str, value: object) -> bool:
    """Return whether this value is held out for the function whose first name is `key`."""
    return held_out(f"argument {key} {value}", share=0.2)


def is_held_out_set(names: list[str]) -> bool:
    """Return whether this set of functions, under these names, is held out."""
    return held_out("functions " + " ".join(sorted(names)), share=0.2)


def _drawn(
    rng: random.Random, held: bool, fixed: bool, *, telling: bool = False
) -> tuple[Function, dict[str, Any], dict[Function, Declaration]]:
    """Draw a function, its arguments, and the declarations that contain it."""
    function = rng.choice([each for each in FUNCTIONS if each.result or not telling])
    values = _arguments(rng, function, held, fixed=fixed)
    return function, values, _declared(rng, held, [function], fixed)


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
    declared = _declared(rng, False, [], False)
    asked = []
    for function in rng.choices(list(declared), k=count):
        values = _arguments(rng, function, False, often=often)
        asked.append((_request(rng, function, values, False), _call(declared[function], values)))
    return _tools(declared), asked


def requested(rng: random.Random, held: bool) -> str:
    """Draw a request for a function, without any declaration."""
    function = rng.choice(FUNCTIONS)
    return _request(rng, function, _arguments(rng, function, held), held)


def _arguments(
    rng: random.Random, function: Function, held: bool, *, often: tuple[str, ...] = (), fixed: bool = False
) -> dict[str, Any]:
    """Draw the arguments of a function, all different; with `fixed`, without invented names."""
    values: dict[str, Any] = {}
    for parameter in function.values:
        some = _part(function, parameter, held)
        if not held and rng.random() < _STRANGE:
            some = _strange(rng, function, parameter, fixed) or some
        if often and _passed(function, parameter) and rng.random() < _OFTEN:
            left = {*often}.difference(values.values())
            some = tuple(word for word in _passed(function, parameter) if word in left) or some
        values[parameter] = rng.choice([value for value in some if value not in values.values()])
    return values


def _strange(rng: random.Random, function: Function, parameter: str, fixed: bool) -> tuple[str, ...]:
    """Return words that training may pass where a word is expected, of one origin; elsewhere, nothing."""
    if not (passed := _passed(function, parameter)) or (share := rng.random()) >= _FURTHER + _INVENTED:
        return passed
    if share < _FURTHER:
        return tuple(word for word in FURTHER_WORDS if not is_held_out(function.names[0], word))
    words = tuple(invented(rng) for _ in range(3))  # as many as may already be passed, and one more
    if fixed or not passed[0][0].isupper() or rng.random() >= _CAPITAL:
        return words
    return tuple(word.capitalize() for word in words)


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
    rng: random.Random, held: bool, wanted: list[Function], fixed: bool
) -> dict[Function, Declaration]:
    """Draw four to six functions with `wanted` among them, in random order, under any of their names."""
    varied = varies(rng, fixed)
    while True:
        others = [function for function in FUNCTIONS if function not in wanted]
        chosen = wanted + rng.sample(others, rng.choice(_DECLARED) - len(wanted))
        rng.shuffle(chosen)
        names = {function: _named(rng, function, held) for function in chosen}
        declared = {function: declarations.usual(function, name) for function, name in names.items()}
        if varied:
            declared = {
                function: declarations.varied(rng, function, name) for function, name in names.items()
            }
        called = [each.name for each in declared.values()]
        if is_held_out_set(called) == held and len({*called}) == len(called):
            return declared


def _tools(declared: dict[Function, Declaration]) -> tuple[dict[str, Any], ...]:
    return tuple(each.tool for each in declared.values())


def _call(declared: Declaration, values: dict[str, Any]) -> dict[str, Any]:
    return {"name": declared.name, "arguments": declared.renamed(values)}


def _named(rng: random.Random, function: Function, held: bool) -> str:
    """Draw a name of a function: in training also one of two words, which is declared nowhere else."""
    name = rng.choice(function.names)
    if held or rng.random() >= _COMPOUND:
        return name
    return f"{rng.choice(NAME_PREFIXES)}_{name.rpartition('_')[2]}"


def _from_result(rng: random.Random, held: bool, fixed: bool) -> Question:
    function, values, declared = _drawn(rng, held, fixed, telling=True)
    assert function.result is not None  # drawn among those that tell something
    key, results = function.result
    result, call = rng.choice(results), _call(declared[function], values)
    earlier = {
        "role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}],
        "tool_responses": [{"name": call["name"], "response": {key: result}}],
    }  # fmt: skip
    prompt = function.asked[0].format(**values)  # "Will it rain?" asks for more than the result says
    tools = _tools(declared)
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


def _request(rng: random.Random, function: Function, values: dict[str, Any], fixed: bool) -> str:
    asked = MORE_REQUESTS[function.names[0]] if varies(rng, fixed) else function.asked
    return rng.choice(asked).format(**values)


def corpus() -> list[str]:
    """Return questions, declarations and values, for the tokenizer."""
    rng = random.Random(0)
    texts: list[str] = []
    for _ in range(300):
        question = ask(rng, False, fixed=True)
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
