"""Arrays that grow along their first axis: in memory, and past a limit in a temporary file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class _Kept(NamedTuple):
    """What a buffer holds; replaced as one value, so that an interrupt finds the old one or the new one."""

    on_disk: int  # rows of the files; a spill that was interrupted may have left more bytes behind them
    in_memory: list[dict[str, Array]]


class SpillBuffer:
    """Collect named arrays in chunks of consecutive tokens.

    Parameters
    ----------
    limit
        Bytes to hold in memory; what goes beyond is written to a temporary folder.

    Attributes
    ----------
    folder
        Folder of the files, once there are any. It is deleted with the last reference to it, so keep one
        while `result` is used. ``TMPDIR`` determines where it is created.
    """

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept = _Kept(0, [])
        self._bytes = 0  # in memory, for the limit alone: an interrupt may leave it too high

    def add(self, arrays: dict[str, Array]) -> None:
        """Add one chunk: arrays of equal length along their first axis.

        A call that an exception or an interrupt ends has added the complete chunk or nothing.
        """
        self._bytes += sum(array.nbytes for array in arrays.values())
        self._kept.in_memory.append(arrays)
        if self._bytes > self.limit:
            self._spill()

    def __len__(self) -> int:
        return self._kept.on_disk + _rows(self._kept.in_memory)

    def result(self) -> dict[str, Array]:
        """Return each array with its first two axes exchanged, ``[layers, tokens, …]``.

        Contiguous in memory, or a read-only memory map of a spilled file, whose order stays as it was read.
        """
        if self.folder is not None:
            self._spill()
            return {name: np.swapaxes(self._mapped(name), 0, 1) for name in self._shapes}
        parts = self._kept.in_memory
        joined = {}
        for name, first in parts[0].items() if parts else ():
            _, layers, *rest = first.shape
            joined[name] = np.empty((layers, _rows(parts), *rest), dtype=first.dtype)
            np.concatenate([np.swapaxes(part[name], 0, 1) for part in parts], axis=1, out=joined[name])
        return joined

    def _mapped(self, name: str) -> Array:
        dtype, shape = self._shapes[name]
        if not math.prod(shape):  # an empty file cannot be mapped
            return np.empty((self._kept.on_disk, *shape), dtype=dtype)
        return np.memmap(self._file(name), dtype=dtype, mode="r", shape=(self._kept.on_disk, *shape))

    def _spill(self) -> None:
        """Write what is in memory behind the rows that count, and only then count it."""
        on_disk, parts = self._kept
        if not parts:
            return
        if self.folder is None:
            self._shapes = {name: (array.dtype, array.shape[1:]) for name, array in parts[0].items()}
            # a mapped file cannot be removed on Windows: then the folder stays until the system clears it
            self.folder = tempfile.TemporaryDirectory(prefix="gemma_lab-", ignore_cleanup_errors=True)
        for name, (dtype, shape) in self._shapes.items():
            path = self._file(name)
            path.touch()
            with path.open("r+b") as file:
                file.seek(on_disk * dtype.itemsize * math.prod(shape))
                for part in parts:
                    file.write(np.ascontiguousarray(part[name]).data)
        self._kept = _Kept(on_disk + _rows(parts), [])
        self._bytes = 0

    def _file(self, name: str) -> Path:
        assert self.folder is not None  # every caller has created or checked it
        return Path(self.folder.name) / f"{name}.bin"


def _rows(parts: Iterable[dict[str, Array]]) -> int:
    return sum(len(next(iter(part.values()))) for part in parts)
