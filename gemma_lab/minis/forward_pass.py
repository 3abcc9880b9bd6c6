"""Forward pass of a training: logits of the answers, their losses, and the balance of the experts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .batches import Batch
from .encoding import SKIP


class ForwardPass:
    """The forward pass of a Gemma 4 model over a batch.

    Parameters
    ----------
    model
        A Gemma 4 model; its routers get hooks.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._routed: list[tuple[torch.Tensor, torch.Tensor]] = []  # of the last pass, layer by layer
        for path, module in model.named_modules():
            if path.endswith(".router"):
                module.register_forward_hook(lambda _m, _i, out: self._routed.append((out[0], out[2])))

    @contextlib.contextmanager
    def window(self, tokens: int | None) -> Iterator[None]:
        """Set the sliding window of the local layers; None leaves the model's own.

        What is within their window is retrieved by local layers and never by the global layer, the only one
        that reaches further; with a smaller window it has to learn retrieval.
        """
        text = self.model.config.text_config
        before = text.sliding_window
        text.sliding_window = before if tokens is None else min(tokens, before)
        try:
            yield
        finally:
            text.sliding_window = before

    def answers(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits of the target tokens, the tokens, and the row of each."""
        self._routed.clear()
        hidden = self.model.model(**batch.inputs, use_cache=False).last_hidden_state[:, :-1]
        labels = batch.labels[:, 1:]
        wanted = labels != SKIP  # the head is the widest layer: only answers go through it
        logits = self.model.lm_head(hidden[wanted])
        cap = self.model.config.text_config.final_logit_softcapping
        return (torch.tanh(logits / cap) * cap).float(), labels[wanted], wanted.nonzero()[:, 0]

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return skill → mean loss of its answers, in nats per token."""
        logits, truth, row = self.answers(batch)
        each = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
        names = list(dict.fromkeys(batch.skills))
        skill = torch.tensor([names.index(name) for name in batch.skills])[row]
        return {name: each[skill == number].mean() for number, name in enumerate(names)}

    @torch.no_grad()
    def share_right(self, batch: Batch) -> float:
        """Return the share of answer tokens that are right, each given the answer before it."""
        logits, truth, _ = self.answers(batch)
        return float((logits.argmax(-1) == truth).float().mean())

    def balance(self) -> torch.Tensor:
        """Return the load-balancing loss of the last pass, mean over layers; 0 without experts.

        It is that of Switch Transformer (arXiv 2101.03961, eq. 4) without its weight.
        """
        terms = []
        for probabilities, chosen in self._routed:
            share = _counts(probabilities, chosen).float() / chosen.numel()
            terms.append(probabilities.shape[-1] * (share * probabilities.mean(0)).sum())
        return torch.stack(terms).mean() if terms else torch.zeros(())

    def unused_experts(self) -> list[int]:
        """Return the number of experts without a token in the last pass, of each layer with experts."""
        return [int((_counts(*routed) == 0).sum()) for routed in self._routed]


def _counts(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the number of tokens routed to each expert, shape ``(experts,)``."""
    return torch.bincount(chosen.flatten(), minlength=probabilities.shape[-1])
