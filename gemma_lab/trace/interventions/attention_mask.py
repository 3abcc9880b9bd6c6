"""Apply attention knockouts: mask keys from queries, so that the softmax distributes over the other keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...errors import BadEdit
from ..probes.attention.taps import AttentionTap
from ..probes.positions import PositionTracker
from .attention_knockout import AttentionKnockout, Span


class AttentionMasker(AttentionTap):
    """Masks the knocked-out keys in each layer; a mask from which nothing is knocked out stays as it is.

    Parameters
    ----------
    knockouts
        Which queries may not attend to which keys.
    tracker
        Attached to the model: which tokens a layer works on.

    Raises
    ------
    BadEdit
        While the model runs, if a token would be left without any key.
    """

    def __init__(self, knockouts: Sequence[AttentionKnockout], tracker: PositionTracker) -> None:
        self.knockouts, self.tracker = tuple(knockouts), tracker

    def edit_mask(
        self,
        layer: int,
        module: torch.nn.Module,  # noqa: ARG002
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return the mask without the keys that are knocked out in a layer; see `AttentionTap`."""
        in_layer = [knockout for knockout in self.knockouts if knockout.applies_to(layer)]
        if not in_layer:
            return mask
        queries, keys = self.tracker.queries(query.shape[2]), self.tracker.keys(key.shape[2])
        present = [
            knockout
            for knockout in in_layer
            if bool(_inside(queries, knockout.queries).any()) and bool(_inside(keys, knockout.keys).any())
        ]
        if not present:
            return mask
        device = query.device
        before = _causal(queries, keys).to(device) if mask is None else mask
        heads = query.shape[1] if any(knockout.heads is not None for knockout in present) else 1
        shape = (query.shape[0], max(heads, before.shape[1]), *before.shape[2:])
        after = before.expand(shape).clone()  # [rows, 1 or heads, queries, keys]
        hidden = False if after.dtype == torch.bool else torch.finfo(after.dtype).min
        for knockout in present:
            listed = slice(None) if knockout.heads is None else list(knockout.heads)
            for row in range(shape[0]):
                some = _inside(queries[row % len(queries)], knockout.queries).nonzero().flatten().to(device)
                gone = _inside(keys[row % len(keys)], knockout.keys).nonzero().flatten().to(device)
                part = after[row, listed]
                part[:, some[:, None], gone[None, :]] = hidden
                after[row, listed] = part
        _check_rows(before, after, layer, queries)
        return after


def _inside(positions: torch.Tensor, span: Span) -> torch.Tensor:
    start, stop = span
    inside = positions >= start
    return inside if stop is None else inside & (positions < stop)


def _causal(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return the mask that is implied where a layer has none, bool ``[rows, 1, queries, keys]``."""
    return (keys[:, None, :] <= queries[:, :, None])[:, None]


def _check_rows(before: torch.Tensor, after: torch.Tensor, layer: int, queries: torch.Tensor) -> None:
    """Raise unless every row that had a visible key still has one (padding may have none)."""
    if before.dtype == torch.bool:
        empty = before.any(-1) & ~after.any(-1)
    else:
        least = torch.finfo(before.dtype).min
        empty = (before > least).any(-1) & ~(after > least).any(-1)
    if not bool(empty.any()):
        return
    row, head, query = (int(index) for index in empty.nonzero()[0])
    position = int(queries[row % len(queries), query])
    of_head = f" of head {head}" if empty.shape[1] > 1 else ""
    raise BadEdit(
        f"Token {position:,} would have no key to attend to in layer {layer}{of_head}: every key it "
        "sees there is knocked out.",
        hint="Leave it at least one key, for example itself: end the span of the keys before it.",
    )
