"""The memory of a process while it runs, at its peak."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psutil

_SAMPLING_PERIOD = 0.05  # seconds


class Meter:
    """Samples the resident memory of a process and its children from a thread."""

    def __init__(self) -> None:
        self._peak = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        """Begin to measure the process `pid` and what it starts."""
        self._thread = threading.Thread(target=self._run, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop, and return the peak in bytes; 0 if nothing was measured."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        return self._peak

    def _run(self, process: psutil.Process) -> None:
        done = False
        while not done:  # also of a process that is measured for less than a period
            self._peak = max(self._peak, _resident(process), _high_water_mark(process.pid))
            done = self._done.wait(_SAMPLING_PERIOD)


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += int(member.memory_info().rss)
        except psutil.NoSuchProcess:  # it ended between the two looks
            continue
    return total


def _high_water_mark(pid: int) -> int:
    """Linux keeps the exact peak of one process, which no sampling can miss; elsewhere 0."""
    status = Path(f"/proc/{pid}/status")
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not Linux, or the kernel has ended
        return 0
    kib: list[Any] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kib[0]) * 1024 if kib else 0
