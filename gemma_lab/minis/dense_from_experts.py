"""Dense layers that learn to do what the experts of another mini do, layer by layer.

Each layer is taught by itself: from the same residual stream, its feed-forward block has to have the output
of the dense and the sparse branch together, up to length, which the norm after it takes off. Knowledge of
experts was gathered in a dense model like this by Xue et al. 2022 (arXiv:2201.10890).
"""

from __future__ import annotations

from typing import Any

import torch


class DenseFromExperts:
    """Teaches the upper layers of a dense model the feed-forward blocks of a model with experts.

    Parameters
    ----------
    model
        The dense model; its last layers correspond to those of `teacher`.
    teacher
        A model with experts, of the same width.
    """

    def __init__(self, model: Any, teacher: Any) -> None:
        self.teacher = teacher
        theirs = teacher.model.language_model.layers
        self._layers = list(zip(model.model.language_model.layers[-len(theirs) :], theirs, strict=True))

    def loss(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of 1 - cosine similarity between both blocks' outputs, over tokens and layers.

        Parameters
        ----------
        inputs
            Of the teacher.
        """
        entered: list[torch.Tensor] = []
        left: list[torch.Tensor] = []
        hooks = []
        for _, theirs in self._layers:
            hooks += [
                theirs.pre_feedforward_layernorm.register_forward_pre_hook(
                    lambda _module, given: entered.append(given[0])
                ),
                theirs.post_feedforward_layernorm.register_forward_pre_hook(
                    lambda _module, given: left.append(given[0])
                ),
            ]
        try:
            with torch.no_grad():
                self.teacher.model(**inputs, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        real = inputs["attention_mask"].bool()
        losses = []
        for (mine, _), before, after in zip(self._layers, entered, left, strict=True):
            made = mine.mlp(mine.pre_feedforward_layernorm(before[real]))
            losses.append(1 - torch.nn.functional.cosine_similarity(made, after[real], dim=-1).mean())
        return torch.stack(losses).mean()
