"""The machine of the benchmarks, in one line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from gemma_lab.system.hardware import amount, total_ram

LIBRARIES = ("torch", "transformers", "numpy")


def machine() -> str:
    """Return cores, processor, memory, system and versions of this machine."""
    parts = [
        f"{cores()} cores ({processor()})",
        f"{amount(total_ram())} RAM",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        *(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES),
    ]
    return ", ".join(parts)


def load() -> float:
    """Return the mean number of runnable processes over the last minute; 0 where the system has none."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor()) or "unnamed processor"
