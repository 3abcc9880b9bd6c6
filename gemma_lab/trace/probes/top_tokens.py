"""The most likely tokens in a fixed order, also where several are equally likely."""

from __future__ import annotations

import torch

#: Number of tokens beyond the requested ones among which ties are ordered.
_SPARE = 8


def top_tokens(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` highest scores and their ids; the first is always the one that ``argmax`` names.

    In bfloat16, logits between 8 and 16 have steps of 1/16, so two tokens often tie. ``topk`` returns ties in
    any order; greedy decoding takes the ``argmax``. Here that token comes first, and other ties are in the
    order of their ids (as far as no more than 8 tokens beyond `count` take part).

    Parameters
    ----------
    scores
        Logits or log-probabilities, ``[…, vocabulary]``.
    count
        At most the size of the vocabulary.

    Returns
    -------
    values, ids : Tensor
        ``[…, count]`` each. Nothing waits for the device.
    """
    if count == 0:
        return scores[..., :0], torch.zeros_like(scores[..., :0], dtype=torch.int64)
    best = scores.argmax(dim=-1, keepdim=True)
    others = scores.scatter(-1, best, -torch.inf)
    _, ids = others.topk(min(count - 1 + _SPARE, scores.shape[-1] - 1), dim=-1)
    ids = ids.sort(dim=-1).values
    order = scores.gather(-1, ids).argsort(dim=-1, descending=True, stable=True)[..., : count - 1]
    ids = torch.cat([best, ids.gather(-1, order)], dim=-1)
    return scores.gather(-1, ids), ids
