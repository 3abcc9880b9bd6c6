"""A given answer is read as the model itself would score it, with the records of a trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import ContextFull, LabError
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.trace.run.forced_answer import read_answer

RED = Image.new("RGB", (96, 64), "red")
ANSWER = [70, 81, 92, 60, 77]


def plain_logits(lab, request, answer):
    """Return the logits of the answer's tokens from one call of the model alone."""
    inputs = dict(prepare(lab, request).inputs)
    count = inputs["input_ids"].shape[1]
    more = torch.tensor([answer[:-1]])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
    for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(more, fill)], 1)
    with torch.no_grad():
        return lab.model(**inputs, use_cache=False).logits[0, count - 1 :]


@pytest.mark.parametrize("size", ["E2B", "E4B", "12B", "26B-A4B", "31B"])
def test_logits_are_those_of_a_plain_call(tiny_lab, size):
    lab = tiny_lab(size)
    request = lab.request("What is this?", images=[RED] if "image" in lab.modalities else None)
    before = hooks(lab.model)
    found = read_answer(lab, request, ANSWER)
    wanted = plain_logits(lab, request, ANSWER)
    torch.testing.assert_close(found.logits.float(), wanted.float(), rtol=0, atol=1e-4)
    logprobs = torch.log_softmax(wanted.double(), -1)
    generation = found.trace.generation
    np.testing.assert_allclose(
        generation.logprobs, logprobs[range(len(ANSWER)), ANSWER].numpy(), rtol=0, atol=1e-4
    )
    assert generation.ids.tolist() == ANSWER
    assert generation.alternative_ids[:, 0].tolist() == wanted.argmax(-1).tolist()
    assert len(found.trace) == len(prepare(lab, request).ids) + len(ANSWER) - 1
    assert hooks(lab.model) == before


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_its_own_answer_gives_the_trace_of_generating_it(tiny_lab, size):
    lab = tiny_lab(size)
    traced = lab.trace("Say something.", max_new_tokens=6, precision="full")
    forced = read_answer(lab, lab.request("Say something."), traced.generation.ids.tolist()).trace
    assert forced.tokens.equal(traced.tokens)
    np.testing.assert_allclose(forced.generation.logprobs, traced.generation.logprobs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(forced.generation.entropy, traced.generation.entropy, rtol=0, atol=1e-4)
    assert forced.generation.text == traced.generation.text
    assert forced.meta["forced_answer"] is True
    if traced.routing is not None:
        assert (forced.routing.ids == traced.routing.ids).all()


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
@pytest.mark.parametrize("answer", [ANSWER, ANSWER[:1]], ids=["several", "one"])
def test_two_passes_differ_by_rounding_only(tiny_lab, size, answer):
    lab = tiny_lab(size)
    request = lab.request("What is this?")
    one, two = (read_answer(lab, request, answer, rows=(9,), apart=apart) for apart in (False, True))
    torch.testing.assert_close(one.logits, two.logits, rtol=0, atol=1e-4)
    assert two.trace.meta["prefill"]["chunks"] == 2
    rows = [each.trace.attention.row(0, 9) for each in (one, two)]
    np.testing.assert_allclose(*rows, rtol=0, atol=1e-5)


def test_rows_and_the_file_are_those_of_any_trace(tiny_lab, tmp_path):
    lab = tiny_lab("26B-A4B")
    found = read_answer(lab, lab.request("What is this?"), ANSWER, rows=(3, 12)).trace
    again = lab.attention_rows(found, [3, 12])
    for (layer, query), row in again.items():
        np.testing.assert_allclose(row, found.attention.row(layer, query), rtol=0, atol=1e-5)
    assert gl.open_trace(found.save(tmp_path / "a.trace")).equal(found)


def test_an_edit_is_read_under_and_noted(tiny_lab):
    lab = tiny_lab("26B-A4B")
    request = lab.request("What is this?")
    plain = read_answer(lab, request, ANSWER)
    with lab.edit(ablate_experts=range(60)) as edit:
        edited = read_answer(lab, request, ANSWER)
    assert edited.trace.meta["edit"] == edit.to_dict()
    assert (edited.trace.routing.ids >= 60).all()
    assert not torch.equal(plain.logits, edited.logits)
    assert torch.equal(plain.logits, read_answer(lab, request, ANSWER).logits)


def test_what_cannot_be_read_is_refused(tiny_lab):
    lab = tiny_lab("26B-A4B")
    request = lab.request("What is this?")
    for answer in ([], [lab.vocabulary], [-1], ["a"]):
        with pytest.raises(LabError):
            read_answer(lab, request, answer)
    with pytest.raises(ContextFull, match=f"{lab.context:,}"):
        read_answer(lab, request, [70] * lab.context)
    with pytest.raises(LabError, match="rows"):
        read_answer(lab, request, ANSWER, rows=(10_000,))
