"""Expert routing of a run: chosen experts, gate weights, router entropy, and the experts' output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ...display import Displayed
from ...errors import BadTrace, LabError, NotTraced

Precision = Literal["compact", "full"]
Array = np.ndarray[Any, np.dtype[Any]]

#: An expert id is stored in at most two bytes.
MAX_EXPERTS = 65_536
_STEPS = 65_535  # of a gate weight in compact precision: the largest uint16
_TRACE_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class Routing(Displayed):
    """The routing of a sequence of tokens through every layer that has experts.

    L layers, T tokens, k experts per token, E experts per layer. Make one with `Routing.of`. In *compact*
    precision a token and layer takes 28 bytes with 8 of 128 experts: one byte per id, two per gate weight
    (steps of 1/65535) and float16 for entropy and output fraction. *Full* precision stores float32. The
    arrays may be memory maps of a file, for long traces.

    Attributes
    ----------
    ids
        Expert ids as the router returned them, largest gate weight first, uint8 (uint16 for more than 256
        experts) ``[L, T, k]``.
    stored_gate_weights
        Gate weights as stored, ``[L, T, k]``: uint16 in steps of 1/65535, or float32. `gate_weights` decodes
        them.
    scale
        Per-expert scale, float32 ``[L, E]``; ones for architectures without it.
    entropy
        Of the router's distribution over all experts, in nats, ``[L, T]``.
    expert_output_fraction
        ‖experts‖ / (‖experts‖ + ‖dense branch‖) of the layer's feed-forward output, after the post-norms of
        both, ``[L, T]``; 1 for layers without a dense branch.
    layers
        The model's index of each of the L layers.
    experts
        E.
    precision
        ``"compact"`` or ``"full"``.
    """

    ids: Array
    stored_gate_weights: Array = field(repr=False)
    scale: Array
    entropy: Array
    expert_output_fraction: Array
    layers: tuple[int, ...]
    experts: int
    precision: Precision = "compact"
    keepalive: Any = field(default=None, repr=False)  # the temporary directory of memory-mapped arrays

    @classmethod
    def of(
        cls,
        ids: Any,
        gate_weights: Any,
        *,
        scale: Any,
        entropy: Any,
        expert_output_fraction: Any,
        layers: tuple[int, ...],
        experts: int,
        precision: Precision = "compact",
    ) -> Routing:
        """Make a routing from a router's outputs, after checking them.

        Parameters
        ----------
        ids
            Integers ``[L, T, k]``.
        gate_weights
            The weights before the per-expert scale (renormalised where the architecture does so), same shape.
        scale, entropy, expert_output_fraction, layers, experts, precision
            See the attributes.

        Raises
        ------
        BadTrace
            If shapes disagree, an id is not an expert, a token has one expert twice, a gate weight is not
            between 0 and 1, or a value is not finite.
        LabError
            If `precision` is neither of the two.
        """
        check_precision(precision)
        ids, gate_weights = np.asarray(ids), np.asarray(gate_weights, dtype=np.float32)
        check_choices(ids, gate_weights, experts=experts)
        stored = np.float16 if precision == "compact" else np.float32
        routing = cls(
            ids=ids.astype(id_type(experts)),
            stored_gate_weights=encode_gate_weights(gate_weights, precision),
            scale=np.asarray(scale, dtype=np.float32),
            entropy=np.asarray(entropy).astype(stored),
            expert_output_fraction=np.asarray(expert_output_fraction).astype(stored),
            layers=tuple(int(layer) for layer in layers),
            experts=int(experts),
            precision=precision,
        )
        check_routing(routing)
        return routing

    @property
    def top_k(self) -> int:
        """How many experts each token is routed to."""
        return int(self.ids.shape[2])

    @property
    def has_weights(self) -> bool:
        """Whether it has gate weights; `gemma_lab.trace.records.served_routing.ServedRouting` has none."""
        return True

    def __len__(self) -> int:
        """Return the number of tokens."""
        return int(self.ids.shape[1])

    @property
    def gate_weights(self) -> Array:
        """The weights before the per-expert scale, float32 ``[L, T, k]``.

        Decoded at every access, so that a compact routing stays compact: assign it to a variable.
        """
        return decode_gate_weights(self.stored_gate_weights)

    @property
    def weights(self) -> Array:
        """The weights applied to the experts' outputs, ``gate_weights * scale[ids]``, float32 ``[L, T, k]``.

        They need not sum to 1: Gemma 4 scales each expert after renormalising.
        """
        applied = np.empty(self.ids.shape, dtype=np.float32)
        for index, scale in enumerate(self.scale):
            gate_weights = decode_gate_weights(self.stored_gate_weights[index])
            np.multiply(gate_weights, scale[self.ids[index]], out=applied[index])
        return applied

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays whose size depends on the number of tokens."""
        arrays = (self.ids, self.stored_gate_weights, self.entropy, self.expert_output_fraction)
        return int(sum(array.nbytes for array in arrays))

    @property
    def bytes_per_token_layer(self) -> float:
        """Bytes per token and layer."""
        return self.nbytes / max(1, len(self.layers) * len(self))

    def index(self, layer: int) -> int:
        """Return where one of the model's layers lies in the arrays.

        Raises
        ------
        NotTraced
            If that layer has no experts or was not recorded.
        """
        if layer not in self.layers:
            raise NotTraced(
                f"Layer {layer} is not in this routing.",
                hint=f"Recorded are the layers with experts: {_brief(self.layers)}.",
            )
        return self.layers.index(layer)

    def layer(self, layer: int) -> Routing:
        """Return the routing of one of the model's layers."""
        index = self.index(layer)
        return self._subset(slice(index, index + 1), slice(None), (layer,))

    def select(self, tokens: Any) -> Routing:
        """Return the routing of some tokens: a slice, a boolean mask or indices."""
        return self._subset(slice(None), tokens, self.layers)

    def _subset(self, index: slice, tokens: Any, layers: tuple[int, ...]) -> Routing:
        return Routing(
            ids=self.ids[index][:, tokens],
            stored_gate_weights=self.stored_gate_weights[index][:, tokens],
            scale=self.scale[index],
            entropy=self.entropy[index][:, tokens],
            expert_output_fraction=self.expert_output_fraction[index][:, tokens],
            layers=layers,
            experts=self.experts,
            precision=self.precision,
            keepalive=self.keepalive,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Routing):
            return NotImplemented
        same = (self.layers, self.experts, self.precision) == (other.layers, other.experts, other.precision)
        names = ("ids", "stored_gate_weights", "scale", "entropy", "expert_output_fraction")
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        layers, tokens, k = self.ids.shape
        return (
            f"Routing({layers} layer{'s' * (layers != 1)} × {tokens:,} token{'s' * (tokens != 1)}, "
            f"top-{k} of {self.experts} experts, "
            f"{self.precision}: {self.bytes_per_token_layer:.3g} B per token and layer)"
        )


