"""What a piece of work takes: seconds, and memory beyond what was held before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Took(Generic[T]):
    """What some work took, and what came of it.

    Attributes
    ----------
    result
        What the work returned.
    seconds
        By the clock.
    extra
        Bytes of this process at their peak, less those at the start.
    """

    result: T
    seconds: float
    extra: int


def took(work: Callable[..., T], *arguments: Any) -> Took[T]:
    """Do some work and return what it took.

    On Linux the kernel keeps the peak; elsewhere a thread looks every few milliseconds, and short peaks may
    be missed. Memory that an earlier peak left to the process and the work uses again does not count.

    Parameters
    ----------
    work
        Called once.
    arguments
        What it is called with.
    """
    with _Peak() as peak:
        start = time.perf_counter()
        result = work(*arguments)
        seconds = time.perf_counter() - start
    return Took(result, seconds, peak.extra)


class _Peak:
    def __enter__(self) -> Self:
        self._kernel = _reset()
        self._start = self._most = _held()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        if not self._kernel:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if not self._kernel:
            self._watcher.join()
        self.extra = max(0, (_high_water() if self._kernel else max(self._most, _held())) - self._start)

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, _held())


def _reset() -> bool:
    """Let the kernel begin a new peak; False where it keeps none."""
    try:
        _REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water() -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _held() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
