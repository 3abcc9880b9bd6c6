"""What a model would say next: its distribution over the whole vocabulary after a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...trace.tokens.vocabulary import Vocabulary
from .messages import conversation
from .prompt import prepare
from .reply import Alternative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loading.loaded_model import LoadedModel
    from .reply import Reply
    from .sampling import Sampling


@dataclass(frozen=True, eq=False)
class Distribution(Displayed):
    """The model's own distribution of the next token.

    Attributes
    ----------
    logprobs
        Log-probability of every token in nats, ``(vocabulary,)``.
    model
        The name of the lab.
    """

    logprobs: NDArray[np.float64]
    model: str
    _pieces: Vocabulary = field(repr=False)

    @property
    def entropy(self) -> float:
        """Entropy in nats: 0 when the model is certain, ``log(vocabulary)`` when it has no idea."""
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


def next_token(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]],
    *,
    images: Iterable[Any] = (),
    system: str | None = None,
    previous: Reply | None = None,
    thinking: bool = False,
) -> Distribution:
    """Return the distribution of the first token of an answer, without drawing one.

    The parameters are those of `Lab.chat`, and so are the errors.
    """
    import torch

    ready = prepare(
        lab, conversation(prompt, images=images, system=system, previous=previous), thinking=thinking
    )
    with lab.lock, torch.no_grad():
        logits = lab.model(**ready.inputs, logits_to_keep=1, use_cache=False).logits[0, -1]
    logprobs = torch.log_softmax(logits.float(), dim=-1).double().cpu().numpy()
    return Distribution(logprobs, lab.name, Vocabulary(lab.tokenizer))