def id_type(experts: int) -> type[np.unsignedinteger[Any]]:
    """Return the type that expert ids are stored in: one byte, or two for more than 256 experts."""
    return np.uint8 if experts <= 256 else np.uint16


def encode_gate_weights(gate_weights: Array, precision: Precision) -> Array:
    """Return gate weights as `Routing` stores them: uint16 in steps of 1/65535, or float32.

    Fixed point suits values between 0 and 1: the error is at most 7.7e-6 everywhere, where float16, which
    takes as many bytes, is off by up to 2.4e-4.
    """
    if precision == "full":
        return np.ascontiguousarray(gate_weights, dtype=np.float32)
    steps: Array = np.rint(np.clip(gate_weights, 0, 1) * np.float32(_STEPS)).astype(np.uint16)
    return steps


def decode_gate_weights(stored: Array) -> Array:
    """Return stored gate weights as float32; the inverse of `encode_gate_weights` up to half a step."""
    if stored.dtype == np.uint16:
        return np.divide(stored, np.float32(_STEPS), dtype=np.float32)
    return stored


def check_precision(precision: str) -> None:
    """Raise `LabError` unless a precision is ``"compact"`` or ``"full"``."""
    if precision not in get_args(Precision):
        raise LabError(f"There is no precision {precision!r}.", hint='It is "compact" or "full".')


