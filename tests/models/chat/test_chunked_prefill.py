"""A prompt in pieces: the media go with their soft tokens, and the model says the same."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from support import shapes

from gemma_lab.models.chat.chunked_prefill import blocks, chunk_inputs, media, read, up_to
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

RED, BLUE = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 90), "blue")


def told(lab):
    parts = [
        {"type": "text", "text": "Some words before it come first. " * 2}, {"type": "image", "image": RED},
        {"type": "text", "text": "Then more words. " * 3}, {"type": "image", "image": BLUE},
        {"type": "text", "text": "Which is red?"},
    ]  # fmt: skip
    return prepare(lab, Request(conversation([{"role": "user", "content": parts}])))


def cuts(prompt, step):
    closed = blocks(prompt.inputs)
    inside = {place for start, stop in closed for place in range(start + 1, stop)}
    return [n for n in range(step, len(prompt.ids), step) if n not in inside] + [len(prompt.ids)]


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("step", [7, 24])
def test_the_logits_are_those_of_a_single_pass(tiny_lab, size, step):
    lab = tiny_lab(size)
    prompt = told(lab)
    whole = read(lab, prompt, [len(prompt.ids)]).logits
    seen = []
    pieces = read(lab, prompt, cuts(prompt, step), on_chunk=seen.append)
    assert (pieces.logits - whole).abs().max() < 1e-5
    assert sum(seen) == len(prompt.ids)
    assert torch.equal(read(lab, prompt, cuts(prompt, step)).logits, pieces.logits)


def test_each_picture_goes_with_its_tokens(tiny_lab):
    prompt = told(tiny_lab("26B-A4B"))
    first, second = media(prompt.inputs)
    assert [medium.kind for medium in (first, second)] == [1, 1]
    early = chunk_inputs(prompt.inputs, 0, first.stop)
    late = chunk_inputs(prompt.inputs, first.stop, len(prompt.ids))
    assert torch.equal(
        torch.cat([early["pixel_values"], late["pixel_values"]]), prompt.inputs["pixel_values"]
    )
    assert late["mm_token_type_ids"].shape[1] == len(prompt.ids)  # read by position, from the first on
    assert set(chunk_inputs(prompt.inputs, first.stop, second.start)) == {"input_ids"}


def test_a_prompt_ends_early_with_the_media_before(tiny_lab):
    prompt = told(tiny_lab("26B-A4B"))
    _, second = media(prompt.inputs)
    part = up_to(prompt, second.start)
    assert len(part.ids) == second.start
    assert len(part.inputs["pixel_values"]) == 1
    assert up_to(prompt, len(prompt.ids)) is prompt


def test_media_that_cannot_be_told_apart_are_read_together(tiny_lab):
    prompt = told(tiny_lab("26B-A4B"))
    _, second = media(prompt.inputs)
    odd = prompt.inputs | {"pixel_values": prompt.inputs["pixel_values"][:1]}
    assert media(odd) is None
    assert blocks(odd) == [(0, second.stop)]
    assert len(chunk_inputs(odd, 0, second.stop)["image_position_ids"]) == 2
