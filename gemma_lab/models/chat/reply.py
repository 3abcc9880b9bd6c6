"""What a model answered, token by token, as plain values: no torch, nothing that points back to the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...display import Displayed
from .sampling import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tools import Call

Kind = Literal["text", "thought", "tool", "special"]
Finish = Literal["stop", "length", "stopped"]


@dataclass(frozen=True)
class Alternative:
    """A token the model could have said instead.

    Attributes
    ----------
    id
        Its id in the vocabulary.
    text
        What it stands for. A lone byte is written ``<0xE2>``, a control token by its name.
    logprob
        Its log-probability in nats, in the model's own distribution.
    """

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes
    ----------
    id
        Its id in the vocabulary.
    text
        What it added to the text a reader sees. A character (grapheme cluster) that took several tokens is
        carried by the one that completed it; the others have ``""``, as have control tokens.
    logprob
        Its log-probability in nats, in the model's own distribution: before temperature, top-k and top-p.
    entropy
        Entropy of that distribution in nats: how undecided the model was here.
    top_logprobs
        The likeliest tokens at this position, best first; the chosen one is usually among them.
    kind
        ``"text"`` (the answer), ``"thought"``, ``"tool"`` (a tool call, with its delimiters), ``"special"``.
    """

    id: int
    text: str
    logprob: float
    entropy: float
    top_logprobs: tuple[Alternative, ...] = ()
    kind: Kind = "text"

    @property
    def probability(self) -> float:
        """Its probability in the model's own distribution, 0 to 1."""
        return float(np.exp(self.logprob))


@dataclass(frozen=True)
class Timings:
    """How long it took.

    Attributes
    ----------
    prefill_s
        Seconds from the start to the first token: the prompt is read here.
    decode_s
        Seconds from the first token to the last.
    prompt_tokens, new_tokens
        Tokens read and tokens written.
    """

    prefill_s: float
    decode_s: float
    prompt_tokens: int
    new_tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens written a second, the first one aside (it belongs to the prefill); 0 for fewer than two."""
        return (self.new_tokens - 1) / self.decode_s if self.new_tokens > 1 and self.decode_s > 0 else 0.0


@dataclass(frozen=True)
class Reply(Displayed):
    """What a model answered. Does not change, so a conversation can be continued from it twice.

    Attributes
    ----------
    text
        The answer, without thoughts and control tokens.
    thinking
        The thoughts before it; ``""`` without any.
    tokens
        Every generated token, the closing one included. The texts of kind ``"text"`` join to `text`.
    messages
        The whole conversation with this answer, in the messages format of transformers.
    prompt_tokens
        How many tokens the model read, soft tokens of pictures included.
    finish_reason
        ``"stop"``: the model ended its turn. ``"length"``: the limit did. ``"stopped"``: somebody did.
    sampling, seed
        How the tokens were drawn; the same seed gives the same answer. None when nothing was drawn.
    model
        The name of the lab.
    timings
        Seconds; they take no part in comparing two replies.
    tools
        The functions that were declared to the model.
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

    @property
    def calls(self) -> tuple[Call, ...]:
        """The tool calls that the model asks for, in order (`gemma_lab.models.chat.tools`); none is executed."""
        from .tools import calls

        return calls("".join(token.text for token in self.tokens if token.kind == "tool"), self.tools)

    @property
    def logprobs(self) -> NDArray[np.float64]:
        """Log-probability of each token in nats, ``(tokens,)``."""
        return np.array([token.logprob for token in self.tokens], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; pictures become their size."""
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
