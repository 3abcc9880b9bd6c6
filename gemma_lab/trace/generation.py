"""What was generated in a trace: tokens, how probable they were, and what else was weighed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadTrace

Array = np.ndarray[Any, np.dtype[Any]]


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
    finish
        Why it ended: ``"stop"``, ``"length"`` or ``"stopped"``.
    text
        The answer's visible text.
    """

    ids: Array
    logprobs: Array
    entropy: Array
    alternative_ids: Array = field(repr=False)
    alternative_logprobs: Array = field(repr=False)
    finish: str
    text: str

    def __post_init__(self) -> None:
        n = len(self.ids)
        shapes = {
            "logprobs": (n,), "entropy": (n,), "alternative_ids": (n, self.alternatives),
            "alternative_logprobs": (n, self.alternatives),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadTrace(
                    f"The generation's {name} has shape {getattr(self, name).shape} for {n} tokens.",
                    hint="Trace again, or open another file.",
                )

    @classmethod
    def of(
        cls, *, ids: Any, logprobs: Any, entropy: Any, alternative_ids: Any, alternative_logprobs: Any,
        finish: str, text: str,
    ) -> Generation:  # fmt: skip
        """Return a generation from anything that numpy takes."""
        n = len(ids)
        return cls(
            ids=np.asarray(ids, dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            entropy=np.asarray(entropy, dtype=np.float32),
            alternative_ids=np.asarray(alternative_ids, dtype=np.int32).reshape(n, -1)
            if n
            else np.zeros((0, 0), np.int32),
            alternative_logprobs=np.asarray(alternative_logprobs, dtype=np.float32).reshape(n, -1)
            if n
            else np.zeros((0, 0), np.float32),
            finish=finish,
            text=text,
        )

    @property
    def alternatives(self) -> int:
        """How many of the likeliest tokens were kept at each position."""
        return int(self.alternative_ids.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Generation):
            return NotImplemented
        names = ("ids", "logprobs", "entropy", "alternative_ids", "alternative_logprobs")
        same = (self.finish, self.text) == (other.finish, other.text)
        return same and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Generation({len(self):,} tokens, {self.finish}: {self.text!r})"
