"""Arrays that grow along their first axis: in memory, and past a limit in a temporary file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class SpillBuffer:
    """Collects pieces of named arrays, a stretch of tokens at a time.

    Parameters
    ----------
    limit
        Bytes to hold in memory; what goes beyond is written to a temporary folder.

    Attributes
    ----------
    folder
        Where the files lie, once there are any. They go when the last reference to it goes, so whoever uses
        `result` holds it too. ``TMPDIR`` says where it is made.
    """

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self._held = 0
        self._parts: dict[str, list[Array]] = {}
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._rows = 0

    def add(self, arrays: dict[str, Array]) -> None:
        """Add one stretch: arrays of equal length along their first axis."""
        for name, array in arrays.items():
            self._parts.setdefault(name, []).append(array)
            self._shapes[name] = (array.dtype, array.shape[1:])
            self._held += array.nbytes
        self._rows += len(next(iter(arrays.values())))
        if self._held > self.limit:
            self._spill()

    def __len__(self) -> int:
        return self._rows

    def result(self) -> dict[str, Array]:
        """Return each array as a whole with its first two axes exchanged, ``[layers, tokens, …]``.

        Contiguous in memory, or a read-only memory map of a spilled file, whose order stays as it was read.
        """
        if self.folder is not None:
            self._spill()
            return {name: np.swapaxes(self._mapped(name), 0, 1) for name in self._shapes}
        whole = {}
        for name, (dtype, (layers, *rest)) in self._shapes.items():
            whole[name] = np.empty((layers, self._rows, *rest), dtype=dtype)
            np.concatenate([np.swapaxes(p, 0, 1) for p in self._parts[name]], axis=1, out=whole[name])
        return whole

    def _mapped(self, name: str) -> Array:
        dtype, shape = self._shapes[name]
        return np.memmap(self._file(name), dtype=dtype, mode="r", shape=(self._rows, *shape))

    def _spill(self) -> None:
        if self.folder is None:
            # a mapped file cannot be removed on Windows: then the folder stays until the system clears it
            self.folder = tempfile.TemporaryDirectory(prefix="gemma_lab-", ignore_cleanup_errors=True)
        for name, parts in self._parts.items():
            with self._file(name).open("ab") as file:
                for part in parts:
                    file.write(np.ascontiguousarray(part).data)
            parts.clear()
        self._held = 0

    def _file(self, name: str) -> Path:
        assert self.folder is not None  # every caller has made it or looked
        return Path(self.folder.name) / f"{name}.bin"
