"""Scores of given answers under many ablations at once: log-probability, and whether greedy decoding agrees.

An answer is read after its prompt (teacher forcing), so no text is generated. Layers before the first ablated
one, and the towers, run once per example; the others run with one row per set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import short_repr
from ...errors import LabError
from ..questions import Question

if TYPE_CHECKING:
    import torch

    from ...models.fine_tuning.encoding import EncodedExample
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.run.layer_replay import LayerReplay
    from .components import Kind

Array = np.ndarray[Any, np.dtype[Any]]

#: Tokens of a forward pass at most, over all its rows.
_TOKENS = 4_096


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """Scores of every answer under every set.

    Attributes
    ----------
    log_probs
        Mean log-probability per token of the answer, nats, ``[sets, examples]``.
    right
        Whether every token of the answer is the likeliest one, ``[sets, examples]``: then greedy decoding
        writes it.
    """

    log_probs: Array
    right: Array


class AnswerReader:
    """Reads the answers of examples under ablations.

    Parameters
    ----------
    lab
        The model.
    examples
        Questions with a written answer, or any form that `gemma_lab.Lab.fine_tune` takes.
    batch_size
        Sets per forward pass, at most.

    Attributes
    ----------
    load : dict of int to ndarray
        By layer, how often each expert was chosen, ``[experts]``; known after `read_intact`.
    """

    def __init__(self, lab: LoadedModel, examples: Sequence[Any], *, batch_size: int) -> None:
        from ...models.fine_tuning.encoding import ExampleSet

        self._lab, self._batch_size = lab, batch_size
        self._encoded = ExampleSet(lab, [as_example(one) for one in examples])
        if len(self._encoded) != len(examples):
            raise LabError(
                f"{len(examples)} examples have {len(self._encoded)} answers.",
                hint="Pass one answer per example.",
            )
        self.load: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def read_intact(self) -> AnswerScores:
        """Read every answer without an ablation, and count the choices of the routers on the way."""
        from ...models.loading.restore import RestoreStack
        from ...trace.probes.routers import routers

        with RestoreStack() as restore:
            for router in routers(self._lab.model, missing_ok=True):
                self.load[router.layer] = np.zeros(router.experts, dtype=np.int64)
                restore.hook(router.module, self._count(router))
            scores = [self._read_example(index, [{}], "experts") for index in range(len(self))]
        return _stacked(scores)

    def read(self, sets: Sequence[Mapping[int, Sequence[int]]], kind: Kind, *, bar: Any) -> AnswerScores:
        """Read every answer under every set.

        Parameters
        ----------
        sets
            Layer to experts or heads.
        kind
            What the sets name.
        bar
            A progress bar that counts examples.
        """
        scores = []
        for index in range(len(self)):
            scores.append(self._read_example(index, sets, kind))
            bar.update()
        return _stacked(scores)

    def _read_example(
        self, index: int, sets: Sequence[Mapping[int, Sequence[int]]], kind: Kind
    ) -> tuple[Array, Array]:
        import torch

        from ...models.loading.restore import RestoreStack
        from ...trace.interventions.row_ablation import hook_rows
        from ...trace.run.layer_replay import LayerReplay, record_run

        example = self._encoded.get(index)
        with RestoreStack() as restore, torch.no_grad():
            restore.hold(self._lab.lock)
            replay = LayerReplay(self._lab.model, record_run(self._lab.model, self._inputs(example)))
            answer = slice(example.prompt_tokens - 1, len(example.ids) - 1)
            wanted = example.ids[example.prompt_tokens :]
            if list(sets) == [{}]:
                return _score(replay, replay.run.output[:, answer], wanted)
            rows = max(1, min(self._batch_size, _TOKENS // len(example.ids)))
            parts = []
            for first in range(0, len(sets), rows):
                some = sets[first : first + rows]
                start = min(layer for one in some for layer in one)
                with RestoreStack() as hooks:
                    hook_rows(self._lab.model, hooks, **{kind: some})
                    hidden = replay.layers(replay.hidden(start, len(some), 0), start, 0)
                parts.append(_score(replay, hidden[:, answer], wanted))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _inputs(self, example: EncodedExample) -> dict[str, Any]:
        import torch

        given = {"input_ids": torch.tensor([example.ids])} | example.inputs
        return {
            name: value.to(self._lab.device, self._lab.dtype)
            if value.is_floating_point()
            else value.to(self._lab.device)
            for name, value in given.items()
        }

    def _count(self, router: Any) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            ids = router.read(output).ids.cpu().numpy()
            self.load[router.layer] += np.bincount(ids.ravel(), minlength=router.experts)

        return hook


def _score(replay: LayerReplay, hidden: torch.Tensor, wanted: Sequence[int]) -> tuple[Array, Array]:
    """Return log-probability and correctness of an answer for rows of the last layer's output, ``[rows]``."""
    logprobs, first = replay.score(hidden, wanted)
    return logprobs.mean(-1).cpu().double().numpy(), first.all(-1).cpu().numpy()


def _stacked(scores: Sequence[tuple[Array, Array]]) -> AnswerScores:
    return AnswerScores(np.stack([one[0] for one in scores], 1), np.stack([one[1] for one in scores], 1))


def as_example(example: Any) -> Any:
    """Return a question as a training example; other forms are read by `fine_tuning.examples`."""
    if not isinstance(example, Question):
        return example
    if example.thinking or example.history:
        raise LabError(
            f"The question {short_repr(example.prompt)} is answered after "
            f"{'thinking' if example.thinking else 'a call'}, so its answer alone cannot be read.",
            hint="Take questions that are answered at once, or pass examples with thoughts or messages.",
        )
    fields = {
        "prompt": example.prompt, "answer": example.answer, "images": list(example.images),
        "video": example.video, "audio": example.audio, "system": example.system,
        "tools": list(example.tools), "calls": [] if example.call is None else [example.call],
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None and value != []}
