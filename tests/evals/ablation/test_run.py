"""Ablation tests: the measure against plain passes of the model under `lab.edit`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.evals.ablation.run import ablate_experts, ablate_heads

PAIRS = [
    ("Write 47 in German words.", "siebenundvierzig"),
    ("Which is larger, 12 or 21?", "21"),
    ("2 + 3?", "5"),
]
SET = {0: [17, 5], 3: [2]}


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", dtype="float32")


@pytest.fixture(scope="module")
def result(mini):
    return ablate_experts(mini, SET, PAIRS, draws=12, progress=False, batch_size=5)


def reference(lab, prompt: str, answer: str) -> tuple[float, bool]:
    """Return the mean log-probability of an answer's tokens by one pass, and whether all are likeliest."""
    ids = lab.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    reply = lab.tokenizer(answer, add_special_tokens=False)["input_ids"] + [
        lab.tokenizer.convert_tokens_to_ids("<turn|>")
    ]
    with torch.no_grad():
        logits = lab.model(input_ids=torch.tensor([[*ids, *reply]])).logits[0]
    rows = torch.log_softmax(logits[len(ids) - 1 : -1].float(), -1)
    likeliest = rows.argmax(-1).tolist() == list(reply)
    return float(rows[torch.arange(len(reply)), torch.tensor(reply)].mean()), likeliest


def test_every_row_of_a_pass_is_what_an_edit_gives(mini, result, monkeypatch):
    import gemma_lab.evals.ablation.compare_sets as module

    drawn = []
    draw = module.random_sets
    monkeypatch.setattr(module, "random_sets", lambda *a, **k: drawn.extend(draw(*a, **k)) or list(drawn))
    again = ablate_experts(mini, SET, PAIRS, draws=12, progress=False, batch_size=5)
    np.testing.assert_array_equal(again.controls, result.controls)
    plain = [reference(mini, *pair) for pair in PAIRS]
    np.testing.assert_allclose(result.intact, [one for one, _ in plain], atol=2e-5)
    assert result.right_intact.tolist() == [right for _, right in plain]
    for sets, found, right in (
        (SET, result.ablated, result.right_ablated),
        (drawn[0], result.controls[0], result.right_controls[0]),
        (drawn[11], result.controls[11], result.right_controls[11]),
    ):
        with mini.edit(ablate_experts=sets):
            edited = [reference(mini, *pair) for pair in PAIRS]
        np.testing.assert_allclose(found, [one for one, _ in edited], atol=2e-5)
        assert right.tolist() == [one for _, one in edited]


def test_heads_are_what_an_edit_gives_and_all_sets_are_tried_where_there_are_few(mini):
    found = ablate_heads(mini, [(5, 0), (3, 1)], PAIRS, draws=199, match="kind", progress=False)
    assert found.components == {3: (1,), 5: (0,)}
    assert found.draws == 4 * 20 - 1  # heads of the one global layer × of the five local ones, but these two
    with mini.edit(ablate_heads={5: [0], 3: [1]}):
        np.testing.assert_allclose(found.ablated, [reference(mini, *pair)[0] for pair in PAIRS], atol=2e-5)
    assert np.isnan(found.share)
    single = ablate_heads(mini, {5: [0]}, PAIRS[:1], progress=False)
    assert single.draws == 23
    assert single.smallest_p == 1 / 24


def test_an_active_edit_is_kept(mini):
    with mini.edit(ablate_experts={1: range(60)}):
        found = ablate_experts(mini, SET, PAIRS[:1], draws=2, progress=False)
        assert found.intact[0] == pytest.approx(reference(mini, *PAIRS[0])[0], abs=2e-5)
    with mini.edit(ablate_experts={1: range(60), **SET}):
        assert found.ablated[0] == pytest.approx(reference(mini, *PAIRS[0])[0], abs=2e-5)


@pytest.mark.parametrize("match", ["size", "load"])
def test_what_an_active_edit_forces_stays_forced_and_is_in_no_random_set(mini, match, monkeypatch):
    import gemma_lab.evals.ablation.compare_sets as module

    drawn = []
    draw = module.random_sets
    monkeypatch.setattr(module, "random_sets", lambda *a, **k: drawn.extend(draw(*a, **k)) or list(drawn))
    active = gl.Edit(force_experts={0: [3, 90], 3: range(100, 108)}, boost_experts={3: {100: 2.0}})
    with mini.edit(active):
        found = ablate_experts(mini, SET, PAIRS[:2], draws=30, match=match, progress=False)
    assert found.active_edit == active
    assert not {one for sets in drawn for one in sets[0]} & {3, 90}
    assert not {one for sets in drawn for one in sets[3]} & set(range(100, 108))
    for sets, log_probs in ((SET, found.ablated), (drawn[0], found.controls[0])):
        with mini.edit(active | gl.Edit(ablate_experts=sets)):
            expected = [reference(mini, *pair)[0] for pair in PAIRS[:2]]
        np.testing.assert_allclose(log_probs, expected, atol=2e-5)


