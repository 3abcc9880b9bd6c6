"""A dose curve: its effect is the change of log-probability under the edit, beside random directions."""

from __future__ import annotations

import numpy as np
import pytest
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab import Edit, Steering
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.evals.steering import DoseCurve, dose_curve
from gemma_lab.lab import Lab
from gemma_lab.trace.run.forced_answer import read_answer

TARGETS = [("What is 7 + 5?", "12"), ("What is 3 + 1?", "4"), ("Name a colour.", "red")]


@pytest.fixture(scope="module")
def lab():
    return Lab(model=shapes.tiny_model("26B-A4B"), processor=shapes.tiny_processor("26B-A4B"), name="tiny")


@pytest.fixture(scope="module")
def direction(lab):
    return lab.direction(["I won!", "So good."], ["I lost.", "Rain."], layers=[1, 3], name="good − bad")


def log_prob(lab, prompt, answer, edit):
    """The mean log-probability per token of an answer and the end of the turn, by forced reading."""
    from gemma_lab.models.fine_tuning.encoding import ExampleSet

    example = ExampleSet(lab, [(prompt, answer)]).examples[0]
    with lab.edit(edit):
        read = read_answer(lab, lab.request(prompt), example.ids[example.prompt_tokens :])
    return float(np.mean(read.trace.generation.logprobs))


def test_effects_are_changes_of_log_probability(lab, direction):
    found = dose_curve(lab, direction, TARGETS, strengths=(3, -3), controls=2, seed=5, progress=False)
    assert found.strengths == (-3, 0, 3)
    assert not hooks(lab.model)
    for place, strength in enumerate(found.strengths):
        for row, (prompt, answer) in enumerate(TARGETS):
            expected = log_prob(lab, prompt, answer, Edit(steer=Steering(direction, strength)))
            assert found.log_probs[place, row] == pytest.approx(expected, abs=1e-3)
            control = log_prob(lab, prompt, answer, Edit(steer=Steering(direction.random(6), strength)))
            assert found.control_log_probs[1, place, row] == pytest.approx(control, abs=1e-3)
    assert found.effects[1] == 0
    assert not found.control_effects[:, 1].any()
    table = found.to_pandas()
    assert table["strength"].tolist() == [-3, 0, 3]
    assert "score" not in table
    assert "good − bad" in repr(found)
    assert len(found.figure().figure.axes) == 1


def test_the_checkup_is_asked_at_every_strength(lab, direction, monkeypatch):
    seen = []

    def checkup(asked, *, skills, full, progress):
        from gemma_lab.evals.report import Checkup, GradedAnswer
        from gemma_lab.trace.interventions.apply import active_edit

        edit = active_edit(asked.model)
        strength = edit.steer[0].strength
        seen.append((edit.steer[0].direction.name, strength, tuple(skills), full, progress))
        question = gl.evals.load_questions(skills=skills, per_skill=1)[0]
        return Checkup("tiny", [GradedAnswer(question, "", strength < 1)] * 4, not_asked={})

    monkeypatch.setattr("gemma_lab.evals.steering.checkup", checkup)
    found = dose_curve(
        lab, direction, TARGETS, strengths=(1, 2), skills=["names"], controls=2, progress=False
    )
    assert [strength for name, strength, *_ in seen if name == "good − bad"] == [0, 1, 2]
    assert [strength for name, strength, *_ in seen if name == "random 0"] == [1, 2]
    assert not [name for name, *_ in seen if name == "random 1"]
    assert found.right.tolist() == [4, 0, 0]
    assert found.control_right.tolist() == [4, 0, 0]
    assert found.asked == 4
    row = found.to_pandas().iloc[0]
    assert row["score"] == 1
    assert row["score_low"] < 1
    assert len(found.figure().figure.axes) == 2
    assert "check-up" in found.figure().text


def test_p_counts_random_directions_that_do_as_much():
    log_probs = np.array([[-3.0, -2.0], [-1.0, -1.0], [0.0, 0.0]])  # effects −1.5, 0, +1
    controls = np.stack([log_probs * 0 - 1, log_probs, log_probs * 2 + 1])  # effects 0; the same; twice
    curve = DoseCurve(
        "m", "d", (-1.0, 0.0, 1.0), log_probs, log_probs == 0, controls, np.zeros(3), np.zeros(3), 0, ()
    )
    np.testing.assert_allclose(curve.effects, [-1.5, 0, 1])
    np.testing.assert_allclose(curve.p, [3 / 4, 1, 3 / 4])
    one = DoseCurve(
        "m", "d", (-1.0, 0.0, 1.0), log_probs, log_probs == 0, -controls, np.zeros(3), np.zeros(3), 0, ()
    )
    np.testing.assert_allclose(one.p, curve.p)  # two-sided: as far the other way is as far
    assert curve.to_pandas()["reached"].tolist() == [0, 0, 1]


