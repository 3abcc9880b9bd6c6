"""The settings of a chat, validated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ..shared.base import sendable

if TYPE_CHECKING:
    from ...models.chat.sampling import Sampling

_MAX_NEW_TOKENS = 1 << 20


def first_settings(
    sampling: Sampling, *, system: str | None, max_new_tokens: int, thinking: bool, seed: int | None
) -> dict[str, Any]:
    """Return the initial settings of a chat.

    Raises
    ------
    LabError
        If a value is outside its range.
    """
    return checked_settings(
        {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
            "thinking": thinking,
            "system": system or "",
            "tint": False,
        }
    )


def checked_settings(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the known settings of `wanted`, converted to their types.

    Raises
    ------
    LabError
        If a value is not a number or outside its range.
    """
    from ...models.chat.sampling import Sampling

    try:
        temperature, top_p = float(wanted["temperature"]), float(wanted["top_p"])
        top_k, max_new_tokens = int(wanted["top_k"]), int(wanted["max_new_tokens"])
        seed = None if wanted["seed"] in (None, "") else int(wanted["seed"])
    except (TypeError, ValueError, OverflowError) as error:
        raise LabError(
            f"A setting is not a number: {error}.", hint="The settings were not changed."
        ) from error
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    if not 1 <= max_new_tokens <= _MAX_NEW_TOKENS:
        raise LabError(
            f"max_new_tokens must be 1 to {_MAX_NEW_TOKENS:,} tokens, not {max_new_tokens:,}.",
            hint="The settings were not changed.",
        )
    if seed is not None and not 0 <= seed < 1 << 53:
        raise LabError(
            f"The seed must be an integer from 0 to 2⁵³ − 1, not {seed}.",
            hint="Leave it empty for a new seed with every answer.",
        )
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "thinking": bool(wanted["thinking"]),
        "system": sendable(str(wanted["system"])),
        "tint": bool(wanted["tint"]),
    }