def test_other_sets_are_counted_without_the_forced_experts(mini):
    with mini.edit(force_experts={3: [1, 2]}):
        found = ablate_experts(mini, {3: [5]}, PAIRS[:1], draws=199, match="size", progress=False)
    assert found.draws == 128 - 2 - 1


@pytest.mark.parametrize(
    ("experts", "active", "match"),
    [
        ({3: range(128), 2: [1, 2]}, {}, "Leave at least 8"),
        ({3: range(127)}, {}, "127 of 128 experts"),
        ({3: range(121)}, {}, "121 of 128 experts"),
        ({3: range(60, 121)}, {"ablate_experts": {3: range(60)}}, "121 of 128 experts"),
        ({3: [7], 1: [1]}, {"force_experts": {3: [7]}}, "both ablated and forced"),
        ({3: [7]}, {"force_experts": [7]}, "both ablated and forced"),
        # the set ablates 5 more, a random set of 55 up to 55 more
        (
            {3: range(15, 70)},
            {"ablate_experts": {3: range(66)}},
            "ablates 66 experts of layer 3, .* 55 others",
        ),
    ],
)
def test_sets_that_an_edit_would_refuse(mini, experts, active, match):
    with mini.edit(**active), pytest.raises(BadEdit, match=match):
        ablate_experts(mini, experts, PAIRS[:1], draws=3, match="size", progress=False)


def test_as_many_experts_as_an_edit_may_ablate(mini):
    most = {3: range(60, 120)}
    with mini.edit(ablate_experts={3: range(60)}):
        found = ablate_experts(mini, most, PAIRS[:1], draws=5, match="size", progress=False)
    with mini.edit(ablate_experts={3: range(120)}):
        assert found.ablated[0] == pytest.approx(reference(mini, *PAIRS[0])[0], abs=2e-5)
    assert np.isfinite(found.controls).all()


def test_a_result_names_the_edit_and_the_adapter_that_were_active(mini, result, monkeypatch):
    assert result.active_edit is None
    assert result.adapter is None
    assert " under " not in repr(result) + result.conclusion
    monkeypatch.setattr(mini, "adapter", {"name": "mine", "digest": "0123456789ab"})
    with mini.edit(ablate_heads={1: [0]}):
        found = ablate_heads(mini, {5: [0]}, PAIRS[:1], draws=3, progress=False)
    assert found.active_edit == gl.Edit(ablate_heads={1: [0]})
    assert found.adapter == {"name": "mine", "digest": "0123456789ab"}
    for text in (repr(found), found.conclusion):
        assert "'mine' (01234567) and Edit(ablate_heads={1: [0]})" in text
    with mini.edit(boost_experts={1: {0: 0}}):  # changes nothing
        assert ablate_heads(mini, {5: [0]}, PAIRS[:1], draws=3, progress=False).active_edit is None


def test_log_probabilities_that_are_not_finite_give_no_result(mini, monkeypatch):
    import gemma_lab.evals.ablation.answer_scores as module

    score = module._score
    monkeypatch.setattr(module, "_score", lambda *a: (score(*a)[0] * np.nan, score(*a)[1]))
    with pytest.raises(LabError, match=r"nan, and 3 of 3"):
        ablate_experts(mini, SET, PAIRS[:1], draws=3, progress=False)


