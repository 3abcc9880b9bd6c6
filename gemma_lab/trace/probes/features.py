"""The probe of a sparse autoencoder: features of the residual stream after its layer, at every token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from ...errors import BadTrace
from ...models.loading.restore import RestoreStack
from ...models.sparse_autoencoders.sae import SparseAutoencoder
from ..records.features import Features
from .kv_shared_layers import FullPrefill
from .model_modules import layers_of
from .recorder import Pass


class ResidualProbe:
    """Hand the residual stream after one layer, pass by pass, to a method; for use with `Recorder`.

    One sequence at a time; also in KV-shared layers (which then run on every row, see `FullPrefill`), in
    chunks of a prompt and at every decode step.

    Parameters
    ----------
    layer
        Layer of the decoder.
    """

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.read = 0  # rows of complete passes
        self.abandon()

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register the hook on the layer; see `Probe`."""
        FullPrefill(model).attach(restore)
        restore.hook(layers_of(model)[self.layer], self._keep)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        if seen.rows > 1:
            raise BadTrace(
                f"An SAE reads one sequence; this batch has {seen.rows}.", hint="Trace one at a time."
            )
        self.abandon()
        self._length = seen.length

    def abandon(self) -> None:
        """Discard the current pass; see `Probe`."""
        self._output: torch.Tensor | None = None
        self._length = 0

    def end(self, seen: Pass) -> None:
        """Take the rows of the pass, padding left out; see `Probe`."""
        if self._output is None:
            raise BadTrace(
                f"Layer {self.layer} was read for fewer tokens than the pass has.",
                hint="Something else drops rows; open the recorder without it.",
            )
        rows = self._output if seen.real is None else self._output[seen.real[0].to(self._output.device)]
        self.take(rows)
        self.read += len(rows)
        self.abandon()

    def take(self, rows: torch.Tensor) -> None:
        """Keep the rows of a pass, ``[rows, width]``, from row `read` of the sequence on."""
        raise NotImplementedError

    def _keep(self, _module: torch.nn.Module, _args: Any, output: Any) -> None:
        whole = output[0] if isinstance(output, tuple) else output
        # of a KV-shared tail the model's own call comes first, with its last row alone, then every row
        if self._length and whole.shape[1] == self._length:
            self._output = whole[0].detach()


class FeatureProbe(ResidualProbe):
    """Record the features of a sparse autoencoder at every token.

    Parameters
    ----------
    sae
        The SAE.
    left_out
        Rows that its fit is not of: ``<bos>`` and soft tokens.
    same_weights
        Whether the model has the weights that it was trained on.
    """

    def __init__(
        self, sae: SparseAutoencoder, left_out: Collection[int], *, same_weights: bool | None = None
    ) -> None:
        super().__init__(sae.layer)
        self.sae, self.left_out, self.same_weights = sae, frozenset(left_out), same_weights
        self._parts: list[tuple[np.ndarray[Any, Any], ...]] = []
        # mean and squared deviations of the counted rows so far, in float64 (Chan et al. 1983)
        self._count, self._variance = 0, 0.0
        self._mean = torch.zeros(sae.width, dtype=torch.float64, device=sae.device)
        #: Whether any counted row had a feature, bool ``[features]``.
        self.seen = torch.zeros(sae.features, dtype=torch.bool)

    def take(self, rows: torch.Tensor) -> None:
        """Encode the rows of a pass; see `ResidualProbe`."""
        counted = torch.tensor(
            [self.read + at not in self.left_out for at in range(len(rows))], dtype=torch.bool
        )
        found = self.sae.encoded(rows, counted=counted)
        self.seen |= found.seen
        self._add(rows.to(self.sae.device, torch.float64)[counted.to(self.sae.device)])
        self._parts.append(
            (
                found.ids.numpy().astype(np.int32),
                found.activations.numpy().astype(np.float32),
                found.active.numpy().astype(np.int32),
                found.squared_errors.numpy().astype(np.float32),
                counted.numpy(),
            )
        )

    def result(self) -> Features:
        """Return the recorded features.

        Raises
        ------
        BadTrace
            If no token was read, or a feature is not a finite number.
        """
        if not self._parts:
            raise BadTrace("No token was read by the SAE.", hint="Trace again.")
        ids, values, active, errors, counted = (
            np.concatenate(each) for each in zip(*self._parts, strict=True)
        )
        used = max(1, int((ids >= 0).sum(axis=1).max()))
        return Features(
            sae=self.sae.name,
            layer=self.sae.layer,
            features=self.sae.features,
            ids=np.ascontiguousarray(ids[:, :used]),
            activations=np.ascontiguousarray(values[:, :used]),
            active=active,
            squared_errors=errors,
            counted=counted,
            total_variance=self._variance,
            min_variance_explained=self.sae.min_variance_explained,
            same_weights=self.same_weights,
        )

    def _add(self, rows: torch.Tensor) -> None:
        """Add rows to the mean and the squared deviations."""
        if not len(rows):
            return
        mean = rows.mean(dim=0)
        inner = float((rows - mean).square().sum())
        apart = mean - self._mean
        total = self._count + len(rows)
        between = float(apart.square().sum()) * self._count * len(rows) / total
        self._variance += inner + between
        self._mean = self._mean + apart * (len(rows) / total)
        self._count = total
