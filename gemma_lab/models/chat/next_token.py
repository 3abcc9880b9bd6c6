"""The model's distribution of the next token over the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...display import Displayed
from ..loading.restore import RestoreStack, restores_model
from ..tokens.vocabulary import Vocabulary
from .options import PromptOptions, check_keywords
from .prompt import prepare
from .reply import Alternative
from .request_builder import build_request

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    from ..loading.loaded_model import LoadedModel
    from .request_builder import PromptLike
    from .sampling import Sampling


@dataclass(frozen=True, eq=False)
class Distribution(Displayed):
    """The model's own distribution of the next token.

    Attributes
    ----------
    logprobs
        Log-probability of every token in nats, ``(vocabulary,)``.
    model
        The name of the model.
    """

    logprobs: NDArray[np.float64]
    model: str
    _pieces: Vocabulary = field(repr=False)

    @property
    def entropy(self) -> float:
        """Entropy in nats: 0 for a certain token, ``log(vocabulary)`` for the uniform distribution."""
        possible = self.logprobs[np.isfinite(self.logprobs)]
        return float(-(np.exp(possible) * possible).sum())

    def probabilities(self, sampling: Sampling | None = None) -> NDArray[np.float64]:
        """Return the probability of every token, ``(vocabulary,)``: the model's own, or under `sampling`."""
        return np.exp(self.logprobs) if sampling is None else sampling.probabilities(self.logprobs)

    def top(self, count: int = 10) -> tuple[Alternative, ...]:
        """Return the likeliest tokens, best first."""
        best = np.argsort(-self.logprobs, kind="stable")[:count]
        return tuple(Alternative(int(i), self._pieces.name(int(i)), float(self.logprobs[i])) for i in best)

    def __repr__(self) -> str:
        (best,) = self.top(1)
        return (
            f"Distribution({self.model}: {self.logprobs.size:,} tokens, entropy {self.entropy:.2f} nats, "
            f"likeliest {best.text!r} at {100 * np.exp(best.logprob):.0f} %)"
        )


@restores_model
def next_token(
    model: LoadedModel, prompt: PromptLike = None, **options: Unpack[PromptOptions]
) -> Distribution:
    """Return the distribution of the first token of an answer; see `Lab.next_token`."""
    import torch

    from .chunked_prefill import read
    from .logits_processors import check_finite
    from .out_of_memory import raise_on_out_of_memory
    from .prefill_plan import plan

    check_keywords("next_token", options, PromptOptions)
    prepared = prepare(model, build_request(model, prompt, options, max_new_tokens=0))
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: "while the prompt was read"):
        restore.hold(model.lock)
        logits = read(model, prepared, plan(model, prepared).stops).logits[0, -1]
    check_finite(logits, len(prepared.ids) - 1)
    logprobs = torch.log_softmax(logits.float(), dim=-1).double().cpu().numpy()
    return Distribution(logprobs, model.name, Vocabulary(model.tokenizer))
