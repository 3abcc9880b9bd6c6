"""The cells of one part of a causal map as numbers: effects, controls, and p values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...checks import short_repr
from ...errors import LabError
from .cells import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CausalEffect:
    """One cell of a causal map.

    Attributes
    ----------
    part
        ``"residual"``, ``"attention"``, ``"mlp"``, ``"experts"``, ``"head"`` or ``"expert"``.
    layer
        The model's layer.
    column
        Index of the span of tokens, or number of the head or expert.
    effect
        Change of the answer's log-probability, nats.
    p
        Probability that chance reaches an effect as large in any cell of its family; None without controls.
    """

    part: Part
    layer: int
    column: int
    effect: float
    p: float | None


@dataclass(frozen=True, eq=False)
class CausalGrid:
    """The cells of one part of a causal map.

    Attributes
    ----------
    part
        What is patched.
    layers
        The model's layers, the rows.
    effects
        Change of the answer's log-probability, nats, float64 ``[layers, columns]``; NaN where there is no
        cell, or it was not computed. Columns are spans of tokens, or numbers of heads or experts.
    controls
        The same by chance, ``[draws, layers, columns]``.
    readout
        Which columns hold a token at which the answer is predicted, ``[columns]``.
    """

    part: Part
    layers: tuple[int, ...]
    effects: NDArray[np.float64]
    controls: NDArray[np.float64]
    readout: NDArray[np.bool]

    def equal(self, other: CausalGrid) -> bool:
        """Return whether two grids hold the same cells and effects; missing ones are equal."""
        arrays = ("effects", "controls", "readout")
        return (self.part, self.layers) == (other.part, other.layers) and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=name != "readout")
            for name in arrays
        )

    def row(self, layer: int) -> int:
        """Return the row of a layer.

        Raises
        ------
        LabError
            If the part does not exist in it.
        """
        if layer not in self.layers:
            raise LabError(
                f"Layer {short_repr(layer)} has no {self.part} in this map.",
                hint=f"Its layers are {', '.join(map(str, self.layers))}.",
            )
        return self.layers.index(layer)

    def extremes(self, sign: int) -> NDArray[np.float64]:
        """Return, by column, the largest effect of any cell of its family in each complete control.

        Columns at which the answer is predicted are one family, the others another.

        Returns
        -------
        numpy.ndarray
            ``[complete draws, columns]``.
        """
        read = np.isfinite(self.controls) | ~np.isfinite(self.effects)
        complete = np.asarray(read.all(axis=(1, 2)) if self.controls.size else np.zeros(0, bool))
        found = np.full((int(complete.sum()), len(self.readout)), np.nan)
        signed = sign * self.controls[complete] if len(complete) else np.zeros((0, *self.effects.shape))
        for family in (self.readout, ~self.readout):
            if family.any() and len(found):
                found[:, family] = np.nanmax(
                    np.where(np.isfinite(signed[:, :, family]), signed[:, :, family], -np.inf), axis=(1, 2)
                )[:, None]
        return found

    def p_values(self, sign: int) -> NDArray[np.float64]:
        """Return the p value of every cell, ``[layers, columns]``; NaN where there is none."""
        extremes = self.extremes(sign)
        beyond = (extremes[:, None, :] >= sign * self.effects).sum(axis=0)
        p = (1 + beyond) / (1 + len(extremes))
        found: NDArray[np.float64] = np.where(np.isfinite(self.effects) & bool(len(extremes)), p, np.nan)
        return found
