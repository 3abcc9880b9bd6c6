"""What makes a partition, and what traces its prompts with a model in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.attention.head_summary import HeadSummary
from ..checks import whole_number
from ..errors import LabError
from .model_state import claim_model
from .partition import partition_path, token_table, write_partition
from .prompts import printable
from .summary import RoutingSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ..evals.questions import Question
    from ..lab import Lab
    from ..models.chat.tools import Call
    from ..trace.records.generation import Generation
    from ..trace.trace import Trace
    from .prompts import PromptSource, SurveyPrompt


@dataclass
class PartitionWorker:
    """Makes the partitions of a survey, whatever its prompts are sent to.

    Parameters
    ----------
    source
        All prompts.
    model
        What the prompts are sent to.
    folder
        Of the survey.
    partition_size
        Prompts per partition.
    options
        Options of every prompt.
    seed
        A prompt is sampled with this plus its row number, so that the order does not matter.
    keep_tokens
        Whether the tokens with their routing are written, too.
    """

    source: PromptSource
    model: Any
    folder: Path
    partition_size: int
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    keep_tokens: bool = True

    def trace_partition(self, number: int) -> int:
        """Make a partition unless it is complete; return how many prompts it has."""
        start = number * self.partition_size
        prompts = self.source.read(start, min(start + self.partition_size, len(self.source)))
        if partition_path(self.folder, number).is_dir():
            return len(prompts)
        rows = {one.index: empty_row(one) | refusal(one.fault) for one in prompts if one.fault is not None}
        tokens = []
        summary: RoutingSummary | None = None
        heads: HeadSummary | None = None
        for prompt, row, trace in self.traced([one for one in prompts if one.fault is None]):
            rows[prompt.index] = row
            if trace is None:
                continue
            if self.keep_tokens and (table := self.tokens_of(prompt.index, trace)) is not None:
                tokens.append(table)
            summary = self.add_to(summary, prompt, trace)
            if (one := self.heads_of(trace)) is not None:
                heads = one if heads is None else heads + one
        made = [rows[prompt.index] for prompt in prompts]
        write_partition(self.folder, number, made, tokens, summary, heads)
        return len(prompts)

    def options_of(self, prompt: SurveyPrompt) -> dict[str, Any]:
        """Return the options of a prompt: its own, the survey's, and its seed if tokens are drawn."""
        options = {**prompt.options, **self.options}
        if self.options.get("temperature") or self.options.get("sampling") is not None:
            options["seed"] = self.seed + prompt.index
        return options

    def traced(self, prompts: list[SurveyPrompt]) -> Iterator[tuple[SurveyPrompt, dict[str, Any], Any]]:
        """Yield each prompt with its row and its trace, in order."""
        raise NotImplementedError

    def tokens_of(self, index: int, trace: Any) -> pa.Table | None:
        """Return the tokens of a prompt with their routing; None without."""
        raise NotImplementedError

    def add_to(
        self, summary: RoutingSummary | None, prompt: SurveyPrompt, trace: Any
    ) -> RoutingSummary | None:
        """Add the routing of a prompt to a summary, and begin one if there is none."""
        raise NotImplementedError

    def heads_of(self, trace: Any) -> HeadSummary | None:  # noqa: ARG002 no server tells
        """Return what the attention heads do in a prompt; None if their attention was not recorded."""
        return None


