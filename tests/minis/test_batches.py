"""What the loss sees is the answers, and pictures are cut as Gemma 4's processor cuts them."""

from __future__ import annotations

import random

import torch

from gemma_lab.minis.architecture import new_processor
from gemma_lab.minis.batches import SKIP, Batcher, conversation, patches
from gemma_lab.minis.tasks import Question, digits
from gemma_lab.minis.tokenizer import token_id


def test_only_answers_and_the_end_of_the_turn_carry_loss(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    row = [Question("names", "One?", "eins", more=(("Two?", "zwei"),))]
    ids, labels = batcher._encode(row, 4)
    kept = [number for number in labels if number != SKIP]
    assert tokenizer.decode(kept) == "eins<turn|>zwei<turn|>"
    assert all(label in (SKIP, token) for token, label in zip(ids, labels, strict=True))


def test_the_prompt_is_the_one_that_chat_will_send(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    question = Question("numbers", "Write 4 in German words.", "vier")
    ids, _ = batcher._encode([question], 4)
    prompt = tokenizer.apply_chat_template(
        conversation([question])[:1], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert ids[: len(prompt)] == list(prompt)


def test_patches_lie_as_the_processor_lays_them(tokenizer):
    picture = digits.draw(3, random.Random(0), size=384)  # already 24 × 24 patches: nothing is resized
    mine, positions = patches(picture, 8)
    theirs = new_processor(tokenizer).image_processor(picture, return_tensors="pt")
    count = len(mine)
    torch.testing.assert_close(mine, theirs["pixel_values"][0, :count], atol=1e-6, rtol=0)
    assert torch.equal(positions, theirs["image_position_ids"][0, :count])


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


def test_repeats_ask_only_for_what_was_said_before(tokenizer):
    row = Batcher(tokenizer, random.Random(0)).repeats(length=60)
    assert len(row.ids) == len(row.labels) <= 60
    starts = [i for i, token in enumerate(row.ids) if token == token_id("bos_token")]
    for start, end in zip(starts, [*starts[1:], len(row.ids)], strict=True):
        said = (end - start - 1) // 2
        first, second = row.ids[start + 1 : start + 1 + said], row.ids[start + 1 + said : end]
        assert first == second
        kept = row.labels[start:end]
        assert kept == [SKIP] * (said + 2) + second[1:]


def test_pairs_ask_for_what_belongs_to_a_key_in_another_order(tokenizer):
    row = Batcher(tokenizer, random.Random(0)).pairs(length=90)
    starts = [i for i, token in enumerate(row.ids) if token == token_id("bos_token")]
    for start, end in zip(starts, [*starts[1:], len(row.ids)], strict=True):
        many = (end - start - 1) // 4
        told = row.ids[start + 1 : start + 1 + 2 * many]
        known = dict(zip(told[::2], told[1::2], strict=True))
        asked = row.ids[start + 1 + 2 * many : end]
        assert len(known) == many
        assert [known[key] for key in asked[::2]] == asked[1::2] == row.labels[start + 2 + 2 * many : end : 2]
        assert sorted(asked[::2]) == sorted(known)


def test_training_begins_with_few_facts(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    batcher.most_facts = 2
    texts = [tokenizer.decode(batcher.row("recall", length=1).ids) for _ in range(20)]
    assert max(text.split("<turn|>")[0].count(".") for text in texts) <= 3
    held = tokenizer.decode(batcher.row("recall", length=1, held_out=True).ids)
    assert held.split("<turn|>")[0].count(".") >= 10


def test_what_is_retold_carries_loss_on_its_values_alone(tokenizer):
    row = Batcher(tokenizer, random.Random(3)).retold(length=10)
    text = tokenizer.decode(row.ids).removeprefix("<bos>")
    facts = [part.strip() for part in text.split(".") if part.strip()]
    half = len(facts) // 2
    assert sorted(facts[:half]) == sorted(facts[half:])
    kept = tokenizer.decode([label for label in row.labels if label != SKIP]).split()
    values = [fact.split()[-1] for fact in facts[half:]]
    assert "".join(kept) == "".join(values)
