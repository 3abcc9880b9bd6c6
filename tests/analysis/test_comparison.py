"""Comparisons of traces made by hand, and of a model with and without some experts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.traced import generation, trace_of

import gemma_lab as gl
from gemma_lab.analysis.comparison import compare
from gemma_lab.errors import LabError


@pytest.fixture
def pair(routing_of):
    """Two answers to three tokens: the second word differs, and one expert of the prompt's last token."""
    ids = [[2, 3], [3, 2], [2, 0], [0, 1], [0, 1]]
    weighed = [{10: 0.8, 11: 0.1}, {11: 0.6}, {12: 0.9}], [{10: 0.4, 11: 0.3}, {13: 0.7, 11: 0.2}, {12: 0.9}]
    one = trace_of(
        [1, 2, 3], generation([10, 11, 12], "ABC", top_logprobs=weighed[0]),
        routing=routing_of([[[0, 1]] * 5, [[2, 3]] * 5], experts=4, layers=(1, 4)),
    )  # fmt: skip
    two = trace_of(
        [1, 2, 3], generation([10, 13, 12], "AXC", top_logprobs=weighed[1]),
        routing=routing_of([[[0, 1]] * 5, ids], experts=4, layers=(1, 4)),
        edit={"ablate_experts": {"4": [3]}},
    )  # fmt: skip
    return one, two


def test_the_answers_are_aligned(pair):
    found = compare(*pair)
    assert [p.change for p in found.pairs] == ["same", "replaced", "same"]
    assert (found.changed, found.first_change) == (1, 1)
    assert found.answers == ("ABC", "AXC")
    assert found.texts == (("A", "B", "C"), ("A", "X", "C"))


def test_kl_of_each_position(pair):
    found = compare(*pair)
    first = 0.8 * math.log(0.8 / 0.4) + 0.1 * math.log(0.1 / 0.3) + 0.1 * math.log(0.1 / 0.3)
    second = 0.6 * math.log(0.6 / 0.2) + 0.4 * math.log(0.4 / 0.8)
    np.testing.assert_allclose(found.kl, [first, second, 0], atol=1e-6)
    np.testing.assert_allclose(found.resolved, [0.9, 0.6, 0.9], atol=1e-6)
    np.testing.assert_allclose(np.exp(found.logprobs), [[0.8, 0.4], [0.6, 0.7], [0.9, 0.9]], atol=1e-6)


def test_only_what_comes_before_the_first_change_is_the_same_context(pair):
    found = compare(*pair)
    assert found.same_context.tolist() == [True, True, False]
    assert found.mean_kl == pytest.approx(found.kl[:2].mean())


def test_routing_of_the_shared_prompt(pair):
    routing = compare(*pair).routing
    assert (routing.layers, routing.tokens, routing.first) == ((1, 4), 3, (4, 2))
    np.testing.assert_allclose(routing.experts, [1, (1 + 1 + 1 / 3) / 3])
    np.testing.assert_allclose(routing.weight, [1, (1 + 1 + 0.5) / 3])
    np.testing.assert_allclose(routing.changed, [0, 1 / 3])
    np.testing.assert_allclose(routing.by_token, [1, 1, 2 / 3])


def test_its_one_line(pair):
    assert repr(compare(*pair)) == (
        "Comparison(model and model, edited: 1 of 3 generated tokens changed, from token 1; "
        "mean KL ≥ 0.358 nats over 2 tokens in the same context; "
        "experts in common 0.89, weight 0.92 over 3 shared prompt tokens in 2 layers)"
    )
    assert repr(compare(*pair).routing) == (
        "RoutingChange(2 layers, 3 tokens: mean experts in common 0.89, weight in common 0.92)"
    )


def test_to_pandas(pair):
    frame = compare(*pair).to_pandas()
    assert frame["change"].tolist() == ["same", "replaced", "same"]
    assert frame.loc[1, ["first_token", "second_token"]].tolist() == ["B", "X"]
    assert compare(*pair).routing.to_pandas()["layer"].tolist() == [1, 4]


def test_a_trace_is_the_same_as_itself(pair):
    found = compare(pair[0], pair[0])
    assert (found.changed, found.first_change, found.routing.first) == (0, None, None)
    assert not found.kl.any()
    assert found.same_context.all()
    np.testing.assert_allclose([found.routing.experts, found.routing.weight], 1, atol=1e-6)


def test_answers_of_unequal_length():
    one = trace_of([1], generation([10, 11], "AB"))
    two = trace_of([1], generation([10, 12, 11, 13], "AXBY"))
    found = compare(one, two)
    assert [p.change for p in found.pairs] == ["same", "added", "same", "added"]
    assert np.isnan(found.kl).tolist() == [False, True, False, True]
    assert np.isnan(found.logprobs[1]).tolist() == [True, False]
    frame = found.to_pandas()
    assert frame["first"].isna().tolist() == [False, True, False, True]
    assert frame["first_token"].isna().tolist() == [False, True, False, True]


