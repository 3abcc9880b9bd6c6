"""Probe for changes between frames, used in training only.

Questions about motion, colour changes and equality of two images have one answer for hundreds of soft tokens,
and the comparison of a soft token with the one at its position in the previous image hardly formed from them.
The probe predicts it for every soft token (`gemma_lab.minis.tasks.cells.NEWS`) below the last global layer
with keys of its own, which can then attend to it.
"""

from __future__ import annotations

from typing import Any

import torch

from .tasks.cells import NEWS, UNKNOWN


class FrameChangeProbe:
    """Linear probe on the hidden states of soft tokens, with the hook that keeps them.

    Parameters
    ----------
    model
        A Gemma 4 model; the probe reads the layer before its last global layer with keys of its own.
    """

    def __init__(self, model: Any) -> None:
        text = model.config.text_config
        self.probe = torch.nn.Linear(text.hidden_size, len(NEWS))
        self._hidden: torch.Tensor | None = None
        own = text.layer_types[: text.num_hidden_layers - text.num_kv_shared_layers]
        last = max(number for number, kind in enumerate(own) if kind == "full_attention")
        layer = model.model.language_model.layers[last - 1]
        layer.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._hidden = output[0] if isinstance(output, tuple) else output

    def loss(self, news: torch.Tensor) -> torch.Tensor:
        """Return the probe's cross-entropy in the last forward pass, with equal weight per class of change.

        Parameters
        ----------
        news
            Indices into `NEWS`, or unknown, shape ``(rows, length)``.

        Returns
        -------
        torch.Tensor
            In nats per soft token; 0 where nothing is known.
        """
        known = news != UNKNOWN
        if self._hidden is None or not known.any():
            return torch.zeros(())
        truth = news[known]
        each = torch.nn.functional.cross_entropy(
            self.probe(self._hidden[known]).float(), truth, reduction="none"
        )
        kinds = [truth == kind for kind in range(len(NEWS))]
        return torch.stack([each[kind].mean() for kind in kinds if kind.any()]).mean()
