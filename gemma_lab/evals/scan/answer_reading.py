"""Read a prompt and its answer again under edits: the log-probability of the answer (teacher forcing)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...models.chat.chunked_prefill import read
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import prepare
from ...models.loading.restore import RestoreStack
from ...trace.interventions.apply import editing
from ...trace.run.assembly import with_answer

if TYPE_CHECKING:
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.interventions.edit import Edit


class AnswerReading:
    """A prompt and an answer that a model reads in one sequence, as often as asked.

    Parameters
    ----------
    model, request
        The model and its prompt, media included.
    answer
        Token ids of the answer, at least one.
    """

    def __init__(self, model: LoadedModel, request: Request, answer: Sequence[int]) -> None:
        prompt = prepare(model, request)
        self._model, self._answer, self._first = model, torch.tensor(list(answer)), len(prompt.ids) - 1
        self._full = with_answer(prompt, [*prompt.ids, *list(answer)[:-1]])
        self._stops = plan(model, self._full).stops

    def logprob(self, edit: Edit | None = None) -> float:
        """Return the mean log-probability per token of the answer under an edit, nats."""
        parts: list[torch.Tensor] = []
        model = self._model

        def keep(logits: torch.Tensor) -> None:
            at = sum(map(len, parts))
            wanted = self._answer[at : at + len(logits)].to(logits.device)[:, None]
            parts.append(torch.log_softmax(logits.float(), -1).gather(1, wanted)[:, 0].cpu())

        with editing(model, edit), RestoreStack() as restore:
            restore.enter_context(raise_on_out_of_memory(model.device, lambda: "while an answer was read"))
            restore.hold(model.lock)
            read(model, self._full, self._stops, logits_from=self._first, on_logits=keep)
        return float(torch.cat(parts).double().mean())
