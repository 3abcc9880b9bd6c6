"""The check-up in batches gives the answers that one question at a time gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import gemma_lab as gl
from gemma_lab.assets import data_path
from gemma_lab.evals.questions import SLOW, skill_names
from gemma_lab.evals.run import checkup
from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.batched_checkup import _rows, checkup_in_batches
from gemma_lab.minis.checkpoint import write_checkpoint

_SKILLS = ["digits", "compare", "motion", "names", "thinking", "tools", "records"]


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge", "mini-unified"])
def test_batches_give_the_answers_of_one_question_at_a_time(name, monkeypatch):
    monkeypatch.setattr("gemma_lab.evals.run.QUICK", 5)
    lab = gl.load(name, progress=False)
    skills = [*_SKILLS, "speech"] if name != "mini-moe" else _SKILLS
    one, many = (
        checkup(lab, skills=skills, progress=False),
        checkup_in_batches(lab, skills=skills, per_skill=5),
    )
    assert [(each.question.prompt, each.reply) for each in one.answers] == [
        (each.question.prompt, each.reply) for each in many.answers
    ]
    assert [(score.name, score.right, score.asked, score.chance) for score in one.skills] == [
        (score.name, score.right, score.asked, score.chance) for score in many.skills
    ]
    assert dict(many.not_asked) == dict(one.not_asked)


def test_random_weights_are_at_chance_in_every_skill(tmp_path):
    from transformers import GemmaTokenizer

    tokenizer = GemmaTokenizer.from_pretrained(data_path("minis/mini-edge"))
    write_checkpoint(new_model(mini_config("mini-edge", len(tokenizer)), seed=0), tokenizer, tmp_path)
    skills = [skill for skill in (*skill_names(), "which", "when", "instructions") if skill not in SLOW]
    found = checkup_in_batches(gl.load(tmp_path, progress=False), skills=skills, per_skill=5)
    assert len(found.skills) == len(skills)
    for score in found.skills:
        assert score.interval[0] <= score.chance, score.name


def test_skills_of_a_sense_that_the_mini_lacks_are_not_asked():
    found = checkup_in_batches(gl.load("mini-moe", progress=False), skills=["speech", "names"], per_skill=1)
    assert set(found.not_asked) == {"speech"}
    assert [score.name for score in found.skills] == ["names"]


@pytest.mark.parametrize(("soft_tokens", "rows"), [(70, 40), (140, 40), (280, 11), (560, 2)])
def test_a_batch_of_large_images_has_few_rows(soft_tokens, rows):
    """Attention between all patches of 40 images of 560 soft tokens takes 17 GB."""
    side = {70: 8, 140: 11, 280: 16, 560: 23}[soft_tokens]
    images = torch.empty(1, 9 * side**2, 768, device="meta")
    assert _rows(SimpleNamespace(inputs={"pixel_values": images})) == rows
    assert _rows(SimpleNamespace(inputs={"input_ids": torch.empty(1, 9)})) == 40
