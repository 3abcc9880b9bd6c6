"""Ablation studies: planted causes are confirmed, a planted backup is rejected, confirmation is read once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.studies import made_study

import gemma_lab as gl
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.evals.ablation.answer_scores import AnswerReader
from gemma_lab.evals.ablation.run import ablate_experts
from gemma_lab.trace.probes.model_modules import decoder_of, layers_of

PROMPTS = [f"{first}{second} {first}" for first in "abcdefg" for second in "xyz"]
TWIN_LAYER, CAUSE_LAYER = 4, 5


def next_log_probs(lab, prompt: str) -> torch.Tensor:
    ids = lab.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    with torch.no_grad():
        return torch.log_softmax(lab.model(input_ids=torch.tensor([ids])).logits[0, -1].float(), -1)


def chosen_last(lab, layer: int) -> int:
    """Return the expert that most prompts' last tokens choose in a layer."""
    ids = [lab.trace(prompt, max_new_tokens=0).routing for prompt in PROMPTS[:8]]
    return int(np.bincount(np.concatenate([one.ids[one.index(layer), -1] for one in ids])).argmax())


@pytest.fixture(scope="module")
def planted(tiny_folder):
    """Return a tiny model whose answers hang on one expert; the expert; one of a pair of twins; examples.

    The cause is scaled until it is the whole output of its layer's experts. In the layer before, two
    experts are the same, and as large: whichever is ablated, the other one does its work.
    """
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    layers = layers_of(lab.model)
    twin, spare = chosen_last(lab, TWIN_LAYER), 0
    with torch.no_grad():
        for layer in layers[:TWIN_LAYER]:
            layer.post_feedforward_layernorm_2.weight.fill_(1e-3)  # other layers' experts hardly count
        block = layers[TWIN_LAYER]
        spare = next(one for one in range(128) if one != twin)
        block.experts.down_proj[twin] *= 1e4
        for weight in (block.experts.gate_up_proj, block.experts.down_proj, block.router.proj.weight,
                       block.router.per_expert_scale):  # fmt: skip
            weight[spare] = weight[twin]
        cause = chosen_last(lab, CAUSE_LAYER)
        block = layers[CAUSE_LAYER]
        block.experts.down_proj[cause] *= 1e4
        block.post_feedforward_layernorm_2.weight.fill_(100)  # the experts' output before the dense branch's
        block.post_feedforward_layernorm.weight.fill_(30)  # and before the residual stream
        decoder_of(lab.model).norm.weight.fill_(30)  # random embeddings are short: logits of some nats
    letters = lab.tokenizer.convert_tokens_to_ids([chr(code) for code in range(97, 123)])
    pairs = []
    for prompt in PROMPTS:
        full = next_log_probs(lab, prompt)[letters]
        with lab.edit(ablate_experts={CAUSE_LAYER: [cause]}):
            gain = full - next_log_probs(lab, prompt)[letters]
        pairs.append((prompt, chr(97 + int(gain.argmax()))))
    return lab, cause, twin, pairs


@pytest.fixture(scope="module")
def result(planted):
    lab, cause, twin, pairs = planted
    study = gl.evals.AblationStudy(lab, "experts", pairs, development=2, confirmation=8, progress=False)
    study.add({CAUSE_LAYER: [cause]}, "the cause", match="size")
    study.add({TWIN_LAYER: [twin]}, "one of two twins", match="size")
    return study.confirm()


def test_a_planted_cause_is_confirmed_and_a_twin_fails_its_control(planted, result):
    _, cause, _, _ = planted
    assert result.verdicts == ("confirmed", "failed its control")
    first, second = result.tests
    assert first.p == first.smallest_p == 1 / 128  # all 127 other experts of the layer
    assert first.effect > 1
    assert abs(second.effect) < 0.01
    assert result.positive_controls[0].components == {CAUSE_LAYER: (cause,)}  # found without being named
    assert second.share > second.control_shares.mean()  # though the twin is busy


