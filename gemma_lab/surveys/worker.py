"""What traces a partition: the same object in this process and in a Ray actor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabError
from .partition import partition_path, token_table, write_partition
from .summary import RoutingSummary

if TYPE_CHECKING:
    from ..lab import Lab
    from ..trace.trace import Trace
    from .prompts import PromptSource, SurveyPrompt


@dataclass
class Worker:
    """Traces partitions of a survey.

    Parameters
    ----------
    source
        All prompts.
    model
        A loaded model, or what `gemma_lab.load` takes.
    folder
        Of the survey.
    partition_size
        Prompts per partition.
    options
        Of `Lab.trace`: max_new_tokens, temperature, attention, logit_lens.
    seed
        A prompt is sampled with this plus its row number, so that the order does not matter.
    keep_tokens
        Whether the tokens with their routing are written, too.
    load
        Keywords of `gemma_lab.load`.
    """

    source: PromptSource
    model: Any
    folder: Path
    partition_size: int
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    keep_tokens: bool = True
    load: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from ..lab import Lab, load

        self._lab: Lab = (
            self.model if isinstance(self.model, Lab) else load(self.model, progress=False, **self.load)
        )

    def trace_partition(self, number: int) -> int:
        """Trace a partition unless it is complete; return how many prompts it has."""
        start = number * self.partition_size
        prompts = self.source.read(start, min(start + self.partition_size, len(self.source)))
        if partition_path(self.folder, number).is_dir():
            return len(prompts)
        rows, tokens, summary = [], [], None
        for prompt in prompts:
            row, trace = self._trace(prompt)
            rows.append(row)
            if trace is None:
                continue
            if self.keep_tokens:
                tokens.append(token_table(prompt.index, trace))
            if trace.routing is not None:
                summary = summary or RoutingSummary.like(trace.routing)
                summary.add(trace.routing, prompt.labels, np.asarray(trace.tokens.generated, bool))
        write_partition(self.folder, number, rows, tokens, summary)
        return len(prompts)

    def _trace(self, prompt: SurveyPrompt) -> tuple[dict[str, Any], Trace | None]:
        """Return a prompt's row and trace; a prompt that is refused has an error in the place of results."""
        row: dict[str, Any] = {
            "index": prompt.index, "prompt": prompt.prompt if isinstance(prompt.prompt, str) else None,
            "error": None, "prompt_tokens": None, "generated_tokens": None, "reply": None,
            "finish_reason": None, "correct": None, "mean_logprob": None, "first_token_mass": None,
            "stable_from_layer": None, "labels": [*prompt.labels.items()],
        }  # fmt: skip
        options = {**prompt.options, **self.options}
        if self.options.get("temperature"):
            options["seed"] = self.seed + prompt.index
        try:
            trace = self._lab.trace(prompt.prompt, **options)
        except LabError as error:
            return row | {"error": f"{type(error).__name__}: {error.what}"}, None
        generation = trace.generation
        generated = 0 if generation is None else len(generation)
        row["prompt_tokens"] = int((~np.asarray(trace.tokens.generated)).sum())
        row["generated_tokens"] = generated
        if generation is not None:
            row["reply"], row["finish_reason"] = generation.text, generation.finish_reason
            row["mean_logprob"] = float(np.mean(generation.logprobs)) if generated else None
            if prompt.question is not None:
                row["correct"] = bool(prompt.question.is_correct(generation.text))
        if trace.attention is not None:
            row["first_token_mass"] = [
                float(np.mean(trace.attention.first_token_mass(layout.layer)))
                for layout in trace.attention.layers
            ]
        if trace.logit_lens is not None:
            row["stable_from_layer"] = [int(layer) for layer in trace.logit_lens.stable_from_layer()]
        return row, trace


class RayWorker:
    """A `Worker` as Ray Data calls it: a batch of partition numbers in, numbers of prompts out."""

    def __init__(self, **settings: Any) -> None:
        self._worker = Worker(**settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Trace the partitions of a batch."""
        return {
            "prompts": np.array([self._worker.trace_partition(int(number)) for number in batch["number"]])
        }
