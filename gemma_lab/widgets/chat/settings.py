"""What a chat's sliders hold, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ..shared.base import sendable

if TYPE_CHECKING:
    from ...models.chat.sampling import Sampling

_LONGEST_ANSWER = 1 << 20


def first_settings(
    drawn: Sampling, *, system: str | None, max_new_tokens: int, thinking: bool, seed: int | None
) -> dict[str, Any]:
    """Return the settings a chat opens with.

    Raises
    ------
    LabError
        If one is outside its range.
    """
    return checked_settings(
        {
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "top_k": drawn.top_k,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
            "thinking": thinking,
            "system": system or "",
            "tint": False,
        }
    )


def checked_settings(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return `wanted` with the right types and nothing else.

    Raises
    ------
    LabError
        If a value is not a number or outside its range; `Sampling` says so for its own.
    """
    from ...models.chat.sampling import Sampling

    try:
        temperature, top_p = float(wanted["temperature"]), float(wanted["top_p"])
        top_k, longest = int(wanted["top_k"]), int(wanted["max_new_tokens"])
        seed = None if wanted["seed"] in (None, "") else int(wanted["seed"])
    except (TypeError, ValueError, OverflowError) as error:
        raise LabError(f"A setting is not a number: {error}.", hint="The old ones stay.") from error
    drawn = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    if not 1 <= longest <= _LONGEST_ANSWER:
        raise LabError(
            f"The longest answer must be 1 to {_LONGEST_ANSWER:,} tokens, not {longest:,}.",
            hint="The old ones stay.",
        )
    if seed is not None and not 0 <= seed < 1 << 53:
        raise LabError(
            f"The seed must be a whole number from 0 to 2⁵³ − 1, not {seed}.",
            hint="Leave it empty for a new seed with every answer.",
        )
    return {
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "top_k": drawn.top_k,
        "max_new_tokens": longest,
        "seed": seed,
        "thinking": bool(wanted["thinking"]),
        "system": sendable(str(wanted["system"])),
        "tint": bool(wanted["tint"]),
    }
