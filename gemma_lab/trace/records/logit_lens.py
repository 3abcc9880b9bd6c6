"""Logit lens: the likeliest tokens of every layer at chosen positions, and tokens followed in all layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ...checks import has_surrogate, members, short_repr, whole_number
from ...display import Displayed
from ...errors import BadTrace, LabError, NotTraced

Array = np.ndarray[Any, np.dtype[Any]]

_TRACE_AGAIN = "Trace again, or open another file."
MAX_TOP = 64
MAX_TARGETS = 64

LensKind = Literal["logit", "jacobian"]
#: What each kind is called in views.
LENS_NAMES: dict[str, str] = {"logit": "Logit lens", "jacobian": "Jacobian lens"}


@dataclass(frozen=True)
class LogitLensRequest:
    """Where to compute the logit lens, and how much of it to record.

    Attributes
    ----------
    positions
        Rows of the trace; negative ones count from the end of the prompt (−1 is its last token). None: the
        last 64 tokens of the prompt, and every generated token that the model reads.
    top
        How many of the likeliest tokens of each layer to record, 1 to 64.
    targets
        Tokens whose rank and probability to follow, as ids or as texts of one token each. The last layer's
        own first choice is always followed.
    kind
        ``"logit"``: each layer's output as it is; ``"jacobian"``: multiplied by the mean Jacobian of the
        final residual stream (`gemma_lab.JacobianLens`), which must have been fitted on the model's weights.

    Raises
    ------
    LabError
        If a number is out of range, or there is no such kind.
    """

    positions: Sequence[int] | None = None
    top: int = 5
    targets: tuple[int | str, ...] = ()
    kind: LensKind = "logit"

    def __post_init__(self) -> None:
        if self.kind not in get_args(LensKind):
            raise LabError(
                f"There is no lens {short_repr(self.kind)}.", hint='kind="logit" or kind="jacobian".'
            )
        object.__setattr__(self, "top", whole_number("top", self.top, minimum=1, maximum=MAX_TOP))
        targets = members("targets", self.targets, example='targets=("7", "3")')
        if len(targets) > MAX_TARGETS:
            raise LabError(
                f"{len(targets)} targets are more than {MAX_TARGETS}.", hint="Follow fewer tokens."
            )
        if self.positions is not None:
            positions = tuple(
                whole_number("positions", one, minimum=-(1 << 30))
                for one in members("positions", self.positions, example="positions=range(-4, 0)")
            )
            object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "targets", targets)


@dataclass(frozen=True, eq=False)
class LogitLens(Displayed):
    """The next-token distribution of every layer at some positions: its output under final norm and head.

    L layers, P positions, k tokens, n targets. The final norm, the head and the soft cap of the logits are
    the model's own, so the last layer's distribution is that of the model. This is the logit lens
    (nostalgebraist, 2020), or, of kind ``"jacobian"``, the Jacobian lens, which multiplies a layer's output
    by the mean Jacobian of the last layer's first (`gemma_lab.JacobianLens`). Earlier layers were not
    trained to be decoded in either way, so their distributions are an interpretation.

    Attributes
    ----------
    layers
        The model's own index of each of the L layers.
    positions
        Rows of the trace, ascending, int32 ``[P]``.
    ids, logprobs
        The likeliest tokens, best first, and their log-probabilities in nats, int32 and float32
        ``[L, P, k]``.
    target_ids
        Ids of the followed tokens, int32 ``[P, n]``: first the last layer's own choice at that position, then
        the requested ones, the same everywhere.
    ranks, target_logprobs
        How many tokens are likelier than each target (0: it is the first), and its log-probability in nats,
        int32 and float32 ``[L, P, n]``.
    token_texts
        The text of each id that occurs.
    kind
        ``"logit"`` or ``"jacobian"``.
    """

    layers: tuple[int, ...]
    positions: Array = field(repr=False)
    ids: Array = field(repr=False)
    logprobs: Array = field(repr=False)
    target_ids: Array = field(repr=False)
    ranks: Array = field(repr=False)
    target_logprobs: Array = field(repr=False)
    token_texts: Mapping[int, str] = field(repr=False)
    kind: LensKind = "logit"

    def __post_init__(self) -> None:
        if self.kind not in get_args(LensKind):
            raise _bad(f"its kind is {short_repr(self.kind)}")
        self._check_shapes()
        positions = self.positions
        if (np.diff(positions) <= 0).any() or (positions < 0).any():
            raise _bad("its positions do not ascend from 0")
        if list(self.layers) != sorted(set(self.layers)) or min(self.layers, default=-1) < 0:
            raise _bad("its layers do not ascend from 0")
        for name in ("logprobs", "target_logprobs"):
            values = getattr(self, name)
            if not (np.isfinite(values).all() and (values <= 1e-3).all()):  # rounding of a probability of 1
                raise _bad(f"its {name} are not all finite log-probabilities")
        if (np.diff(self.logprobs, axis=2) > 1e-5).any() or (self.ranks < 0).any():
            raise _bad("its tokens are not ordered by their probability")
        ids = {*np.unique(self.ids).tolist(), *np.unique(self.target_ids).tolist()}
        if min(ids, default=0) < 0 or ids - set(self.token_texts):
            raise _bad(f"token {min(ids - set(self.token_texts), default=min(ids))} has no text")
        if any(map(has_surrogate, self.token_texts.values())):
            raise _bad("the text of a token has half a surrogate pair")

    def _check_shapes(self) -> None:
        layers, positions = len(self.layers), len(self.positions)
        n = self.target_ids.shape[1] if self.target_ids.ndim == 2 else 0
        shapes = {
            "positions": (positions,),
            "ids": (layers, positions, self.top),
            "logprobs": (layers, positions, self.top),
            "target_ids": (positions, n),
            "ranks": (layers, positions, n),
            "target_logprobs": (layers, positions, n),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise _bad(f"its {name} has shape {getattr(self, name).shape}")
        if not (1 <= n <= MAX_TARGETS + 1 and 1 <= self.top <= MAX_TOP):
            raise _bad(f"it has {self.top} tokens and {n} targets per position")

    @property
    def top(self) -> int:
        """How many of the likeliest tokens were recorded."""
        return int(self.ids.shape[-1]) if self.ids.ndim == 3 else -1

    @property
    def targets(self) -> tuple[int, ...]:
        """Ids of the requested targets."""
        return tuple(self.target_ids[0, 1:].tolist()) if len(self.positions) else ()

    def __len__(self) -> int:
        return len(self.positions)

    def index(self, position: int) -> int:
        """Return where a row of the trace lies among the recorded positions.

        Raises
        ------
        NotTraced
            If it was not recorded.
        """
        index = int(np.searchsorted(self.positions, position))
        if index == len(self.positions) or self.positions[index] != position:
            raise NotTraced(
                f"The logit lens was not recorded at token {position:,}.",
                hint="Trace again with logit_lens=[…]; trace.logit_lens.positions lists the recorded ones.",
            )
        return index

    def rank(self, target: int | str | None = None) -> Array:
        """Return how many tokens are likelier than a target in each layer, int32 ``[L, P]``; 0: none.

        Parameters
        ----------
        target
            One of `targets`, as an id or as its text. None: the last layer's first choice at each position.

        Raises
        ------
        NotTraced
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
        texts = [self.token_texts[index] for index in self.targets]
        for number, (index, text) in enumerate(zip(self.targets, texts, strict=True), start=1):
            if target == index or (isinstance(target, str) and text.strip() == target.strip()):
                return number
        raise NotTraced(
            f"The logit lens did not follow {target!r}.",
            hint=f"It followed {', '.join(map(repr, texts)) or 'none'}; LogitLensRequest(targets=…) chooses.",
        )

    def stable_from_layer(self) -> Array:
        """Return the layer from which on each position's final choice stays the first, int32 ``[P]``."""
        first = self.rank() == 0
        kept = np.flip(np.logical_and.accumulate(np.flip(first, axis=0), axis=0), axis=0)
        layers: Array = np.asarray(self.layers, dtype=np.int32)[kept.argmax(axis=0)]
        return layers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogitLens):
            return NotImplemented
        names = ("positions", "ids", "logprobs", "target_ids", "ranks", "target_logprobs")
        same = (self.kind, self.layers) == (other.kind, other.layers)
        same = same and dict(self.token_texts) == dict(other.token_texts)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        count = len(self.targets)
        more = f", {count} target{'s' * (count != 1)}" if count else ""
        kind = "" if self.kind == "logit" else f"{self.kind}, "
        return f"LogitLens({kind}{len(self.layers)} layers × {len(self):,} positions, top {self.top}{more})"


def _bad(what: str) -> BadTrace:
    return BadTrace(f"The logit lens is not sound: {what}.", hint=_TRACE_AGAIN)
