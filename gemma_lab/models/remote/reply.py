"""The answer of a server: what it said, as plain values, and what it did not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import BadAnswer, LabError, NotTraced
from ..grammar.schema import cut_answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..chat.reply import Finish
    from ..chat.request import Request
    from ..chat.sampling import Sampling
    from ..chat.tools import Call


@dataclass(frozen=True)
class ScoredText:
    """One token of an answer as a server tells it: text and log-probability, no id and no entropy.

    Attributes
    ----------
    text
        The token's text; a part of a character is written as the server writes it.
    logprob
        Its log-probability in nats.
    alternatives
        The likeliest tokens at this position with their log-probabilities, best first.
    """

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()

    @property
    def probability(self) -> float:
        """Its probability, 0 to 1."""
        return float(np.exp(self.logprob))


@dataclass(frozen=True)
class ServerReply(Displayed):
    """The answer of a server.

    It has the attributes of a `gemma_lab.Reply` that a server can fill, is immutable, and a conversation can
    be continued from it (``previous=``). It differs in that a stop string is not part of the text.

    Attributes
    ----------
    text, thinking
        The answer, and the thoughts before it as far as the server tells them.
    calls
        The tool calls of the answer, in order; none is executed.
    messages
        The conversation with this answer; empty for a raw prompt.
    finish_reason
        ``"stop"``, ``"length"``, or ``"stopped"`` for an answer that was stopped or withheld.
    prompt_tokens, new_tokens
        Numbers of tokens; None if the server does not tell them.
    sampling, seed
        How tokens were to be drawn; the server may do otherwise.
    model
        Name of the model at the server.
    seconds
        From the request to the end of the answer; not compared by ``==``.
    first_s
        From the request to the first text of a stream; None if it was not streamed.
    tools
        The functions that were declared to the model.
    request
        What was asked.
    routed_experts
        Expert ids as the server sent them, not decoded; None without. `gemma_lab.RemoteLab.trace` reads them.
    prompt_ids, new_ids
        Token ids of the prompt and of the answer, if the server told them.
    """

    text: str
    thinking: str
    calls: tuple[Call, ...]
    messages: list[dict[str, Any]] = field(repr=False)
    finish_reason: Finish
    prompt_tokens: int | None
    new_tokens: int | None
    sampling: Sampling
    seed: int | None
    model: str
    seconds: float = field(compare=False, default=0.0)
    first_s: float | None = field(compare=False, default=None)
    tools: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    request: Request | None = field(default=None, compare=False, repr=False)
    scored: tuple[ScoredText, ...] | None = field(default=None, repr=False)
    routed_experts: Any = field(default=None, repr=False)
    prompt_ids: tuple[int, ...] | None = field(default=None, repr=False)
    new_ids: tuple[int, ...] | None = field(default=None, repr=False)

    @property
    def tokens(self) -> tuple[ScoredText, ...]:
        """The tokens of the text with their log-probabilities.

        Raises
        ------
        NotTraced
            If the server did not tell them.
        """
        if self.scored is None:
            raise NotTraced(
                f"This answer of {self.model} has no log-probabilities.",
                hint="Ask with top_logprobs=5; a server without them still sends none.",
            )
        return self.scored

    @property
    def logprobs(self) -> NDArray[np.float64]:
        """Log-probability of each token in nats, ``(tokens,)``; raises as `tokens` does."""
        return np.array([token.logprob for token in self.tokens], dtype=np.float64)

    @cached_property
    def data(self) -> Any:
        """The value of an answer that was bound by ``schema=``: an instance of the type, or plain JSON.

        Raises
        ------
        BadAnswer
            If the answer does not satisfy the schema: not every server enforces one.
        LabError
            If no schema was passed.
        """
        schema = None if self.request is None else self.request.schema
        if schema is None:
            raise LabError("This answer has no schema.", hint="lab.chat(…, schema=…) asks for one.")
        try:
            return schema.parse(self.text)
        except BadAnswer as error:
            told = cut_answer(error, self.finish_reason, self.new_tokens)
            if told is error:
                raise
            raise told from None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values, without the conversation before it."""
        return {
            "text": self.text,
            "thinking": self.thinking,
            "calls": [call.message["function"] | {"problem": call.problem} for call in self.calls],
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "sampling": self.sampling.to_dict(),
            "seed": self.seed,
            "model": self.model,
            "seconds": self.seconds,
            "first_s": self.first_s,
        }

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        count = "" if self.new_tokens is None else f", {self.new_tokens} token{'s' * (self.new_tokens != 1)}"
        return f"ServerReply({shown!r}{count}, finish={self.finish_reason!r}, model={self.model!r})"
