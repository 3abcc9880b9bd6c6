"""Tools: the wanted call is declared and fits its schema; held-out sets and values stay out of training."""

from __future__ import annotations

import random
import re

import jsonschema
import pytest

from gemma_lab.minis.tasks import calling, declarations
from gemma_lab.minis.tasks.functions import FUNCTIONS, FURTHER_WORDS, MORE_REQUESTS, NAME_PREFIXES

OF = {name: function for function in FUNCTIONS for name in function.names}
"""Name -> function; training also declares other names."""


def _of(tool):
    """Return the function of a declaration, whatever its name: each has a description of its own."""
    (found,) = (each for each in FUNCTIONS if each.description in tool["function"]["description"])
    return found


def _passed(tools, call):
    """Return the function of a call, and its arguments under the function's own parameters."""
    (tool,) = (tool for tool in tools if tool["function"]["name"] == call["name"])
    declared = tool["function"]["parameters"]["properties"]
    assert list(call["arguments"]) == list(declared)
    return _of(tool), dict(zip(_of(tool).values, call["arguments"].values(), strict=True))


def _drawn(held, count=500):
    rng = random.Random(1)
    return [calling.ask(rng, held) for _ in range(count)]


def _names(question):
    return [tool["function"]["name"] for tool in question.tools]


@pytest.mark.parametrize("held", [False, True])
def test_each_kind_of_turn_is_well_formed(held):
    drawn = _drawn(held)
    assert {question.group for question in drawn} == {"call", "no call", "result"}
    for question in drawn:
        names = _names(question)
        assert 4 <= len(names) <= 6
        assert len({_of(tool) for tool in question.tools}) == len({*names})  # never two that do the same
        assert calling.is_held_out_set(names) == held
        assert bool(question.call) == (question.group == "call") == (question.answer == "")
        assert bool(question.history) == (question.group == "result")


@pytest.mark.parametrize("held", [False, True])
def test_the_wanted_call_is_declared_and_its_arguments_are_in_the_question(held):
    for question in _drawn(held, 80):
        calls = [question.call] if question.call else []
        for message in question.history:
            calls += [call["function"] for call in message["tool_calls"]]
            assert str(next(iter(message["tool_responses"][0]["response"].values()))) == question.answer
        for call in calls:
            declared = {tool["function"]["name"]: tool["function"] for tool in question.tools}
            jsonschema.validate(call["arguments"], declared[call["name"]]["parameters"])
            assert list(call["arguments"]) == list(declared[call["name"]]["parameters"]["properties"])
            for value in call["arguments"].values():
                assert str(value) in question.prompt


def test_training_never_passes_a_held_out_value():
    for held in (False, True):
        for question in _drawn(held):
            if question.call:
                function, arguments = _passed(question.tools, question.call)
                for parameter, value in arguments.items():
                    few = len(function.values[parameter]) < 5
                    assert few or (value in calling._part(function, parameter, True)) == held


def test_names_differ_between_functions_and_declarations_are_short():
    names = [name for function in FUNCTIONS for name in function.names]
    assert len({*names}) == len(names) >= 40
    parts = [{name.rpartition("_")[2] for name in function.names} for function in FUNCTIONS]
    assert len(set().union(*parts)) == sum(len(each) for each in parts)  # nor do compound ones repeat
    assert all(len(function.description.split()) <= 4 for function in FUNCTIONS)
    for function in FUNCTIONS:
        for parameter in function.values:
            both = [set(calling._part(function, parameter, held)) for held in (False, True)]
            assert all(both)
            assert len(function.values[parameter]) < 5 or not both[0] & both[1]


def test_training_passes_more_values_where_few_would_be_left_to_learn_by_heart():
    for function in FUNCTIONS:
        for parameter in function.values:
            asked, trained = (set(calling._part(function, parameter, held)) for held in (True, False))
            more = set(function.more.get(parameter, ()))
            assert not asked & more
            assert more <= trained
            assert len(trained) == 2 or len(trained) >= 5


def test_training_passes_words_of_other_functions_but_none_that_is_held_out_for_this_one():
    rng = random.Random(0)
    passed = {}
    for function in FUNCTIONS:
        for _ in range(1000):
            for parameter, value in calling._arguments(rng, function, False).items():
                passed.setdefault((function, parameter), set()).add(value)
                few = len(function.values[parameter]) < 5
                assert few or value not in calling._part(function, parameter, True)
    heard = passed[next(function for function in FUNCTIONS if "music" in function.names), "style"]
    assert {"bedroom", "Turkish", "jazz"} & heard > {"jazz"}
    assert not heard & set(calling._part(OF["music"], "style", True))
    numbers = passed[OF["timer"], "minutes"]
    assert all(isinstance(value, int) for value in numbers)


def test_training_repeats_every_word_that_a_function_takes_and_evaluation_only_held_out_ones():
    rng = random.Random(0)
    said = {held: {calling.small_talk(rng, held)[1] for _ in range(6000)} for held in (False, True)}
    assert {"bedroom", "soul", "Turkish", "attic"} <= said[False]
    kept = {word for word in calling._WORDS if calling.is_held_out("repeat", word)}
    assert kept <= said[True]
    assert not kept & said[False]
    assert "bedroom" not in said[True]


