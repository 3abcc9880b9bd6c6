"""Routing: 28 bytes per token and layer, values survive storage, and what no router returns is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.records.routing import (
    Routing,
    check_routing,
    decode_gate_weights,
    encode_gate_weights,
    id_type,
)


def raw(*, rows=3, tokens=20, experts=128, k=8, seed=0):
    """The arguments of `Routing.of`, drawn at random."""
    random = np.random.default_rng(seed)
    scores = random.random((rows, tokens, experts), dtype=np.float32)
    ids = np.argsort(-scores, axis=-1)[..., :k]
    gate_weights = np.take_along_axis(scores, ids, -1)
    return {
        "ids": ids,
        "gate_weights": gate_weights / gate_weights.sum(-1, keepdims=True),
        "scale": random.uniform(0.5, 2, (rows, experts)),
        "entropy": random.uniform(0, 4.8, (rows, tokens)),
        "expert_output_fraction": random.random((rows, tokens)),
        "layers": tuple(range(1, 2 * rows, 2)),
        "experts": experts,
    }


def packed(given, *, precision="compact"):
    given = dict(given)
    return Routing.of(given.pop("ids"), given.pop("gate_weights"), **given, precision=precision)


def test_eight_of_128_experts_take_28_bytes_per_token_and_layer():
    routing = packed(raw())
    assert routing.bytes_per_token_layer == 28
    assert routing.nbytes == 28 * 3 * 20
    assert repr(routing) == (
        "Routing(3 layers × 20 tokens, top-8 of 128 experts, compact: 28 B per token and layer)"
    )


@pytest.mark.parametrize(
    ("experts", "k", "size"), [(16, 1, 1 + 2 + 4), (60, 3, 3 + 6 + 4), (256, 8, 28), (512, 10, 20 + 20 + 4)]
)
def test_other_shapes_take_what_they_must(experts, k, size):
    assert packed(raw(experts=experts, k=k)).bytes_per_token_layer == size


def test_what_goes_in_comes_out():
    given = raw(k=5)
    routing = packed(given)
    assert np.array_equal(routing.ids, given["ids"])
    assert np.abs(routing.gate_weights - given["gate_weights"]).max() <= 0.5 / 65535 + 1e-7
    assert np.allclose(routing.entropy, given["entropy"], rtol=2**-10)
    assert np.allclose(routing.expert_output_fraction, given["expert_output_fraction"], atol=2**-11)
    assert (routing.top_k, routing.experts, len(routing)) == (5, 128, 20)


def test_full_precision_is_float32_to_the_bit():
    given = raw()
    routing = packed(given, precision="full")
    assert np.array_equal(routing.gate_weights, given["gate_weights"])
    assert (
        routing.gate_weights.dtype
        == routing.entropy.dtype
        == routing.expert_output_fraction.dtype
        == np.float32
    )
    assert "full" in repr(routing)


@pytest.mark.parametrize("precision", ["compact", "full"])
def test_weights_are_shares_times_the_scale_of_their_expert(precision):
    routing = packed(raw(), precision=precision)
    for row in range(3):
        expected = routing.gate_weights[row] * routing.scale[row][routing.ids[row]]
        assert np.array_equal(routing.weights[row], expected)
    assert routing.weights.dtype == np.float32
    assert not np.allclose(routing.weights.sum(-1), 1)  # Gemma 4 scales after renormalising


def test_a_layer_is_found_by_the_models_own_index():
    routing = packed(raw())
    alone = routing.layer(3)
    assert alone.layers == (3,)
    assert np.array_equal(alone.weights[0], routing.weights[1])
    assert np.array_equal(alone.scale[0], routing.scale[1])
    with pytest.raises(LabError, match=r"Layer 2 is not in this routing[\s\S]*1, 3, 5"):
        routing.layer(2)


@pytest.mark.parametrize(
    "which", [slice(3, 9), np.arange(20) % 3 == 0, np.array([5, 1, 1]), slice(0, 0), slice(None, None, 2)]
)
def test_tokens_are_selected_by_slice_mask_or_numbers(which):
    routing = packed(raw(k=3))
    some = routing.select(which)
    assert np.array_equal(some.ids, routing.ids[:, which])
    assert np.array_equal(some.weights, routing.weights[:, which])
    assert np.array_equal(some.entropy, routing.entropy[:, which])
    assert np.array_equal(some.expert_output_fraction, routing.expert_output_fraction[:, which])
    assert some.layers == routing.layers
    check_routing(some)


def test_equality_is_of_values():
    given = raw()
    assert packed(given) == packed(given)
    assert packed(given) != packed(given, precision="full")
    assert packed(given) != packed(given | {"layers": (1, 3, 6)})
    assert packed(given) != packed(raw(seed=1))
    assert packed(given) != "a routing"
    with pytest.raises(TypeError):
        hash(packed(given))


def test_arrays_may_be_memory_maps(tmp_path):
    routing = packed(raw(k=3))
    maps = {}
    for name in ("ids", "stored_gate_weights", "entropy", "expert_output_fraction"):
        array = getattr(routing, name)
        maps[name] = np.memmap(tmp_path / name, mode="w+", dtype=array.dtype, shape=array.shape)
        maps[name][:] = array
    spilled = Routing(
        **maps, scale=routing.scale, layers=routing.layers, experts=routing.experts, precision="compact"
    )
    check_routing(spilled)
    assert spilled == routing
    assert np.array_equal(spilled.weights, routing.weights)
    assert isinstance(spilled.select(slice(2, 5)).ids, np.memmap)
    assert spilled.select([1, 2]) == routing.select([1, 2])


def wrong_ids(given, value):
    given["ids"] = given["ids"].copy()
    given["ids"][1, 2, 0] = value


def wrong_share(given, value):
    given["gate_weights"] = given["gate_weights"].copy()
    given["gate_weights"][1, 2, 0] = value


def wrong(name, value):
    def change(given):
        given[name] = np.array(given[name])
        given[name].flat[3] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: wrong_ids(g, 128), "from 0 to 128, and there are 128 experts"),
        (lambda g: wrong_ids(g, -1), "from -1 to 127"),
        (lambda g: wrong_ids(g, g["ids"][1, 2, 1]), "one expert twice"),
        (lambda g: wrong_share(g, np.nan), "weights run from nan"),
        (lambda g: wrong_share(g, -0.1), "between 0 and 1"),
        (lambda g: wrong_share(g, 1.5), "between 0 and 1"),
        (lambda g: g.update(ids=g["ids"].astype(float)), "float64"),
        (lambda g: g.update(ids=g["ids"][..., :7]), "do not match"),
        (lambda g: g.update(ids=g["ids"][0], gate_weights=g["gate_weights"][0]), "do not match"),
        (lambda g: g.update(experts=7), "top 8 of 7 experts"),
        (lambda g: g.update(experts=100_000), "65,536"),
        (lambda g: g.update(scale=g["scale"][:, 1:]), "scale has shape"),
        (lambda g: g.update(entropy=g["entropy"][:, 1:]), "entropy has shape"),
        (lambda g: g.update(layers=(1, 3)), "names the layers"),
        (lambda g: g.update(layers=(1, 3, 3)), "names the layers"),
        (wrong("scale", np.inf), "scale is not a finite"),
        (wrong("entropy", np.nan), "entropy of layer 1 runs from nan"),
        (wrong("entropy", -0.5), "entropy of layer 1"),
        (wrong("expert_output_fraction", 1.5), "between 0 and 1"),
    ],
)
def test_what_no_router_returns_is_refused(change, said):
    given = raw()
    change(given)
    with pytest.raises(BadTrace, match=said):
        packed(given)


def test_there_are_two_precisions():
    with pytest.raises(LabError, match="'half'"):
        packed(raw(), precision="half")


def test_no_tokens_are_a_routing_too():
    routing = packed(raw(tokens=0))
    assert len(routing) == 0
    assert routing.weights.shape == (3, 0, 8)
    assert "0 tokens" in repr(routing)
    check_routing(routing)


def test_weights_are_not_kept_so_that_memory_stays_at_what_is_said():
    routing = packed(raw())
    before = dict(vars(routing))
    assert routing.gate_weights.nbytes > routing.stored_gate_weights.nbytes
    assert vars(routing) == before


@pytest.mark.parametrize("k", [1, 3, 8])
def test_compact_gate_weights_are_off_by_half_a_step_and_exact_at_the_ends(k):
    gate_weights = np.random.default_rng(k).random((2, 50, k), dtype=np.float32)
    gate_weights[0, 0], gate_weights[0, 1] = 0, 1
    stored = encode_gate_weights(gate_weights, "compact")
    decoded = decode_gate_weights(stored)
    assert (stored.dtype, decoded.dtype) == (np.uint16, np.float32)
    assert np.abs(decoded - gate_weights).max() <= 0.5 / 65535 + 1e-7
    np.testing.assert_array_equal(decoded[0, :2], gate_weights[0, :2])
    np.testing.assert_array_equal(encode_gate_weights(decoded, "compact"), stored)


@pytest.mark.parametrize(("experts", "size"), [(2, 1), (256, 1), (257, 2), (65_536, 2)])
def test_expert_ids_take_one_byte_or_two(experts, size):
    kind = np.dtype(id_type(experts))
    assert kind.itemsize == size
    assert np.iinfo(kind).max >= experts - 1
