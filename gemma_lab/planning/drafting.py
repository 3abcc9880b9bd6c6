"""What a drafter changes: tokens of a step, its time, and published acceptance rates. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..checks import real_number, short_repr, whole_number
from ..errors import LabError
from .facts import number, read_rows, unknown
from .speed import Constants, decode_seconds, layer_time_log, weight_share_log
from .workload import Step

if TYPE_CHECKING:
    from .models import ModelShape

_LAYERS = 4
"""Layers of every published drafter."""
_CHECKING = 1.1
"""A step that checks drafts takes so much longer than its bytes say (two runs of the 26B-A4B, RTX 3090)."""
_ACCEPTANCE = {"dense": 0.75, "moe": 0.70, "edge": 0.65}
"""Acceptance of one drafted token where none is given, of the order of the published rates."""
_DRAFT_TOKENS = {"dense": 4, "moe": 1, "edge": 2}
"""Drafts of a step where none are given: what the published runs found best."""
_FIELDS = ("tokens", "acceptance", "bits", "expert_share")


@dataclass(frozen=True)
class Drafting:
    """How a drafter is used.

    Attributes
    ----------
    tokens
        Tokens drafted in a step.
    acceptance
        Probability that a drafted token is accepted, given that those before it were.
    bits
        Bits of a weight of the drafter.
    assumed
        Whether the acceptance is a published average and was not given.
    expert_share
        Share of a layer's experts that the tokens of a pass load together, measured on a trace
        (`gemma_lab.analysis.expert_unions`); None to assume the batch rule of the planner.
    """

    tokens: int
    acceptance: float
    bits: float
    assumed: bool
    expert_share: float | None = None

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step yields on average: (1 − a^(n+1)) ÷ (1 − a)."""
        if self.acceptance >= 1:
            return self.tokens + 1.0
        return (1 - self.acceptance ** (self.tokens + 1)) / (1 - self.acceptance)


def drafting(drafter: bool | Mapping[str, Any] | Drafting | None, shape: ModelShape) -> Drafting | None:
    """Return how a drafter is used, or None without one.

    Parameters
    ----------
    drafter
        True for the model's own with published rates, or a mapping with any of ``tokens``, ``acceptance``,
        ``bits`` and ``expert_share`` (`ExpertUnions.drafter` returns one from a trace).
    shape
        The model.

    Raises
    ------
    LabError
        If the model has no drafter, or a number is out of range.
    """
    if drafter is None or drafter is False:
        return None
    if shape.drafter is None:
        raise LabError(f"No drafter of {shape.name} is known.", hint="Leave out drafter=.")
    if isinstance(drafter, Drafting):
        return drafter
    if drafter is not True and not isinstance(drafter, Mapping):
        raise LabError(
            f"drafter is True or a mapping, not {short_repr(drafter)}.",
            hint='E.g. {"tokens": 4, "acceptance": 0.75}.',
        )
    options: Mapping[str, Any] = {} if drafter is True else drafter
    wrong = [name for name in options if name not in _FIELDS]
    if wrong:
        raise unknown("field of a drafter", wrong[0], _FIELDS)
    tokens = options.get("tokens", _DRAFT_TOKENS[shape.kind])
    acceptance = options.get("acceptance", _ACCEPTANCE[shape.kind])
    return Drafting(
        tokens=whole_number("tokens", tokens, minimum=1, maximum=64),
        acceptance=real_number("acceptance", acceptance, minimum=0, maximum=1),
        bits=real_number("bits", options.get("bits", 8.5), minimum=1, maximum=32),
        assumed="acceptance" not in options,
        expert_share=_expert_share(options.get("expert_share"), shape),
    )


def _expert_share(share: Any, shape: ModelShape) -> float | None:
    """Return the share of the experts that a pass loads, if it is given and possible."""
    if share is None:
        return None
    if not shape.experts:
        raise LabError(f"{shape.name} has no experts.", hint="Leave expert_share out of drafter.")
    least = shape.top_k / shape.experts
    return real_number("expert_share", share, minimum=least, maximum=1)


def drafted_seconds(
    plain: Step, checking: Step, shape: ModelShape, use: Drafting, constants: Constants
) -> float:
    """Return the seconds of one token with a drafter.

    Parameters
    ----------
    plain
        A step without it.
    checking
        A step that checks all drafts and one token: it reads the experts that any of them visits.
    shape, use, constants
        The model, how the drafter is used, and the fitted constants.
    """
    assert shape.drafter is not None
    read = shape.drafter.parameters * use.bits / 8
    share = math.exp(weight_share_log(plain, constants))
    draft = read / (share * plain.bandwidth) + _LAYERS * math.exp(layer_time_log(plain, constants)) * 1e-3
    step = _CHECKING * decode_seconds(checking, constants) + use.tokens * draft
    return step / use.tokens_per_step


def published_drafts() -> tuple[dict[str, Any], ...]:
    """Return the published runs with a drafter: plain and drafted speed, drafts, acceptance, source."""
    numbers = ("draft_tokens", "acceptance", "plain_tok_s", "drafted_tok_s")
    return tuple(
        {**row, **{name: number(row[name]) for name in numbers}} for row in read_rows("drafters.csv")
    )
