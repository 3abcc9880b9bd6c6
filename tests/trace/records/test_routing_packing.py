"""Twelve bits a share: exact sizes, exact inverse, the layout that the docs state."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.trace.records.routing_packing import id_type, pack12, packed_width, unpack12


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 8, 10, 16])
def test_every_count_of_shares_comes_back_within_half_a_step(k):
    gate_weights = np.random.default_rng(k).random((3, 11, k), dtype=np.float32)
    packed = pack12(gate_weights)
    assert packed.dtype == np.uint8
    assert packed.shape == (3, 11, packed_width(k)) == (3, 11, -(-3 * k // 2))
    back = unpack12(packed, k)
    assert back.dtype == np.float32
    assert back.shape == gate_weights.shape
    assert np.abs(back - gate_weights).max() <= 0.5 / 4095 + 1e-7


def test_all_4096_steps_survive_in_both_places_of_a_pair():
    steps = np.arange(4096)
    for pair in (np.stack([steps, steps[::-1]], -1), np.stack([steps[::-1], steps], -1)):
        gate_weights = (pair / np.float32(4095)).astype(np.float32)
        assert np.array_equal(np.rint(unpack12(pack12(gate_weights), 2) * 4095), pair)


def test_packing_what_was_unpacked_changes_nothing():
    packed = pack12(np.random.default_rng(0).random((5, 7, 5), dtype=np.float32))
    assert np.array_equal(pack12(unpack12(packed, 5)), packed)


def test_the_bytes_are_those_of_the_documented_layout():
    first, second = 0xABC, 0x123
    gate_weights = np.array([[first, second]], dtype=np.float32) / 4095
    assert pack12(gate_weights).tolist() == [[0xBC, 0x3A, 0x12]]
    assert pack12(gate_weights[:, :1]).tolist() == [[0xBC, 0x0A]]


def test_no_tokens_take_no_bytes():
    assert pack12(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 5)
    assert unpack12(np.zeros((2, 0, 5), np.uint8), 3).shape == (2, 0, 3)


@pytest.mark.parametrize(("experts", "bytes_an_id"), [(1, 1), (128, 1), (256, 1), (257, 2), (65_536, 2)])
def test_an_id_takes_one_byte_up_to_256_experts(experts, bytes_an_id):
    kind = np.dtype(id_type(experts))
    assert kind.itemsize == bytes_an_id
    assert np.iinfo(kind).max >= experts - 1
