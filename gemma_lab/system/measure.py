"""Elapsed time and peak memory of a call in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from ..checks import type_name
from ..errors import LabError

T = TypeVar("T")
_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Measurement(Generic[T]):
    """Elapsed time and memory of a call, and its result.

    Attributes
    ----------
    result
        What the call returned.
    seconds
        Elapsed time, seconds.
    extra_bytes
        Peak resident memory of this process during the call, less what was resident before it, bytes.
    """

    result: T
    seconds: float
    extra_bytes: int

    def __repr__(self) -> str:
        return f"Measurement({self.seconds:.2f} s, {self.extra_bytes / 1e6:,.0f} MB at the peak)"


def measure(function: Callable[..., T], *arguments: Any) -> Measurement[T]:
    """Call a function and measure its elapsed time and peak memory.

    On Linux the kernel records the peak; elsewhere a thread samples every 5 ms and can miss short peaks.
    Memory that an earlier peak left to the process and the call reuses is not counted.

    Parameters
    ----------
    function
        Called once.
    *arguments
        Its positional arguments.

    Raises
    ------
    LabError
        If it cannot be called.

    Returns
    -------
    Measurement

    Examples
    --------
    >>> gl.measure(lab.trace, "Hello").extra_bytes
    """
    if not callable(function):
        raise LabError(
            f"measure takes a function and its arguments, not {type_name(function)}.",
            hint='gl.measure(lab.trace, "Hello") calls it.',
        )
    with _Peak() as peak:
        start = time.perf_counter()
        result = function(*arguments)
        seconds = time.perf_counter() - start
    return Measurement(result, seconds, peak.extra_bytes)


class _Peak:
    def __enter__(self) -> Self:
        self._kernel = _reset_high_water()
        self._start = self._peak = _resident()
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        if not self._kernel:
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if not self._kernel:
            self._sampler.join()
        peak = _high_water() if self._kernel else max(self._peak, _resident())
        self.extra_bytes = max(0, peak - self._start)

    def _sample(self) -> None:
        while not self._stopped.wait(0.005):
            self._peak = max(self._peak, _resident())


def _reset_high_water() -> bool:
    """Reset the kernel's record of this process's peak memory; return False where there is none."""
    try:
        _REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water() -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
