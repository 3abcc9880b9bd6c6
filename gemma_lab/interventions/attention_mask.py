"""Cutting attention in a model: a mask that hides keys from queries, and the softmax shares out the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import BadEdit
from ..trace.probes.attention.interface import AttentionTap
from ..trace.probes.positions import PositionTracker
from .attention_knockout import AttentionKnockout, Span


class AttentionMasker(AttentionTap):
    """Takes away what cuts say, in the mask of each layer; masks that nothing is cut from stay as they are.

    Parameters
    ----------
    cuts
        What may not look at what.
    passes
        Attached to the model: which tokens a layer works on.

    Raises
    ------
    BadEdit
        While the model runs, if a token would be left without any key.
    """

    def __init__(self, cuts: Sequence[AttentionKnockout], passes: PositionTracker) -> None:
        self.cuts, self.passes = tuple(cuts), passes

    def mask(
        self, layer: int, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,  # noqa: ARG002
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:  # fmt: skip
        """Return the mask without what is cut in a layer (`gemma_lab.trace.probes.attention.interface.Watcher.mask`)."""
        here = [cut for cut in self.cuts if cut.holds_in(layer)]
        if not here:
            return mask
        queries, keys = self.passes.queries(query.shape[2]), self.passes.keys(key.shape[2])
        touched = [cut for cut in here if _meet(queries, cut.queries) and _meet(keys, cut.keys)]
        if not touched:
            return mask
        device = query.device
        whole = _causal(queries, keys).to(device) if mask is None else mask
        heads = query.shape[1] if any(cut.heads is not None for cut in touched) else whole.shape[1]
        size = (query.shape[0], max(heads, whole.shape[1]), *whole.shape[2:])
        made = whole.expand(size).clone()
        hidden = False if made.dtype == torch.bool else torch.finfo(made.dtype).min
        for cut in touched:
            listed = slice(None) if cut.heads is None else list(cut.heads)
            for row in range(size[0]):
                some = _within(queries[row % len(queries)], cut.queries).to(device)
                gone = _within(keys[row % len(keys)], cut.keys).to(device)
                part = made[row, listed]
                part[:, some[:, None], gone[None, :]] = hidden
                made[row, listed] = part
        _check_rows(whole, made, layer, queries)
        return made


def _meet(positions: torch.Tensor, span: Span) -> bool:
    start, stop = span
    inside = positions >= start
    return bool((inside if stop is None else inside & (positions < stop)).any())


def _within(positions: torch.Tensor, span: Span) -> torch.Tensor:
    start, stop = span
    inside = positions >= start
    return (inside if stop is None else inside & (positions < stop)).nonzero().flatten()


def _causal(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return the mask that is meant where a layer has none, bool ``[rows, 1, queries, keys]``."""
    return (keys[:, None, :] <= queries[:, :, None])[:, None]


def _check_rows(before: torch.Tensor, after: torch.Tensor, layer: int, queries: torch.Tensor) -> None:
    """Raise unless every row that saw something still does (padding sees what it may)."""
    if before.dtype == torch.bool:
        empty = before.any(-1) & ~after.any(-1)
    else:
        least = torch.finfo(before.dtype).min
        empty = (before > least).any(-1) & ~(after > least).any(-1)
    if not bool(empty.any()):
        return
    row, head, query = (int(place) for place in empty.nonzero()[0])
    position = int(queries[row % len(queries), query])
    whom = f" of head {head}" if empty.shape[1] > 1 else ""
    raise BadEdit(
        f"Token {position:,} would be left with nothing to look at in layer {layer}{whom}: all that it may "
        "see there is cut.",
        hint="Leave it at least one key, for example itself: end the span of the keys before it.",
    )