def check_routing(routing: Routing) -> None:
    """Raise `BadTrace` unless shapes, types and values of a routing are such as a router returns."""
    _check_shapes(routing)
    if not np.isfinite(routing.scale).all():
        raise BadTrace("A per-expert scale is not a finite number.", hint=_TRACE_AGAIN)
    for index, layer in enumerate(routing.layers):  # one layer at a time: memory maps stay on disk
        for name, most in (("entropy", np.inf), ("expert_output_fraction", 1.0)):
            values = getattr(routing, name)[index]
            if not (np.isfinite(values).all() and (values >= 0).all() and (values <= most).all()):
                raise BadTrace(
                    f"The {name} of layer {layer} runs from {values.min()} to {values.max()}; "
                    f"it lies between 0 and {most:g}.",
                    hint=_TRACE_AGAIN,
                )
        part = slice(index, index + 1)
        gate_weights = decode_gate_weights(routing.stored_gate_weights[part])
        check_choices(routing.ids[part], gate_weights, experts=routing.experts)


def _check_shapes(routing: Routing) -> None:
    check_precision(routing.precision)
    stored = np.uint16 if routing.precision == "compact" else np.float32
    if routing.stored_gate_weights.dtype != stored:
        raise BadTrace(
            f"A routing in {routing.precision} precision has gate weights of type "
            f"{routing.stored_gate_weights.dtype}.",
            hint="Make it with Routing.of.",
        )
    layers, tokens, k = routing.ids.shape
    expected = {
        "stored_gate_weights": (layers, tokens, k),
        "scale": (layers, routing.experts),
        "entropy": (layers, tokens),
        "expert_output_fraction": (layers, tokens),
    }
    for name, shape in expected.items():
        found = getattr(routing, name).shape
        if found != shape:
            raise BadTrace(
                f"The routing's {name} has shape {found}; ids of shape {routing.ids.shape} need {shape}.",
                hint=_TRACE_AGAIN,
            )
    if (
        len(routing.layers) != layers
        or len(set(routing.layers)) != layers
        or min(routing.layers, default=0) < 0
    ):
        raise BadTrace(
            f"The routing has {layers} layers and names the layers {routing.layers}.",
            hint="Name each of the model's layers once; trace again, or open another file.",
        )


def check_choices(ids: Array, gate_weights: Array, *, experts: int) -> None:
    """Raise `BadTrace` unless routers with `experts` experts can have made these choices.

    Parameters
    ----------
    ids, gate_weights
        Both ``[layers, tokens, top_k]``.
    experts
        Experts per layer.
    """
    if ids.ndim != 3 or ids.shape != gate_weights.shape:
        raise BadTrace(
            f"Expert ids of shape {ids.shape} and gate weights of shape {gate_weights.shape} do not match.",
            hint="Both are [layers, tokens, top_k].",
        )
    if ids.dtype.kind not in "iu" or not 0 < ids.shape[2] <= experts <= MAX_EXPERTS:
        raise BadTrace(
            f"Ids of type {ids.dtype} cannot be the top {ids.shape[2]} of {experts} experts.",
            hint=f"Ids are integers; a token is routed to at least 1 of at most {MAX_EXPERTS:,} experts.",
        )
    if not ids.size:
        return
    if ids.min() < 0 or ids.max() >= experts:
        raise BadTrace(
            f"Expert ids run from {ids.min()} to {ids.max()}, and there are {experts} experts.",
            hint=_TRACE_AGAIN,
        )
    ordered = np.sort(ids.astype(id_type(experts)), axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise BadTrace("A token was routed to one expert twice.", hint=_TRACE_AGAIN)
    low, high = gate_weights.min(), gate_weights.max()
    if not (low >= 0 and high <= 1 + 1e-3):  # written so that NaN is refused too
        raise BadTrace(f"Gate weights run from {low} to {high}; they lie between 0 and 1.", hint=_TRACE_AGAIN)


def _brief(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) if len(layers) <= 40 else f"{layers[0]} … {layers[-1]}"
