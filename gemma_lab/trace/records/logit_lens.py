"""What each layer would say: the top of every layer's own distribution at chosen positions, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BadTrace, LabError

Array = np.ndarray[Any, np.dtype[Any]]

_AGAIN = "Trace again, or open another file."
MOST_TOP = 64
MOST_TARGETS = 64


@dataclass(frozen=True)
class LogitLensRequest:
    """Where to look through the lens.

    Attributes
    ----------
    positions
        Rows of the trace; negative ones count from the end of the prompt (−1 is its last token). None: the
        last 64 tokens of the prompt, and every generated one that is read.
    top
        How many of the likeliest tokens of each layer to keep, 1 to 64.
    targets
        Tokens whose rank and probability to follow, as ids or as texts of one token each. The last layer's
        own first choice is always followed.

    Raises
    ------
    LabError
        On making one, if a number is out of range.
    """

    positions: Sequence[int] | None = None
    top: int = 5
    targets: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.top <= MOST_TOP:
            raise LabError(f"top={self.top} is not 1 to {MOST_TOP}.", hint="For example top=5.")
        if len(self.targets) > MOST_TARGETS:
            raise LabError(f"{len(self.targets)} targets are over {MOST_TARGETS}.", hint="Ask for fewer.")
        if self.positions is not None:
            object.__setattr__(self, "positions", tuple(int(place) for place in self.positions))
        object.__setattr__(self, "targets", tuple(self.targets))


@dataclass(frozen=True, eq=False)
class LogitLens:
    """What each layer would say at some positions: its output under the final norm, head and soft cap.

    L layers, P positions, k tokens, n targets. The last layer's distribution is the model's own. This is the
    logit lens (nostalgebraist, 2020): earlier layers were not trained to be read so, and what they "say" is a
    reading, not a fact.

    Attributes
    ----------
    layers
        The model's own index of each row.
    positions
        Rows of the trace, ascending, int32 ``[P]``.
    ids, logprobs
        The likeliest tokens, best first, and their log-probabilities in nats, int32 and float32
        ``[L, P, k]``.
    target_ids
        Ids of the tokens that are followed, int32 ``[P, n]``: first the last layer's own choice at that
        position, then those that were asked for, the same everywhere.
    ranks, target_logprobs
        How many tokens are likelier than each (0: it is the first), and its log-probability in nats, int32
        and float32 ``[L, P, n]``.
    token_texts
        What each id that occurs looks like.
    """

    layers: tuple[int, ...]
    positions: Array = field(repr=False)
    ids: Array = field(repr=False)
    logprobs: Array = field(repr=False)
    target_ids: Array = field(repr=False)
    ranks: Array = field(repr=False)
    target_logprobs: Array = field(repr=False)
    token_texts: Mapping[int, str] = field(repr=False)

    def __post_init__(self) -> None:
        rows, places = len(self.layers), len(self.positions)
        n = self.target_ids.shape[1] if self.target_ids.ndim == 2 else -1
        shapes = {
            "ids": (rows, places, self.top), "logprobs": (rows, places, self.top), "target_ids": (places, n),
            "ranks": (rows, places, n), "target_logprobs": (rows, places, n),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadTrace(f"The lens's {name} has shape {getattr(self, name).shape}.", hint=_AGAIN)
        if n < 1 or self.positions.ndim != 1 or not (np.diff(self.positions) > 0).all():
            raise BadTrace("The lens's positions do not ascend, or it follows no token.", hint=_AGAIN)
        for name in ("logprobs", "target_logprobs"):
            if not (getattr(self, name) <= 1e-3).all():  # written so that NaN is refused too
                raise BadTrace(f"The lens's {name} are not all log-probabilities.", hint=_AGAIN)
        if (np.diff(self.logprobs, axis=2) > 1e-5).any() or (self.ranks < 0).any():
            raise BadTrace("The lens's tokens are not ordered by their probability.", hint=_AGAIN)
        missing = {*np.unique(self.ids).tolist(), *np.unique(self.target_ids).tolist()} - set(self.token_texts)
        if missing:
            raise BadTrace(f"The lens does not say what token {min(missing)} looks like.", hint=_AGAIN)

    @property
    def top(self) -> int:
        """How many of the likeliest tokens were kept."""
        return int(self.ids.shape[-1]) if self.ids.ndim == 3 else -1

    @property
    def targets(self) -> tuple[int, ...]:
        """Ids of the targets that were asked for."""
        return tuple(self.target_ids[0, 1:].tolist()) if len(self.positions) else ()

    def __len__(self) -> int:
        return len(self.positions)

    def index(self, position: int) -> int:
        """Return which of the positions a row of the trace is.

        Raises
        ------
        LabError
            If it was not looked at.
        """
        found = int(np.searchsorted(self.positions, position))
        if found == len(self.positions) or self.positions[found] != position:
            raise LabError(
                f"The lens did not look at token {position:,}.",
                hint="Trace again with logit_lens=[…]; lens.positions says where it looked.",
            )
        return found

    def rank(self, target: int | str | None = None) -> Array:
        """Return how many tokens each layer holds likelier than a target, int32 ``[L, P]``; 0: none.

        Parameters
        ----------
        target
            One of `targets`, as an id or as its text. None: what the last layer says at each position.

        Raises
        ------
        LabError
            If it was not followed.
        """
        return self.ranks[:, :, self._target(target)]

    def probability(self, target: int | str | None = None) -> Array:
        """Return the probability of a target in each layer, float32 ``[L, P]``; `target` as in `rank`."""
        values: Array = np.exp(self.target_logprobs[:, :, self._target(target)])
        return values

    def _target(self, target: int | str | None) -> int:
        if target is None:
            return 0
        for number, index in enumerate(self.targets, start=1):
            if target == index or (isinstance(target, str) and self.token_texts[index].strip() == target.strip()):
                return number
        known = ", ".join(repr(self.token_texts[index]) for index in self.targets) or "none"
        hint = f"It followed {known}; ask with targets=(…)."
        raise LabError(f"The lens did not follow {target!r}.", hint=hint)

    def stable_from_layer(self) -> Array:
        """Return from which layer on each position's last choice stays the first, int32 ``[P]``."""
        first = self.rank() == 0
        kept = np.flip(np.logical_and.accumulate(np.flip(first, axis=0), axis=0), axis=0)
        layers: Array = np.asarray(self.layers, dtype=np.int32)[kept.argmax(axis=0)]
        return layers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogitLens):
            return NotImplemented
        names = ("positions", "ids", "logprobs", "target_ids", "ranks", "target_logprobs")
        same = self.layers == other.layers and dict(self.token_texts) == dict(other.token_texts)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        followed = len(self.targets)
        more = f", {followed} target{'s' * (followed != 1)}" if followed else ""
        return f"Lens({len(self.layers)} layers × {len(self):,} positions, top {self.top}{more})"
