"""What was generated in a trace: tokens, how probable they were, and what else was weighed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BadTrace

Array = np.ndarray[Any, np.dtype[Any]]

_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class Generation:
    """The generated part of a trace, as arrays.

    Attributes
    ----------
    ids
        Token ids, int32 ``[n]``.
    logprobs
        Log-probability of each under the model's own distribution (before temperature), in nats, float32
        ``[n]``.
    entropy
        Of that distribution, in nats, float32 ``[n]``.
    alternative_ids, alternative_logprobs
        The likeliest tokens at each position, best first, int32 and float32 ``[n, alternatives]``.
    finish_reason
        Why it ended: ``"stop"``, ``"length"`` or ``"stopped"``.
    text
        The answer's visible text.
    """

    ids: Array
    logprobs: Array
    entropy: Array
    alternative_ids: Array = field(repr=False)
    alternative_logprobs: Array = field(repr=False)
    finish_reason: str
    text: str

    def __post_init__(self) -> None:
        self._check_shapes()
        # A distribution computed in float32 may miss its bounds by a rounding error.
        for name in ("logprobs", "alternative_logprobs"):
            values = getattr(self, name)
            if not (values <= 1e-3).all():  # written so that NaN is refused too
                raise BadTrace(f"The generation's {name} are not all log-probabilities.", hint=_AGAIN)
        if not (np.isfinite(self.entropy).all() and (self.entropy >= -1e-3).all()):
            raise BadTrace("The generation's entropies are not all finite and positive.", hint=_AGAIN)

    def _check_shapes(self) -> None:
        if self.ids.ndim != 1 or self.alternative_ids.ndim != 2:
            raise BadTrace(
                f"The generation's ids have shape {self.ids.shape}, its alternatives "
                f"{self.alternative_ids.shape}; they need [n] and [n, alternatives].",
                hint=_AGAIN,
            )
        n = len(self.ids)
        shapes = {
            "logprobs": (n,), "entropy": (n,), "alternative_ids": (n, self.top_logprobs),
            "alternative_logprobs": (n, self.top_logprobs),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadTrace(
                    f"The generation's {name} has shape {getattr(self, name).shape} for {n} tokens.",
                    hint=_AGAIN,
                )

    @classmethod
    def of(
        cls, *, ids: Any, logprobs: Any, entropy: Any, alternative_ids: Any, alternative_logprobs: Any,
        finish_reason: str, text: str,
    ) -> Generation:  # fmt: skip
        """Return a generation from anything that numpy takes."""
        n = len(ids)
        return cls(
            ids=np.asarray(ids, dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            entropy=np.asarray(entropy, dtype=np.float32),
            alternative_ids=_rows(alternative_ids, n, np.int32),
            alternative_logprobs=_rows(alternative_logprobs, n, np.float32),
            finish_reason=finish_reason,
            text=text,
        )

    @property
    def top_logprobs(self) -> int:
        """How many of the likeliest tokens were kept at each position."""
        return int(self.alternative_ids.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Generation):
            return NotImplemented
        names = ("ids", "logprobs", "entropy", "alternative_ids", "alternative_logprobs")
        same = (self.finish_reason, self.text) == (other.finish_reason, other.text)
        return same and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"Generation({len(self):,} token{'s' * (len(self) != 1)}, {self.finish_reason}: {shown!r})"


def _rows(values: Any, n: int, kind: type[np.generic]) -> Array:
    made = np.asarray(values, dtype=kind)
    return made.reshape(n, made.size // n if n else 0)  # no tokens have no alternatives
