"""What the routers did: which experts, which weights, how undecided, and what the experts contributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import BadTrace, LabError
from .routing_packing import id_type, pack12, packed_width, unpack12

Precision = Literal["compact", "full"]
Array = np.ndarray[Any, np.dtype[Any]]

#: Two bytes an id.
MOST_EXPERTS = 65_536
_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class Routing:
    """The routing of a run of tokens through every layer that has experts.

    Make one with `Routing.pack`. In *compact* precision a token and layer takes 24 bytes with 8 of 128
    experts: ids of one byte, shares in steps of 1/4095 (two in three bytes), entropy and experts' share as
    float16. *Full* precision keeps float32. The arrays may be memory maps of a file, for long traces.

    Attributes
    ----------
    ids
        Expert ids as the router returned them, largest share first, shape ``[layers, tokens, top_k]``.
    packed
        The shares as stored: float32 ``[layers, tokens, top_k]``, or their 12-bit form, uint8
        ``[layers, tokens, ceil(1.5 * top_k)]``. `gate_weights` reads them.
    scale
        Per-expert scale, float32 ``[layers, experts]``; ones where a family has none.
    entropy
        Of the router's distribution over all experts, in nats, shape ``[layers, tokens]``.
    expert_output_fraction
        ‖experts‖ / (‖experts‖ + ‖dense branch‖) of the layer's feed-forward output, after the post-norms of
        both, shape ``[layers, tokens]``; 1 where a layer has no dense branch.
    layers
        The model's layer index of each row.
    experts
        How many experts a layer has.
    precision
        ``"compact"`` or ``"full"``.
    """

    ids: Array
    packed: Array = field(repr=False)
    scale: Array
    entropy: Array
    expert_output_fraction: Array
    layers: tuple[int, ...]
    experts: int
    precision: Precision = "compact"
    keep: Any = field(default=None, repr=False)  # holds the temporary file that memmaps lie in

    @classmethod
    def pack(
        cls, ids: Any, gate_weights: Any, *, scale: Any, entropy: Any, expert_output_fraction: Any,
        layers: tuple[int, ...], experts: int, precision: Precision = "compact",
    ) -> Routing:  # fmt: skip
        """Check and store what a router returned.

        Parameters
        ----------
        ids
            Integers, shape ``[layers, tokens, top_k]``.
        gate_weights
            The weights before the per-expert scale (renormalised where the family does that), same shape.
        scale, entropy, expert_output_fraction
            See the attributes.
        layers, experts
            Layer index of each row, and the number of experts.
        precision
            How to store it.

        Raises
        ------
        BadTrace
            If shapes disagree, an id is not an expert, a token's experts repeat, a share is not in 0 to 1, or
            anything is not finite.
        LabError
            If there is no such precision.
        """
        if precision not in ("compact", "full"):
            raise LabError(f"There is no precision {precision!r}.", hint='It is "compact" or "full".')
        ids, gate_weights = np.asarray(ids), np.asarray(gate_weights, dtype=np.float32)
        check_choices(ids, gate_weights, experts=experts)
        float_type = np.float16 if precision == "compact" else np.float32
        made = cls(
            ids=ids.astype(id_type(experts)),
            packed=pack12(gate_weights) if precision == "compact" else gate_weights,
            scale=np.asarray(scale, dtype=np.float32),
            entropy=np.asarray(entropy).astype(float_type),
            expert_output_fraction=np.asarray(expert_output_fraction).astype(float_type),
            layers=tuple(int(layer) for layer in layers),
            experts=int(experts),
            precision=precision,
        )
        made.check()
        made.check_measures()
        return made

    def check(self) -> None:
        """Raise `BadTrace` unless the arrays' shapes fit each other."""
        rows, tokens, k = self.ids.shape
        wide = packed_width(k) if self.precision == "compact" else k
        wanted = {
            "packed": (rows, tokens, wide), "scale": (rows, self.experts), "entropy": (rows, tokens),
            "expert_output_fraction": (rows, tokens),
        }  # fmt: skip
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise BadTrace(
                    f"The routing's {name} has shape {found}; its ids {self.ids.shape} need {shape}.",
                    hint=_AGAIN,
                )
        if len(self.layers) != rows or len(set(self.layers)) != rows:
            raise BadTrace(
                f"The routing has {rows} rows and names the layers {self.layers}.",
                hint="Each row is one layer; trace again, or open another file.",
            )

    def check_measures(self) -> None:
        """Raise `BadTrace` unless scale, entropy and experts' share are numbers that a router can give."""
        if not np.isfinite(self.scale).all():
            raise BadTrace("A per-expert scale is not a finite number.", hint=_AGAIN)
        for row, layer in enumerate(self.layers):  # layer by layer: memory maps stay on disk
            for name, most in (("entropy", np.inf), ("expert_output_fraction", 1.0)):
                values = getattr(self, name)[row]
                if not (np.isfinite(values).all() and (values >= 0).all() and (values <= most).all()):
                    raise BadTrace(
                        f"The {name} of layer {layer} runs from {values.min()} to {values.max()}; "
                        f"it lies between 0 and {most:g}.",
                        hint=_AGAIN,
                    )

    def check_stored(self) -> None:
        """Raise `BadTrace` unless everything stored can come from a router: what `pack` does beforehand."""
        self.check()
        self.check_measures()
        for row in range(len(self.layers)):
            check_choices(self.ids[row : row + 1], self._shares(slice(row, row + 1)), experts=self.experts)

    @property
    def top_k(self) -> int:
        """How many experts a token goes to."""
        return int(self.ids.shape[2])

    def __len__(self) -> int:
        """Return the number of tokens."""
        return int(self.ids.shape[1])

    @property
    def gate_weights(self) -> Array:
        """The weights before the per-expert scale, float32 ``[layers, tokens, top_k]``.

        Unpacked at every use, so that a compact routing stays compact; keep it in a variable.
        """
        return self._shares(slice(None))

    @property
    def weights(self) -> Array:
        """The weights really applied, ``shares * scale[ids]``, float32 ``[layers, tokens, top_k]``.

        They need not sum to 1 (Gemma 4 scales each expert after renormalising).
        """
        applied = np.empty(self.ids.shape, dtype=np.float32)
        for row, scale in enumerate(self.scale):
            np.multiply(self._shares(slice(row, row + 1))[0], scale[self.ids[row]], out=applied[row])
        return applied

    def _shares(self, rows: slice) -> Array:
        packed = self.packed[rows]
        return unpack12(packed, self.top_k) if self.precision == "compact" else packed

    @property
    def nbytes(self) -> int:
        """Bytes of everything that grows with the tokens."""
        return int(
            self.ids.nbytes + self.packed.nbytes + self.entropy.nbytes + self.expert_output_fraction.nbytes
        )

    @property
    def bytes_per_token_layer(self) -> float:
        """Bytes a token and layer takes."""
        return self.nbytes / max(1, len(self.layers) * len(self))

    def row(self, layer: int) -> int:
        """Return the row of one of the model's layers.

        Raises
        ------
        LabError
            If that layer has no experts or was not traced.
        """
        if layer not in self.layers:
            raise LabError(
                f"Layer {layer} is not in this routing.", hint=f"It has the layers {_some(self.layers)}."
            )
        return self.layers.index(layer)

    def layer(self, layer: int) -> Routing:
        """Return one of the model's layers alone."""
        at = slice(self.row(layer), self.row(layer) + 1)
        return self._cut(at, slice(None), (layer,))

    def select(self, tokens: Any) -> Routing:
        """Return some tokens alone: a slice, a boolean mask or indices."""
        return self._cut(slice(None), tokens, self.layers)

    def _cut(self, rows: slice, tokens: Any, layers: tuple[int, ...]) -> Routing:
        return Routing(
            ids=self.ids[rows][:, tokens],
            packed=self.packed[rows][:, tokens],
            scale=self.scale[rows],
            entropy=self.entropy[rows][:, tokens],
            expert_output_fraction=self.expert_output_fraction[rows][:, tokens],
            layers=layers,
            experts=self.experts,
            precision=self.precision,
            keep=self.keep,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Routing):
            return NotImplemented
        same = (self.layers, self.experts, self.precision) == (other.layers, other.experts, other.precision)
        names = ("ids", "packed", "scale", "entropy", "expert_output_fraction")
        pairs = ((getattr(self, name), getattr(other, name)) for name in names)
        return same and all(np.array_equal(mine, theirs, equal_nan=True) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows, tokens, k = self.ids.shape
        return (
            f"Routing({rows} layer{'s' * (rows != 1)} × {tokens:,} token{'s' * (tokens != 1)}, "
            f"top-{k} of {self.experts} experts, "
            f"{self.precision}: {self.bytes_per_token_layer:.3g} B a token and layer)"
        )


def check_choices(ids: Array, gate_weights: Array, *, experts: int) -> None:
    """Raise `BadTrace` unless these can be the choices of routers of so many experts.

    Parameters
    ----------
    ids, gate_weights
        Both ``[layers, tokens, top_k]``.
    experts
        How many experts a layer has.
    """
    if ids.ndim != 3 or ids.shape != gate_weights.shape:
        raise BadTrace(
            f"Expert ids of shape {ids.shape} and shares of shape {gate_weights.shape} do not belong together.",
            hint="Both are [layers, tokens, top_k].",
        )
    if ids.dtype.kind not in "iu" or not 0 < ids.shape[2] <= experts <= MOST_EXPERTS:
        raise BadTrace(
            f"Ids of type {ids.dtype} cannot be the top {ids.shape[2]} of {experts} experts.",
            hint=f"Ids are integers; a token goes to at least one of at most {MOST_EXPERTS:,}.",
        )
    if not ids.size:
        return
    if ids.min() < 0 or ids.max() >= experts:
        raise BadTrace(
            f"Expert ids run from {ids.min()} to {ids.max()}, and there are {experts} experts.", hint=_AGAIN
        )
    ordered = np.sort(ids.astype(id_type(experts)), axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise BadTrace("A token went to one expert twice.", hint=_AGAIN)
    low, high = gate_weights.min(), gate_weights.max()
    if not (low >= 0 and high <= 1 + 1e-3):  # written so that NaN is refused too
        raise BadTrace(f"Router shares run from {low} to {high}; a share lies between 0 and 1.", hint=_AGAIN)


def _some(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) if len(layers) <= 40 else f"{layers[0]} … {layers[-1]}"
