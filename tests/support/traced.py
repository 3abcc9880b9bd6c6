"""Traces made by hand."""

from __future__ import annotations

import numpy as np

from gemma_lab.models.tokens.table import TokenTable
from gemma_lab.trace.records.generation import Generation
from gemma_lab.trace.trace import Trace


def generation(ids, text, *, top_logprobs=None) -> Generation:
    """A generation of these tokens; `top_logprobs` are ``{id: probability}``."""
    given = top_logprobs or [{index: 0.5} for index in ids]
    most = max((len(known) for known in given), default=0)
    # a token that is recorded twice is one token
    ranked = [sorted(known.items(), key=lambda item: -item[1]) for known in given]
    padded = [row + row[-1:] * (most - len(row)) for row in ranked]
    return Generation.of(
        ids=ids,
        logprobs=[np.log(known[index]) for index, known in zip(ids, given, strict=True)],
        entropy=[1.0] * len(ids),
        alternative_ids=[[index for index, _ in row] for row in padded],
        alternative_logprobs=[[np.log(p) if p else -np.inf for _, p in row] for row in padded],
        finish_reason="length",
        text=text,
    )


def trace_of(prompt, made, *, routing=None, edit=None, media=(), texts=None, name="model") -> Trace:
    """A trace of a prompt and a generation whose last token was chosen but never read."""
    said = [] if made is None else made.ids.tolist()[:-1]
    ids = [*prompt, *said]
    count = len(ids)
    words = list("abcdefgh"[: len(prompt)]) + (list(made.text[: len(said)]) if made is not None else [])
    words = words if texts is None else texts

    def column(values) -> np.ndarray:
        made = np.empty(count, dtype=object)
        made[:] = values
        return made

    table = TokenTable(
        np.asarray(ids, dtype=np.int32), column([f"<{index}>" for index in ids]), column(words),
        np.arange(count, dtype=np.int32), column(["user"] * count), column(["text"] * count),
        np.full(count, -1, np.int16), np.full((count, 4), -1, np.int32), np.full((count, 2), -1, np.int32),
        np.full(count, -1, np.int16), column(["Latn"] * count), column(["ltr"] * count),
        np.arange(count) >= len(prompt),
    )  # fmt: skip
    return Trace(table, routing, made, {"model": name, "edit": edit, "request": {"media": list(media)}})
