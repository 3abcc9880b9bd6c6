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
    batch = Batcher(tokenizer, random.Random(0)).draw("digits", 3, grid=2)
    assert (batch["input_ids"] == token_id("image_token")).sum() == 3 * 4
    assert batch["pixel_values"].shape == (3, 36, 768)


def test_repeats_ask_only_for_the_second_time(tokenizer):
    batch = Batcher(tokenizer, random.Random(0)).repeats(2, 5, len(tokenizer))
    assert batch["input_ids"].shape == (2, 11)
    assert torch.equal(batch["labels"][:, 6:], batch["input_ids"][:, 1:6])
    assert (batch["labels"][:, :6] == SKIP).all()
