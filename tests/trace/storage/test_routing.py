"""The arrays of a trace file: shapes and numbers that contradict each other are refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from support.forged import forge, refused, restate

from gemma_lab.trace.records.routing import Routing


def test_a_huge_claim_is_refused_before_memory_is_taken(saved, monkeypatch):
    def allocate(*_args, **_options):
        pytest.fail("memory was taken")

    monkeypatch.setattr(np, "frombuffer", allocate)
    monkeypatch.setattr(np, "memmap", allocate)
    restate(saved, lambda m: m["routing"].update(layers=list(range(4096)), experts=65_536))
    refused(saved, "takes [0-9,]+ bytes and arrays")


def test_shapes_in_the_arrays_that_contradict_the_manifest_are_refused(saved):
    def swap(contents):
        data = contents["arrays.safetensors"]
        length = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + length].replace(b"[2,215,3]", b"[2,3,215]")
        contents["arrays.safetensors"] = data[:8] + header + data[8 + length :]

    forge(saved, swap)
    refused(saved, "shapes in arrays.safetensors contradict")


@pytest.mark.parametrize("length", [0, 2**40, 2**63])
def test_a_header_of_another_length_is_refused(length, saved):
    def change(contents):
        contents["arrays.safetensors"] = length.to_bytes(8, "little") + contents["arrays.safetensors"][8:]

    forge(saved, change)
    refused(saved, r"arrays\.safetensors")


def put(path, name, at, value):
    """Write a number into one of the arrays of a trace file."""

    def change(contents):
        arrays = {
            key: array.copy() for key, array in safetensors.numpy.load(contents["arrays.safetensors"]).items()
        }
        data = bytearray(contents["arrays.safetensors"])
        length = int.from_bytes(data[:8], "little")
        start = json.loads(data[8 : 8 + length])[name]["data_offsets"][0] + 8 + length
        array = arrays[name]
        array.flat[at] = value
        data[start : start + array.nbytes] = array.tobytes()
        contents["arrays.safetensors"] = bytes(data)

    return forge(path, change)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("routing.ids", 16, "from 0 to 16, and there are 16 experts"),
        ("routing.ids", 255, "there are 16 experts"),
        ("routing.scale", np.nan, "scale is not a finite number"),
        ("routing.scale", np.inf, "scale is not a finite number"),
        ("routing.entropy", np.nan, "entropy of layer 0 runs from nan"),
        ("routing.entropy", -1, "entropy of layer 0 runs from -1"),
        ("routing.expert_output_fraction", 2, "expert_output_fraction of layer 0"),
        ("routing.expert_output_fraction", np.nan, "expert_output_fraction of layer 0"),
    ],
)
def test_numbers_that_no_router_gives_are_refused(name, value, said, saved):
    refused(put(saved, name, 7, value), said)


@pytest.mark.parametrize(("value", "said"), [(np.nan, "run from nan"), (-0.5, "run from -0.5"), (7, "to 7")])
def test_weights_that_no_router_gives_are_refused(value, said, trace, tmp_path):
    old = trace.routing
    full = Routing.of(
        old.ids,
        old.gate_weights,
        scale=old.scale,
        entropy=old.entropy,
        expert_output_fraction=old.expert_output_fraction,
        layers=old.layers,
        experts=old.experts,
        precision="full",
    )
    path = dataclasses.replace(trace, routing=full).save(tmp_path / "a.trace")
    refused(put(path, "routing.gate_weights", 100, value), said)


def test_one_expert_twice_is_refused(saved, trace):
    refused(put(saved, "routing.ids", 1, int(trace.routing.ids.flat[0])), "run|twice")
