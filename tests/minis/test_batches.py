"""Rows are whole conversations, and a batch has what each tower takes."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import ENCODER_FREE, SHAPES, mini_config, new_model
from gemma_lab.minis.batches import Batcher, _seconds
from gemma_lab.minis.encoding import SKIP, Row
from gemma_lab.minis.media_inputs import ENCODED, RAW
from gemma_lab.minis.tasks import HEARD, SKILLS, Clip
from gemma_lab.minis.tasks.cells import UNKNOWN
from gemma_lab.minis.tokenizer import token_id


def test_a_batch_of_pictures_has_as_many_placeholders_as_soft_tokens(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    rows = [batcher.row("digits", grid=2) for _ in range(3)]
    batch = batcher.batch(rows, grid=2)
    pictures = sum(len(row.images) for row in rows)
    assert pictures > 3
    assert (batch.inputs["input_ids"] == token_id("image_token")).sum() == pictures * 4
    assert batch.inputs["pixel_values"].shape == (pictures, 36, 768)


def test_a_row_is_filled_with_whole_conversations(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    for skill in ("names", "numbers"):
        row = batcher.row(skill, length=400)
        assert 250 < len(row.ids) <= 400
        assert row.ids[0] == token_id("bos_token")
        assert row.ids[-2] == token_id("eot_token")
        assert row.ids.count(token_id("bos_token")) > 1
        assert len(row.labels) == len(row.ids)


def test_a_batch_pads_on_the_right_without_loss(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    rows = [batcher.row("names", length=60), batcher.row("recall")]
    batch = batcher.batch(rows)
    assert batch.skills == ["names", "recall"]
    short = len(rows[0].ids)
    assert batch.labels.shape[1] > short
    assert (batch.labels[0, short:] == SKIP).all()
    assert not batch.inputs["attention_mask"][0, short:].any()


def test_some_questions_about_pictures_are_followed_by_one_about_something_else(tokenizer):
    batcher = Batcher(tokenizer, random.Random(2))
    rows = [batcher.row("digits", length=1) for _ in range(60)]
    answered = [sum(label == token_id("eot_token") for label in row.labels) for row in rows]
    changed = [row for row, answers in zip(rows, answered, strict=True) if answers == 2]
    assert set(answered) == {1, 2}
    assert 4 <= len(changed) <= 22
    for row in changed:
        words = tokenizer.decode([label for label in row.labels if label != SKIP])
        digit, other = words.split("<turn|>")[:2]
        assert len(digit.strip()) == 1
        assert len(other.strip()) > 1
    asked = [batcher.row("digits", length=1, held_out=True) for _ in range(40)]
    assert all(sum(label == token_id("eot_token") for label in row.labels) == 1 for row in asked)


def test_only_training_is_typed_in_many_ways(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    for held_out in (False, True):
        texts = [tokenizer.decode(batcher.row("names", length=300, held_out=held_out).ids) for _ in range(30)]
        asked = [part.split("<turn|>")[0] for text in texts for part in text.split("<|turn>user\n")[1:]]
        usual = [one for one in asked if "“" in one and one[0].isupper() and one[-1] in ".?"]
        assert len(asked) > 200
        assert len(usual) == len(asked) if held_out else 0.6 < len(usual) / len(asked) < 0.8
        assert not any("<unk>" in text for text in texts)


def test_training_begins_with_few_facts(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    batcher.most_facts = 2
    texts = [tokenizer.decode(batcher.row("recall", length=1).ids) for _ in range(20)]
    assert max(text.split("<turn|>")[0].count(".") for text in texts) <= 3
    held = tokenizer.decode(batcher.row("recall", length=1, held_out=True).ids)
    assert held.split("<turn|>")[0].count(".") >= 10


@pytest.mark.parametrize("name", SHAPES)
def test_every_skill_goes_through_the_model(tokenizer, name):
    model = new_model(mini_config(name, len(tokenizer)), seed=0)
    batcher = Batcher(tokenizer, random.Random(0), RAW if name in ENCODER_FREE else ENCODED)
    for skill in SKILLS:
        if skill in HEARD and SHAPES[name]["audio"] is None:
            continue
        for held_out in (False, True):
            batch = batcher.batch([batcher.row(skill, grid=2, length=1, held_out=held_out)], grid=2)
            with torch.no_grad():
                hidden = model.model(**batch.inputs, use_cache=False).last_hidden_state
            assert hidden.shape[:2] == batch.labels.shape
            assert torch.isfinite(hidden).all()
            assert (batch.labels != SKIP).any()


def test_every_soft_token_of_a_frame_has_the_seconds_of_the_timestamp_before_it(tokenizer):
    """The timestamp in the text is the one that was read: an independent reading of the row."""
    batcher = Batcher(tokenizer, random.Random(2))
    batch = batcher.batch([batcher.row("motion", grid=2) for _ in range(4)], grid=2)
    soft = batch.inputs["input_ids"] == token_id("video_token")
    assert (batch.seconds[~soft] == UNKNOWN).all()
    for ids, seconds in zip(batch.inputs["input_ids"].tolist(), batch.seconds.tolist(), strict=True):
        for place, token in enumerate(ids):
            if token == token_id("video_token"):
                start = place - ids[:place][::-1].index(token_id("boi_token"))
                said = tokenizer.decode(ids[start - 7 : start - 1]).strip()
                assert said == f"00:{seconds[place]:02d}"
    assert len(set(batch.seconds[soft].tolist())) > 3


def test_times_beyond_those_that_the_probe_tells_apart_are_unknown():
    clip = Clip(tuple([None] * 3), fps=0.2)  # at 0, 5 and 10 s
    row = Row("motion", clips=[clip])
    assert _seconds([row], 1) == [0, 5, UNKNOWN]
