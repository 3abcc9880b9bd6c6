"""Sampling of the next token: temperature, top-k and top-p, with the family's recommended values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import short_repr, whole_number
from ...errors import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Probabilities = NDArray[np.float64]


#: Least temperature above 0: float32 logits of any model, divided by it, stay finite.
MIN_TEMPERATURE = 1e-6


@dataclass(frozen=True)
class Sampling:
    """Parameters of sampling the next token from the model's distribution.

    The defaults are what the Gemma 4 model card recommends for every size and use
    (temperature 1.0, top_p 0.95, top_k 64; ai.google.dev/gemma/docs/core/model_card_4, "Best practices").

    Parameters
    ----------
    temperature
        Divides the logits: below 1 the likely tokens gain, above 1 the unlikely ones. 0 is greedy: always the
        likeliest token. Others are 1e-6 or more: logits divided by less overflow.
    top_p
        Keep the smallest set of likeliest tokens whose probabilities sum to at least this; 1 keeps all.
    top_k
        Keep this many of the likeliest tokens; 0 keeps all. Applied before `top_p`.

    Raises
    ------
    LabError
        If a value is outside its range.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 64

    def __post_init__(self) -> None:
        _number("temperature", self.temperature)
        _number("top_p", self.top_p)
        if self.temperature != 0 and not MIN_TEMPERATURE <= self.temperature < math.inf:
            raise LabError(
                f"temperature={self.temperature} is not 0, nor a number of {MIN_TEMPERATURE:g} or more.",
                hint="1.0 is the family's recommendation, 0 is greedy.",
            )
        if not 0 < self.top_p <= 1:
            raise LabError(
                f"top_p={self.top_p} is not above 0 and at most 1.",
                hint="0.95 is the family's recommendation, 1.0 keeps every token.",
            )
        values = {
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "top_k": whole_number("top_k", self.top_k, minimum=0),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, value: Sampling | Mapping[str, float]) -> Sampling:
        """Return a `Sampling`, also from a mapping of its parameters, e.g. ``{"temperature": 0.5}``."""
        if isinstance(value, Sampling):
            return value
        known = [each.name for each in fields(cls)]
        if not isinstance(value, Mapping) or not set(value) <= set(known):
            raise LabError(
                f"sampling is {short_repr(value)}.",
                hint=f"It takes gl.Sampling(…) or a mapping with {', '.join(known)}.",
            )
        return cls(**value)  # type: ignore[arg-type]

    @classmethod
    def greedy(cls) -> Sampling:
        """Return the sampling with temperature 0: always the likeliest token."""
        return cls(temperature=0.0)

    @property
    def do_sample(self) -> bool:
        """Whether tokens are drawn; False for greedy."""
        return self.temperature > 0

    def but(
        self, *, temperature: float | None = None, top_p: float | None = None, top_k: int | None = None
    ) -> Sampling:
        """Return a copy with the given values replaced; None keeps a value."""
        given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        return replace(self, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    def probabilities(self, logprobs: Any) -> Probabilities:
        """Return the distribution that the next token is drawn from.

        The order is that of transformers: temperature, top-k, then top-p of the rest, renormalised.

        Parameters
        ----------
        logprobs
            The model's own log-probabilities (or logits), ``(vocabulary,)``, in nats.

        Returns
        -------
        numpy.ndarray
            ``(vocabulary,)``, float64, summing to 1. Tokens that cannot be drawn have exactly 0.
        """
        scores = np.asarray(logprobs, dtype=np.float64)
        if not self.do_sample:
            chosen = np.zeros_like(scores)
            chosen[int(scores.argmax())] = 1.0
            return chosen
        scores = scores / self.temperature
        if 0 < self.top_k < scores.size:
            scores = np.where(scores < np.partition(scores, -self.top_k)[-self.top_k], -np.inf, scores)
        probabilities = _softmax(scores)
        if self.top_p < 1:
            ascending = np.argsort(probabilities, kind="stable")
            # a token is removed if the sum up to it, from the least likely on, is at most 1 - top_p
            outside = ascending[np.cumsum(probabilities[ascending]) <= 1 - self.top_p]
            probabilities[np.setdiff1d(outside, ascending[-1:])] = 0.0
            probabilities /= probabilities.sum()
        return probabilities

    def to_dict(self) -> dict[str, float | int]:
        """Return the three values by name."""
        return {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}

    def __str__(self) -> str:
        if not self.do_sample:
            return "greedy"
        return f"temperature {self.temperature:g}, top-p {self.top_p:g}, top-k {self.top_k}"


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise LabError(f"{name}={value!r} is not a number.", hint=f"For example {name}=1.0.")


def _softmax(scores: Probabilities) -> Probabilities:
    weights = np.exp(scores - scores.max())
    shares: Probabilities = weights / weights.sum()
    return shares
