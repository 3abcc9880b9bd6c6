"""What the attention probe keeps of one sequence of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ....errors import BadTrace
from ...records.attention import AttentionRequest
from ..spill import SpillBuffer
from .binning import Bins
from .checks import check_numbers
from .labels import LABELS, Labels
from .rows import RowRequest, RowResult
from .sequence import SequenceTracker


@dataclass
class SequenceRecord:
    """What is recorded of one sequence of the batch.

    Attributes
    ----------
    tracker
        Which positions of the passes are its tokens.
    bins
        Its pooled maps.
    spill
        Numbers of every row: statistics and top keys, ``[rows, layers, …, heads]``.
    labels
        Labels of its tokens, for the mass by modality and role; None without them.
    rows
        ``(layer, query)`` → first key and weights of a requested row, ``[heads, keys]``.
    """

    tracker: SequenceTracker
    bins: Bins
    spill: SpillBuffer
    labels: Labels | None
    rows: dict[tuple[int, int], tuple[int, Any]] = field(default_factory=dict)

    def begin(
        self, length: int, *, real: torch.Tensor | None, ids: torch.Tensor | None, pooled: bool
    ) -> None:
        """Start a pass of `length` positions, of which `real` are tokens, with these ids."""
        new = self.tracker.begin(length, real)
        if self.labels is not None:
            self._label_new_tokens(self.labels, ids, new)
        if pooled:
            self.bins.fit(self.tracker.tokens)

    def row_request(self, request: AttentionRequest, device: torch.device) -> RowRequest:
        """Return what to compute of the rows of a layer."""
        width = self.bins.width if request.pooled else 0
        wanted = RowRequest(request.top_k, width, None, rows=frozenset(request.rows))
        if not request.statistics:
            return wanted
        if self.labels is None:
            return replace(wanted, labels=torch.zeros((self.tracker.tokens, 0), device=device))
        return replace(wanted, labels=self.labels.table(device), runs=self.labels.runs())

    def keep(
        self, results: Mapping[int, RowResult], numbers: Mapping[str, torch.Tensor], *, compact: bool
    ) -> None:
        """Keep the summaries of a pass.

        Parameters
        ----------
        results
            Layer → pooled maps and requested rows.
        numbers
            Statistics and top keys of all layers, ``[layers, rows, …, heads]``.
        compact
            Store statistics in float16.
        """
        new = {name: array.transpose(0, 1).cpu().numpy() for name, array in numbers.items()}
        if "mass_by_label" in new and self.labels is not None:
            # later passes may bring labels that nothing had so far
            present = new["mass_by_label"]
            every = np.zeros((*present.shape[:2], len(LABELS), present.shape[3]), dtype=np.float32)
            every[:, :, list(self.labels.present())] = present
            new["mass_by_label"] = every
        check_numbers(new, labels=LABELS if self.labels is not None else ())
        if compact:
            halved = ("entropy", "first_token_mass", "mass_by_label")
            new |= {name: new[name].astype(np.float16) for name in halved if name in new}
        if new:
            self.spill.add(new)
        for layer, result in results.items():
            for part in result.sums:
                self.bins.put(layer, part)
            for query, (first, weights) in result.rows.items():
                self.rows[layer, query] = _trim(first, weights.cpu().numpy(), self.tracker.tokens)

    def _label_new_tokens(self, labels: Labels, ids: torch.Tensor | None, new: int) -> None:
        """Label the tokens of the pass that have no labels yet."""
        missing = self.tracker.tokens - len(labels)
        if missing <= 0:
            return
        if ids is None or missing > new:
            raise BadTrace(
                f"The sequence has {self.tracker.tokens:,} tokens, and labels are known for {len(labels):,}.",
                hint="Make the labels of the prompt that is read.",
            )
        for index in ids[-missing:].tolist():
            labels.write(int(index))


def _trim(first: int, row: Any, tokens: int) -> tuple[int, Any]:
    """Return a row from its first key with any weight on to its last."""
    seen = np.flatnonzero(row.any(axis=0)[: tokens - first])
    if not len(seen):
        return first, row[:, :0]
    return first + int(seen[0]), np.ascontiguousarray(row[:, seen[0] : seen[-1] + 1])