def test_other_prompts_are_no_same_context(routing_of):
    one = trace_of([1, 2, 3], generation([10], "A"), routing=routing_of([[[0, 1]] * 3], experts=4))
    two = trace_of([1, 2, 4, 5], generation([10], "A"), routing=routing_of([[[0, 1]] * 4], experts=4))
    found = compare(one, two)
    assert (found.prompts, found.shared) == ((3, 4), 2)
    assert not found.same_context.any()
    assert math.isnan(found.mean_kl)
    assert found.routing.tokens == 2
    assert "KL" not in repr(found)


def test_other_pictures_are_no_same_context():
    one = trace_of([1, 2], generation([10], "A"), media=[{"sha256": "a"}])
    two = trace_of([1, 2], generation([10], "A"), media=[{"sha256": "b"}])
    assert not compare(one, two).same_context.any()
    assert compare(one, one).same_context.all()


def test_prompts_alone(routing_of):
    one = trace_of([1, 2], None, routing=routing_of([[[0, 1], [0, 1]]], experts=4))
    found = compare(one, one)
    assert repr(found) == (
        "Comparison(model and model: experts in common 1.00, "
        "weight 1.00 over 2 shared prompt tokens in 1 layer)"
    )
    assert found.logprobs.shape == (0, 2)
    assert len(found.to_pandas()) == 0


def test_why_there_is_no_routing(routing_of):
    dense = trace_of([1, 2], None)
    moe = trace_of([1, 2], None, routing=routing_of([[[0, 1]] * 2], experts=4))
    wide = trace_of([1, 2], None, routing=routing_of([[[0, 1]] * 2], experts=8))
    other = trace_of([7], None, routing=routing_of([[[0, 1]]], experts=4))
    for first, second, why in [
        (dense, dense, "no experts"), (dense, moe, "only one"), (moe, wide, "different experts"),
        (moe, other, "no common prefix"),
    ]:  # fmt: skip
        found = compare(first, second)
        assert found.routing is None
        assert why in found.note
        assert found.note in repr(found)


def test_what_is_no_trace_is_refused():
    with pytest.raises(LabError, match="str"):
        compare("a.trace", trace_of([1], None))


def test_weights_of_families_that_do_not_renormalise(routing_of):
    gate_weights = np.asarray([[[0.3, 0.1]]], dtype=np.float32)
    one = trace_of([1], None, routing=routing_of([[[0, 1]]], experts=4, gate_weights=gate_weights))
    two = trace_of([1], None, routing=routing_of([[[1, 0]]], experts=4, gate_weights=gate_weights / 2))
    np.testing.assert_allclose(compare(one, two).routing.weight, 0.5, atol=1e-6)


def test_a_model_with_and_without_experts(tiny_lab):
    lab = tiny_lab("26B-A4B")
    plain = lab.trace("Hi", max_new_tokens=6)
    with lab.edit(ablate_experts={2: range(120)}):
        edited = lab.trace("Hi", max_new_tokens=6)
    found = gl.compare(plain, edited)
    assert found.names == (lab.name, f"{lab.name}, edited")
    change = found.routing
    assert change.layers == plain.routing.layers
    assert change.experts[:2].tolist() == [1, 1]
    assert change.experts[2] < 0.5
    assert change.first == (2, 0)
    assert found.kl[found.same_context].max() > 0
    assert found.shared == found.prompts[0] == found.prompts[1]
    assert len(found.labels[0]) == len(plain.generation)
    assert gl.compare(plain, lab.trace("Hi", max_new_tokens=6)).changed == 0


def test_a_free_and_a_bound_answer():
    """The grammar changes the choice and not the model: equal distributions up to the first changed token."""
    lab = gl.load("mini-moe", progress=False)
    options = {"temperature": 0, "max_new_tokens": 24}
    prompt = "Xenia has the number 693. Give me a JSON object with name (string)."
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    free, bound = lab.trace(prompt, **options), lab.trace(prompt, schema=schema, **options)
    found = gl.compare(free, bound)
    first = found.first_change
    assert found.same_context[: first + 1].all()
    assert found.kl[: first + 1] == pytest.approx(0, abs=1e-6)
    assert not found.same_context[first + 1 :].any()
    assert found.overruled[first].tolist() == [False, True]
    assert not found.overruled[:first].any()
    assert found.overruled[:, 1].sum() == bound.generation.overruled.sum()
    assert found.names == ("mini-moe", "mini-moe, with schema")
    frame = found.to_pandas()
    assert frame["second_overruled"].sum() == bound.generation.overruled.sum()
    assert f"from token {first}" in next(each for each in found.findings() if "grammar of the second" in each)
    assert "overruled in the second" in found._repr_html_()
    assert found.routing.experts == pytest.approx(1)
    again = gl.compare(free, lab.trace(prompt, **options))
    assert not again.overruled.any()
