"""Speed from hit rates: the arithmetic, the true sizes of the 26B-A4B, and the printed assumptions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gemma_lab.analysis.experts.cache import expert_cache_curve
from gemma_lab.analysis.experts.offload import offload_speed
from gemma_lab.analysis.experts.roofline import GPU, GPUS, token_seconds, weights
from gemma_lab.errors import LabError
from gemma_lab.family.architecture import get_architecture
from gemma_lab.family.memory import GIB, kv_cache_bytes
from gemma_lab.family.parameters import count_parameters

DOCS = Path(__file__).parents[3] / "docs" / "expert-offload.md"
SHAPE = get_architecture("26B-A4B")


@pytest.fixture
def curve(draw):
    return expert_cache_curve(draw(rows=3, tokens=150, k=8, experts=128, drift=0.1))


def test_sizes_are_those_of_the_configuration():
    sizes = weights(SHAPE, bits=16, embedding_bits=16)
    assert sizes.expert == 3 * 2816 * 704 * 2
    assert sizes.dense + sizes.expert * 128 * 30 == 2 * count_parameters(SHAPE).text
    assert weights(SHAPE, bits=4.5, embedding_bits=16).expert == sizes.expert * 4.5 / 16


def test_everything_on_the_card_reads_the_active_parameters_once(curve):
    found = offload_speed(curve, gpu="RTX 3090", link=25, quantisation="bf16", efficiency=1, overhead_ms=0)
    read = 2 * count_parameters(SHAPE).active + kv_cache_bytes(SHAPE, 4096)
    assert found.seconds[-1] == pytest.approx(read / 936e9, rel=1e-6)
    np.testing.assert_array_equal(found.tokens_per_second, found.upper_bound)


def test_nothing_on_the_card_reads_every_expert_over_the_link(curve):
    found = offload_speed(curve, gpu="RTX 3090", link=25, context=0)
    used = weights(SHAPE, bits=4.5, embedding_bits=16).expert * 8 * 30
    assert (found.share[0], found.hit_rate[0]) == (0, 0)
    assert found.missed_bytes[0] == pytest.approx(used)
    dense = weights(SHAPE, bits=4.5, embedding_bits=16).dense / (936e9 * 0.7)
    assert found.seconds[0] == pytest.approx(dense + used / 25e9 + 3.5e-3)


def test_more_on_the_card_is_never_slower_and_never_beats_the_bound(curve):
    found = offload_speed(curve, gpu="RTX 5060 Ti 16 GB", link=25)
    assert (np.diff(found.tokens_per_second) >= 0).all()
    assert (found.tokens_per_second < found.upper_bound).all()
    assert (np.diff(found.gpu_bytes) > 0).all()


def test_a_card_holds_what_fits(curve):
    small, large = (
        offload_speed(curve, gpu=GPU("some card", gib, 400), link=25, quantisation=4.85) for gib in (12, 24)
    )
    assert large.largest_fit == 128
    at = small.largest_fit
    assert small.gpu_bytes[at] <= 12 * GIB < small.gpu_bytes[at + 1]
    none = offload_speed(curve, gpu=GPU("tiny", 2, 100), link=25)
    assert none.largest_fit is None
    assert "does not fit" in repr(none)


def test_the_share_for_a_speed_reaches_it(curve):
    found = offload_speed(curve, gpu="RTX 5060 Ti 16 GB", link=12)
    share = found.share_for(30)
    at = int(np.flatnonzero(found.share == share)[0])
    assert found.tokens_per_second[at] >= 30 > found.tokens_per_second[at - 1]
    assert found.share_for(10_000) is None


def test_overlap_hides_the_shorter_of_the_two():
    given = {"dense": 1e9, "hit": 2e9, "missed": 1e9, "bandwidth": 100, "efficiency": 1, "overhead_ms": 0}
    assert token_seconds(**given, link=10) == pytest.approx(0.01 + 0.02 + 0.1)
    assert token_seconds(**given, link=10, overlap=True) == pytest.approx(0.01 + 0.1)
    assert token_seconds(**given, link=100, overlap=True) == pytest.approx(0.01 + 0.02)


def test_every_assumption_is_printed(curve):
    found = offload_speed(
        curve, gpu="L4", link=55, misses="cpu", overlap=True, context=8192, source="my prompts"
    )
    printed = str(found)
    for part in ("L4, 24 GiB, 300 GB/s", "55 GB/s", "70%", "3.5 ms", "8,192 tokens", "int4 (4.5 bits)",
                 "policy lru, from my prompts", "computed from the host's memory", "no prefetch",
                 "while the GPU works on cached experts", "no speculative decoding"):  # fmt: skip
        assert part in printed, part
        assert part.replace("'", "&#39;") in found._repr_html_(), part
    assert repr(found).startswith(
        "Offload(26B-A4B int4 on L4: 100% of the experts fit in 24 GiB, hit rate 100.0%, "
    )
    assert "\n" not in repr(found)


def test_what_makes_no_sense_is_refused(curve, draw):
    for wrong, message in (
        ({"gpu": "Voodoo 2"}, "'Voodoo 2'"),
        ({"quantisation": "int3"}, "no quantisation 'int3'"),
        ({"link": 0}, "link 0 GB/s"),
        ({"efficiency": 1.5}, "efficiency 1.5"),
        ({"misses": "ssd"}, "misses is 'ssd'"),
        ({"policy": "fifo"}, "'fifo' was not replayed"),
    ):
        with pytest.raises(LabError, match=message):
            offload_speed(curve, **{"gpu": "L4", "link": 25, **wrong})
    with pytest.raises(LabError, match="top-4 of 32 experts"):
        offload_speed(expert_cache_curve(draw()), gpu="L4", link=25)


def test_the_figures_in_the_docs_are_what_the_code_gives():
    """Each row of the tables names its inputs; the estimate beside them is computed anew."""
    resident = _rows("All experts on the GPU")
    away = _rows("Experts in the host's memory")
    copied = _rows("Consequences for a GPU with 16 GB")
    other = _rows("An expert cache of another model")
    assert (len(resident), len(away), len(copied), len(other)) == (7, 2, 3, 4)
    for row in resident:
        assert row["estimate"] == f"{_estimate(row['GPU'], row['bits']):.0f}", row
    for row in away:
        assert row["estimate"] == f"{_estimate(row['GPU'], row['bits'], row['memory, GB/s']):.0f}", row
    for row in copied:
        assert row["estimate"] == f"{_estimate('RTX 5060 Ti 16 GB', '5.29', row['link, GB/s']):.0f}", row
    for row in other:
        missed = 1 - float(row["hit rate"].rstrip(" %")) / 100
        moved = missed * 48 * 8 * 3 * 2048 * 768 * 4.85 / 8  # Qwen3-30B-A3B at the 4.85 bits of Q4_K_M
        assert row["estimate"] == f"{1 / (1 / 311.24 + moved / 25.6e9):.0f}", row


def _estimate(card: str, bits: str, link: str = "") -> float:
    """Tokens/s with every expert on the card, or with a link every one missing."""
    sizes = weights(SHAPE, bits=float(bits), embedding_bits=6.5625)
    experts = sizes.expert * SHAPE.top_k * len(SHAPE.layers)
    seconds = token_seconds(
        dense=sizes.dense + kv_cache_bytes(SHAPE, 4096),
        hit=0 if link else experts,
        missed=experts if link else 0,
        bandwidth=GPUS[card].bandwidth,
        link=float(link or 1),
    )
    return 1 / float(seconds)


def _rows(heading: str) -> list[dict[str, str]]:
    section = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
