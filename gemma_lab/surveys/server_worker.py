"""What asks a server about a partition: replies, and the experts that it reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabError, ServerError
from .partition import served_token_table
from .prompts import printable
from .summary import RoutingSummary
from .worker import PartitionWorker, empty_row, refusal

if TYPE_CHECKING:
    import pyarrow as pa

    from ..trace.run.served_trace import ServedTrace
    from .prompts import SurveyPrompt

#: Statuses with which a server refuses one prompt; others end the survey, which can be resumed.
_REFUSED = (200, 400, 413, 422)


@dataclass
class ServerWorker(PartitionWorker):
    """Sends the prompts of partitions to a server.

    Parameters are those of `PartitionWorker`; `model` is a `gemma_lab.RemoteLab`, and `options` may have
    ``experts``, ``layers`` and ``top_k`` of its ``trace``.

    Parameters
    ----------
    concurrent
        Requests at once.
    """

    concurrent: int = 1

    def traced(
        self, prompts: list[SurveyPrompt]
    ) -> Iterator[tuple[SurveyPrompt, dict[str, Any], ServedTrace | None]]:
        """Yield each prompt with its row and what the server told, in order."""
        with ThreadPoolExecutor(self.concurrent, thread_name_prefix="gemma_lab survey") as pool:
            answers: Iterable[tuple[dict[str, Any], ServedTrace | None]] = pool.map(self._ask, prompts)
            for prompt, (row, trace) in zip(prompts, answers, strict=True):
                yield prompt, row, trace

    def tokens_of(self, index: int, trace: ServedTrace) -> pa.Table | None:
        """Return the tokens of a prompt with their experts; None if the server reported none."""
        return None if trace.routing is None else served_token_table(index, trace)

    def add_to(
        self, summary: RoutingSummary | None, prompt: SurveyPrompt, trace: ServedTrace
    ) -> RoutingSummary | None:
        """Add the routing of a prompt to a summary."""
        if trace.routing is None:
            return summary
        summary = summary or RoutingSummary.like(trace.routing)
        unknown = np.zeros(len(trace.routing), bool)
        generated = unknown if trace.generated is None else np.asarray(trace.generated, bool)
        summary.add(trace.routing, prompt.labels, generated)
        return summary

    def _ask(self, prompt: SurveyPrompt) -> tuple[dict[str, Any], ServedTrace | None]:
        """Return the row of a prompt, and what the server told; one that is refused has an error there."""
        row = empty_row(prompt)
        options = {"max_new_tokens": 1, "temperature": 0.0} | self.options_of(prompt)
        shape = {name: options.pop(name, None) for name in ("experts", "layers", "top_k")}
        try:
            reply = self.model.ask(prompt.prompt, options, experts=True)
            trace = self.model.read_experts(reply, **shape)
        except LabError as error:
            if isinstance(error, ServerError) and error.status not in _REFUSED:
                raise
            return row | refusal(error), None
        row |= {
            "prompt_tokens": reply.prompt_tokens, "generated_tokens": reply.new_tokens,
            "reply": printable(reply.text), "finish_reason": reply.finish_reason,
        }  # fmt: skip
        if reply.scored:
            row["mean_logprob"] = float(np.mean(reply.logprobs))
        if prompt.question is not None:
            row["correct"] = bool(prompt.question.is_correct(reply.text, reply.calls))
        return row, trace
