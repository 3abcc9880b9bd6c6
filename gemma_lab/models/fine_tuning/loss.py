"""The loss of answers: only their tokens pass through the output head, the widest layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .encoding import SKIP

if TYPE_CHECKING:
    from .batches import Batch


def answer_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits from which the answers' tokens are predicted, and the tokens.

    Parameters
    ----------
    model
        A Gemma 4 of transformers with its output head.
    batch
        On the model's device.

    Returns
    -------
    logits
        Float32 ``(answer tokens, vocabulary)``, after the soft cap of the final logits.
    tokens
        Ids ``(answer tokens,)``.
    """
    hidden = model.model(**batch.inputs, use_cache=False).last_hidden_state[:, :-1]
    labels = batch.labels[:, 1:]
    wanted = (labels != SKIP).to(hidden.device)
    logits = model.lm_head(hidden[wanted])
    cap = model.config.get_text_config().final_logit_softcapping
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits.float(), labels.to(logits.device)[wanted.to(logits.device)]


def answer_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Return the mean cross entropy of the answers' tokens, in nats per token."""
    logits, tokens = answer_logits(model, batch)
    return torch.nn.functional.cross_entropy(logits, tokens)
