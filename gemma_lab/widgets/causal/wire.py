"""The cells of one part of a causal map for the browser, and what a patched run computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...evals.causal.cells import BY_SPAN
from ..shared.base import sendable
from ..shared.wire import pack, strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...evals.causal.causal_map import CausalMap
    from ...evals.causal.cells import Part
    from ...trace.trace import Trace


def causal_buffer(data: CausalMap, part: Part) -> bytes:
    """Return the cells of a part as one buffer.

    Arrays, for L layers and C columns: ``text`` with ``text_ends``, the columns' labels; ``differs`` ``[C]``,
    where the prompts differ; ``effects`` and ``p`` ``[L, C]``, NaN where there is none; ``thresholds``
    ``[C]``, the largest effect by chance, nats. The meta: ``layers``.
    """
    grid = data.grid(part)
    columns = grid.effects.shape[1]
    differing = set(data.differing)
    if part in BY_SPAN:
        labels = [data.span_text(column) for column in range(columns)]
        differs = [bool(differing & set(range(*span))) for span in data.spans]
    else:
        labels, differs = [str(column) for column in range(columns)], [False] * columns
    arrays: dict[str, NDArray[Any]] = {
        **strings("text", labels),
        "differs": np.asarray(differs, dtype=np.uint8),
        "effects": grid.effects.astype(np.float32),
        "p": data.p_values(part).astype(np.float32),
        "thresholds": data.thresholds(part).astype(np.float32),
    }
    return pack(arrays, meta={"part": part, "layers": [int(layer) for layer in grid.layers]})


def run_summary(trace: Trace, position: int, answer: int, name: str) -> dict[str, Any]:
    """Return what a traced run computes where the answer is predicted: next tokens, and the lens by layer.

    Parameters
    ----------
    trace
        With the logit lens at `position`, `answer` among its targets.
    position
        The token after which the answer is predicted.
    answer
        The answer's first token.
    name
        Of the run.
    """
    lens = trace.logit_lens
    assert lens is not None
    index = lens.index(position)
    probabilities = lens.probability(answer)[:, index]
    best = zip(lens.ids[-1, index].tolist(), lens.logprobs[-1, index].tolist(), strict=True)
    return {
        "name": name,
        "top": [[sendable(lens.token_texts[token]), round(float(np.exp(value)), 6)] for token, value in best],
        "lens": [
            [
                int(layer),
                sendable(lens.token_texts[int(lens.ids[row, index, 0])]),
                round(float(probabilities[row]), 6),
            ]
            for row, layer in enumerate(lens.layers)
        ],
    }
