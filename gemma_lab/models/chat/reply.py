"""A model's answer, token by token, as plain values: no torch, no reference to the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...display import Displayed
from ...errors import BadAnswer, LabError
from ..drafting.acceptance import Acceptance
from ..grammar.schema import cut_answer
from .sampling import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .request import Request
    from .tools import Call

Kind = Literal["text", "thought", "tool", "special"]
Finish = Literal["stop", "length", "stopped"]


@dataclass(frozen=True)
class Alternative:
    """A token that the model could have generated instead.

    Attributes
    ----------
    id
        Its id in the vocabulary.
    text
        Its text. A lone byte is written ``<0xE2>``, a control token by its name.
    logprob
        Its log-probability in nats, in the model's own distribution.
    """

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Overruled:
    """Effect of a grammar on the choice of one token.

    Attributes
    ----------
    forbidden
        The model's probability of the tokens that the grammar forbids, at temperature 1, 0 to 1.
    first_choice_id, first_choice
        Id and text of the model's own likeliest token.
    changed
        Whether the grammar forbids that token.
    """

    forbidden: float
    first_choice_id: int
    first_choice: str
    changed: bool


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes
    ----------
    id
        Its id in the vocabulary.
    text
        What it added to the text that a reader sees. A character (grapheme cluster) of several tokens is
        the text of the one that completed it; the others have ``""``, as have control tokens.
    logprob
        Its log-probability in nats, in the model's own distribution: before temperature, top-k and top-p.
    entropy
        Entropy of that distribution in nats.
    top_logprobs
        The likeliest tokens at this position, best first; the chosen one is usually among them, first among
        equally likely ones.
    kind
        ``"text"`` (the answer), ``"thought"``, ``"tool"`` (a tool call, with its delimiters), ``"special"``.
    overruled
        Effect of the grammar; None for a token that was generated without one.
    drafted
        True: the drafter proposed it and the model accepted it. False: the drafter proposed another token
        here, which the model rejected in favour of this one. None: nothing was proposed here.
    """

    id: int
    text: str
    logprob: float
    entropy: float
    top_logprobs: tuple[Alternative, ...] = ()
    kind: Kind = "text"
    overruled: Overruled | None = None
    drafted: bool | None = field(default=None, compare=False)

    @property
    def probability(self) -> float:
        """Its probability in the model's own distribution, 0 to 1."""
        return float(np.exp(self.logprob))


@dataclass(frozen=True)
class Timings:
    """Durations of one generation.

    Attributes
    ----------
    prefill_s
        Seconds from the start to the first token: the prefill.
    decode_s
        Seconds from the first token to the last.
    prompt_tokens, new_tokens
        Tokens of the prompt and generated tokens.
    """

    prefill_s: float
    decode_s: float
    prompt_tokens: int
    new_tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens per second after the first, which is part of the prefill; 0 for fewer than two."""
        return (self.new_tokens - 1) / self.decode_s if self.new_tokens > 1 and self.decode_s > 0 else 0.0


@dataclass(frozen=True)
class Reply(Displayed):
    """The answer of a model, token by token.

    It is immutable, so a conversation can be continued from it several times.

    Attributes
    ----------
    text
        The answer, without thoughts and control tokens.
    thinking
        The thoughts before it; ``""`` if there are none.
    tokens
        Every generated token, the last control token included. The texts of kind ``"text"`` join to `text`.
    messages
        The conversation with this answer, in the messages format of transformers; empty for a raw prompt. A
        message has one text and the calls after it, so text that the model wrote behind a call is joined to
        the text before it, and a conversation that goes on has it there; `tokens` keeps the order.
    prompt_tokens
        Tokens of the prompt, soft tokens of media included.
    finish_reason
        ``"stop"``: the model ended its turn, or a stop string was generated. ``"length"``: the limit was
        reached. ``"stopped"``: an event or an interrupt stopped it.
    sampling, seed
        How the tokens were drawn; the same seed gives the same answer. None when nothing was drawn.
    model
        The name of the lab.
    timings
        Seconds; not compared by ``==``.
    tools
        The functions that were declared to the model.
    request
        The request: ``lab.trace(reply.request)`` traces it, ``lab.chat(reply.request)`` repeats it.
    acceptance
        How many drafted tokens were accepted; None without a drafter. Not compared by ``==``: an answer is
        the same with and without one.
    """

    text: str
    thinking: str
    tokens: tuple[Token, ...]
    messages: list[dict[str, Any]] = field(repr=False)
    prompt_tokens: int
    finish_reason: Finish
    sampling: Sampling
    seed: int | None
    model: str
    timings: Timings = field(compare=False, repr=False)
    tools: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    request: Request | None = field(default=None, compare=False, repr=False)
    acceptance: Acceptance | None = field(default=None, compare=False, repr=False)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The tool calls of the answer, in order (`gemma_lab.models.chat.tools`); none is executed."""
        from .tools import calls

        return calls("".join(token.text for token in self.tokens if token.kind == "tool"), self.tools)

    @cached_property
    def data(self) -> Any:
        """The value of an answer that was bound by ``schema=``: an instance of the type, or plain JSON.

        Raises
        ------
        BadAnswer
            If the answer was cut or a validator of the type refuses it; ``error.text`` has the answer, and
            ``error.partial`` its value as far as it can be read.
        LabError
            If it was not bound by a schema.
        """
        schema = None if self.request is None else self.request.schema
        if schema is None:
            raise LabError("This answer has no schema.", hint="lab.chat(…, schema=…) binds it to one.")
        try:
            return schema.parse(self.text)
        except BadAnswer as error:
            told = cut_answer(error, self.finish_reason, len(self.tokens))
            if told is error:
                raise
            raise told from None

    @property
    def logprobs(self) -> NDArray[np.float64]:
        """Log-probability of each token in nats, ``(tokens,)``."""
        return np.array([token.logprob for token in self.tokens], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; images become their size."""
        return {
            "text": self.text,
            "thinking": self.thinking,
            "tokens": [asdict(token) for token in self.tokens],
            "messages": [_plain(message) for message in self.messages],
            "prompt_tokens": self.prompt_tokens,
            "finish_reason": self.finish_reason,
            "sampling": self.sampling.to_dict(),
            "seed": self.seed,
            "model": self.model,
            "tools": [_plain(tool) for tool in self.tools],
            "timings": asdict(self.timings),
            "acceptance": None if self.acceptance is None else asdict(self.acceptance),
        }

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        count = len(self.tokens)
        tokens = f"{count} token{'' if count == 1 else 's'}"
        return f"Reply({shown!r}, {tokens}, finish={self.finish_reason!r}, model={self.model!r})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    size = getattr(value, "size", None)
    return (
        f"picture {size[0]}×{size[1]}" if isinstance(size, tuple) and len(size) == 2 else type(value).__name__
    )
