"""Devices and memory of this machine. torch is imported only to ask for GPUs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .memory_limits import limits


@dataclass(frozen=True)
class Device:
    """One place where a model can run.

    Attributes
    ----------
    name
        As torch spells it: ``"cpu"``, ``"cuda:0"``, ``"mps"``.
    label
        What it is called, e.g. ``"Tesla T4"``.
    bfloat16
        Whether it computes in bfloat16 natively rather than by emulation.
    total, free
        Its memory, in bytes.
    """

    name: str
    label: str
    bfloat16: bool
    total: int
    free: int

    @property
    def kind(self) -> str:
        """Return ``"cpu"``, ``"cuda"`` or ``"mps"``."""
        return self.name.split(":")[0]


def amount(size: float) -> str:
    """Return bytes in GiB (2³⁰), or in MiB (2²⁰) below a tenth of one: ``"15.8 GiB"``, ``"64.0 MiB"``."""
    return f"{size / 2**30:.1f} GiB" if size >= 0.1 * 2**30 else f"{size / 2**20:.1f} MiB"


def devices() -> tuple[Device, ...]:
    """Return the devices of this machine, GPUs first, the CPU last.

    Without an importable torch that is the CPU alone.
    """
    return (*_gpus(), Device("cpu", "CPU", bfloat16=False, total=total_ram(), free=free_ram()))


def free_ram() -> int:
    """Return the memory that can be used now, in bytes, within every limit on this process."""
    import psutil

    available = int(psutil.virtual_memory().available)
    return max(0, min([available, *(limit.total - limit.used for limit in limits())]))


def total_ram() -> int:
    """Return the memory of this machine, or the lowest limit on this process, in bytes."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit.total for limit in limits())])


def _gpus() -> list[Device]:
    try:
        import torch
    except (ImportError, OSError):  # OSError: a broken install whose shared libraries do not load
        return []
    found = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            major, _ = torch.cuda.get_device_capability(number)
            # Native from compute capability 8.0 (Ampere); torch emulates it on older GPUs, slowly.
            # ROCm's numbering starts at 9, and those GPUs have it.
            label = torch.cuda.get_device_name(number)
            found.append(Device(f"cuda:{number}", label, bfloat16=major >= 8, total=total, free=free))
    elif torch.backends.mps.is_available():
        total = int(torch.mps.recommended_max_memory())
        free = min(total - int(torch.mps.driver_allocated_memory()), free_ram())
        found.append(Device("mps", "Apple GPU", bfloat16=_mps_bfloat16(), total=total, free=free))
    return found


def _mps_bfloat16() -> bool:
    import platform

    # Metal has bfloat16 from macOS 14 on.
    release = platform.mac_ver()[0] or "0"
    return sys.platform == "darwin" and int(release.split(".")[0]) >= 14
