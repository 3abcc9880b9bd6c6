"""A check-up asks, grades, survives an interrupt, and can fail."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.checkup.questions import questions
from gemma_lab.checkup.report import Checkup
from gemma_lab.checkup.run import checkup
from gemma_lab.cli import app


class Pupil:
    """Answers by looking questions up, wrong on one skill, and gives up after some questions."""

    name = "pupil"

    def __init__(self, *, modalities=("text", "image"), wrong=(), last=10_000):
        self.modalities, self.wrong, self.left = frozenset(modalities), wrong, last
        self.last_checkup = None

    def chat(self, prompt, *, images, temperature, **_):
        assert temperature == 0
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        known = [q for q in questions() if q.prompt == prompt and bool(q.png) == bool(images)]
        if images:
            known = [q for q in known if q.image.tobytes() == images[0].tobytes()]
        (question,) = known
        return SimpleNamespace(text="no idea" if question.skill in self.wrong else question.answer)


def test_a_perfect_pupil_is_right_everywhere():
    found = checkup(Pupil(), progress=False)
    assert [(score.asked, score.right) for score in found.skills] == [(20, 20)] * 4
    assert found.failures == []
    assert found.below(0.9) == []


def test_what_is_wrong_is_found_and_counted_by_group():
    found = checkup(Pupil(wrong=("names",)), progress=False, skills=["names", "recall"])
    names, recall = found.skills
    assert (names.right, recall.right) == (0, 20)
    assert found.below(0.5) == [names]
    assert {answer.question.skill for answer in found.failures} == {"names"}
    assert sum(group.asked for group in found.groups("names")) == 20
    assert repr(found) == "Checkup(pupil: names 0/20, recall 20/20)"
    frame = found.to_pandas()
    assert len(frame) == 40
    assert frame.groupby("skill")["right"].sum().to_dict() == {"names": 0, "recall": 20}


def test_a_model_that_sees_nothing_is_not_asked_about_pictures():
    found = checkup(Pupil(modalities=("text",)), progress=False)
    assert found.not_asked == {"digits": "pupil takes no image"}
    assert [score.name for score in found.skills] == ["names", "numbers", "recall"]


def test_an_interrupt_keeps_what_was_answered():
    pupil = Pupil(last=7)
    with pytest.raises(KeyboardInterrupt):
        checkup(pupil, progress=False)
    assert isinstance(pupil.last_checkup, Checkup)
    assert len(pupil.last_checkup.answers) == 7


def test_random_weights_score_at_chance_and_the_command_says_so(tiny_folder):
    lab = gl.load(tiny_folder("26B-A4B"), progress=False)
    found = lab.checkup(progress=False, skills=["names", "recall"])
    assert all(score.accuracy <= 0.1 for score in found.skills)
    assert lab.last_checkup is found
    done = CliRunner().invoke(app, ["checkup", str(tiny_folder("26B-A4B")), "--skill", "recall"])
    assert done.exit_code == 1
    assert "Below the threshold of 50%: recall" in done.output
