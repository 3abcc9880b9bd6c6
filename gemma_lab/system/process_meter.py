"""Peak memory and processor time of another process and its children."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_SAMPLING_PERIOD = 0.05  # seconds


@dataclass(frozen=True)
class Usage:
    """What a process and its children used.

    Attributes
    ----------
    peak_bytes
        Largest resident memory of all of them together, bytes; 0 if nothing was measured.
    processor_seconds
        User and system time of all of them, summed over cores, seconds. Unlike elapsed time, it hardly
        depends on what else the machine is doing.
    """

    peak_bytes: int
    processor_seconds: float


class ProcessMeter:
    """Samples the memory and the processor time of a process and its children from a thread."""

    def __init__(self) -> None:
        self._peak = 0
        self._seconds: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        """Begin to measure the process `pid` and its children."""
        self._thread = threading.Thread(target=self._run, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """Stop measuring and return what was used since the process began."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        return Usage(self._peak, sum(self._seconds.values()))

    def _run(self, process: psutil.Process) -> None:
        stopped = False
        while not stopped:  # at least one sample, however soon `stop` follows
            self._sample(process)
            stopped = self._stopped.wait(_SAMPLING_PERIOD)

    def _sample(self, process: psutil.Process) -> None:
        resident = 0
        try:
            members = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for member in members:
            try:
                times = member.cpu_times()
                resident += int(member.memory_info().rss)
            except psutil.NoSuchProcess:  # it ended in between
                continue
            self._seconds[member.pid] = float(times.user + times.system)
        self._peak = max(self._peak, resident, _high_water_mark(process.pid))


def _high_water_mark(pid: int) -> int:
    """Return the exact peak of one process as Linux keeps it, bytes; 0 elsewhere."""
    status = Path(f"/proc/{pid}/status")
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not Linux, or the process has ended
        return 0
    kib: list[Any] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kib[0]) * 1024 if kib else 0