def test_nothing_is_left_behind(mini, monkeypatch):
    before = reference(mini, *PAIRS[0])
    ablate_experts(mini, SET, PAIRS[:1], draws=2, progress=False)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gemma_lab.trace.run.layer_replay.LayerReplay.layers", fail)
    with pytest.raises(KeyboardInterrupt):
        ablate_experts(mini, SET, PAIRS, draws=2, progress=False)
    assert not mini.lock.held_by_this_thread()
    assert reference(mini, *PAIRS[0]) == before
    hooks = [module for module in mini.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooks


def test_questions_with_pictures_and_groups(mini):
    questions = gl.evals.load_questions(skills=["digits", "names"], per_skill=2)
    found = ablate_experts(mini, {0: [1]}, questions, draws=3, progress=False)
    assert set(found.groups) == {question.group for question in questions}
    assert np.isfinite(found.controls).all()
    assert set(found.to_pandas()["group"]) == {"measure", *found.groups}
    assert found.intact.min() > -1  # the mini knows them: a picture that was not read would give less


def test_questions_with_tools_and_those_whose_answer_comes_later(mini):
    asked = gl.evals.load_questions(skills=["tools"])
    call = next(one for one in asked if one.call is not None and not one.history)
    found = ablate_experts(mini, {0: [1]}, [call], draws=1, progress=False)
    assert found.intact[0] > -0.5  # of the call's tokens, which the mini knows
    later = gl.evals.load_questions(skills=["thinking"], per_skill=1)
    with pytest.raises(LabError, match="thinking"):
        ablate_experts(mini, {0: [1]}, later, draws=1, progress=False)


def test_a_target_is_compared_with_the_others(mini):
    found = ablate_experts(
        mini, SET, PAIRS, groups=["a", "b", "b"], target="a", claim="chosen", draws=4, progress=False
    )
    lost = found.intact - found.ablated
    assert found.effect == pytest.approx(lost[0] - lost[1:].mean())
    assert found.claim == "chosen"
    alone = ablate_experts(
        mini, SET, PAIRS, groups=["a", "b", "b"], target="a", contrast=False, draws=4, progress=False
    )
    assert alone.effect == pytest.approx(lost[0])
    with pytest.raises(LabError, match="'c'"):
        ablate_experts(mini, SET, PAIRS, groups=["a", "b", "b"], target="c", draws=4, progress=False)


def test_groups_of_any_list(mini):
    for groups in (np.array(["a", "b", "b"]), iter(["a", "b", "b"]), ("a", "b", "b")):
        found = ablate_heads(mini, {5: [1]}, PAIRS, groups=groups, draws=1, progress=False)
        assert found.groups == ("a", "b", "b")


def test_shares_are_those_of_the_routers(mini, result):
    routing = [mini.trace(prompt, max_new_tokens=0).routing for prompt, _ in PAIRS]
    load = gl.analysis.expert_load(routing)
    expected = (load.counts[0, [5, 17]].sum() + load.counts[3, 2]) / load.counts.sum()
    assert result.share == pytest.approx(expected, rel=0.5)  # the answers' own tokens are counted, too
    assert result.control_shares.shape == (12,)


@pytest.mark.parametrize(
    ("experts", "error"),
    [
        ({}, BadEdit), (None, BadEdit), ({0: []}, BadEdit), ({99: [1]}, BadEdit), ({0: [999]}, BadEdit),
        ({0: range(128)}, BadEdit), ({0: ["x"]}, LabError), ({"a": [1]}, LabError), ({0: 5}, BadEdit),
        ({0: "12"}, BadEdit),
    ],
)  # fmt: skip
def test_bad_experts(mini, experts, error):
    with pytest.raises(error):
        ablate_experts(mini, experts, PAIRS, draws=1, progress=False)


@pytest.mark.parametrize(
    "heads",
    [
        {},
        [],
        None,
        [(9, 0)],
        {5: [4]},
        [(5,)],
        7,
        {layer: range(4) for layer in range(6)},
        [("a", 0)],
        "50",
    ],
)
def test_bad_heads(mini, heads):
    with pytest.raises(LabError):
        ablate_heads(mini, heads, PAIRS, draws=1, progress=False)


def test_bad_calls(mini):
    for options in ({"draws": 0}, {"match": "colour"}, {"groups": ["a"]}, {"batch_size": 0}):
        with pytest.raises(LabError):
            ablate_experts(mini, {0: [1]}, PAIRS, **{"draws": 1, "progress": False} | options)
    with pytest.raises(LabError):
        ablate_experts(mini, {0: [1]}, [], draws=1, progress=False)
    for seed in ("x", None, 1.5, -1, True):
        with pytest.raises(LabError, match="seed"):
            ablate_experts(mini, {0: [1]}, PAIRS, seed=seed, draws=1, progress=False)
        with pytest.raises(LabError, match="seed"):
            ablate_heads(mini, {5: [1]}, PAIRS, seed=seed, progress=False)
    for groups in ("abc", b"abc", bytearray(3), {"a": 1, "b": 2, "c": 3}, {"a", "b", "c"}, 5, iter("ab")):
        with pytest.raises(LabError, match="groups"):
            ablate_heads(mini, {5: [1]}, PAIRS, groups=groups, draws=1, progress=False)
    for examples in (PAIRS[1][0], b"abc", bytearray(3), dict(PAIRS), None, 5, iter(PAIRS), set(PAIRS)):
        with pytest.raises(LabError, match="examples is"):
            ablate_heads(mini, {5: [1]}, examples, draws=1, progress=False)
    with pytest.raises(LabError, match="colour"):
        ablate_heads(mini, {0: [1]}, PAIRS, match="colour", progress=False)
    with pytest.raises(BadEdit, match="kind"):
        ablate_heads(mini, {5: range(4)}, PAIRS, match="kind", progress=False)
    with pytest.raises(BadEdit, match="no experts"):
        ablate_experts(gl.load("mini-edge"), {0: [1]}, PAIRS, draws=1, progress=False)


@pytest.mark.parametrize("size", ["E2B", "31B"])
def test_heads_of_other_shapes(tiny_lab, size):
    lab = tiny_lab(size)
    found = ablate_heads(lab, {0: [0]}, [("a b c", "d")], draws=5, progress=False)
    with lab.edit(ablate_heads={0: [0]}):
        edited = ablate_heads(lab, {1: [0]}, [("a b c", "d")], draws=1, progress=False).intact
    np.testing.assert_allclose(found.ablated, edited, atol=2e-5)