def test_both_twins_together_are_not_replaced(planted):
    lab, _, twin, pairs = planted
    spare = next(one for one in range(128) if one != twin)
    found = ablate_experts(
        lab, {TWIN_LAYER: [twin, spare]}, pairs[:6], match="size", draws=99, progress=False
    )
    assert found.effect != pytest.approx(0.0, abs=1e-3)


def test_a_result_states_its_design_first(result):
    assert sum(result.design.confirmation.values()) == 8 == len(result.tests[0].intact)
    single = result.tests[0]
    assert single.intact.mean() - single.ablated.mean() == pytest.approx(single.effect)
    text = str(result)
    assert text.startswith(f"design {result.design.fingerprint}")
    assert text.index("measure") < text.index("confirmed") < text.index("verdict")
    frame = result.to_pandas()
    assert frame["role"].tolist() == ["claim", "claim", "positive control"]
    assert frame["verdict"].tolist() == ["confirmed", "failed its control", "detected"]
    assert frame["p_adjusted"][0] == pytest.approx(2 / 128)


def test_confirmation_questions_are_read_once_and_only_by_confirm(planted, monkeypatch):
    lab, cause, _, pairs = planted
    read = []
    init = AnswerReader.__init__
    monkeypatch.setattr(
        AnswerReader,
        "__init__",
        lambda self, lab, examples, **k: read.append(list(examples)) or init(self, lab, examples, **k),
    )
    study = gl.evals.AblationStudy(
        lab, "experts", pairs, development=5, screening=2, confirmation=3, progress=False
    )
    study.add([{CAUSE_LAYER: [cause]}, {CAUSE_LAYER: [cause, (cause + 1) % 128]}], "sizes", match="size")
    design = study.design()
    assert len(study.development) == 5
    assert read == [study.development[:2]]
    assert "open" not in repr(study)
    with pytest.raises(LabError, match="fixed"):
        study.add({CAUSE_LAYER: [1]}, match="size")
    first = study.confirm()
    assert study.confirm() is first
    assert first.design is study.design() is design
    assert len(read) == 2
    assert not {pair[0] for pair in study.development} & {pair[0] for pair in read[1]}
    assert first.tests[0].intact.shape == (3,)


def test_the_size_with_the_most_damage_in_standard_deviations_is_taken(planted):
    lab, cause, _, pairs = planted
    study = gl.evals.AblationStudy(lab, "experts", pairs, development=3, confirmation=3, progress=False)
    others = [one for one in range(128) if one != cause][:3]
    claim = study.add([{0: others}, {CAUSE_LAYER: [cause, others[0]]}], "either", match="size")
    assert claim.size == 2
    assert [one.size for one in claim.candidates] == [3, 2]
    best = max(claim.candidates, key=lambda one: one.standardised)
    assert best.size == 2
    found = ablate_experts(
        lab, claim.test.components, study.development, match="size", draws=19, seed=1, progress=False
    )
    assert best.standardised == pytest.approx(found.standardised, abs=0.01)


def test_the_design_is_complete_before_anything_is_confirmed(tiny_lab):
    lab, made = tiny_lab("31B"), []
    pairs = [(prompt, "x") for prompt in PROMPTS]
    for seed in (0, 0, 1):
        study = gl.evals.AblationStudy(
            lab, "heads", pairs, groups=["a", "b", "b"] * 7, development=2, confirmation=3, seed=seed,
            progress=False, question="Which?",
        )  # fmt: skip
        study.add({5: [0], 3: [1]}, "two heads", target="b")
        made.append(study.design())
    one, again, other = made
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 12
    saved = json.loads(one.to_json())
    assert saved["claims"][0]["test"]["components"] == {"3": [1], "5": [0]}
    assert len(saved["digests"][1]) == 6
    text = str(one)
    assert [term for term, _ in one.rows] == [
        "question", "development", "screening", "confirmation", "measure", "null", "positive control",
        "negative control", "confirmed", "failed its control", "inconclusive", "claim 1", "control",
    ]  # fmt: skip
    assert all(any(line.startswith(term) for line in text.splitlines()) for term, _ in one.rows)
    assert "(Holm)" in text
    assert "199 random sets" in text


