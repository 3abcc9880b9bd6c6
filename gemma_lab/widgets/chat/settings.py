"""The settings of a chat, validated."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...models.chat.sampling import Sampling

#: What can tint the tokens of an answer.
TINTS = ("none", "probability", "overruled", "drafted")
_MAX_NEW_TOKENS = 1 << 20


def first_settings(
    sampling: Sampling,
    *,
    system: str | None,
    max_new_tokens: int,
    thinking: bool,
    seed: int | None,
    ask: Sequence[str] = (),
    tools: Sequence[str] = (),
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
            "tint": "none",
            "ask": list(ask),
        },
        tools=tools,
    )


def sampling_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `gemma_lab.Lab.stream` that settings make; a seed is drawn if there is none."""
    names = ("thinking", "temperature", "top_p", "top_k", "seed", "max_new_tokens")
    options = {name: settings[name] for name in names}
    if options["seed"] is None and options["temperature"] > 0:
        options["seed"] = random.getrandbits(31)  # drawn here, so that the turn shows it
    return options


def checked_settings(wanted: dict[str, Any], *, tools: Sequence[str] = ()) -> dict[str, Any]:
    """Return the known settings of `wanted`, converted to their types.

    Parameters
    ----------
    wanted
        Sampling, limits, ``"tint"`` (one of `TINTS`) and ``"ask"``: names of tools whose calls wait for a
        person.
    tools
        Names of the tools of the chat.

    Raises
    ------
    LabError
        If a value is not a number or outside its range, or a name is unknown.
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
    if wanted["tint"] not in TINTS:
        raise LabError(f"There is no tint {wanted['tint']!r:.40}.", hint=f"Tints: {', '.join(TINTS)}.")
    if not isinstance(wanted["ask"], list) or set(map(str, wanted["ask"])) - set(tools):
        raise LabError(
            "A setting names a tool that this chat does not have.", hint=f"Tools: {', '.join(tools)}"
        )
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "thinking": bool(wanted["thinking"]),
        "system": sendable(str(wanted["system"])),
        "tint": wanted["tint"],
        "ask": [name for name in tools if name in wanted["ask"]],
    }
