"""The turns of a conversation as JSON values: synced by the chat widget, drawn by its static fallback."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ...errors import BadAnswer
from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...errors import LabError
    from ...models.chat.reply import Reply, Token

#: Largest integer up to which JavaScript's numbers hold every one.
_EXACT = (1 << 53) - 1


def packed(tokens: Iterable[Token]) -> list[list[Any]]:
    """Return tokens as lists: text, logprob, kind, entropy (nats), top_logprobs, rank, effect, drafted.

    ``top_logprobs`` are ``[text, logprob]``, most probable first; the rank is the index among them, or -1.
    The effect of a grammar is ``[forbidden, first choice, changed]``, or None; ``drafted`` is that of a
    `Token`.
    """
    return [
        [
            sendable(token.text),
            _rounded(token.logprob),
            token.kind,
            _rounded(token.entropy),
            [[sendable(other.text), _rounded(other.logprob)] for other in token.top_logprobs],
            next((at for at, other in enumerate(token.top_logprobs) if other.id == token.id), -1),
            _effect(token),
            token.drafted,
        ]
        for token in tokens
    ]


def _rounded(value: float) -> float | None:
    """Return `value` with five decimals; JSON has no infinity, so other values become None."""
    return round(float(value), 5) if math.isfinite(value) else None


def _effect(token: Token) -> list[Any] | None:
    effect = token.overruled
    if effect is None:
        return None
    return [_rounded(effect.forbidden), sendable(effect.first_choice), effect.changed]


def user_turn(key: int, text: str, media: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a turn of the user; its media are entries of `gemma_lab.widgets.chat.previews`."""
    return {"key": key, "role": "user", "text": sendable(text), "media": media}


def live_turn(key: int) -> dict[str, Any]:
    """Return the turn of an answer in progress; its tokens are sent as messages."""
    return {"key": key, "role": "model", "state": "live", "tokens": []}


def done_turn(key: int, reply: Reply) -> dict[str, Any]:
    """Return the turn of a finished (or stopped) answer."""
    turn = {
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
    return turn | _value(reply)


def _value(reply: Reply) -> dict[str, Any]:
    """Return the value of an answer that a schema binds, or what can be read of it and why it is no more."""
    if reply.request is None or reply.request.schema is None:
        return {}
    try:
        _ = reply.data  # checks it against the schema, and the caller's type
    except BadAnswer as error:
        hint = "Allow a longer answer in the settings." if reply.finish_reason == "length" else ""
        why = {"what": sendable(error.what), "hint": hint}
        return {"value": shown_value(error.partial), "invalid": why}
    return {"value": shown_value(json.loads(reply.text))}


def shown_value(value: Any) -> Any:
    """Return plain JSON that a browser shows as it is: numbers that it cannot hold become text."""
    if isinstance(value, dict):
        return {sendable(str(key)): shown_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown_value(item) for item in value]
    if isinstance(value, str):
        return sendable(value)
    exact = isinstance(value, bool | None) or (isinstance(value, int) and abs(value) <= _EXACT)
    return value if exact or (isinstance(value, float) and math.isfinite(value)) else str(value)


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
