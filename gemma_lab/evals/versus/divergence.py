"""Divergence of two models' next-token distributions, over the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import DoesNotFit

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Tokens that are compared at once, in float64.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Divergence:
    """What `divergence` computes for the tokens of one answer; n tokens.

    Attributes
    ----------
    kl
        KL(first ‖ second), nats, ``[n]``.
    top_ids
        The likeliest token of each, ``[n, 2]``.
    logprobs
        Log-probability of the answer's token under each, ``[n, 2]``.
    uniform
        KL of the first from the uniform distribution, nats, ``[n]``.
    """

    kl: NDArray[np.float64]
    top_ids: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    uniform: NDArray[np.float64]


def divergence(first: torch.Tensor, second: torch.Tensor, ids: list[int]) -> Divergence:
    """Return the divergence of two models at every token of an answer.

    Computed in float64 from the logits, so that equal logits give exactly 0.

    Parameters
    ----------
    first, second
        Logits ``(n, vocabulary)``.
    ids
        The tokens of the answer.
    """
    kl, logprobs, uniform = [], [], []
    for start in range(0, len(ids), _BLOCK):
        part = slice(start, start + _BLOCK)
        p, q = (torch.log_softmax(side[part].double(), dim=-1) for side in (first, second))
        likely = p.exp()
        terms = torch.where(likely > 0, likely * (p - q), 0.0)
        kl.append(terms.sum(-1).clamp(min=0.0))
        uniform.append(torch.where(likely > 0, likely * p, 0.0).sum(-1) + np.log(p.shape[1]))
        wanted = torch.tensor(ids[part])[:, None]
        logprobs.append(torch.cat([p.gather(1, wanted), q.gather(1, wanted)], dim=1))
    tops = torch.stack([first.argmax(-1), second.argmax(-1)], dim=1)
    return Divergence(
        torch.cat(kl).numpy(), tops.numpy(), torch.cat(logprobs).numpy(), torch.cat(uniform).numpy()
    )


class LogitFiles:
    """Logits of one model in temporary files, while the other is not in memory.

    Parameters
    ----------
    folder
        An existing empty folder; the caller removes it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def put(self, index: int, logits: torch.Tensor) -> None:
        """Keep the logits of an answer.

        Raises
        ------
        DoesNotFit
            If the disk is full.
        """
        try:
            torch.save(logits, self._folder / f"{index}.pt")
        except (OSError, RuntimeError) as error:
            size = logits.numel() * logits.element_size() / 1e6
            raise DoesNotFit(
                f"The logits of an answer, {size:,.0f} MB, cannot be written to {self._folder}: {error}",
                hint="Free disk space, set TMPDIR to a folder on a larger disk, or compare fewer tokens.",
            ) from error

    def get(self, index: int) -> torch.Tensor:
        """Return the logits of an answer."""
        loaded: torch.Tensor = torch.load(self._folder / f"{index}.pt", weights_only=True)
        return loaded
