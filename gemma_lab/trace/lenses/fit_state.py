"""The sums of a fit that is in progress, in memory and on disk, from which it goes on."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import as_path
from ...errors import BadLens, LabError

Array = np.ndarray[Any, np.dtype[Any]]

#: Seconds between two states on disk.
_EVERY = 60.0


class FitState:
    """Sums of the Jacobians of the texts so far.

    Parameters
    ----------
    path
        Where the state is kept; None keeps none.
    layers, width
        Of the model.
    run
        What a fit that goes on must share: weights, texts, positions.
    """

    def __init__(self, path: str | Path | None, *, layers: int, width: int, run: dict[str, Any]) -> None:
        example = 'lab.fit_lens(texts, corpus="my diary", checkpoint="runs/lens.npz")'
        self.path = None if path is None else as_path("checkpoint", path, example=example)
        # one attribute: an interrupt leaves the sums of as many texts as were counted
        self._state: tuple[int, Array] = (0, np.zeros((layers, width, width), dtype=np.float32))
        self._run = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        self._saved, self._saved_at = 0, time.monotonic()

    @property
    def done(self) -> int:
        """Number of texts."""
        return self._state[0]

    @property
    def sums(self) -> Array:
        """Sums of their Jacobians, float32 ``[layers, width, width]``."""
        return self._state[1]

    def load(self, *, resume: bool) -> None:
        """Read the state, if there is one.

        Raises
        ------
        LabError
            If there is one and `resume` is false, or none can be written.
        BadLens
            If it cannot be read, or is of another fit.
        """
        from safetensors import SafetensorError, safe_open

        if self.path is None:
            return
        if not self.path.exists():
            self._check_writable()
            return
        if not resume:
            raise LabError(
                f"{self.path} holds the state of a fit.",
                hint="Pass resume=True to go on with it, or another path.",
            )
        try:
            with safe_open(self.path, framework="numpy") as opened:
                facts = opened.metadata() or {}
                sums, done = opened.get_tensor("sums"), int(facts["done"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise BadLens(f"{self.path} cannot be read: {error}", hint="Delete it and fit again.") from error
        if facts.get("run") != self._run or sums.shape != self.sums.shape or done < 0:
            raise BadLens(
                f"{self.path} is of a fit of other weights, texts or positions.",
                hint="Delete it, or pass what it was begun with.",
            )
        self._state, self._saved = (done, sums.astype(np.float32)), done

    def _check_writable(self) -> None:
        """Raise `LabError` before the fit begins if the state cannot be written, not after hours."""
        assert self.path is not None
        temporary = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            temporary.unlink()
        except OSError as error:
            raise LabError(
                f"{self.path} cannot be written: {error.strerror or error}.",
                hint="Name a checkpoint in a folder that may be written to.",
            ) from error

    def add(self, jacobians: Array) -> None:
        """Add the Jacobians of one text; the state is saved once a minute."""
        self._state = (self.done + 1, self.sums + jacobians)
        if time.monotonic() - self._saved_at > _EVERY:
            self.save()

    def save(self) -> None:
        """Write the state in place of the last one; a crash leaves either of them complete."""
        from safetensors.numpy import save_file

        if self.path is None or self._saved == self.done:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        done, sums = self._state
        save_file({"sums": sums}, temporary, metadata={"done": str(done), "run": self._run})
        temporary.replace(self.path)
        self._saved, self._saved_at = done, time.monotonic()
