"""A prefill of token ids with probes and without: what ``lab.trace`` adds, and nothing of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from gemma_lab.models.tokens.vocabulary import Vocabulary
from gemma_lab.trace.probes.attention.labels import Labels
from gemma_lab.trace.probes.attention.probe import AttentionProbe
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routing import RoutingProbe
from gemma_lab.trace.records.attention import AttentionRequest


def input_ids(lab: Any, text: str) -> torch.Tensor:
    """Return a text's token ids on the model's device, ``[1, tokens]``."""
    return torch.tensor([lab.tokenizer(text)["input_ids"]], device=lab.device)


@torch.no_grad()
def prefill(lab: Any, ids: torch.Tensor) -> None:
    """Read a prompt in one pass."""
    lab.model(input_ids=ids, use_cache=False, logits_to_keep=1)


@contextlib.contextmanager
def capture(lab: Any, ids: torch.Tensor, *, routing: bool, attention: bool) -> Iterator[None]:
    """Record the passes inside the block as `Lab.trace` does by default, and make the records at its end."""
    probes: list[Any] = [RoutingProbe()] if routing else []
    if attention:
        tokens, tokenizer = ids[0].tolist(), lab.tokenizer
        labels = Labels(tokens, tokenizer=tokenizer, vocabulary=Vocabulary(tokenizer))
        probes.append(AttentionProbe(AttentionRequest(), expected=len(tokens), labels=[labels]))
    with Recorder(lab.model, probes):
        yield
    for probe in probes:
        probe.result()