def test_a_steered_model_has_no_dose_curve(lab, direction):
    with lab.edit(steer=Steering(direction, 2.0)), pytest.raises(BadEdit, match="steers is active"):
        dose_curve(lab, direction, TARGETS, controls=1, progress=False)
    with lab.edit(steer=direction.random(3)), pytest.raises(BadEdit, match="steers is active"):
        dose_curve(lab, direction, TARGETS, controls=1, progress=False)


def test_under_another_edit_all_strengths_are_those_of_the_edited_model(lab, direction):
    edit = Edit(ablate_heads={0: [1]})
    with lab.edit(edit):
        found = dose_curve(lab, direction, TARGETS, strengths=(2,), controls=1, progress=False)
    for place, steer in enumerate(((), Steering(direction, 2))):
        expected = log_prob(lab, *TARGETS[0], edit | Edit(steer=steer))
        assert found.log_probs[place, 0] == pytest.approx(expected, abs=1e-3)
    assert found.log_probs[0, 0] != pytest.approx(log_prob(lab, *TARGETS[0], Edit()), abs=1e-6)


def test_a_steering_that_no_target_reaches_is_refused(lab, direction):
    from gemma_lab.models.fine_tuning.encoding import ExampleSet

    lengths = [len(example.ids) for example in ExampleSet(lab, TARGETS).examples]
    last = min(lengths) - 1  # read of every target, but nothing is predicted from it in the shortest
    for tokens in ((5000, 5001), (max(lengths), None), (last, last + 1)):
        with pytest.raises(BadEdit, match=f"token {tokens[0]:,}"):
            dose_curve(lab, direction, TARGETS, tokens=tokens, controls=1, progress=False)
    found = dose_curve(
        lab, direction, TARGETS, strengths=(40,), tokens=(last - 1, last), controls=1, progress=False
    )
    assert (found.log_probs[1] != found.log_probs[0]).all()


def test_the_checkup_of_the_model_itself_is_kept(lab, direction, monkeypatch):
    asked = []

    def checkup(lab, *, skills, full, progress):
        from gemma_lab.evals.report import Checkup, GradedAnswer

        asked.append(tuple(skills))
        question = gl.evals.load_questions(skills=skills, per_skill=1)[0]
        lab.last_checkup = Checkup("steered", [GradedAnswer(question, "", False)], not_asked={})
        if len(asked) == 4:
            raise KeyboardInterrupt
        return lab.last_checkup

    monkeypatch.setattr("gemma_lab.evals.steering.checkup", checkup)
    monkeypatch.setattr(lab, "last_checkup", kept := object())
    options = {"strengths": (1,), "controls": 1, "skills": "names", "progress": False}
    assert dose_curve(lab, direction, TARGETS, **options).skills == ("names",)
    assert set(asked) == {("names",)}
    assert lab.last_checkup is kept
    with pytest.raises(KeyboardInterrupt):
        dose_curve(lab, direction, TARGETS, **options)
    assert lab.last_checkup is kept


@pytest.mark.parametrize("wrong", [5, "mini-moe", None])
def test_no_loaded_model(direction, wrong):
    with pytest.raises(LabError, match=r"dose_curve takes a loaded model"):
        dose_curve(wrong, direction, TARGETS)


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"strengths": "1"}, LabError, "strengths"),
        ({"strengths": (0,)}, LabError, "no curve"),
        ({"strengths": (float("nan"),)}, LabError, "strengths"),
        ({"strengths": range(60)}, LabError, "60"),
        ({"controls": 0}, LabError, "controls"),
        ({"layers": [9]}, BadEdit, "no layer 9"),
        ({"targets": []}, LabError, "no examples"),
        ({"targets": "one"}, LabError, "'one'"),
        ({"seed": "x"}, LabError, "seed='x'"),
        ({"seed": None}, LabError, "seed=None"),
        ({"seed": True}, LabError, "seed=True"),
        ({"skills": 5}, LabError, "skills=5"),
        ({"skills": [5]}, LabError, "no skill named 5"),
        ({"skills": "nothing"}, LabError, "no skill named nothing"),
    ],
)
def test_bad_arguments_are_clear_errors(lab, direction, change, error, what):
    arguments = {"targets": TARGETS, "progress": False} | change
    with pytest.raises(error, match=what):
        dose_curve(lab, direction, **arguments)
