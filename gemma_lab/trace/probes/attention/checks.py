"""Check recorded attention: rows against the layer's output, sums of weights against 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ....errors import BadTrace
from .sequence import TokenSlice

#: Tolerance of a row times the values against the layer's output, relative to the largest value, by dtype
#: and for all others: stock functions round weights to the model's dtype.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
_COARSE = 5e-2
#: With more keys the tolerance grows in proportion: the rounding of a sum grows with its terms (Higham,
#: Accuracy and Stability of Numerical Algorithms, 4.2). Structural errors are a thousand times as large.
_KEYS = 32_768
#: Tolerance of a sum of weights against 1.
_UNIT = 2e-3


class OutputCheck:
    """Accumulate the error of recomputed rows on the device, and check it once per pass."""

    def __init__(self) -> None:
        self._recorded: list[tuple[int, torch.Tensor, torch.Tensor, float]] = []

    def record(
        self,
        layer: int,
        last: tuple[int, torch.Tensor],
        *,
        part: TokenSlice,
        value: torch.Tensor,
        output: torch.Tensor,
        heads: Sequence[int],
    ) -> None:
        """Record the error of the last row times the values against the layer's output.

        Parameters
        ----------
        layer
            Index of the layer.
        last
            First key of the row, and its weights ``[recorded heads, keys]``.
        part, value
            The tokens of the sequence among the values ``[kv_heads, keys, dim]``.
        output
            The layer's output for that row, ``[heads, dim]``.
        heads
            The recorded heads.
        """
        first, weights = last
        tolerance = _TOLERANCE.get(value.dtype, _COARSE)
        groups = [head * value.shape[0] // output.shape[0] for head in heads]
        value = part.pick(value, queries=False).float()
        # spans of keys are rounded up: the weights of keys outside the layer's own are 0
        weights = weights[:, max(0, part.first_key - first) :]
        value = value[groups, max(0, first - part.first_key) :][:, : weights.shape[1]]
        computed = torch.einsum("hk,hkd->hd", weights[:, : value.shape[1]], value)
        error = (computed - output[list(heads)].float()).abs().amax()
        tolerance *= max(1.0, weights.shape[1] / _KEYS)
        self._recorded.append((layer, error, value.abs().amax(), tolerance))

    def verify(self) -> None:
        """Raise `BadTrace` if the output of a layer differs from what its rows give."""
        recorded, self._recorded = self._recorded, []
        if not recorded:
            return
        errors = torch.stack([torch.stack([error, scale]).cpu() for _, error, scale, _ in recorded]).tolist()
        for (layer, _, _, tolerance), (error, scale) in zip(recorded, errors, strict=True):
            if not error <= tolerance * max(scale, 1e-6):  # `not` refuses NaN, too
                raise BadTrace(
                    f"In layer {layer} the rows give an output {error:.3g} off the layer's own, "
                    f"whose values reach {scale:.3g}.",
                    hint="Its attention is more than a softmax over keys (a cap, a sink) or not finite.",
                )


def check_numbers(numbers: dict[str, Any], *, labels: Sequence[str]) -> None:
    """Raise `BadTrace` unless every row sums to 1 and every number is finite.

    Parameters
    ----------
    numbers
        Arrays of `gemma_lab.trace.probes.attention.rows.RowResult`, with an axis of layers after that of
        queries.
    labels
        Labels of the mass; every key has exactly one label of a modality.
    """
    for name, array in numbers.items():
        if not np.isfinite(array).all():
            raise BadTrace(
                f"The attention's {name} are not all finite.", hint="Load the model in bfloat16 or float32."
            )
    if "mass_by_label" in numbers and labels:
        kinds = [number for number, label in enumerate(labels) if label.startswith("modality:")]
        error = float(np.abs(numbers["mass_by_label"][:, :, kinds].sum(axis=2) - 1).max())
        if not error <= _UNIT:
            raise BadTrace(f"Attention rows sum to 1 ± {error:.3g}.", hint="Trace again in float32.")
    if "weights" in numbers:
        largest = float(numbers["weights"].sum(axis=-1).max(initial=0))
        if not largest <= 1 + _UNIT:
            raise BadTrace(f"The top keys of a row sum to {largest:.3g}.", hint="Trace again in float32.")
