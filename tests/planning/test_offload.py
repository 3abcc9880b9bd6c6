"""What goes to the computer's memory: no more than has to, and experts first where the runtime can."""

from __future__ import annotations

import dataclasses

import pytest

from gemma_lab.planning.memory import Placement, memory_parts, total_bytes
from gemma_lab.planning.offload import least_offload, spilled_shares
from gemma_lab.planning.planner import plan


@pytest.mark.parametrize("experts_first", [True, False])
@pytest.mark.parametrize("context", [8_192, 131_072])
def test_the_rest_fills_the_device_to_the_last_byte(experts_first, context):
    setting = plan("26B-A4B", hardware="RTX 5060 Ti", quantization="Q8_0", context=context).setting
    placed = least_offload(setting, experts_first=experts_first)
    moved = dataclasses.replace(setting, placement=placed)
    left = total_bytes(memory_parts(moved))
    assert left == pytest.approx(setting.hardware.usable_bytes, rel=1e-6)
    assert left <= setting.hardware.usable_bytes
    assert set(placed.shares) == (
        {"experts"} if experts_first else {"experts", "attention", "dense", "other"}
    )


def test_what_fits_stays():
    setting = plan("E2B", hardware="RTX 3090").setting
    assert least_offload(setting, experts_first=True) == Placement()
    assert spilled_shares(setting) == {}
    unknown = plan("31B", hardware={"bandwidth_gb_s": 900}).setting
    assert least_offload(unknown, experts_first=False) == Placement()
