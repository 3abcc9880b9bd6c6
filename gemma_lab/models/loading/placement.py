"""Choose a model's device and dtype from its size and the free memory, before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import DoesNotFit, LabError
from ...system import hardware
from ...system.hardware import Device, amount

_BYTES = {torch.float32: 4, torch.bfloat16: 2, torch.float64: 8}
#: A CPU, or a GPU without bfloat16, is fastest in float32; it is used up to this fraction of the free memory.
_COMFORT = 0.7


@dataclass(frozen=True)
class Placement:
    """Device and dtype chosen for a model.

    Attributes
    ----------
    device
        The torch name of the device that takes inputs, e.g. ``"cuda:0"``.
    dtype
        The dtype of the weights.
    device_map
        Device map for accelerate; None loads on the CPU without accelerate.
    max_memory
        Device, in accelerate's form → maximum bytes of weights; None if the device map is given in full.
    """

    device: str
    dtype: torch.dtype
    device_map: Any
    max_memory: dict[int | str, int] | None = None


@dataclass(frozen=True)
class Footprint:
    """Memory of a model on a device.

    Attributes
    ----------
    weights
        Function from bytes per number to the bytes of all weights.
    beside
        Function from bytes per number and kind of device to the bytes needed besides the weights, see
        `gemma_lab.planning.local.working_bytes`.
    """

    weights: Callable[[int], int]
    beside: Callable[[int, str], int]

    def needed(self, item: int, device: Device) -> int:
        """Return the bytes of weights and working memory on a device, with `item` bytes per number."""
        return self.weights(item) + self.beside(item, device.kind)


def parse_dtype(dtype: Any) -> torch.dtype | None:
    """Return the requested torch dtype, None for ``"auto"``.

    Raises
    ------
    LabError
        For float16, in which Gemma 4 overflows, and for what is not a floating dtype.
    """
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return None
    short = {"bf16": "bfloat16", "fp32": "float32", "float": "float32", "fp16": "float16", "half": "float16"}
    if isinstance(dtype, str):
        dtype = getattr(torch, short.get(dtype, dtype).removeprefix("torch."), dtype)
    if dtype is torch.float16:
        raise LabError(
            "Gemma 4 overflows in float16: activations pass its largest value, 65,504, in the first layer's "
            "MLP, and the answer turns to NaN.",
            hint='Use dtype="bfloat16" (emulated where the GPU lacks it) or dtype="float32".',
        )
    if dtype not in _BYTES:
        raise LabError(
            f"dtype={dtype!r} is not one to load Gemma 4 in.",
            hint='Use "auto", "bfloat16" or "float32".',
        )
    return dtype  # type: ignore[no-any-return]


def plan_placement(
    footprint: Footprint,
    *,
    name: str,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: Any = None,
) -> Placement:
    """Choose the device and the dtype, and check that the model fits there.

    Parameters
    ----------
    footprint
        Memory of the model.
    name
        The model's name in errors.
    device, dtype
        ``"auto"``, or a device and a dtype of torch.
    device_map
        Device map of accelerate; memory is then summed over the devices that it may use.
    offload_folder
        Folder to which accelerate may offload what does not fit; no model is then too large.

    Raises
    ------
    DoesNotFit
        If weights and working memory need more than the free memory; the message has the numbers.
    LabError
        If the machine does not have the device, or Gemma 4 cannot run in the dtype.
    """
    chosen_dtype = parse_dtype(dtype)
    devices = hardware.devices()
    if device_map is not None:
        return _spread(
            footprint,
            devices,
            name=name,
            dtype=chosen_dtype,
            device_map=device_map,
            offload=offload_folder,
        )
    chosen = _choose(devices, device)
    if chosen_dtype is None:
        chosen_dtype = auto_dtype(chosen, footprint)
    needed = footprint.needed(_BYTES[chosen_dtype], chosen)
    gpus = [gpu for gpu in devices if gpu.kind == "cuda"]
    together = sum(gpu.free for gpu in gpus)
    if chosen.free < needed <= together and str(device) == "auto" and len(gpus) > 1:
        # accelerate spreads the layers over the GPUs
        return Placement(chosen.name, chosen_dtype, "auto", _max_memory(tuple(gpus)))
    if needed > chosen.free:
        raise _does_not_fit(name, chosen, chosen_dtype, footprint, devices)
    return Placement(chosen.name, chosen_dtype, None if chosen.kind == "cpu" else {"": chosen.name})


def auto_dtype(device: Device, footprint: Footprint) -> torch.dtype:
    """Return bfloat16 where the GPU has it; elsewhere float32 while it fits comfortably, else bfloat16.

    float16 is never chosen. On a GPU without bfloat16 torch emulates it, slowly but correctly.
    """
    if device.kind != "cpu" and device.bfloat16:
        return torch.bfloat16
    comfortable = footprint.needed(_BYTES[torch.float32], device) <= _COMFORT * device.free
    return torch.float32 if comfortable else torch.bfloat16


def _choose(devices: tuple[Device, ...], device: Any) -> Device:
    if str(device) == "auto":
        gpus = [candidate for candidate in devices if candidate.kind != "cpu"]
        return max(gpus, key=lambda gpu: gpu.free) if gpus else devices[-1]
    try:
        asked = torch.device("cuda" if device == "gpu" else device)
    except (RuntimeError, TypeError) as error:
        raise LabError(f"device={device!r} is not a device of torch.", hint=_list_devices(devices)) from error
    same = [candidate for candidate in devices if candidate.kind == asked.type]
    if asked.index is not None and asked.type == "cuda":
        same = [candidate for candidate in same if candidate.name == str(asked)]
    if not same:
        raise LabError(f"device={str(device)!r} is not on this machine.", hint=_list_devices(devices))
    return max(same, key=lambda candidate: candidate.free)


def _list_devices(devices: tuple[Device, ...]) -> str:
    return f"Available: {', '.join(device.name for device in devices)}. Leave device out to have one chosen."


def _spread(
    footprint: Footprint,
    devices: tuple[Device, ...],
    *,
    name: str,
    dtype: torch.dtype | None,
    device_map: Any,
    offload: Any,
) -> Placement:
    named = {_device_name(target) for target in device_map.values()} if isinstance(device_map, dict) else None
    used = [device for device in devices if named is None or device.name in named or device.kind in named]
    gpus = [device for device in used if device.kind != "cpu"]
    if dtype is None:
        native = bool(gpus) and all(gpu.bfloat16 for gpu in gpus)
        dtype = torch.bfloat16 if native else auto_dtype((gpus or list(devices))[0], footprint)
    needed = footprint.needed(_BYTES[dtype], (gpus or list(devices))[0])
    free = sum(device.free for device in used)
    to_disk = offload is not None or (named is not None and "disk" in named)
    if needed > free and not to_disk:
        by_device = ", ".join(f"{device.name} {amount(device.free)}" for device in used) or "no device"
        raise DoesNotFit(
            f"{name} needs {amount(needed)} in {_short(dtype)}; {amount(free)} are free ({by_device}).",
            hint="offload_folder=… offloads the rest to disk (slow); gl.catalog() lists smaller models.",
        )
    shares = None if named is not None else _max_memory(devices)
    return Placement((gpus or list(devices))[0].name, dtype, device_map, shares)


def _max_memory(devices: tuple[Device, ...]) -> dict[int | str, int]:
    """Return the bytes of weights that accelerate may put on each device: 90 % of the free memory."""
    return {
        int(device.name.partition(":")[2]) if device.kind == "cuda" else device.name: int(0.9 * device.free)
        for device in devices
    }


def _device_name(target: Any) -> str:
    return f"cuda:{target}" if isinstance(target, int) else str(target)


def _does_not_fit(
    name: str,
    device: Device,
    dtype: torch.dtype,
    footprint: Footprint,
    devices: tuple[Device, ...],
) -> DoesNotFit:
    item = _BYTES[dtype]
    what = (
        f"{name} does not fit on {device.name} ({device.label}): {amount(footprint.weights(item))} of "
        f"weights in {_short(dtype)} and {amount(footprint.beside(item, device.kind))} of working memory are "
        f"{amount(footprint.needed(item, device))}; {amount(device.free)} of {amount(device.total)} are free."
    )
    ways = []
    if dtype is not torch.bfloat16 and footprint.needed(2, device) <= device.free:
        ways.append(f'dtype="bfloat16" needs {amount(footprint.needed(2, device))}')
    if device.kind != "cpu" and footprint.needed(2, devices[-1]) <= devices[-1].free:
        ways.append('device="cpu" has enough memory (slow)')
    if device.kind != "cpu" and footprint.needed(2, device) <= sum(each.free for each in devices):
        ways.append('device_map="auto" spreads it over GPU and RAM')
    ways.append("gemma-lab doctor lists which models fit here")
    return DoesNotFit(what, hint="; ".join(ways) + ".")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
