"""What the decoder notices between pictures: a probe on its layers, in training alone.

Which of two things moved, when a colour changed, whether two pictures show the same digit: such questions
have one answer for hundreds of soft tokens, and what they need, a soft token compared with what stood at its
place one picture before, hardly formed from them. The probe asks every soft token for it
(`gemma_lab.minis.tasks.cells.NEWS`), below the first global layer, which can then look it up.
"""

from __future__ import annotations

from typing import Any

import torch

from .tasks.cells import NEWS, UNKNOWN


class Watching:
    """A linear probe on the hidden states of soft tokens, and the hook that keeps them.

    Parameters
    ----------
    model
        A Gemma 4 model; the layer before its first global layer is asked.
    """

    def __init__(self, model: Any) -> None:
        text = model.config.text_config
        self.probe = torch.nn.Linear(text.hidden_size, len(NEWS))
        self._hidden: torch.Tensor | None = None
        layer = model.model.language_model.layers[text.layer_types.index("full_attention") - 1]
        layer.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._hidden = output[0] if isinstance(output, tuple) else output

    def loss(self, news: torch.Tensor) -> torch.Tensor:
        """Return the probe's cross-entropy in the last forward pass, each kind of news weighing the same.

        Parameters
        ----------
        news
            Places in `NEWS`, or unknown, shape ``(rows, length)``.

        Returns
        -------
        torch.Tensor
            In nats a soft token; 0 where nothing is known.
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
