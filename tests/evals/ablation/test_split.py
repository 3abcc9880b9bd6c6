"""Development and confirmation examples: drawn by group, no prompt in both."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.evals.ablation.split import split_examples

PAIRS = [(f"{letter}{number}", "x") for letter in "ab" for number in range(8)]
GROUPS = tuple(prompt[0] for prompt, _ in PAIRS)


@pytest.fixture
def lab(tiny_lab):
    return tiny_lab("31B")


def test_every_group_is_split_and_no_prompt_is_in_both(lab):
    found = split_examples(lab, PAIRS, GROUPS, development=3, confirmation=2, seed=0)
    assert found.development.counts == {"a": 3, "b": 3}
    assert found.confirmation.counts == {"a": 2, "b": 2}
    assert not set(found.development.digests) & set(found.confirmation.digests)
    assert not set(found.development.examples) & set(found.confirmation.examples)
    assert [prompt[0] for prompt, _ in found.development.examples] == list(found.development.groups)
    assert found.repeated == 0
    rest = split_examples(lab, PAIRS, GROUPS, development=3, confirmation=None, seed=0)
    assert rest.development == found.development
    assert rest.confirmation.counts == {"a": 5, "b": 5}


def test_the_same_prompt_is_kept_once_whatever_its_answer_and_group(lab):
    same = [("one", "x"), ("one", "y"), ("one", "z"), ("two", "x"), ("three", "x"), ("two", "q")]
    found = split_examples(lab, same, ("",) * 6, development=1, confirmation=None, seed=0)
    prompts = [prompt for prompt, _ in found.development.examples + found.confirmation.examples]
    assert sorted(prompts) == ["one", "three", "two"]
    assert found.repeated == 3
    with pytest.raises(LabError, match="3 examples"):
        split_examples(lab, same, ("",) * 6, development=2, confirmation=2, seed=0)


def test_pictures_tell_prompts_apart(tiny_lab):
    from PIL import Image

    dark, light = Image.new("RGB", (64, 64), "black"), Image.new("RGB", (64, 64), "white")
    asked = [{"prompt": "?", "answer": "x", "images": [one]} for one in (dark, light, dark)]
    found = split_examples(tiny_lab("31B"), asked, ("",) * 3, development=1, confirmation=1, seed=0)
    assert found.development.digests != found.confirmation.digests
    with pytest.raises(LabError):
        split_examples(tiny_lab("31B"), asked, ("",) * 3, development=1, confirmation=2, seed=0)


def test_the_seed_repeats_the_split(lab):
    one, two, other = (
        split_examples(lab, PAIRS, GROUPS, development=4, confirmation=4, seed=seed) for seed in (5, 5, 6)
    )
    assert one == two != other


def test_the_first_of_each_group(lab):
    part = split_examples(lab, PAIRS, GROUPS, development=3, confirmation=1, seed=0).development
    assert part.first(1).counts == {"a": 1, "b": 1}
    assert part.first(1).examples[0] == part.examples[0]
    assert part.first(None) == part.first(99) == part
