"""Wire format of a trace: a few binary buffers of plain little-endian arrays.

A buffer is a 32-bit length, a JSON header and the arrays, each at a multiple of eight bytes;
``js/shared/wire.js`` reads it, and ``BUFFERS`` in `gemma_lab.widgets.shared.wire_types` lists the arrays of
each. A token and layer takes 28 bytes at top-8 of up to 256 experts: eight ids, eight gate weights, entropy
and the experts' fraction of the output of sixteen bits each.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ...views.base.colors import weight_scale_max
from .base import sendable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ...models.tokens.table import TokenTable
    from ...trace.records.routing import Routing

#: Above this many bytes of routing a live view asks for layers one by one.
SENT_WHOLE = 2 << 20
_SIXTEEN, _EIGHT = 65535, 255

_MODALITIES = ("text", "image", "video", "audio", "special")
_ROLES = ("system", "user", "model", "thought", "tool", "tool_call", "tool_response", "")
_DIRECTIONS = ("neutral", "ltr", "rtl")
_DTYPES = {"u1": "uint8", "u2": "uint16", "u4": "uint32", "i2": "int16", "i4": "int32", "f4": "float32"}


def pack(arrays: Mapping[str, NDArray[Any]], *, meta: Mapping[str, Any] | None = None) -> bytes:
    """Return named arrays as one buffer.

    Parameters
    ----------
    arrays
        Of unsigned 8-, 16- or 32-bit, signed 16- or 32-bit integers or 32-bit floats.
    meta
        JSON values that go with them.

    Raises
    ------
    TypeError
        If an array has another dtype.
    """
    header: dict[str, list[Any]] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        kind = array.dtype.str.lstrip("<|=")
        if kind not in _DTYPES:
            msg = f"{name}: dtype {array.dtype} has no counterpart in the browser"
            raise TypeError(msg)
        data = np.ascontiguousarray(array, dtype=f"<{kind}").tobytes()
        header[name] = [_DTYPES[kind], list(array.shape), offset]
        padding = -len(data) % 8
        chunks += [data, b"\0" * padding]
        offset += len(data) + padding
    text = json.dumps({"arrays": header, "meta": dict(meta or {})}, separators=(",", ":")).encode("ascii")
    text += b" " * (-(len(text) + 4) % 8)
    return struct.pack("<I", len(text)) + text + b"".join(chunks)


def unpack(buffer: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the meta of a buffer that `pack` made."""
    (length,) = struct.unpack_from("<I", buffer)
    header = json.loads(buffer[4 : 4 + length])
    start = 4 + length
    return {
        name: np.frombuffer(buffer, dtype, math.prod(shape), start + offset).reshape(shape)
        for name, (dtype, shape, offset) in header["arrays"].items()
    }, header["meta"]


def token_buffer(
    tokens: TokenTable, *, start: int = 0, draws: Mapping[str, NDArray[Any]] | None = None
) -> bytes:
    """Return the rows of a token table from `start` on as one buffer.

    Texts are UTF-8 with their ends; the label of a token without text is its vocabulary piece. Columns of few
    values are codes. Positions in a medium are sent for the tokens that have one.

    Parameters
    ----------
    tokens
        The table.
    start
        The first row.
    draws
        How the generated ones were drawn, from `gemma_lab.widgets.shared.draws.draw_arrays`.
    """
    here = slice(start, None)
    texts = [str(text) for text in tokens.texts[here]]
    labels = ["" if text else str(piece) for text, piece in zip(texts, tokens.pieces[here], strict=True)]
    scripts = sorted({str(script) for script in tokens.scripts[here]})
    placed = np.flatnonzero(np.asarray(tokens.media_index[here]) >= 0)
    arrays: dict[str, NDArray[Any]] = {
        **strings("text", texts),
        **strings("label", labels),
        "modality": _codes(tokens.modalities[here], _MODALITIES),
        "role": _codes(tokens.roles[here], _ROLES),
        "script": _codes(tokens.scripts[here], scripts),
        "direction": _codes(tokens.directions[here], _DIRECTIONS),
        "generated": np.asarray(tokens.generated[here], dtype=np.uint8),
        "cluster": np.asarray(tokens.clusters[here], dtype=np.int32),
        "media_tokens": placed.astype(np.uint32),
        "media_index": np.asarray(tokens.media_index[here], dtype=np.int16)[placed],
        "box": np.asarray(tokens.boxes[here], dtype=np.int32)[placed],
        "time_ms": np.asarray(tokens.times[here], dtype=np.int32)[placed],
        "frame": np.asarray(tokens.frames[here], dtype=np.int16)[placed],
        **(draws or {}),
    }
    names = {"modalities": _MODALITIES, "roles": _ROLES, "scripts": scripts, "directions": _DIRECTIONS}
    return pack(arrays, meta={"start": start, "count": len(texts), **names})


