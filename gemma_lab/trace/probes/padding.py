"""Read from an attention mask which positions of a sequence are tokens and which are padding."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import BadTrace


def real_positions(mask: Any, *, rows: int, end: int) -> torch.Tensor | None:
    """Return which positions are not padding, bool ``[rows, end]`` on the CPU; None if all are tokens.

    Parameters
    ----------
    mask
        As a model takes it: ``[rows, positions]``; ``[1 or rows, 1 or heads, queries, keys]``; or a mapping
        of those by layer type, as ``generate`` makes it for a static cache. In the latter two, the last query
        of full attention sees every earlier position but padding.
    rows
        Sequences in the batch.
    end
        Positions that there are with the pass: those in the cache and the new ones.

    Raises
    ------
    BadTrace
        If the mask of a batch cannot be read.
    """
    if isinstance(mask, dict):
        mask = mask.get("full_attention")
    if mask is None:
        return None
    if isinstance(mask, torch.Tensor) and mask.ndim == 4:
        last = mask[:, 0, -1, :end]
        real = last if last.dtype == torch.bool else last == 0
    elif isinstance(mask, torch.Tensor) and mask.ndim == 2:
        real = mask[:, :end].bool()
    elif rows == 1:
        return None
    else:
        raise BadTrace(
            f"Padding cannot be read from an attention mask of type {type(mask).__name__}.",
            hint='Load the model with attn_implementation="sdpa", or record one sequence at a time.',
        )
    if real.shape[1] < end:  # the mask of one pass: what the cache holds was real
        real = torch.nn.functional.pad(real, (end - real.shape[1], 0), value=True)
    return None if bool(real.all()) else real.expand(rows, -1).cpu()