@dataclass
class Worker(PartitionWorker):
    """Traces partitions with a model in this process.

    Parameters are those of `PartitionWorker`; `model` is a loaded model, or what `gemma_lab.load` takes, and
    `options` are those of `Lab.trace`: max_new_tokens, temperature, attention, logit_lens.

    Parameters
    ----------
    batch_size
        Prompts per forward pass, for those that `trace.run.batch` can put into one.
    load
        Keywords of `gemma_lab.load`.
    """

    batch_size: int = 1
    load: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from ..lab import Lab, load
        from ..models.tokens.vocabulary import Vocabulary

        self._lab: Lab = (
            self.model if isinstance(self.model, Lab) else load(self.model, progress=False, **self.load)
        )
        self._vocabulary = Vocabulary(self._lab.tokenizer)
        claim_model(self.folder, self._lab)
        check_options(self._lab, self.options)

    def tokens_of(self, index: int, trace: Trace) -> pa.Table:
        """Return the tokens of a prompt with their routing, if the model has experts."""
        return token_table(index, trace)

    def add_to(
        self, summary: RoutingSummary | None, prompt: SurveyPrompt, trace: Trace
    ) -> RoutingSummary | None:
        """Add the routing of a prompt to a summary."""
        if trace.routing is None:
            return summary
        summary = summary or RoutingSummary.like(trace.routing)
        summary.add(trace.routing, prompt.labels, np.asarray(trace.tokens.generated, bool))
        return summary

    def heads_of(self, trace: Trace) -> HeadSummary | None:
        """Return what the attention heads do in a prompt; None if their attention was not recorded."""
        return None if trace.attention is None or not len(trace.attention) else HeadSummary.of(trace)

    def traced(
        self, prompts: Sequence[SurveyPrompt]
    ) -> Iterator[tuple[SurveyPrompt, dict[str, Any], Trace | None]]:
        """Yield each prompt with its row and trace, in order; batches are of neighbours of one partition."""
        for first in range(0, len(prompts), self.batch_size):
            batch = prompts[first : first + self.batch_size]
            traces = self._trace_together(batch) if len(batch) > 1 else None
            if traces is not None:
                yield from (
                    (one, self._filled(one, trace), trace) for one, trace in zip(batch, traces, strict=True)
                )
                continue
            for prompt in batch:
                yield (prompt, *self._trace(prompt))

    def _trace_together(self, prompts: Sequence[SurveyPrompt]) -> list[Trace] | None:
        """Trace prompts in one forward pass; None if one of them has to be traced alone, or is refused."""
        from ..models.chat.request_builder import build_request
        from ..models.chat.sampling import Sampling
        from ..trace.run.batch import is_batchable, trace_batch

        if set(self.options) - {"attention", "precision", "system"}:  # an answer, or the logit lens
            return None
        kept = {name: self.options[name] for name in ("attention", "precision") if name in self.options}
        system = {name: self.options[name] for name in ("system",) if name in self.options}
        try:
            requests = [
                build_request(
                    self._lab,
                    prompt.prompt,
                    {**prompt.options, **system},
                    sampling=Sampling.greedy(),
                    max_new_tokens=0,
                )
                for prompt in prompts
            ]
            return trace_batch(self._lab, requests, **kept) if all(map(is_batchable, requests)) else None
        except LabError:  # traced one by one, so that the prompt at fault has the error in its row
            return None

    def _trace(self, prompt: SurveyPrompt) -> tuple[dict[str, Any], Trace | None]:
        """Return a prompt's row and trace; a prompt that is refused has an error in the place of results."""
        try:
            trace = self._lab.trace(prompt.prompt, **self.options_of(prompt))
        except LabError as error:
            return empty_row(prompt) | refusal(error), None
        return self._filled(prompt, trace), trace

    def _filled(self, prompt: SurveyPrompt, trace: Trace) -> dict[str, Any]:
        """Return the row of a prompt with what its trace recorded."""
        row, generation = empty_row(prompt), trace.generation
        generated = 0 if generation is None else len(generation)
        row["prompt_tokens"] = int((~np.asarray(trace.tokens.generated)).sum())
        row["generated_tokens"] = generated
        if generation is not None:
            row["reply"], row["finish_reason"] = generation.text, generation.finish_reason
            row["mean_logprob"] = float(np.mean(generation.logprobs)) if generated else None
            if prompt.question is not None:
                made = self._calls(prompt.question, trace, generation)
                row["correct"] = bool(prompt.question.is_correct(generation.text, made))
        if trace.attention is not None:
            row["first_token_mass"] = [
                float(np.mean(trace.attention.first_token_mass(layout.layer)))
                for layout in trace.attention.layers
            ]
        if trace.logit_lens is not None:
            row["stable_from_layer"] = [int(layer) for layer in trace.logit_lens.stable_from_layer()]
        return row

    def _calls(self, question: Question, trace: Trace, generation: Generation) -> tuple[Call, ...]:
        """Return the tool calls in an answer, read as `Lab.chat` reads them."""
        from ..models.chat.tools import calls, declared
        from ..models.chat.transcript import split_reply

        prompt = trace.tokens.ids[~np.asarray(trace.tokens.generated)].tolist()
        _, tool = split_reply(self._vocabulary, prompt, generation.ids.tolist())
        return calls(tool, declared(question.tools))


def check_options(lab: Lab, options: dict[str, Any]) -> None:
    """Raise an error for options that no prompt could be traced with, by tracing a short one.

    Otherwise every prompt of a survey would have the same error in its row.
    """
    length = whole_number("max_new_tokens", options.get("max_new_tokens", 0), minimum=0)
    lab.trace("a", **options | {"max_new_tokens": min(length, 1)})


def empty_row(prompt: SurveyPrompt) -> dict[str, Any]:
    """Return the row of a prompt without results."""
    return {
        "index": prompt.index,
        "prompt": printable(prompt.prompt) if isinstance(prompt.prompt, str) else None,
        "error": None, "prompt_tokens": None, "generated_tokens": None, "reply": None,
        "finish_reason": None, "correct": None, "mean_logprob": None, "first_token_mass": None,
        "stable_from_layer": None, "labels": [*prompt.labels.items()],
    }  # fmt: skip


def refusal(error: LabError) -> dict[str, Any]:
    """Return what the row of a prompt that was refused says."""
    return {"error": printable(f"{type(error).__name__}: {error.what}")}