def layer_buffer(routing: Routing, rows: Sequence[int], *, start: int = 0) -> bytes:
    """Return some layers of a routing, from token `start` on, as one buffer.

    Parameters
    ----------
    routing
        The routing of a trace.
    rows
        Indices of the layers in the routing's arrays (not the model's layer numbers).
    start
        The first token.
    """
    parts = [routing.layer(routing.layers[row]).select(slice(start, None)) for row in rows]
    ids, gate_weights = (
        np.concatenate([np.asarray(getattr(part, name)) for part in parts])
        for name in ("ids", "gate_weights")
    )
    entropy = np.concatenate([np.asarray(part.entropy, dtype=np.float64) for part in parts])
    arrays: dict[str, NDArray[Any]] = {
        "layer_indices": np.asarray(list(rows), dtype=np.uint16),
        "expert_ids": ids.astype(np.uint8 if routing.experts <= 256 else np.uint16),
        "gate_weights": sixteen_bits(gate_weights),
        "entropy": sixteen_bits(entropy / math.log(max(routing.experts, 2))),
        "expert_fraction": sixteen_bits(np.concatenate([part.expert_output_fraction for part in parts])),
    }
    return pack(arrays, meta={"start": start, "count": int(ids.shape[1])})


def load_buffer(routing: Routing) -> bytes:
    """Return the number of tokens routed to each expert, and its scale, both ``[layers, experts]``."""
    counts = np.stack(
        [np.bincount(np.asarray(ids).reshape(-1), minlength=routing.experts) for ids in routing.ids]
    )
    return pack(
        {
            "token_counts": counts.astype(np.uint32),
            "expert_scale": np.asarray(routing.scale, dtype=np.float32),
        },
        meta={"tokens": int(routing.ids.shape[1])},
    )


def bytes_of(routing: Routing) -> int:
    """Return how many bytes all layers of a routing take in the browser."""
    layers, tokens, top_k = routing.ids.shape
    width = 1 if routing.experts <= 256 else 2
    return int(layers * tokens * (top_k * (width + 2) + 4))


def scale_max(routing: Routing) -> float:
    """Return the weight at which the colour scale ends: 99 % of the applied weights are below it.

    Long traces are sampled at regular steps, at about 200,000 tokens × layers.
    """
    layers, tokens, _ = routing.ids.shape
    sample = routing.select(slice(None, None, max(1, layers * tokens // 200_000))).weights
    return weight_scale_max(sample)


def strings(name: str, values: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return texts as arrays: their UTF-8, and the end of each."""
    encoded = [sendable(value).encode() for value in values]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.uint32) if encoded else np.zeros(0, np.uint32)
    return {name: np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}_ends": ends.astype(np.uint32)}


def _codes(values: Sequence[Any] | NDArray[Any], names: Sequence[str]) -> NDArray[np.uint8]:
    known = {name: code for code, name in enumerate(names)}
    return np.fromiter((known[str(value)] for value in values), dtype=np.uint8, count=len(values))


def sixteen_bits(values: Any) -> NDArray[np.uint16]:
    """Return fractions in 0 … 1 as steps of 1/65535; what is not a number becomes 1."""
    return _steps(values, _SIXTEEN).astype(np.uint16)


def eight_bits(values: Any) -> NDArray[np.uint8]:
    """Return fractions in 0 … 1 as steps of 1/255; what is not a number becomes 1."""
    return _steps(values, _EIGHT).astype(np.uint8)


def _steps(values: Any, count: int) -> NDArray[np.float32]:
    # float32: half precision cannot hold 65535
    fractions = np.nan_to_num(np.asarray(values, dtype=np.float32), nan=1.0)
    steps: NDArray[np.float32] = np.rint(np.clip(fractions, 0, 1) * count)
    return steps
