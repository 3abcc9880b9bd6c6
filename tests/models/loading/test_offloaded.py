"""A model of which some layers lie on disk gives the same answers, traces and edits, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError

ON_DISK = (3, 5)
PROMPT = "Write 47 in German words."
KEPT = {"attention": True, "logit_lens": True, "max_new_tokens": 8}


def device_map(model) -> dict[str, str]:
    """Map every module of a mini once: two decoder layers and the final norm on disk, the rest in memory."""
    parts = {name: "cpu" for name, _ in model.named_children() if name != "model"}
    parts |= {f"model.{name}": "cpu" for name, _ in model.model.named_children() if name != "language_model"}
    language = model.model.language_model
    parts |= {f"model.language_model.{n}": "cpu" for n, _ in language.named_children() if n != "layers"}
    parts["model.language_model.norm"] = "disk"
    return parts | {
        f"model.language_model.layers.{number}": "disk" if number in ON_DISK else "cpu"
        for number in range(len(language.layers))
    }


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    plain = gl.load("mini-moe", dtype="float32")
    folder = tmp_path_factory.mktemp("offload")
    split = gl.load("mini-moe", dtype="float32", device_map=device_map(plain.model), offload_folder=folder)
    assert {weight.device.type for weight in split.model.parameters()} == {"cpu", "meta"}
    return plain, split


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_packed_weights_are_split_over_devices_and_not_put_on_disk(labs, tmp_path, quantization):
    shared = {"dtype": "float32", "quantization": quantization}
    whole = gl.load("mini-moe", **shared)
    on_devices = dict.fromkeys(device_map(labs[0].model), "cpu")
    split = gl.load("mini-moe", device_map=on_devices, **shared)
    assert_equal(*(lab.trace(PROMPT, **KEPT) for lab in (whole, split)))
    with pytest.raises(LabError, match="disk"):
        gl.load("mini-moe", device_map=device_map(labs[0].model), offload_folder=tmp_path, **shared)


def test_a_drafter_proposes_to_a_model_in_part_on_disk(labs, tmp_path):
    shared = {"dtype": "float32", "drafter": "auto"}
    whole = gl.load("mini-moe", **shared)
    split = gl.load("mini-moe", device_map=device_map(whole.model), offload_folder=tmp_path, **shared)
    one, other = (lab.chat(PROMPT, temperature=0, max_new_tokens=16) for lab in (whole, split))
    assert one.text == other.text == labs[0].chat(PROMPT, temperature=0, max_new_tokens=16).text
    assert repr(one.acceptance) == repr(other.acceptance)


def assert_equal(trace, other) -> None:
    assert trace.generation.text == other.generation.text
    np.testing.assert_array_equal(trace.generation.logprobs, other.generation.logprobs)
    np.testing.assert_array_equal(trace.routing.ids, other.routing.ids)
    np.testing.assert_array_equal(trace.routing.gate_weights, other.routing.gate_weights)
    for layout in trace.attention.layers:
        masses = (each.attention.first_token_mass(layout.layer) for each in (trace, other))
        np.testing.assert_array_equal(*masses)
    np.testing.assert_array_equal(trace.logit_lens.stable_from_layer(), other.logit_lens.stable_from_layer())


def test_traces_are_equal(labs):
    assert_equal(*(lab.trace(PROMPT, **KEPT) for lab in labs))


def test_causal_maps_are_equal(labs):
    clean = "The code of Ben is 75. Tell me the code of Ben."
    maps = [lab.causal_map(clean, clean.replace("75", "31"), controls=0, progress=False) for lab in labs]
    np.testing.assert_array_equal(*(each.effects("residual") for each in maps))


@pytest.mark.parametrize("edit", [{"ablate_experts": {3: [17, 5]}}, {"ablate_heads": {3: [0], 4: [1]}}])
def test_edits_of_layers_on_disk_are_equal_and_undone(labs, edit):
    before = labs[1].trace(PROMPT, **KEPT)
    edited = []
    for lab in labs:
        with lab.edit(**edit):
            edited.append(lab.trace(PROMPT, **KEPT))
    assert_equal(*edited)
    assert np.any(edited[1].generation.logprobs[0] != before.generation.logprobs[0])
    assert_equal(before, labs[1].trace(PROMPT, **KEPT))
