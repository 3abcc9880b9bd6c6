"""Every kind of change is compared: an adapter, a quantisation, a drafter, a server of the same model."""

from __future__ import annotations

import numpy as np
import pytest
from support.drafters import scripted
from support.served import serving

import gemma_lab as gl
from gemma_lab.errors import LabError

PROMPTS = ["What is this?", "Count: one, two,"]
QUIET = {"progress": False, "max_new_tokens": 6, "rounds": 0}


@pytest.fixture
def moe(tiny_folder):
    return gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")


def test_an_adapter_is_compared_with_its_base_on_one_model(moe):
    pytest.importorskip("peft")
    before = gl.versus(moe, moe, PROMPTS, **QUIET).tokens.logprobs[:, 0]
    examples = [(prompt, answer) for prompt in PROMPTS for answer in ("abc", "def")]
    moe.fine_tune(examples, targets=("attention", "experts"), steps=6, learning_rate=0.02, progress=False)
    base = gl.evals.without_adapter(moe)
    found = gl.versus(base, moe, PROMPTS, **QUIET)
    assert found.names == (moe.adapters.base, moe.name)
    assert found.tokens.mean_kl > 100 * found.tokens.noise.mean()
    assert found.routing.mean > 0
    np.testing.assert_array_equal(found.tokens.logprobs[:, 0], before)  # the base is the base
    assert found.memory.second["adapter"] == 4 * moe.adapters.active.parameters
    assert "adapter" not in found.memory.first
    assert moe.adapters.active is not None
    moe.adapters.unload()
    again = gl.versus(moe, moe, PROMPTS, **QUIET)
    np.testing.assert_array_equal(again.tokens.logprobs[:, 0], before)
    with pytest.raises(LabError):
        gl.evals.without_adapter(moe)


def test_a_quantisation_is_compared_by_the_bytes_that_are_held(tiny_folder, moe):
    packed = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32", quantization="int8")
    found = gl.versus(moe, packed, PROMPTS, **QUIET)
    held = {part.label: round(part.bytes) for part in packed.bits().parts if part.bytes}
    assert found.memory.second == held
    assert found.memory.second["experts"] < 0.3 * found.memory.first["experts"]  # of float32
    assert found.tokens.mean_kl > found.tokens.noise.mean()
    assert "int8" in found.descriptions[1]


def test_a_drafter_changes_no_answer(moe):
    moe.model.generation_config.eos_token_id = [1]  # answers of any length
    moe.drafter = scripted(moe, moe.chat(PROMPTS[0], temperature=0, max_new_tokens=6), wrong=3)
    drafter = moe.drafter
    found = gl.versus(gl.evals.without_drafter(moe), moe, PROMPTS, **QUIET | {"rounds": 2})
    assert found.equal_answers == (2, 2)
    assert (found.tokens.kl == 0).all()
    assert "drafter" in found.memory.second
    assert "drafter" not in found.memory.first
    assert found.speed.alternated
    assert moe.drafter is drafter
    moe.drafter = None
    with pytest.raises(LabError):
        gl.evals.without_drafter(moe)


def test_a_server_of_the_same_model_gives_its_answers():
    lab = gl.load("mini-moe", device="cpu", dtype="float32")
    prompts = ["What is 7 in German?", "Write 422 in French words."]
    with serving(lab) as address:
        found = gl.versus(lab, gl.connect(address), prompts, progress=False, rounds=1)
    assert found.equal_answers == (2, 2)
    assert found.tokens is None
    assert "server" in found.absent["tokens"]
    assert len(found.reported_kl) >= 2
    assert found.reported_kl.max() < 1e-4
    assert found.speed.whole
    assert found.figure().png()
