"""Tools: the wanted call is declared and fits its schema; held-out sets and values stay out of training."""

from __future__ import annotations

import random

import jsonschema
import pytest

from gemma_lab.minis.tasks import calling
from gemma_lab.minis.tasks.functions import FUNCTIONS, FURTHER_WORDS, NAME_PREFIXES

OF = {
    f"{prefix}_{name.rpartition('_')[2]}": function
    for prefix in NAME_PREFIXES
    for function in FUNCTIONS
    for name in function.names
} | {name: function for function in FUNCTIONS for name in function.names}
"""Name -> function; training also declares compound names."""


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
        assert len({OF[name] for name in names}) == len(names)  # never two that do the same
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
                function = OF[question.call["name"]]
                for parameter, value in question.call["arguments"].items():
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
        for _ in range(400):
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
            for parameter, value in call["arguments"].items():
                assert str(value) in said
                few = len(OF[call["name"]].values[parameter]) < 5
                assert few or value not in calling._part(OF[call["name"]], parameter, True)


def test_only_training_declares_compound_names_and_only_with_known_parts():
    plain = {name for function in FUNCTIONS for name in function.names}
    declared = {held: [name for one in _drawn(held) for name in _names(one)] for held in (False, True)}
    assert set(declared[True]) <= plain
    compound = [name for name in declared[False] if name not in plain]
    assert 0.25 < len(compound) / len(declared[False]) < 0.45
    assert all(name.partition("_")[0] in NAME_PREFIXES for name in compound)
    assert len({*compound}) > 200


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
    assert all(word.isalpha() and word.islower() and 4 <= len(word) <= 7 for word in invented)


def test_words_that_are_hard_to_copy_are_passed_more_often_unless_held_out_for_the_function():
    often, counts = ("soul", "hall", "polka"), {(): 0, ("soul", "hall", "polka"): 0}
    for words in counts:
        rng = random.Random(0)
        for _ in range(60):
            for _, call in calling.called(rng, count=8, often=words)[1]:
                given = {str(value) for value in call["arguments"].values()}
                counts[words] += bool(given & {*often})
                assert OF[call["name"]] is not OF["music"] or "soul" not in given
                assert OF[call["name"]] is not OF["light"] or "hall" not in given
    assert counts[often] > 5 * counts[()] > 0