def test_what_is_called_under_one_set_of_functions_is_declared_there_and_trained():
    rng = random.Random(0)
    for _ in range(40):
        tools, asked = calling.called(rng, count=6)
        declared = {tool["function"]["name"]: tool["function"] for tool in tools}
        assert not calling.is_held_out_set(list(declared))
        assert len(asked) == 6
        for said, call in asked:
            jsonschema.validate(call["arguments"], declared[call["name"]]["parameters"])
            function, arguments = _passed(tools, call)
            for parameter, value in arguments.items():
                assert str(value) in said
                few = len(function.values[parameter]) < 5
                assert few or value not in calling._part(function, parameter, True)


def test_only_training_declares_compound_names():
    plain = {name for function in FUNCTIONS for name in function.names}
    declared = {held: [name for one in _drawn(held) for name in _names(one)] for held in (False, True)}
    assert set(declared[True]) <= plain
    compound = [name for name in declared[False] if name not in plain]
    assert 0.4 < len(compound) / len(declared[False]) < 0.65
    known = {
        f"{prefix}_{name.rpartition('_')[2]}" for prefix in NAME_PREFIXES for name in plain
    }  # fmt: skip
    assert len({*compound} & known) > 200


def test_a_third_of_the_declarations_of_training_vary_and_those_of_the_check_up_never_do():
    usual = {str(function.declared("")["function"]["parameters"]): function for function in FUNCTIONS}
    shown = {
        held: [tool["function"] for one in _drawn(held, 800) for tool in one.tools] for held in (False, True)
    }
    assert all(str(each["parameters"]) in usual for each in shown[True])
    assert {each["description"] for each in shown[True]} == {each.description for each in FUNCTIONS}
    some = shown[False]
    own = {parameter for function in FUNCTIONS for parameter in function.values}
    renamed = [key for each in some for key in each["parameters"]["properties"] if key not in own]
    assert 0.15 < len(renamed) / sum(len(each["parameters"]["properties"]) for each in some) < 0.35
    assert {"town", "destination", "genre"} <= {*renamed}
    assert any("_" in key for key in renamed)
    assert any(key != key.lower() for key in renamed)
    assert len({*renamed}) > 300
    for share in (
        sum("required" in each["parameters"] for each in some) / len(some),
        sum(each["description"] not in {one.description for one in FUNCTIONS} for each in some) / len(some),
        sum("description" in str(each["parameters"]) for each in some) / len(some),
    ):
        assert 0.08 < share < 0.3
    assert all(
        each["parameters"]["required"] == list(each["parameters"]["properties"])
        for each in some if "required" in each["parameters"]
    )  # fmt: skip


def test_an_invented_parameter_is_always_described():
    rng = random.Random(4)
    real = {
        part for key, others in declarations._PARAMETERS.items()
        for name in (key, *others) for part in name.split("_")
    } | {*declarations._DETERMINERS, *declarations._KINDS}  # fmt: skip
    for function in FUNCTIONS:
        for _ in range(100):
            tool = declarations.varied(rng, function, "x").tool["function"]
            for key, kind in tool["parameters"]["properties"].items():
                parts = re.sub("([A-Z])", r"_\1", key).lower().split("_")
                assert {*parts} <= real or "description" in kind


def test_no_other_name_is_a_name_of_another_function():
    own = {function.names[0]: {*function.names} for function in FUNCTIONS}
    every = [name for names in declarations._NOUNS.values() for name in names]
    assert set(declarations._NOUNS) == set(own) == set(MORE_REQUESTS)
    assert len({*every}) == len(every)
    assert not {*every} & set().union(*own.values())
    assert {parameter for function in FUNCTIONS for parameter in function.values} == set(
        declarations._PARAMETERS
    )


def test_only_training_requests_in_other_words_and_with_the_same_parameters():
    for function in FUNCTIONS:
        for asked in MORE_REQUESTS[function.names[0]]:
            assert {*re.findall(r"{(\w+)}", asked)} == {*function.values}
            assert not asked.startswith("{")  # its first letter may be typed small
    asked = {held: " ".join(one.prompt for one in _drawn(held, 1500)) for held in (False, True)}
    for part in ("Put on ", "Check the weather in ", "Remind me in "):
        assert part in asked[False]
        assert part not in asked[True]


def test_training_passes_further_and_invented_words_and_evaluation_neither():
    known = {
        word for function in FUNCTIONS
        for values in (*function.values.values(), *function.more.values()) for word in values
    }  # fmt: skip
    passed = {
        held: {value for one in _drawn(held, 1500) if one.call for value in one.call["arguments"].values()}
        for held in (False, True)
    }
    assert passed[True] <= known
    strange = passed[False] - known
    assert len(strange & {*FURTHER_WORDS}) > 60
    invented = strange - {*FURTHER_WORDS}
    assert len(invented) > 20
    assert all(word.isalpha() and word[1:].islower() and 4 <= len(word) <= 7 for word in invented)
    assert any(word[0].isupper() for word in invented)


def test_words_that_are_hard_to_copy_are_passed_more_often_unless_held_out_for_the_function():
    often, counts = ("soul", "hall", "polka"), {(): 0, ("soul", "hall", "polka"): 0}
    for words in counts:
        rng = random.Random(0)
        for _ in range(60):
            tools, asked = calling.called(rng, count=8, often=words)
            for _, call in asked:
                function, arguments = _passed(tools, call)
                given = {str(value) for value in arguments.values()}
                counts[words] += bool(given & {*often})
                assert function is not OF["music"] or "soul" not in given
                assert function is not OF["light"] or "hall" not in given
    assert counts[often] > 5 * counts[()] > 0
