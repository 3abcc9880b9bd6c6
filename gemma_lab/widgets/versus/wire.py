"""The tokens of one prompt of a comparison for the browser: divergence, routing and likeliest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.base import sendable
from ..shared.wire import pack, sixteen_bits, strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...evals.versus.comparison import Versus
    from ...trace.trace import Trace

#: Most tokens of a prompt that are sent: the last ones.
MOST_TOKENS = 1024
#: Likeliest next tokens that are shown of each model.
_TOP = 5


def comparison_buffer(versus: Versus, prompt: int) -> bytes:
    """Return the compared tokens of a prompt as one buffer.

    Arrays, for T tokens and L layers with experts: ``text`` with ``text_ends``; ``generated`` ``[T]``; ``kl``
    ``[T]`` in nats, NaN inside the prompt; ``flipped`` and ``weight`` ``[L, T]`` in steps of 1/65535;
    ``first_ids`` and ``second_ids`` ``[L, T, k]`` with their gate weights. The meta: ``start``, the row of
    the first token in the trace; ``layers``; ``tops``, the likeliest next tokens of both models by row.

    Parameters
    ----------
    versus
        The comparison.
    prompt
        Index of a prompt that both models read.
    """
    columns = np.flatnonzero(versus.columns[:, 0] == prompt)[-MOST_TOKENS:]
    _, rows, others = versus.columns[columns].T
    first, second = readings(versus, prompt)
    labels = [str(first.tokens.texts[row]) or str(first.tokens.pieces[row]) for row in rows]
    arrays: dict[str, NDArray[Any]] = {
        **strings("text", labels),
        "generated": np.asarray(first.tokens.generated[rows], dtype=np.uint8),
        "kl": np.full(len(rows), np.nan, dtype=np.float32),
    }
    if versus.tokens is not None:
        arrays["kl"] = versus.by_token("kl")[columns].astype(np.float32)
    meta: dict[str, Any] = {"start": int(rows[0]), "layers": [], "tops": _tops(versus, prompt)}
    if versus.routing is not None and first.routing is not None and second.routing is not None:
        meta["layers"] = [int(layer) for layer in versus.routing.layers]
        arrays["flipped"] = sixteen_bits(versus.routing.flipped[:, columns])
        arrays["weight"] = sixteen_bits(versus.routing.weight[:, columns])
        for name, trace, at in (("first", first.routing, rows), ("second", second.routing, others)):
            chosen = trace.select(at)
            arrays[f"{name}_ids"] = chosen.ids.astype(np.uint16)
            arrays[f"{name}_weights"] = sixteen_bits(chosen.gate_weights)
    return pack(arrays, meta=meta)


def readings(versus: Versus, prompt: int) -> tuple[Trace, Trace]:
    """Return the readings of a prompt that both models read.

    Raises
    ------
    KeyError
        If one of them did not.
    """
    first, second = versus.traces[prompt]
    if first is None or second is None:
        raise KeyError(prompt)
    return first, second


def _tops(versus: Versus, prompt: int) -> list[dict[str, Any]]:
    """Return, by row that predicts a token of the answer: the token, and the likeliest ones of each model."""
    first, second = readings(versus, prompt)
    if first.generation is None or second.generation is None:
        return []
    start = len(first) - len(first.generation.ids)
    return [
        {
            "row": start + place,
            "next": _name(versus, int(first.generation.ids[place])),
            "sides": [_likeliest(versus, trace, place) for trace in (first, second)],
        }
        for place in range(len(first.generation.ids))
    ]


def _likeliest(versus: Versus, trace: Trace, place: int) -> list[list[Any]]:
    assert trace.generation is not None
    ids = trace.generation.alternative_ids[place, :_TOP].tolist()
    logprobs = trace.generation.alternative_logprobs[place, :_TOP].tolist()
    return [
        [_name(versus, index), round(float(np.exp(value)), 6)]
        for index, value in zip(ids, logprobs, strict=True)
    ]


def _name(versus: Versus, index: int) -> str:
    return sendable(versus.vocabulary.get(index, f"<id {index}>"))
