"""A model of which some layers lie on disk gives the same answers, traces and edits, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import gemma_lab as gl

ON_DISK = (3, 5)
PROMPT = "Write 47 in German words."
KEPT = {"attention": True, "logit_lens": True, "max_new_tokens": 8}


def device_map(model) -> dict[str, str]:
    """Map every module of a mini once: two decoder layers on disk, the rest in memory."""
    parts = {name: "cpu" for name, _ in model.named_children() if name != "model"}
    parts |= {f"model.{name}": "cpu" for name, _ in model.model.named_children() if name != "language_model"}
    language = model.model.language_model
    parts |= {f"model.language_model.{n}": "cpu" for n, _ in language.named_children() if n != "layers"}
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
