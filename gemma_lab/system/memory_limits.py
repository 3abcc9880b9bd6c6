"""Limits on this process's memory beside the machine's: control groups (containers, Slurm) and ``ulimit``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_STATUS = Path("/proc/self/status")
#: A larger limit is none: version 1 of control groups writes a huge number, version 2 "max".
_UNLIMITED = 1 << 60


class Limit(NamedTuple):
    """A limit on memory and how much of it is used, bytes."""

    total: int
    used: int


def limits() -> list[Limit]:
    """Return every limit that this process is under."""
    found = [*_cgroup_limits(), *_process_limits()]
    return [limit for limit in found if limit.total < _UNLIMITED]


def _cgroup_limits() -> Iterator[Limit]:
    """Yield the limits of the process's control group and of all groups around it."""
    own = {"": "/", "memory": "/"}  # controller -> path; version 2 has one tree, without a name
    for line in _read(_OWN_CGROUPS).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own.update({name: path for name in controllers.split(",") if name in own})
    for controller, names, cache in (
        ("", ("memory.max", "memory.current"), "inactive_file"),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ):
        root = _CGROUP / controller
        folder = root / own[controller].lstrip("/")
        if not folder.is_dir():  # inside a container, its own group is the root
            folder = root
        for group in [folder, *folder.parents]:
            limit, used = (_number(_read(group / name)) for name in names)
            if limit is not None:
                # file cache does not count: it is given up under pressure
                yield Limit(limit, max(0, (used or 0) - _statistic(group / "memory.stat", cache)))
            if group == root:
                break


def _process_limits() -> Iterator[Limit]:
    """Yield the limits on address space and on data (``ulimit -v``, ``ulimit -d``); none on Windows."""
    try:
        import resource
    except ImportError:
        return
    for number, key in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        soft, _ = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY:
            yield Limit(soft, 1024 * _statistic(_STATUS, key))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # not on this system
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _statistic(file: Path, key: str) -> int:
    return next((int(line.split()[1]) for line in _read(file).splitlines() if line.split()[:1] == [key]), 0)
