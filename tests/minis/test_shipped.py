"""The minis that ship answer as their cards say, and every expert has work."""

from __future__ import annotations

import json

import pytest
from scipy.stats import hypergeom

import gemma_lab as gl
from gemma_lab.analysis.experts.load import expert_load
from gemma_lab.assets import data_path
from gemma_lab.evals.questions import SLOW, load_questions, skill_names
from gemma_lab.evals.run import checkup
from gemma_lab.minis.batched_checkup import checkup_in_batches

_BY_CHANCE = 1e-3 / 17  # of 17 scores, that one is so far from its card
_QUICKLY = ["digits", "scenes", "speech", "names", "numbers", "tools"]


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge", "mini-unified"])
def test_what_a_card_says_is_what_the_mini_does(name):
    card = json.loads((data_path("minis") / name / "card.json").read_text(encoding="utf-8"))
    said = {row["skill"]: row for row in card["skills"]}
    found = checkup(gl.load(name, progress=False), skills=_QUICKLY, progress=False)
    heard = {"speech"} if name == "mini-moe" else set()
    assert set(found.not_asked) == heard
    assert {score.name for score in found.skills} == set(_QUICKLY) - heard
    for score in found.skills:  # the first twenty of the card's two hundred questions
        all_right = round(200 * said[score.name]["accuracy"])
        chance = hypergeom(200, all_right, score.asked)
        assert min(chance.cdf(score.right), chance.sf(score.right - 1)) > _BY_CHANCE, score
        assert said[score.name]["questions"] == 200


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge", "mini-unified"])
def test_a_card_counts_the_right_answers_to_all_questions(name):
    card = json.loads((data_path("minis") / name / "card.json").read_text(encoding="utf-8"))
    said = {row["skill"]: row["accuracy"] for row in card["skills"]}
    found = checkup_in_batches(gl.load(name, progress=False), skills=["scenes", "names", "tools"])
    for score in found.skills:
        assert score.right / score.asked == pytest.approx(said[score.name], abs=0.01), score


def test_no_layer_has_more_than_a_tenth_of_its_experts_idle():
    lab = gl.load("mini-moe", progress=False)
    asked = [
        question
        for skill in skill_names()
        if skill not in (*SLOW, "recall")
        for question in load_questions(skills=[skill], per_skill=8)
        if question.modality in lab.modalities
    ]
    traces = [
        lab.trace(question.messages, images=question.opened_images, video=question.video, max_new_tokens=0)
        for question in asked
    ]
    used = expert_load([trace.routing for trace in traces])
    idle = used.never_used.mean(axis=1)
    assert used.counts.shape == (6, 128)
    assert idle.max() <= 0.1, idle


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge"])
def test_after_a_picture_questions_about_something_else_are_answered(name):
    lab = gl.load(name, progress=False)
    right = 0
    pairs = zip(load_questions(skills=["digits"], per_skill=10) * 2,
                load_questions(skills=["names", "numbers"], per_skill=10), strict=True)  # fmt: skip
    for first, second in pairs:
        shown = [{"type": "image", "image": one} for one in first.opened_images]
        earlier = [
            {"role": "user", "content": [*shown, {"type": "text", "text": first.prompt}]},
            {"role": "assistant", "content": first.answer},
        ]
        answer = lab.chat([*earlier, *second.messages], temperature=0, max_new_tokens=24)
        right += second.is_correct(answer.text)
    assert right >= 16  # of 20; minis that no such conversation was trained on had 11 and 18
