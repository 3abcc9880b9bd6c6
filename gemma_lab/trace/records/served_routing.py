"""Expert ids that a server reports with an answer, as a `Routing` without weights.

Three forms are read. Servers report ids only: what needs weights, entropy or output fractions raises
`NotTraced`.

========  =================================================================================================
vLLM      ``choices[0].routed_experts``: base64 of a ``.npy`` file, uint8 ``(tokens − 1, layers, k)``
SGLang    ``sgl_ext.routed_experts``: base64 of int32, little-endian, flat ``tokens × layers × k``; a slot
          that was not filled is 255
Dynamo    ``nvext.routed_experts`` or ``nvext.engine_data.routed_experts``: ``{data, shape, start, dtype}``
========  =================================================================================================

Read in vLLM 0.32 (``--enable-return-routed-experts``), SGLang 0.5.23 (its pull request 9499 for the 255) and
the clients of Dynamo, November 2026. The last token of an answer is never read by the model: it has no row.
"""

from __future__ import annotations

import ast
import base64
import binascii
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...checks import short_repr, whole_number
from ...errors import BadTrace, NotTraced
from .routing import MAX_EXPERTS, Array, Routing, check_choices, id_type

_MAGIC = b"\x93NUMPY"
#: Longest header of a ``.npy`` file that is read, in bytes: numpy writes 118 for three dimensions.
_MAX_HEADER = 1024
#: Integers that ids are sent as.
_TYPES = (
    "|u1",
    "|i1",
    "<u2",
    "<i2",
    "<u4",
    "<i4",
    "<i8",
    "<u8",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
)
#: What SGLang leaves in a slot that it did not fill.
UNFILLED = 255
_ASK_AGAIN = "Ask again; the server's version may have another form."


