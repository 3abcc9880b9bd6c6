"""Positions to draft from, and what a drafter sees there: all positions of a batch at once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch

from .batches import Batch
from .encoding import SKIP


@dataclass(frozen=True)
class Drafts:
    """Positions of a batch from which tokens are drafted, and the base's own results there.

    B rows, P positions per row (padded with position 1, see `valid`), L tokens per row.

    Attributes
    ----------
    batch
        The rows.
    positions
        Index of the last known token at each position, int64 ``[B, P]``.
    valid
        Whether the i-th token after each position is of the same answer, bool ``[steps, B, P]``.
    hidden
        The base's last hidden states, ``[B, L, hidden]``.
    shared
        Keys and values of the base's last layer of each kind, ``[B, heads, L, width]`` each.
    """

    batch: Batch
    positions: torch.Tensor
    valid: torch.Tensor
    hidden: torch.Tensor
    shared: dict[str, tuple[torch.Tensor, torch.Tensor]]

    def tokens(self, step: int) -> torch.Tensor:
        """Return the ids at `step` tokens after each position, ``[B, P]``; step 0 is the last known token."""
        ids = self.batch.inputs["input_ids"]
        return ids.gather(1, (self.positions + step).clamp(max=ids.shape[1] - 1))

    def states(self, step: int) -> torch.Tensor:
        """Return the base's last hidden state at `step` tokens after each position, ``[B, P, hidden]``."""
        index = (self.positions + step).clamp(max=self.hidden.shape[1] - 1)
        return self.hidden.gather(1, index[..., None].expand(-1, -1, self.hidden.shape[-1]))

    def masks(self, window: int) -> dict[str, torch.Tensor]:
        """Return which keys each position sees, bool ``[B, 1, P, L]`` by kind of layer.

        At decoding the key of the last known token does not exist yet: the base has not read it.
        """
        keys = torch.arange(self.hidden.shape[1])
        known = keys < self.positions[:, None, :, None]
        near = keys >= self.positions[:, None, :, None] - window
        return {"full_attention": known, "sliding_attention": known & near}


@torch.no_grad()
def drafts(base: Any, batch: Batch, *, steps: int, most: int, rng: random.Random) -> Drafts:
    """Run the base on a batch and choose positions before answers to draft from.

    Parameters
    ----------
    base
        The model to draft for.
    batch
        Packed rows; their labels say what are answers.
    steps
        Tokens drafted from each position.
    most
        Positions of the batch, at most.
    rng
        Chooses among more.
    """
    labels = batch.labels
    output = base.model(**batch.inputs, use_cache=False, return_shared_kv_states=True)
    answers = labels != SKIP
    found = [
        [n for n in range(1, labels.shape[1] - 1) if bool(row[n + 1])] for row in answers
    ]  # from where the next token is of an answer
    share = min(1.0, most / max(1, sum(map(len, found))))
    chosen = [sorted(rng.sample(each, round(share * len(each)))) for each in found]
    width = max(1, max(map(len, chosen)))
    positions = torch.ones(len(chosen), width, dtype=torch.int64)
    real = torch.zeros(len(chosen), width, dtype=torch.bool)
    for number, each in enumerate(chosen):
        positions[number, : len(each)] = torch.tensor(each, dtype=torch.int64)
        real[number, : len(each)] = True
    last = labels.shape[1] - 1
    follows = [
        real & (positions + step <= last) & answers.gather(1, (positions + step).clamp(max=last))
        for step in range(1, steps + 1)
    ]
    return Drafts(
        batch,
        positions,
        torch.stack(follows).cummin(0).values,  # what follows the end of an answer is no draft of it
        output.last_hidden_state,
        dict(output.shared_kv_states),
    )
