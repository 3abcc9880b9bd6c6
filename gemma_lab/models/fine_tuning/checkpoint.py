"""State of a training run on disk, from which it goes on as if it had not been interrupted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...checks import as_path
from ...errors import BadCheckpoint, LabError

if TYPE_CHECKING:
    from .encoding import ExampleSet
    from .settings import TrainingSettings

_FILE = "training_state.pt"
#: Settings that a resumed run may change: it ends later or earlier.
_LIMITS = ("steps", "minutes")


def examples_digest(examples: ExampleSet) -> str:
    """Return a digest of the ids of all examples."""
    digest = hashlib.sha256()
    for example in examples.examples:
        digest.update(json.dumps([example.prompt_tokens, *example.ids]).encode())
    return digest.hexdigest()


class TrainingCheckpoint:
    """The folder of a run.

    Parameters
    ----------
    folder
        It is made when the first state is saved.
    settings, examples, base
        The run's settings, the digest of its examples, and that of its base model.
    """

    def __init__(
        self, folder: str | Path, *, settings: TrainingSettings, examples: str, base: str | None
    ) -> None:
        target = as_path("checkpoint", folder, example='lab.fine_tune(examples, checkpoint="runs/roman")')
        self.path = target / _FILE
        self._run = {"settings": settings.to_dict(), "examples": examples, "base": base}

    def load(self, *, resume: bool) -> dict[str, Any] | None:
        """Return the saved state; None if there is none.

        Raises
        ------
        LabError
            If there is one and `resume` is false, or it is of another run.
        BadCheckpoint
            If it cannot be read.
        """
        if not self.path.exists():
            return None
        if not resume:
            raise LabError(
                f"{self.path.parent} holds the state of a training run.",
                hint="Pass resume=True to go on with it, or another folder.",
            )
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            run = state["run"]
        except Exception as error:  # torch and pickle raise many types
            raise BadCheckpoint(
                f"{self.path} cannot be read: {error}", hint="Delete it and train again."
            ) from error
        self._require_same(run)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write a state in place of the last one; a crash leaves either of them complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        torch.save({**state, "run": self._run}, temporary)
        temporary.replace(self.path)

    def _require_same(self, run: dict[str, Any]) -> None:
        mine, theirs = self._run["settings"], run["settings"]
        assert isinstance(mine, dict)
        other = [
            f"{name}={theirs.get(name)!r} instead of {mine[name]!r}"
            for name in mine
            if name not in _LIMITS and theirs.get(name) != mine[name]
        ]
        other += ["other examples"] if run["examples"] != self._run["examples"] else []
        other += ["another base model"] if run["base"] != self._run["base"] else []
        if other:
            raise LabError(
                f"The training in {self.path.parent} has {', '.join(other)}.",
                hint="Pass the same settings and examples to resume it, or another folder.",
            )
