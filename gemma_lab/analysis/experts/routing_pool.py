"""One or several routings of a model, concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LabError

if TYPE_CHECKING:
    from ...trace.records.routing import Routing


class RoutingPool:
    """Routings of one model, with their tokens concatenated.

    Parameters
    ----------
    routings
        One routing, or several with the same layers, experts and top-k.

    Raises
    ------
    LabError
        If there is none, none has a token, or their layers, experts or top-k differ.
    """

    def __init__(self, routings: Routing | Sequence[Routing]) -> None:
        self.parts: tuple[Routing, ...] = tuple(routings) if isinstance(routings, Sequence) else (routings,)
        if not self.parts:
            raise LabError("No routing was given.", hint="Give at least one trace's .routing.")
        first = self.parts[0]
        for number, part in enumerate(self.parts):
            if _shape(part) != _shape(first):
                raise LabError(
                    f"Routing {number} is of another model: {_describe(part)}, not {_describe(first)}.",
                    hint="Analyse the traces of one model at a time.",
                )
        self.layers: tuple[int, ...] = tuple(first.layers)
        self.experts: int = first.experts
        self.top_k: int = first.top_k
        self.lengths: tuple[int, ...] = tuple(int(part.ids.shape[1]) for part in self.parts)
        self.tokens: int = sum(self.lengths)
        if not self.tokens:
            raise LabError("The routing has no tokens.", hint="Trace a prompt of at least one token.")

    def ids(self, row: int) -> NDArray[np.intp]:
        """Return the chosen experts ``[tokens, k]`` of one row of `layers`."""
        return np.concatenate([np.asarray(part.ids[row], dtype=np.intp) for part in self.parts])

    def all_ids(self) -> NDArray[np.intp]:
        """Return the chosen experts of every layer, ``[layers, tokens, k]``."""
        return np.stack([self.ids(row) for row in range(len(self.layers))])

    def column(self, name: str) -> NDArray[Any]:
        """Return an attribute of the routings, ``[layers, tokens, …]``, e.g. ``"entropy"``."""
        return np.concatenate([np.asarray(getattr(part, name)) for part in self.parts], axis=1)


def choice_counts(ids: NDArray[Any], experts: int) -> NDArray[np.int64]:
    """Count how often each expert was chosen, ``[experts]``, from ids of any shape."""
    return np.bincount(np.asarray(ids, dtype=np.intp).ravel(), minlength=experts)


def _shape(part: Routing) -> tuple[tuple[int, ...], int, int]:
    return tuple(part.layers), part.experts, part.top_k


def _describe(part: Routing) -> str:
    return f"{len(part.layers)} MoE layers, top-{part.top_k} of {part.experts} experts"
