"""Expert ids of servers: each documented form, made here byte by byte, and payloads that are none of them."""

from __future__ import annotations

import base64
import io
import pickle
import struct

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError, NotTraced
from gemma_lab.trace.records.served_routing import ServedRouting, read_routed_experts

LAYERS, TOKENS, K, EXPERTS = 3, 5, 2, 16


def choices(tokens=TOKENS, layers=LAYERS, k=K, experts=EXPERTS, seed=0):
    draw = np.random.default_rng(seed)
    return np.array([[draw.permutation(experts)[:k] for _ in range(layers)] for _ in range(tokens)])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def npy(header: str, data: bytes, version: bytes = b"\x01\x00") -> str:
    width = "<H" if version[0] == 1 else "<I"
    text = header.encode().ljust(128 - 10 - 1) + b"\n"
    return b64(b"\x93NUMPY" + version + struct.pack(width, len(text)) + text + data)


def vllm(ids) -> str:
    """vLLM's form, written by hand: a header of format 1.0, then one byte per id."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {ids.shape!r}, }}"
    return npy(header, bytes(int(each) for each in ids.ravel()))


def sglang(ids) -> str:
    return b64(struct.pack(f"<{ids.size}i", *map(int, ids.ravel())))


def dynamo(ids, **more):
    return {"data": b64(bytes(map(int, ids.ravel()))), "shape": list(ids.shape), "dtype": "uint8"} | more


FORMS = {"vllm": vllm, "sglang": sglang, "dynamo": dynamo}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_routing(form):
    ids = choices()
    read = read_routed_experts(FORMS[form](ids), experts=EXPERTS, layers=LAYERS, top_k=K)
    assert np.array_equal(read.ids, np.moveaxis(ids, 0, 1))
    assert (read.layers, read.experts, read.top_k, len(read), read.start) == (
        (0, 1, 2),
        EXPERTS,
        K,
        TOKENS,
        0,
    )
    assert read == ServedRouting(np.moveaxis(ids, 0, 1), layers=(0, 1, 2), experts=EXPERTS)
    assert "no weights" in repr(read)


def test_numpy_writes_what_is_read():
    for dtype, order in ((np.uint8, "C"), (np.int32, "C"), (np.uint16, "F")):
        file = io.BytesIO()
        ids = choices()
        np.save(file, np.asarray(ids.astype(dtype), order=order))
        assert np.array_equal(
            read_routed_experts(b64(file.getvalue()), experts=EXPERTS).ids, np.moveaxis(ids, 0, 1)
        )


def test_layers_and_starts_are_kept():
    ids = choices()
    assert read_routed_experts(vllm(ids), experts=EXPERTS, layers=(4, 9, 14)).layers == (4, 9, 14)
    assert read_routed_experts(vllm(ids), experts=EXPERTS, start=7).start == 7
    assert read_routed_experts(dynamo(ids, start=3), experts=EXPERTS).start == 3


def test_unfilled_tokens_of_sglang_are_left_out_at_the_ends_only():
    ids = choices(tokens=6)
    padded = ids.copy()
    padded[:2] = padded[5:] = 255
    read = read_routed_experts(sglang(padded), experts=EXPERTS, layers=LAYERS, top_k=K)
    assert read.start == 2
    assert np.array_equal(read.ids, np.moveaxis(ids[2:5], 0, 1))
    for where in ((slice(2, 3),), (3, 1), (0, 0, 1)):
        holed = ids.copy()
        holed[where] = 255
        with pytest.raises(BadTrace, match="255"):
            read_routed_experts(sglang(holed), experts=EXPERTS, layers=LAYERS, top_k=K)
    with pytest.raises(BadTrace):
        read_routed_experts(sglang(np.full_like(ids, 255)), experts=EXPERTS, layers=LAYERS, top_k=K)
    many = choices(experts=300)
    many[0, 0] = (255, 7)  # an expert, where there are as many
    assert read_routed_experts(sglang(many), experts=300, layers=LAYERS, top_k=K).ids[0, 0, 0] == 255


def test_what_needs_weights_says_that_there_are_none():
    read = read_routed_experts(vllm(choices(tokens=40)), experts=EXPERTS)
    for name in (
        "gate_weights",
        "weights",
        "entropy",
        "expert_output_fraction",
        "scale",
        "stored_gate_weights",
    ):
        with pytest.raises(NotTraced):
            getattr(read, name)
    assert not read.has_weights
    for part in (read.layer(1), read.select(slice(3, 9))):
        assert not part.has_weights
        with pytest.raises(NotTraced):
            part.weights  # noqa: B018
    load = gl.analysis.expert_load(read)
    assert load.counts.sum() == 40 * LAYERS * K
    assert np.array_equal(load.counts[1], np.bincount(read.ids[1].ravel(), minlength=EXPERTS))
    assert np.isnan(load.mass).all()
    assert gl.analysis.coactivation(read).counts.shape == (LAYERS, EXPERTS, EXPERTS)
    assert "16" in read._repr_html_()


class Command:
    def __reduce__(self):
        return print, ("executed",)


HOSTILE = {
    "no text": None,
    "a number": 7,
    "a list": [1, 2],
    "no base64": "!!!",
    "too short": b64(b"\x93NUMPY"),
    "an unknown version": npy("{}", b"", version=b"\x09\x00"),
    "a header without end": b64(b"\x93NUMPY\x01\x00\xff\xff{"),
    "a header of another kind": npy("[1, 2]", b""),
    "a header that calls": npy("__import__('os').system('true')", b""),
    "a header that is deep": npy("(" * 60 + ")" * 60, b""),
    "objects": npy(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 1), }", pickle.dumps([Command()])
    ),
    "floats": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }", bytes(4)),
    "records": npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1, 1, 1), }", bytes(1)),
    "a huge shape": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999, 999999, 8), }", bytes(8)
    ),
    "a negative shape": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 2), }", bytes(6)),
    "a shape of truths": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, True, 1), }", bytes(1)
    ),
    "two dimensions": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }", bytes(6)),
    "bytes left over": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3, 2), }", bytes(7)),
    "an expert that is none": vllm(choices(experts=200)),
    "one expert twice": vllm(np.zeros((1, 3, 2), int)),
    "a dynamo shape of text": dynamo(choices()) | {"shape": "5,3,2"},
    "a dynamo type": dynamo(choices()) | {"dtype": "object"},
    "a dynamo start": dynamo(choices(), start=-1),
    "dynamo without data": {"shape": [1, 1, 1]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_payloads_are_refused(name, capsys):
    with pytest.raises(LabError):
        read_routed_experts(HOSTILE[name], experts=EXPERTS)
    assert "executed" not in capsys.readouterr().out


def test_another_model_is_noticed():
    for wrong in ({"layers": 4}, {"top_k": 8}):
        with pytest.raises(BadTrace):
            read_routed_experts(vllm(choices()), experts=EXPERTS, **wrong)
    with pytest.raises(BadTrace, match="60"):
        read_routed_experts(b64(bytes(60)), experts=EXPERTS, layers=4, top_k=3)
    with pytest.raises(BadTrace, match="layers="):
        read_routed_experts(sglang(choices()), experts=EXPERTS)
    for experts in (0, -1, 1.5, True, "x"):
        with pytest.raises(LabError):
            read_routed_experts(vllm(choices()), experts=experts)
