"""Memory by part against published allocations, and what fits against brute force."""

from __future__ import annotations

import dataclasses

import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.devices import find_hardware
from gemma_lab.planning.facts import read_rows
from gemma_lab.planning.memory import Setting, as_mapping, fits, longest_context, memory_parts, total_bytes
from gemma_lab.planning.models import model_shape
from gemma_lab.planning.planner import plan
from gemma_lab.planning.quantization import cache_bits, quantization, quantization_names
from gemma_lab.planning.runtimes import find_runtime

MIB = 2**20
ALLOCATIONS = read_rows("allocations.csv")


def measured(row: dict[str, str]) -> float:
    """Return what the planner says of one row's part, in MiB."""
    shape = model_shape(row["model"])
    setting = Setting(
        shape=shape,
        weights=quantization(row["quantization"]),
        hardware=find_hardware({"memory_gib": 512, "bandwidth_gb_s": 1000}),
        runtime=find_runtime(row["runtime"]),
        context=max(1, int(row["context"])),
        batch=int(row["batch"]),
        cache_bits=cache_bits(row["cache"], ""),
    )
    parts = memory_parts(setting)
    weights = [part for part in parts if part.key in quantization("bf16").bits]
    device = as_mapping(parts)
    sizes = quantization(row["quantization"]).weight_bytes(shape)
    embedding = sizes["embedding"]
    return {
        "all_weights": sum(sizes.values()),
        "text_weights": sum(sizes.values()) - sizes.get("towers", 0.0),
        "device_weights": sum(part.bytes for part in weights if part.place == "device"),
        # llama.cpp keeps a second, mapped copy of a tied embedding on the host
        "host_weights": sum(part.bytes for part in weights if part.place == "host") + embedding,
        "cache_global": device.get("cache_global", 0.0),
        "cache_local": device.get("cache_local", 0.0),
        "cache": device.get("cache_global", 0.0) + device.get("cache_local", 0.0),
        "activations": device["activations"],
    }[row["part"]] / MIB


@pytest.mark.parametrize(
    "row", ALLOCATIONS, ids=lambda row: f"{row['model']}-{row['quantization']}-{row['part']}"
)
def test_a_part_is_within_five_percent_of_its_published_allocation(row: dict[str, str]) -> None:
    assert measured(row) == pytest.approx(float(row["mib"]), rel=0.05), row["source"]


def test_caches_that_a_log_names_to_the_mebibyte_are_exact() -> None:
    exact = [row for row in ALLOCATIONS if row["part"].startswith("cache") and "log" in row["source"]]
    assert len(exact) >= 4
    for row in exact:
        assert measured(row) == pytest.approx(float(row["mib"]), abs=0.01), row["source"]


@pytest.mark.parametrize("runtime", ["llama.cpp", "vLLM", "transformers"])
@pytest.mark.parametrize("model", ["E2B", "26B-A4B", "31B", "Qwen3.6-35B-A3B"])
def test_the_longest_context_fits_and_one_more_token_does_not(model: str, runtime: str) -> None:
    name = find_runtime(runtime).default_quantization
    for card in ("RTX 3090", "RTX 5090", "H100", "RTX 5060 Ti"):
        setting = Setting(
            model_shape(model),
            quantization(name),
            find_hardware(card),
            find_runtime(runtime),
            context=1,
            batch=2,
        )
        longest = longest_context(setting)
        assert longest is not None
        if longest:
            assert fits(dataclasses.replace(setting, context=longest))
        if longest < setting.shape.context:
            assert not fits(dataclasses.replace(setting, context=longest + 1))


def test_memory_never_shrinks_with_context_batch_or_bits() -> None:
    def needed(**options: object) -> float:
        base: dict[str, object] = {"hardware": "RTX PRO 6000", "quantization": "Q4_K_M"}
        return plan("26B-A4B", **(base | options)).needed_bytes  # type: ignore[arg-type]

    contexts = [needed(context=context) for context in (1, 1000, 1024, 5000, 65_536, 262_144)]
    batches = [needed(batch=batch) for batch in (1, 2, 3, 8, 33)]
    bits = [needed(quantization=name) for name in ("IQ3_XXS", "Q4_0", "Q4_K_M", "Q6_K", "Q8_0", "bf16")]
    for sizes in (contexts, batches, bits):
        assert sizes == sorted(sizes)


def test_the_parts_sum_to_the_whole_and_each_explains_itself() -> None:
    made = plan("E4B", hardware="RTX 3060", context=32_768, drafter=True, images=280)
    assert made.needed_bytes + made.host_bytes == pytest.approx(sum(part.bytes for part in made.parts))
    assert {"drafter", "towers", "ple_table", "cache_global"} <= {part.key for part in made.parts}
    assert all(part.formula and part.source for part in made.parts)


def test_per_layer_embeddings_lie_on_the_host_where_the_runtime_keeps_them_there() -> None:
    places = {
        runtime: next(
            part.place
            for part in plan("E2B", hardware="RTX 3060", runtime=runtime).parts
            if part.key == "ple_table"
        )
        for runtime in ("llama.cpp", "vLLM")
    }
    assert places == {"llama.cpp": "host", "vLLM": "device"}
    shared = plan("E2B", hardware="M4 Max")
    assert total_bytes(shared.parts, "host") == 0


def test_a_file_of_bytes_takes_these_bytes_whatever_the_name() -> None:
    shape = model_shape("26B-A4B")
    for chosen in (quantization(13.4e9), quantization("IQ4_XS", file_bytes=13.4e9)):
        sizes = chosen.weight_bytes(shape)
        assert sum(size for part, size in sizes.items() if part != "towers") == pytest.approx(13.4e9)


def test_four_bits_of_bitsandbytes_leave_the_experts_in_sixteen() -> None:
    shape = model_shape("26B-A4B")
    sizes = quantization("nf4").weight_bytes(shape)
    assert sizes["experts"] == shape.parts["experts"] * 2
    assert sizes["attention"] < shape.parts["attention"]


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    made = plan("26B-A4B", hardware="RTX 5060 Ti", quantization="Q4_K_M", context=16_384)
    assert made.fits is False
    named = [
        name
        for name in quantization_names("llama.cpp")
        if any(line.startswith(name + " ") for line in made.advice)
    ]
    assert named
    again = plan("26B-A4B", hardware="RTX 5060 Ti", quantization=named[0], context=16_384)
    assert again.fits
    assert not again.advice
    cards = plan("26B-A4B", hardware="2x RTX 5060 Ti", quantization="Q4_K_M", context=16_384)
    assert cards.fits
    offloaded = plan("26B-A4B", hardware="RTX 5060 Ti", quantization="Q4_K_M", context=16_384, offload="auto")
    assert offloaded.fits
    assert offloaded.needed_bytes <= (offloaded.usable_bytes or 0) * (1 + 1e-9)


def test_a_runtime_without_the_cache_type_says_which_it_has() -> None:
    with pytest.raises(LabError, match="q8_0") as caught:
        plan("12B", hardware="H100", runtime="vLLM", cache="q8_0")
    assert "fp8" in caught.value.hint
