from __future__ import annotations

import pytest
import torch

from gemma_lab.errors import DoesNotFit, LabError
from gemma_lab.models.loading.placement import Footprint, parse_dtype, plan_placement
from gemma_lab.system import hardware
from gemma_lab.system.hardware import Device

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine one with given GPUs and free RAM, in GiB."""

    def make(*gpus, ram):
        found = [
            Device(f"cuda:{i}", "GPU", native, 80 * GIB, free * GIB) for i, (free, native) in enumerate(gpus)
        ]
        cpu = Device("cpu", "CPU", bfloat16=False, total=64 * GIB, free=int(ram * GIB))
        monkeypatch.setattr(hardware, "devices", lambda: (*found, cpu))

    return make


def weights(elements_in_gi):
    """Return the footprint of a model of this size, in 2³⁰ numbers, that needs a tenth more to work in."""
    size = int(elements_in_gi * GIB)
    return Footprint(lambda item: size * item, lambda item, kind: max(64 * 2**20, size * item // 10))


def where(result):
    return result.device, result.dtype, result.device_map


def test_cpu_takes_float32_while_that_is_comfortable(machine):
    machine(ram=10)
    assert where(plan_placement(weights(1), name="m")) == ("cpu", torch.float32, None)
    machine(ram=5)
    assert where(plan_placement(weights(1), name="m")) == ("cpu", torch.bfloat16, None)


def test_gpu_with_bfloat16_takes_it(machine):
    machine((24, True), ram=64)
    assert where(plan_placement(weights(1), name="m")) == ("cuda:0", torch.bfloat16, {"": "cuda:0"})


def test_gpu_without_bfloat16_never_gets_float16(machine):
    machine((15, False), ram=64)
    assert plan_placement(weights(1), name="m").dtype is torch.float32
    assert plan_placement(weights(5), name="m").dtype is torch.bfloat16


def test_the_gpu_with_most_room_is_taken_and_several_are_shared(machine):
    machine((10, True), (20, True), ram=64)
    assert plan_placement(weights(1), name="m").device == "cuda:1"
    assert plan_placement(weights(1), name="m", device="cuda:0").device == "cuda:0"
    assert plan_placement(weights(12), name="m").device_map == "auto"
    with pytest.raises(DoesNotFit):
        plan_placement(weights(12), name="m", device="cuda:1")


def test_too_little_memory_is_said_with_the_numbers_and_what_would_work(machine):
    machine((15, False), ram=64)
    with pytest.raises(DoesNotFit) as caught:
        plan_placement(weights(25), name="26b-a4b-it")
    what = caught.value.what
    assert (
        "26b-a4b-it does not fit on cuda:0 (GPU): 50.0 GiB of weights in bfloat16 and 5.0 GiB of working"
        in what
    )
    assert "55.0 GiB; 15.0 GiB of 80.0 GiB are free" in what
    assert 'device="cpu"' in caught.value.hint
    assert 'device_map="auto"' in caught.value.hint
    with pytest.raises(DoesNotFit, match=r'dtype="bfloat16" needs 11\.0 GiB'):
        plan_placement(weights(5), name="m", device="cuda", dtype="float32")


def test_a_device_map_sums_what_it_may_use(machine):
    machine((15, True), ram=30)
    assert where(plan_placement(weights(18), name="m", device_map="auto")) == (
        "cuda:0",
        torch.bfloat16,
        "auto",
    )
    with pytest.raises(DoesNotFit, match=r"55\.0 GiB in bfloat16; 45\.0 GiB"):
        plan_placement(weights(25), name="m", device_map="auto")
    assert plan_placement(weights(25), name="m", device_map="auto", offload_folder="x").device_map == "auto"
    with pytest.raises(DoesNotFit, match=r"cuda:0 15\.0 GiB\)"):
        plan_placement(weights(18), name="m", device_map={"": 0})
    assert plan_placement(weights(25), name="m", device_map={"a": 0, "b": "disk"}).dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", ["float16", "fp16", "half", "torch.float16", torch.float16])
def test_float16_is_refused(dtype):
    with pytest.raises(LabError, match=r"overflows in float16.*65,504"):
        parse_dtype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "nonsense", torch.int64, 5])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(LabError, match="not one to load"):
        parse_dtype(dtype)


@pytest.mark.parametrize(
    ("dtype", "parsed"),
    [("auto", None), (None, None), ("bf16", torch.bfloat16), (torch.float32, torch.float32)],
)
def test_dtypes(dtype, parsed):
    assert parse_dtype(dtype) is parsed


@pytest.mark.parametrize(
    ("device", "says"), [("cuda", "not on this machine"), ("toaster", "not a device"), (3.5, "device")]
)
def test_devices_that_are_not_here(machine, device, says):
    machine(ram=8)
    with pytest.raises(LabError, match=says) as caught:
        plan_placement(weights(0.1), name="m", device=device)
    assert "cpu" in caught.value.hint
