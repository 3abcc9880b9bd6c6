"""What the routers did: which experts, which weights, how undecided, and what the experts contributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import BadTrace, LabError

Precision = Literal["compact", "full"]
Array = np.ndarray[Any, np.dtype[Any]]

_STEPS = 4095  # 12 bits


@dataclass(frozen=True, eq=False)
class Routing:
    """The routing of a run of tokens through every layer that has experts.

    Make one with `Routing.pack`. In *compact* precision a token and layer takes 24 bytes with 8 of 128
    experts: ids of one byte, shares in steps of 1/4095 (two in three bytes), entropy and experts' share as
    float16. *Full* precision keeps float32.

    Attributes
    ----------
    ids
        Expert ids as the router returned them, largest share first, shape ``[layers, tokens, top_k]``.
    packed
        The shares as stored: float32 ``[layers, tokens, top_k]``, or their 12-bit form, uint8
        ``[layers, tokens, ceil(1.5 * top_k)]``. `shares` reads them.
    scale
        Per-expert scale, float32 ``[layers, experts]``; ones where a family has none.
    entropy
        Of the router's distribution over all experts, in nats, shape ``[layers, tokens]``.
    experts_share
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
    experts_share: Array
    layers: tuple[int, ...]
    experts: int
    precision: Precision = "compact"
    keep: Any = field(default=None, repr=False)  # holds the temporary file that memmaps lie in

    @classmethod
    def pack(
        cls, ids: Any, shares: Any, *, scale: Any, entropy: Any, experts_share: Any,
        layers: tuple[int, ...], experts: int, precision: Precision = "compact",
    ) -> Routing:  # fmt: skip
        """Check and store what a router returned.

        Parameters
        ----------
        ids
            Integers, shape ``[layers, tokens, top_k]``.
        shares
            The weights before the per-expert scale (renormalised where the family does that), same shape.
        scale, entropy, experts_share
            See the attributes.
        layers, experts
            Layer index of each row, and the number of experts.
        precision
            How to store it.

        Raises
        ------
        BadTrace
            If shapes disagree, an id is not an expert, a token's experts repeat, or a share is not in 0 to 1.
        """
        if precision not in ("compact", "full"):
            raise LabError(f"There is no precision {precision!r}.", hint='It is "compact" or "full".')
        ids, shares = np.asarray(ids), np.asarray(shares, dtype=np.float32)
        checked(ids, shares, experts=experts)
        float_type = np.float16 if precision == "compact" else np.float32
        made = cls(
            ids=ids.astype(id_type(experts)),
            packed=pack12(shares) if precision == "compact" else shares,
            scale=np.asarray(scale, dtype=np.float32),
            entropy=np.asarray(entropy).astype(float_type),
            experts_share=np.asarray(experts_share).astype(float_type),
            layers=tuple(int(layer) for layer in layers),
            experts=int(experts),
            precision=precision,
        )
        made.check()
        return made

    def check(self) -> None:
        """Raise `BadTrace` unless the arrays fit each other."""
        rows, tokens, k = self.ids.shape
        wide = packed_width(k) if self.precision == "compact" else k
        wanted = {
            "packed": (rows, tokens, wide), "scale": (rows, self.experts), "entropy": (rows, tokens),
            "experts_share": (rows, tokens),
        }  # fmt: skip
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise BadTrace(
                    f"The routing's {name} has shape {found}; its ids {self.ids.shape} need {shape}.",
                    hint="Trace again, or open another file.",
                )
        if len(self.layers) != rows or len(set(self.layers)) != rows:
            raise BadTrace(
                f"The routing has {rows} rows and names the layers {self.layers}.",
                hint="Each row is one layer; trace again, or open another file.",
            )

    @property
    def top_k(self) -> int:
        """How many experts a token goes to."""
        return int(self.ids.shape[2])

    def __len__(self) -> int:
        """Return the number of tokens."""
        return int(self.ids.shape[1])

    @cached_property
    def shares(self) -> Array:
        """The weights before the per-expert scale, float32 ``[layers, tokens, top_k]``."""
        return unpack12(self.packed, self.top_k) if self.precision == "compact" else self.packed

    @property
    def weights(self) -> Array:
        """The weights really applied, ``shares * scale[ids]``, float32 ``[layers, tokens, top_k]``.

        They need not sum to 1 (Gemma 4 scales each expert after renormalising).
        """
        row = np.arange(len(self.layers))[:, None, None]
        product: Array = self.shares * self.scale[row, self.ids]
        return product

    @property
    def nbytes(self) -> int:
        """Bytes of everything that grows with the tokens."""
        return int(self.ids.nbytes + self.packed.nbytes + self.entropy.nbytes + self.experts_share.nbytes)

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
            ids=self.ids[rows][:, tokens], packed=self.packed[rows][:, tokens], scale=self.scale[rows],
            entropy=self.entropy[rows][:, tokens], experts_share=self.experts_share[rows][:, tokens],
            layers=layers, experts=self.experts, precision=self.precision, keep=self.keep,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Routing):
            return NotImplemented
        same = (self.layers, self.experts, self.precision) == (other.layers, other.experts, other.precision)
        names = ("ids", "packed", "scale", "entropy", "experts_share")
        pairs = ((getattr(self, name), getattr(other, name)) for name in names)
        return same and all(np.array_equal(mine, theirs, equal_nan=True) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows, tokens, k = self.ids.shape
        return (
            f"Routing({rows} layers × {tokens:,} tokens, top-{k} of {self.experts} experts, "
            f"{self.precision}: {self.bytes_per_token_layer:.3g} B a token and layer)"
        )


def checked(ids: Array, shares: Array, *, experts: int) -> None:
    """Raise `BadTrace` unless ids and shares can come from a router of so many experts."""
    if ids.ndim != 3 or ids.shape != shares.shape:
        raise BadTrace(
            f"Expert ids of shape {ids.shape} and shares of shape {shares.shape} do not belong together.",
            hint="Both are [layers, tokens, top_k].",
        )
    if not ids.size:
        return
    if ids.min() < 0 or ids.max() >= experts:
        raise BadTrace(
            f"Expert ids run from {ids.min()} to {ids.max()}, and there are {experts} experts.",
            hint="Trace again, or open another file.",
        )
    ordered = np.sort(ids, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise BadTrace("A token went to one expert twice.", hint="Trace again, or open another file.")
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() > 1 + 1e-3:
        raise BadTrace(
            f"Router shares run from {shares.min()} to {shares.max()}; a share lies between 0 and 1.",
            hint="Trace again, or open another file.",
        )


def id_type(experts: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds an expert's id."""
    return np.uint8 if experts <= 256 else np.uint16


def packed_width(k: int) -> int:
    """Return the bytes that `k` 12-bit numbers take."""
    return (3 * k + 1) // 2


def pack12(shares: Array) -> Array:
    """Return shares in 0 to 1 as 12-bit fixed point along the last axis, two in three bytes."""
    k = shares.shape[-1]
    steps = np.rint(np.clip(shares, 0, 1) * _STEPS).astype(np.uint16)
    if k % 2:
        steps = np.concatenate([steps, np.zeros_like(steps[..., :1])], -1)
    low, high = steps[..., ::2], steps[..., 1::2]
    three = np.stack([low & 0xFF, (low >> 8) | ((high & 0xF) << 4), high >> 4], -1).astype(np.uint8)
    return np.ascontiguousarray(three.reshape(*shares.shape[:-1], -1)[..., : packed_width(k)])


def unpack12(packed: Array, k: int) -> Array:
    """Return 12-bit shares as float32; the inverse of `pack12` up to half a step of 1/4095."""
    missing = -packed.shape[-1] % 3
    if missing:
        packed = np.concatenate([packed, np.zeros((*packed.shape[:-1], missing), np.uint8)], -1)
    three = packed.reshape(*packed.shape[:-1], -1, 3).astype(np.uint16)
    low = three[..., 0] | ((three[..., 1] & 0xF) << 8)
    high = (three[..., 1] >> 4) | (three[..., 2] << 4)
    steps = np.stack([low, high], -1).reshape(*packed.shape[:-1], -1)[..., :k]
    return (steps / np.float32(_STEPS)).astype(np.float32)


def _some(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) if len(layers) <= 40 else f"{layers[0]} … {layers[-1]}"
