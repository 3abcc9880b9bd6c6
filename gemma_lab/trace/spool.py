"""Arrays that grow along their first axis: in memory, and past a limit in a temporary file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Spool:
    """Collects pieces of named arrays, a stretch of tokens at a time.

    Parameters
    ----------
    limit
        Bytes to hold in memory; what goes beyond is written to a temporary folder.
    """

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self._parts: dict[str, list[Array]] = {}
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._rows = 0

    def add(self, arrays: dict[str, Array]) -> None:
        """Add one stretch: arrays of equal length along their first axis."""
        for name, array in arrays.items():
            self._parts.setdefault(name, []).append(array)
            self._shapes[name] = (array.dtype, array.shape[1:])
            self.held += array.nbytes
        self._rows += len(next(iter(arrays.values())))
        if self.held > self.limit:
            self._spill()

    def __len__(self) -> int:
        return self._rows

    def result(self) -> dict[str, Array]:
        """Return the arrays as a whole; read-only memory maps where they were spilled."""
        if self.folder is None:
            return {name: np.concatenate(parts) for name, parts in self._parts.items()}
        self._spill()
        return {
            name: np.memmap(self._file(name), dtype=dtype, mode="r", shape=(self._rows, *shape))
            for name, (dtype, shape) in self._shapes.items()
        }

    def _spill(self) -> None:
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="gemma_lab-")
        for name, parts in self._parts.items():
            with self._file(name).open("ab") as file:
                for part in parts:
                    part.tofile(file)
            parts.clear()
        self.held = 0

    def _file(self, name: str) -> Path:
        assert self.folder is not None  # both callers have just made it
        return Path(self.folder.name) / f"{name}.bin"
