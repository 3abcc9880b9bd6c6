"""Whether captured attention is the layer's own: rows against outputs, sums against 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ....errors import BadTrace
from .sequence import TokenSlice

#: How far a row times the values may be from the layer's own output, relative to the largest value; stock
#: functions round weights to the model's type.
_ABOUT = {torch.float32: 1e-4, torch.float64: 1e-6}
_COARSE = 5e-2
#: Of more keys it may be further in proportion: the rounding of a sum grows with its terms (Higham, Accuracy
#: and Stability of Numerical Algorithms, 4.2). Structural mistakes are off by a thousand times as much.
_KEYS = 32_768
#: How far a sum of weights may be from 1.
_UNIT = 2e-3


class OutputCheck:
    """Collects what speaks against the rows of a pass, and asks for it once, when the pass is over."""

    def __init__(self) -> None:
        self._recorded: list[tuple[int, torch.Tensor, torch.Tensor, float]] = []

    def record(
        self, layer: int, last: tuple[int, torch.Tensor], *, part: TokenSlice, value: torch.Tensor,
        own: torch.Tensor, heads: Sequence[int],
    ) -> None:  # fmt: skip
        """Note how far a row times the values is from what the layer put out.

        Parameters
        ----------
        layer
            Which.
        last
            Its first key, and its weights ``[captured heads, keys]``.
        part, value
            Where the tokens are among the values ``[kv_heads, keys, dim]``.
        own
            The layer's output for that row, ``[heads, dim]``.
        heads
            The captured ones.
        """
        first, weights = last
        about = _ABOUT.get(value.dtype, _COARSE)
        groups = [head * value.shape[0] // own.shape[0] for head in heads]
        value = part.pick(value, queries=False).float()
        # spans of keys are rounded to groups: those outside the layer's own weigh nothing
        weights = weights[:, max(0, part.first_key - first) :]
        value = value[groups, max(0, first - part.first_key) :][:, : weights.shape[1]]
        made = torch.einsum("hk,hkd->hd", weights[:, : value.shape[1]], value)
        apart = (made - own[list(heads)].float()).abs().amax()
        self._recorded.append((layer, apart, value.abs().amax(), about * max(1.0, weights.shape[1] / _KEYS)))

    def verify(self) -> None:
        """Raise `BadTrace` if a layer put out something else than its rows give."""
        noted, self._recorded = self._recorded, []
        if not noted:
            return
        off = torch.stack([torch.stack([apart, scale]).cpu() for _, apart, scale, _ in noted]).tolist()
        for (layer, _, _, about), (apart, scale) in zip(noted, off, strict=True):
            if not apart <= about * max(scale, 1e-6):  # written so that NaN is refused, too
                raise BadTrace(
                    f"In layer {layer} the rows give an output {apart:.3g} off the layer's own, "
                    f"whose values reach {scale:.3g}.",
                    hint="Its attention is more than a softmax over keys (a cap, a sink) or not finite.",
                )


def check_numbers(numbers: dict[str, Any], *, labels: Sequence[str]) -> None:
    """Raise `BadTrace` unless every row sums to 1 and every number is finite.

    Parameters
    ----------
    numbers
        As in `gemma_lab.trace.probes.attention.rows.Answer`, with an axis of layers after that of queries.
    labels
        Of the mass; those of modalities part the keys.
    """
    for name, array in numbers.items():
        if not np.isfinite(array).all():
            raise BadTrace(
                f"The attention's {name} are not all numbers.", hint="Load the model in bfloat16 or float32."
            )
    if "mass_by_label" in numbers and labels:
        kinds = [number for number, label in enumerate(labels) if label.startswith("modality:")]
        off = float(np.abs(numbers["mass_by_label"][:, :, kinds].sum(axis=2) - 1).max())
        if not off <= _UNIT:
            raise BadTrace(f"Attention rows miss 1 by {off:.3g}.", hint="Trace again in float32.")
    if "weights" in numbers:
        most = float(numbers["weights"].sum(axis=-1).max(initial=0))
        if not most <= 1 + _UNIT:
            raise BadTrace(f"The top keys of a row sum to {most:.3g}.", hint="Trace again in float32.")
