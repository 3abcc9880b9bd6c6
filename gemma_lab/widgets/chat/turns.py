"""The turns of a conversation as JSON values: synced by the chat widget, drawn by its static fallback."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...errors import LabError
    from ...models.chat.reply import Reply, Token


def packed(tokens: Iterable[Token]) -> list[list[Any]]:
    """Return tokens as lists: text, log-probability, kind, entropy (nats), top_logprobs, rank.

    ``top_logprobs`` are ``[text, logprob]``, most probable first; the rank is the index among them, or -1.
    """
    return [
        [
            sendable(token.text),
            _rounded(token.logprob),
            token.kind,
            _rounded(token.entropy),
            [[sendable(other.text), _rounded(other.logprob)] for other in token.top_logprobs],
            next((at for at, other in enumerate(token.top_logprobs) if other.id == token.id), -1),
        ]
        for token in tokens
    ]


def _rounded(value: float) -> float | None:
    """Return `value` with five decimals; JSON has no infinity, so other values become None."""
    return round(float(value), 5) if math.isfinite(value) else None


def user_turn(key: int, text: str, media: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a turn of the user; its media are entries of `gemma_lab.widgets.chat.previews`."""
    return {"key": key, "role": "user", "text": sendable(text), "media": media}


def live_turn(key: int) -> dict[str, Any]:
    """Return the turn of an answer in progress; its tokens are sent as messages."""
    return {"key": key, "role": "model", "state": "live", "tokens": []}


def done_turn(key: int, reply: Reply) -> dict[str, Any]:
    """Return the turn of a finished (or stopped) answer."""
    return {
        "key": key,
        "role": "model",
        "state": "done",
        "text": sendable(reply.text),
        "thinking": sendable(reply.thinking or ""),
        "tokens": packed(reply.tokens),
        "finish_reason": reply.finish_reason,
        "seed": reply.seed,
        "context": reply.prompt_tokens + len(reply.tokens),
        "speed": _speed(reply),
    }


def failed_turn(key: int, error: LabError, tokens: list[list[Any]]) -> dict[str, Any]:
    """Return the turn of an answer that failed, with the tokens generated before."""
    return {
        "key": key,
        "role": "model",
        "state": "failed",
        "text": "".join(token[0] for token in tokens if token[2] == "text"),
        "tokens": tokens,
        "error": {"what": sendable(error.what), "hint": sendable(error.hint)},
    }


def _speed(reply: Reply) -> float | None:
    """Return tokens per second to one decimal, or None for an answer of less than two tokens."""
    if len(reply.tokens) < 2 or reply.timings.decode_s <= 0:
        return None
    return round(float(reply.timings.tokens_per_s), 1)
