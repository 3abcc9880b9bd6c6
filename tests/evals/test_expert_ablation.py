"""Expert ablation: the measure against the model's own log-probabilities, and the draws of the null."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.evals.expert_ablation import ablate_experts

PAIRS = [
    ("Write 47 in German words.", "siebenundvierzig"),
    ("Which is larger, 12 or 21?", "21"),
    ("2 + 3?", "5"),
]


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", dtype="float32")


@pytest.fixture(scope="module")
def result(mini):
    return ablate_experts(mini, {0: [17, 5], 3: [2]}, PAIRS, draws=12, progress=False, batch_size=2)


def reference(lab, prompt: str, answer: str) -> float:
    """Return the mean log-probability of an answer's tokens, by one plain pass of the model."""
    ids = lab.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    reply = lab.tokenizer(answer, add_special_tokens=False)["input_ids"] + [
        lab.tokenizer.convert_tokens_to_ids("<turn|>")
    ]
    with torch.no_grad():
        logits = lab.model(input_ids=torch.tensor([[*ids, *reply]])).logits[0]
    rows = torch.log_softmax(logits[len(ids) - 1 : -1].float(), -1)
    return float(rows[torch.arange(len(reply)), torch.tensor(reply)].mean())


def test_the_measure_is_the_models_own(mini, result):
    np.testing.assert_allclose(result.intact, [reference(mini, *pair) for pair in PAIRS], atol=2e-5)
    with mini.edit(ablate_experts={0: [17, 5], 3: [2]}):
        np.testing.assert_allclose(result.ablated, [reference(mini, *pair) for pair in PAIRS], atol=2e-5)
    assert result.effect == pytest.approx(np.mean(result.intact - result.ablated))
    again = ablate_experts(mini, {0: [17, 5], 3: [2]}, PAIRS, draws=12, progress=False, batch_size=2)
    np.testing.assert_array_equal(again.controls, result.controls)


def test_random_sets_are_other_experts_of_the_same_layers(mini, monkeypatch):
    import gemma_lab.evals.expert_ablation as module

    seen = []
    draw = module._control_sets
    monkeypatch.setattr(module, "_control_sets", lambda *a, **k: seen.extend(draw(*a, **k)) or list(seen))
    for match in ("size", "load"):
        seen.clear()
        ablate_experts(mini, {0: [17, 5], 3: [2]}, PAIRS[:1], draws=30, match=match, progress=False)
        assert len(seen) == 30
        assert len({str(one) for one in seen}) > 15
        for one in seen:
            assert {layer: len(set(numbers)) for layer, numbers in one.items()} == {0: 2, 3: 1}
            assert not {17, 5} & set(one[0])
            assert 2 not in one[3]


def test_p_counts_sets_that_do_as_much_damage(result):
    b = int((result.control_effects >= result.effect).sum())
    assert result.p == (1 + b) / 13
    table = ablate_experts_table(result)
    assert table["group"].tolist() == ["all"]
    assert table["p"][0] == result.p


def ablate_experts_table(result):
    return result.to_pandas()


def test_groups_and_questions_with_pictures(mini):
    questions = gl.evals.load_questions(skills=["digits", "names"], per_skill=2)
    found = ablate_experts(mini, {0: [1]}, questions, draws=3, progress=False)
    assert set(found.groups) == {question.group for question in questions}
    assert np.isfinite(found.controls).all()
    assert set(found.to_pandas()["group"]) == {"all", *found.groups}


def test_a_busy_expert_is_replaced_by_busy_ones():
    from gemma_lab.evals.expert_ablation import _other_experts

    load = np.arange(100)
    drawn = [_other_experts([98], load, match="load", random=np.random.default_rng(n))[0] for n in range(50)]
    assert min(drawn) >= 90
    sizes = [_other_experts([98], load, match="size", random=np.random.default_rng(n))[0] for n in range(50)]
    assert min(sizes) < 50


@pytest.mark.parametrize(
    ("experts", "error"),
    [
        ({}, BadEdit), (None, BadEdit), ({0: []}, BadEdit), ({99: [1]}, BadEdit), ({0: [999]}, BadEdit),
        ({0: range(100)}, BadEdit), ({0: ["x"]}, LabError), ({"a": [1]}, LabError),
    ],
)  # fmt: skip
def test_bad_experts(mini, experts, error):
    with pytest.raises(error):
        ablate_experts(mini, experts, PAIRS, draws=1, progress=False)


def test_bad_calls(mini):
    for options in ({"draws": 0}, {"match": "colour"}, {"groups": ["a"]}):
        with pytest.raises(LabError):
            ablate_experts(mini, {0: [1]}, PAIRS, **{"draws": 1, "progress": False} | options)
    with pytest.raises(LabError):
        ablate_experts(mini, {0: [1]}, [], draws=1, progress=False)
    with pytest.raises(BadEdit, match="no experts"):
        ablate_experts(gl.load("mini-edge"), {0: [1]}, PAIRS, draws=1, progress=False)