def heads_study(lab, **options):
    pairs = [(prompt, "x") for prompt in PROMPTS]
    return gl.evals.AblationStudy(
        lab, "heads", pairs, **{"development": 2, "confirmation": 2, "progress": False} | options
    )


def test_a_study_is_of_one_model(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")
    study, sets = heads_study(lab), {5: [0], 3: [1]}
    with lab.edit(ablate_heads={1: [0]}), pytest.raises(LabError, match="began under no edit; Edit"):
        study.add(sets)
    study.add(sets)
    norm = decoder_of(lab.model).norm.weight
    with monkeypatch.context() as patched:
        patched.setattr(norm, "data", norm.data * 2)
        with pytest.raises(LabError, match=r"weights of .* have changed .* norms"):
            study.design()
    with monkeypatch.context() as patched:
        patched.setattr(lab, "adapter", {"name": "mine", "digest": "0123456789ab"})
        with pytest.raises(LabError, match=r"began with no adapter; the adapter 'mine' \(01234567\)"):
            study.design()
    study.design()
    with lab.edit(ablate_heads={1: [0]}), pytest.raises(LabError, match="active"):
        study.confirm()
    found = study.confirm()
    with lab.edit(ablate_heads={1: [0]}):
        assert study.confirm() is found  # nothing is read any more
    with lab.edit(ablate_heads={1: [0]}):
        under = heads_study(lab)
    with pytest.raises(LabError, match="no edit is active"):
        under.add(sets)


def test_a_design_names_the_edit_and_the_adapter(tiny_lab, monkeypatch):
    lab, active = tiny_lab("31B"), gl.Edit(ablate_heads={1: [0]})
    made = []
    for edit in (gl.Edit(), active):
        with lab.edit(edit):
            study = heads_study(lab)
            study.add({5: [0], 3: [1]})
            made.append(study.design())
            if edit:
                assert study.confirm().tests[0].active_edit == active
    plain, under = made
    assert plain.active_edit is plain.adapter is None
    assert under.active_edit == active
    saved = json.loads(under.to_json())
    assert gl.Edit.from_dict(saved["active_edit"]) == active
    assert dict(under.rows)["model"] == f"{lab.name} under {active!r}, from start to end"
    # without an edit neither the rows nor what is hashed have anything of it
    assert json.loads(plain.to_json()).keys() == saved.keys() - {"active_edit"}
    assert "model" not in dict(plain.rows)
    monkeypatch.setattr(lab, "adapter", {"name": "mine", "digest": "0123456789ab"})
    study = heads_study(lab)
    study.add({5: [0], 3: [1]})
    assert json.loads(study.design().to_json())["adapter"] == lab.adapter
    assert "'mine' (01234567), from start" in str(study.design()).replace("\n", " ")


def test_a_published_fingerprint_stays():
    assert made_study({"one": 1.0}).design.fingerprint == "d571794adaa1"


def test_a_claim_that_cannot_be_ablated_under_the_active_edit(planted):
    lab, cause, _, pairs = planted
    other = next(one for one in range(128) if one != cause)
    with lab.edit(force_experts={CAUSE_LAYER: [cause]}, ablate_experts={0: range(100)}):
        study = gl.evals.AblationStudy(lab, "experts", pairs, development=1, confirmation=1, progress=False)
        for sets, why in (
            ({CAUSE_LAYER: [cause]}, "both ablated and forced"),
            ({0: range(100, 125)}, "125 of 128 experts"),
            ({0: range(30)}, "28 others; at most"),
        ):
            with pytest.raises(BadEdit, match=why):
                study.add(sets, match="size")
        study.add({CAUSE_LAYER: [other], 0: [101]}, match="size")
        control = study.design().controls[0].test.components
    assert cause not in control.get(CAUSE_LAYER, ())


def test_draws_suffice_for_the_correction(planted):
    lab, cause, _, pairs = planted
    study = gl.evals.AblationStudy(
        lab, "experts", pairs, development=1, confirmation=2, draws=99, progress=False
    )
    for number in range(6):
        study.add({CAUSE_LAYER: [cause], number % 5: [number]}, f"claim {number}", match="size")
    assert study.design().draws == 119  # 6 ÷ 0.05 - 1


def test_heads_and_nothing_left_behind(tiny_lab):
    lab = tiny_lab("31B")
    before = next_log_probs(lab, "a")
    study = gl.evals.AblationStudy(
        lab, "heads", [(prompt, "x") for prompt in PROMPTS], development=2, confirmation=2, progress=False
    )
    study.add([[(0, 0)], [(0, 0), (1, 1)], {0: [0, 1, 2], 2: [3]}], "some heads")
    assert {one.size for one in study.claims[0].candidates} == {2, 4}  # one head of 24 allows no p of 0.01
    found = study.confirm()
    assert found.verdicts[0] in ("failed its control", "inconclusive", "confirmed")
    assert len(found.negative_p) >= 10
    assert not lab.lock.held_by_this_thread()
    hooks = [one for one in lab.model.modules() if one._forward_hooks or one._forward_pre_hooks]
    assert not hooks
    assert torch.equal(next_log_probs(lab, "a"), before)


def test_bad_studies(planted, tiny_lab):
    lab, cause, _, pairs = planted

    def study(**options):
        return gl.evals.AblationStudy(
            lab, "experts", pairs, **{"development": 1, "confirmation": 1, "progress": False} | options
        )

    for options in (
        {"draws": 50}, {"development": 0}, {"confirmation": 30}, {"groups": ["a"]}, {"alpha": 0},
        {"screening": 0}, {"seed": -1}, {"minimum_effect": -1}, {"family_alpha": "x"}, {"batch_size": 0},
    ):  # fmt: skip
        with pytest.raises(LabError):
            study(**options)
    with pytest.raises(LabError, match="kind"):
        gl.evals.AblationStudy(lab, "layers", pairs)
    with pytest.raises(BadEdit, match="no experts"):
        gl.evals.AblationStudy(tiny_lab("31B"), "experts", pairs)
    for examples in ("abc", b"abc", dict(pairs), None, 5, iter(pairs)):
        with pytest.raises(LabError, match="examples is"):
            gl.evals.AblationStudy(lab, "experts", examples)
    for groups in ("a" * len(pairs), dict.fromkeys(range(len(pairs))), set(range(len(pairs))), 5, iter("ab")):
        with pytest.raises(LabError, match="groups"):
            study(groups=groups)
    with pytest.raises(LabError, match="There are no examples"):
        gl.evals.AblationStudy(lab, "experts", [])
    with pytest.raises(LabError, match="loaded model"):
        gl.evals.AblationStudy("mini-moe", "experts", pairs)
    open_study = study()
    with pytest.raises(LabError, match="no claim"):
        open_study.design()
    for sets in ({}, [], None, {99: [1]}, {0: [999]}, [{0: [1]}, {}], {0: range(128)}, 7):
        with pytest.raises(LabError):
            open_study.add(sets, match="size")
    with pytest.raises(LabError, match="'c'"):
        open_study.add({CAUSE_LAYER: [cause]}, target="c")
    with pytest.raises(LabError, match="colour"):
        open_study.add({CAUSE_LAYER: [cause]}, match="colour")
    with pytest.raises(BadEdit, match="15 other sets"):
        open_study.add({CAUSE_LAYER: [cause]}, match="load")  # 15 experts are as busy: p ≥ 1 ÷ 16
    assert open_study.claims == ()
