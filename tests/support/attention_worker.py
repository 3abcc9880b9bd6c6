"""Prefill of mini-moe with and without the attention probe, in a process of its own; prints one line of JSON.

``python attention_worker.py time WAYS TOKENS PIECE ROUNDS``: processor seconds of one thread of every way
(``plain,probe,eager``), in turns. ``python attention_worker.py memory WAY TOKENS PIECE``: what the process
holds at its peak beyond the loaded model (Linux). A PIECE of TOKENS reads the prompt in one pass.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from support.rivals_worker import high_water, reset_high_water

import gemma_lab as gl
from gemma_lab.models.loading.compat_cache import cache_name
from gemma_lab.models.tokens.vocabulary import Vocabulary
from gemma_lab.trace.probes.attention.labels import Labels
from gemma_lab.trace.probes.attention.probe import AttentionProbe
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.records.attention import AttentionRequest


class Prefill:
    """A model, a prompt, and the ways to read it."""

    def __init__(self, tokens: int, piece: int) -> None:
        self.lab = gl.load("mini-moe", device="cpu", progress=False)
        self.piece = piece
        words = torch.randint(400, 4000, (1, tokens), generator=torch.Generator().manual_seed(0))
        self.ids = words

    @torch.no_grad()
    def plain(self, **asked: Any) -> Any:
        name, cache, done = cache_name(self.lab.model), None, None
        for part in self.ids.split(self.piece, dim=1):
            more = self.piece < self.ids.shape[1]
            done = self.lab.model(input_ids=part, **{name: cache}, use_cache=more, logits_to_keep=1, **asked)
            cache = done.past_key_values
        return done

    def probe(self) -> Any:
        """What ``lab.trace(attention=True)`` adds: labels of the prompt, the probe, its result."""
        ids, tokenizer = self.ids[0].tolist(), self.lab.tokenizer
        labels = Labels(ids, tokenizer=tokenizer, vocabulary=Vocabulary(tokenizer))
        probe = AttentionProbe(AttentionRequest(), expected=len(ids), labels=[labels])
        with Recorder(self.lab.model, [probe]):
            self.plain()
        return probe.result()

    def eager(self) -> Any:
        """What transformers offers: every weight of every layer."""
        return self.plain(output_attentions=True).attentions

    def ready(self, way: str) -> Callable[[], Any]:
        implementation = "eager" if way == "eager" else "sdpa"
        if self.lab.text_config._attn_implementation != implementation:
            self.lab.model.set_attn_implementation(implementation)
        return getattr(self, way)


def main(what: str, ways: str, tokens: int, piece: int, rounds: int = 1) -> dict[str, Any]:
    torch.set_num_threads(1)  # a thread that waits for work counts as processor time
    prefill = Prefill(tokens, piece)
    whole, prefill.ids = prefill.ids, prefill.ids[:, :64]
    for way in ways.split(","):
        prefill.ready(way)()  # allocations, caches, imports
    prefill.ids = whole
    if what == "memory":
        run = prefill.ready(ways)
        reset_high_water()
        before = high_water()
        kept = run()
        peak = high_water()
        return {"memory": None if before is None or peak is None else peak - before, "kept": bool(kept)}
    seconds: dict[str, list[float]] = {way: [] for way in ways.split(",")}
    for _ in range(rounds):
        for way, taken in seconds.items():
            run = prefill.ready(way)
            start = time.process_time()
            run()
            taken.append(time.process_time() - start)
    return {way: min(taken) for way, taken in seconds.items()}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))))
