"""The generated tokens of a trace, their log-probabilities, and the likeliest alternatives."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np

from ...errors import BadTrace

Array = np.ndarray[Any, np.dtype[Any]]
FinishReason = Literal["stop", "length", "stopped"]

#: Alternatives per position that a trace file holds.
MOST_TOP_LOGPROBS = 4096
_TRACE_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class Generation:
    """The generated part of a trace, as arrays; n tokens.

    Attributes
    ----------
    ids
        Token ids, int32 ``[n]``.
    logprobs
        Log-probability of each under the model's own distribution (before temperature, top-k and top-p), in
        nats, float32 ``[n]``.
    entropy
        Of that distribution, in nats, float32 ``[n]``.
    alternative_ids, alternative_logprobs
        The likeliest tokens at each position, best first, int32 and float32 ``[n, alternatives]``.
    finish_reason
        Why generation ended: ``"stop"`` (an end token), ``"length"`` (the limit) or ``"stopped"`` (by the
        user).
    text
        The visible text of the answer.
    forbidden
        The model's probability of the tokens that a grammar forbids, at temperature 1, 0 to 1, float32
        ``[n]``; NaN where the token was generated without a grammar.
    first_choice_ids
        Id of the model's own likeliest token, int32 ``[n]``; −1 without a grammar.
    overruled
        Whether the grammar forbids that token, bool ``[n]``.
    """

    ids: Array
    logprobs: Array
    entropy: Array
    alternative_ids: Array = field(repr=False)
    alternative_logprobs: Array = field(repr=False)
    finish_reason: FinishReason
    text: str
    forbidden: Array = field(repr=False)
    first_choice_ids: Array = field(repr=False)
    overruled: Array = field(repr=False)

    def __post_init__(self) -> None:
        self._check_shapes()
        others = self.alternative_logprobs  # of suppressed tokens they are −inf
        for name, values in (("logprobs", self.logprobs), ("alternative_logprobs", others)):
            if not (values <= 1e-3).all():  # a probability of 1 may round up; refuses NaN too
                raise BadTrace(f"The generation's {name} are not log-probabilities.", hint=_TRACE_AGAIN)
        if not np.isfinite(self.logprobs).all():
            raise BadTrace("A generated token has the log-probability -inf.", hint=_TRACE_AGAIN)
        if not (np.isfinite(self.entropy).all() and (self.entropy >= -1e-3).all()):
            raise BadTrace("The generation's entropies are not all finite and positive.", hint=_TRACE_AGAIN)
        if (self.ids < 0).any() or (self.alternative_ids < 0).any():
            raise BadTrace("The generation has negative token ids.", hint=_TRACE_AGAIN)
        if (others[:, 1:] > others[:, :-1] + 1e-5).any():
            raise BadTrace("The generation's alternatives are not the best first.", hint=_TRACE_AGAIN)
        self._check_grammar()
        if self.finish_reason not in get_args(FinishReason):
            raise BadTrace(
                f"The generation's finish_reason is {self.finish_reason!r}.",
                hint=f"It is one of {', '.join(map(repr, get_args(FinishReason)))}.",
            )

    def _check_grammar(self) -> None:
        bound = ~np.isnan(self.forbidden)
        if not ((self.forbidden[bound] >= 0) & (self.forbidden[bound] <= 1)).all():
            raise BadTrace("A forbidden probability is not between 0 and 1.", hint=_TRACE_AGAIN)
        if np.where(bound, self.first_choice_ids < 0, self.first_choice_ids != -1).any():
            raise BadTrace("A first choice has no token id, or no grammar.", hint=_TRACE_AGAIN)
        if (self.overruled & (~bound | (self.first_choice_ids == self.ids))).any():
            raise BadTrace("An overruled token was chosen, or has no grammar.", hint=_TRACE_AGAIN)

    def _check_shapes(self) -> None:
        if self.ids.ndim != 1 or self.alternative_ids.ndim != 2:
            raise BadTrace(
                f"The generation's ids have shape {self.ids.shape}, its alternatives "
                f"{self.alternative_ids.shape}; they need [n] and [n, alternatives].",
                hint=_TRACE_AGAIN,
            )
        n = len(self.ids)
        shapes = {
            "logprobs": (n,),
            "entropy": (n,),
            "alternative_ids": (n, self.top_logprobs),
            "alternative_logprobs": (n, self.top_logprobs),
            "forbidden": (n,),
            "first_choice_ids": (n,),
            "overruled": (n,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadTrace(
                    f"The generation's {name} has shape {getattr(self, name).shape} for {n} tokens.",
                    hint=_TRACE_AGAIN,
                )

    @classmethod
    def of(
        cls,
        *,
        ids: Any,
        logprobs: Any,
        entropy: Any,
        alternative_ids: Any,
        alternative_logprobs: Any,
        finish_reason: FinishReason,
        text: str,
        forbidden: Any = None,
        first_choice_ids: Any = None,
        overruled: Any = None,
    ) -> Generation:
        """Make a generation from sequences or arrays; the last three are None without a grammar."""
        n = len(ids)
        return cls(
            ids=np.asarray(ids, dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            entropy=np.asarray(entropy, dtype=np.float32),
            alternative_ids=_rows(alternative_ids, n, np.int32),
            alternative_logprobs=_rows(alternative_logprobs, n, np.float32),
            finish_reason=finish_reason,
            text=text,
            forbidden=_column(forbidden, n, np.float32, np.nan),
            first_choice_ids=_column(first_choice_ids, n, np.int32, -1),
            overruled=_column(overruled, n, np.bool_, False),
        )

    @property
    def top_logprobs(self) -> int:
        """How many of the likeliest tokens were recorded at each position."""
        return int(self.alternative_ids.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Generation):
            return NotImplemented
        same = (self.finish_reason, self.text) == (other.finish_reason, other.text)
        arrays = [each.name for each in fields(self) if each.name not in ("finish_reason", "text")]
        return same and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=name == "forbidden")
            for name in arrays
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"Generation({len(self):,} token{'s' * (len(self) != 1)}, {self.finish_reason}: {shown!r})"


def _column(values: Any, n: int, kind: type[np.generic], missing: Any) -> Array:
    return np.full(n, missing, dtype=kind) if values is None else np.asarray(values, dtype=kind)


def _rows(values: Any, n: int, kind: type[np.generic]) -> Array:
    array = np.asarray(values, dtype=kind)
    return array.reshape(n, array.size // n if n else 0)  # no tokens have no alternatives