class ServedRouting(Routing):
    """The experts that a server reports: ids without weights.

    Everything that counts choices works as on a recorded `Routing`; gate weights, entropy and output
    fractions raise `NotTraced`.

    Parameters
    ----------
    ids
        Integers ``[L, T, k]``.
    layers
        The model's index of each of the L layers.
    experts
        E.
    start
        Position in the sequence of the first of the T tokens.

    Raises
    ------
    BadTrace
        If an id is not an expert, or a token has one expert twice.
    """

    start: int

    def __init__(self, ids: Any, *, layers: tuple[int, ...], experts: int, start: int = 0) -> None:
        ids = np.asarray(ids)
        check_choices(ids, np.zeros(ids.shape, np.float32), experts=experts)
        if len(layers) != len(ids) or len(set(layers)) != len(layers) or min(layers, default=0) < 0:
            raise BadTrace(
                f"The ids are of {len(ids)} layers, and {len(layers)} are named.",
                hint="Name each layer once.",
            )
        values = {
            "ids": np.ascontiguousarray(ids, dtype=id_type(experts)),
            "layers": tuple(int(layer) for layer in layers),
            "experts": int(experts),
            "precision": "compact",
            "keepalive": None,
            "start": int(start),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def stored_gate_weights(self) -> Array:
        """Not reported: raises `NotTraced`, as all the properties below."""
        raise _not_reported("gate weights")

    @property
    def scale(self) -> Array:
        """Not reported."""
        raise _not_reported("the per-expert scale")

    @property
    def entropy(self) -> Array:
        """Not reported."""
        raise _not_reported("the router's entropy")

    @property
    def expert_output_fraction(self) -> Array:
        """Not reported."""
        raise _not_reported("the experts' output fraction")

    @property
    def gate_weights(self) -> Array:
        """Not reported."""
        raise _not_reported("gate weights")

    @property
    def weights(self) -> Array:
        """Not reported."""
        raise _not_reported("weights")

    @property
    def has_weights(self) -> bool:
        """False: ids only."""
        return False

    @property
    def nbytes(self) -> int:
        """Bytes of the ids."""
        return int(self.ids.nbytes)

    def _subset(self, index: slice, tokens: Any, layers: tuple[int, ...]) -> ServedRouting:
        return ServedRouting(self.ids[index][:, tokens], layers=layers, experts=self.experts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServedRouting):
            return NotImplemented
        same = (self.layers, self.experts, self.start) == (other.layers, other.experts, other.start)
        return same and np.array_equal(self.ids, other.ids)

    __hash__ = None

    def __repr__(self) -> str:
        layers, tokens, k = self.ids.shape
        return (
            f"ServedRouting({layers} layer{'s' * (layers != 1)} × {tokens:,} token{'s' * (tokens != 1)}, "
            f"top-{k} of {self.experts} experts: ids as a server reported them, no weights)"
        )


def read_routed_experts(
    payload: Any,
    *,
    experts: int,
    layers: int | Iterable[int] | None = None,
    top_k: int | None = None,
    start: int = 0,
) -> ServedRouting:
    """Return the experts that a server reported.

    Parameters
    ----------
    payload
        The value of ``routed_experts`` in the answer: base64 text, or an object with ``data``.
    experts
        Experts per layer of the model.
    layers
        Its layers with experts: how many, or their indices. SGLang's form needs it; for the others it is
        checked.
    top_k
        Experts per token, likewise.
    start
        First token that was asked for (``routed_experts_prompt_start``, ``routed_experts_start_len``).

    Raises
    ------
    BadTrace
        If the payload is in none of the forms, contradicts itself or what is expected.
    LabError
        If an argument is out of range.
    """
    experts = whole_number("experts", experts, minimum=1, maximum=MAX_EXPERTS)
    start = whole_number("start", start, minimum=0)
    named = tuple(range(layers)) if isinstance(layers, int) else None if layers is None else tuple(layers)
    if isinstance(payload, Mapping):
        ids, start = _dynamo(payload, start)
    else:
        data = _bytes(payload)
        ids = _npy(data) if data.startswith(_MAGIC) else _flat(data, named, top_k)
    if ids.ndim != 3:
        raise BadTrace(f"Expert ids have shape {ids.shape}, not (tokens, layers, k).", hint=_ASK_AGAIN)
    if (named is not None and ids.shape[1] != len(named)) or (top_k is not None and ids.shape[2] != top_k):
        raise BadTrace(
            f"Expert ids have shape {ids.shape}; expected are {'any' if named is None else len(named)} "
            f"layers and {'any number of' if top_k is None else top_k} experts per token.",
            hint="Is this the model that the server serves?",
        )
    ids, skipped = _filled(ids, experts)
    named = tuple(range(ids.shape[1])) if named is None else named
    return ServedRouting(np.moveaxis(ids, 1, 0), layers=named, experts=experts, start=start + skipped)


def _filled(ids: Array, experts: int) -> tuple[Array, int]:
    """Return the ids without unfilled tokens at either end, and how many were left out at the beginning."""
    if experts > UNFILLED or not ids.size:
        return ids, 0
    empty = ids == UNFILLED
    rows = empty.all(axis=(1, 2))
    filled = np.flatnonzero(~rows)
    if not filled.size:
        raise BadTrace(f"None of {len(ids):,} tokens has experts: all slots are unfilled.", hint=_ASK_AGAIN)
    first, last = int(filled[0]), int(filled[-1])
    kept = ids[first : last + 1]
    if empty[first : last + 1].any():
        missing = int(empty[first : last + 1].any(axis=(1, 2)).sum())
        raise BadTrace(
            f"{missing:,} tokens in the middle have unfilled slots ({UNFILLED}).",
            hint="A server that reads a cached prefix may not report its experts; ask with a new prompt.",
        )
    return kept, first


def _bytes(payload: Any) -> bytes:
    if not isinstance(payload, str | bytes):
        raise BadTrace(
            f"routed_experts is {short_repr(payload)}, not base64 text.",
            hint="Start vLLM and SGLang with --enable-return-routed-experts.",
        )
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise BadTrace("routed_experts is not valid base64.", hint=_ASK_AGAIN) from None


def _npy(data: bytes) -> Array:
    """Return the array of a ``.npy`` file of format 1.0 to 3.0, of integers only; no object is unpickled."""
    major = data[6] if len(data) > 8 else 0
    width = 2 if major == 1 else 4
    if major not in (1, 2, 3) or len(data) < 8 + width:
        raise BadTrace("routed_experts is a broken .npy file.", hint=_ASK_AGAIN)
    (length,) = struct.unpack_from("<H" if major == 1 else "<I", data, 8)
    begin = 8 + width + length
    if length > _MAX_HEADER or begin > len(data):
        raise BadTrace(f"The .npy file of routed_experts has a header of {length:,} bytes.", hint=_ASK_AGAIN)
    try:
        header = ast.literal_eval(data[8 + width : begin].decode("latin-1").strip())
        kind, order, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise BadTrace(
            "The header of the .npy file of routed_experts cannot be read.", hint=_ASK_AGAIN
        ) from None
    return _array(data[begin:], kind, shape, order="F" if order is True else "C")


def _flat(data: bytes, layers: tuple[int, ...] | None, top_k: int | None) -> Array:
    if layers is None or top_k is None:
        raise BadTrace(
            "routed_experts is a flat list of numbers, as SGLang sends it: its shape is not in it.",
            hint="Pass layers= and top_k= of the model.",
        )
    row = 4 * len(layers) * top_k
    if not row or len(data) % row:
        raise BadTrace(
            f"routed_experts has {len(data):,} bytes, no multiple of {len(layers)} layers × {top_k} × 4.",
            hint="Is this the model that the server serves?",
        )
    return _array(data, "<i4", (len(data) // row, len(layers), top_k))


def _dynamo(payload: Mapping[Any, Any], start: int) -> tuple[Array, int]:
    kind, shape, first = payload.get("dtype", "uint8"), payload.get("shape"), payload.get("start", start)
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < 2**31:
        raise BadTrace(f"start is {short_repr(first)}, no position.", hint=_ASK_AGAIN)
    return _array(_bytes(payload.get("data")), kind, shape), first


def _array(data: bytes, kind: Any, shape: Any, *, order: Any = "C") -> Array:
    """Return bytes as an array of integers, if type, shape and size agree; nothing is allocated before."""
    if kind not in _TYPES:
        raise BadTrace(f"routed_experts are of type {short_repr(kind)}, not integers.", hint=_ASK_AGAIN)
    if (
        not isinstance(shape, list | tuple)
        or not 1 <= len(shape) <= 4
        or not all(type(size) is int and 0 <= size < 2**31 for size in shape)
    ):
        raise BadTrace(f"routed_experts have the shape {short_repr(shape)}.", hint=_ASK_AGAIN)
    dtype = np.dtype(kind).newbyteorder("<")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(data):
        raise BadTrace(
            f"routed_experts of shape {tuple(shape)} take {count * dtype.itemsize:,} bytes; "
            f"there are {len(data):,}.",
            hint=_ASK_AGAIN,
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order)


def _not_reported(what: str) -> NotTraced:
    return NotTraced(
        f"A server reports expert ids only: there are no {what}."
        if not what.startswith("the")
        else f"A server reports expert ids only, not {what}.",
        hint="Trace the model itself: gl.load(…).trace(…).",
    )
