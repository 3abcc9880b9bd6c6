"""Direct logit attribution: how much each component of a model writes into a logit, as data without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import whole_number
from ...display import Displayed
from ...errors import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What writes into the residual stream.
ComponentKind = Literal["embedding", "head", "mlp", "expert", "per-layer input"]


@dataclass(frozen=True)
class LogitComponent:
    """One component of a model, with what it writes into a logit.

    Attributes
    ----------
    kind
        ``"embedding"``, ``"head"``, ``"mlp"`` (the dense branch), ``"expert"`` or ``"per-layer input"``.
    layer
        The model's layer; −1 for the embedding.
    index
        Number of the head or expert; −1 for the others.
    logit
        Its share of the logit before the soft cap.
    """

    kind: ComponentKind
    layer: int
    index: int
    logit: float

    @property
    def label(self) -> str:
        """The component in words: ``"layer 5, head 3"``."""
        if self.layer < 0:
            return self.kind
        return f"layer {self.layer}, {self.kind}{'' if self.index < 0 else f' {self.index}'}"


@dataclass(frozen=True, eq=False)
class LogitAttribution(Displayed):
    """The logit of a token, or the difference of two, split over what writes to the residual stream.

    Attributes
    ----------
    model
        Name of the model.
    token_id, token
        The token whose logit it is, and its text.
    against_id, against
        The token whose logit is subtracted, or None.
    position
        The token of the prompt after which it is predicted.
    components
        Every component, in the order of the model. Together with `rounding` they sum to `before_cap`.
    before_cap
        The logit before the soft cap.
    logit
        The logit that the model returns, soft cap applied.
    cap
        The soft cap; None if the model has none.
    rounding
        What the model's own rounding leaves between the sum of the components and `before_cap`.

    Notes
    -----
    Direct effects only: a component is credited with what it writes itself, at this token, not with what
    later layers make of it. The scale of every norm is that of the run, so each share is exact and linear
    (Elhage et al. 2021, transformer-circuits.pub; nostalgebraist 2020). For effects through later layers,
    see `gemma_lab.Lab.causal_map`.
    """

    model: str
    token_id: int
    token: str
    against_id: int | None
    against: str | None
    position: int
    components: tuple[LogitComponent, ...]
    before_cap: float
    logit: float
    cap: float | None
    rounding: float

    @property
    def cap_step(self) -> float:
        """What the soft cap changes: `logit` minus `before_cap`."""
        return self.logit - self.before_cap

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the model."""
        return tuple(sorted({each.layer for each in self.components if each.layer >= 0}))

    def totals(self) -> dict[ComponentKind, float]:
        """Return the sum of each kind of component."""
        found: dict[ComponentKind, float] = {}
        for each in self.components:
            found[each.kind] = found.get(each.kind, 0.0) + each.logit
        return found

    def by_layer(self, kind: ComponentKind) -> NDArray[np.float64]:
        """Return the sum of the components of a kind in each layer, ``[layers]``.

        Raises
        ------
        LabError
            If the model has no such component in a layer.
        """
        known = [name for name in self.totals() if name != "embedding"]
        if kind not in known:
            raise LabError(
                f"There is no {kind!r} by layer.", hint=f"There are {', '.join(map(repr, known))}."
            )
        sums = np.zeros(len(self.layers))
        for each in self.components:
            if each.kind == kind:
                sums[self.layers.index(each.layer)] += each.logit
        return sums

    def heads(self) -> NDArray[np.float64]:
        """Return the share of every query head, ``[layers, heads]``; NaN where a layer has fewer."""
        found = [each for each in self.components if each.kind == "head"]
        shares = np.full((len(self.layers), max((each.index for each in found), default=-1) + 1), np.nan)
        for each in found:
            shares[self.layers.index(each.layer), each.index] = each.logit
        return shares

    def top(self, count: int = 10) -> tuple[LogitComponent, ...]:
        """Return the components with the largest shares of either sign, largest first."""
        count = whole_number("count", count, minimum=1)
        return tuple(sorted(self.components, key=lambda each: -abs(each.logit))[:count])

    def to_pandas(self) -> Any:
        """Return one row per component, and for rounding and the soft cap; they sum to `logit`.

        Columns are kind, layer, index and logit.
        """
        import pandas as pd

        rows: list[tuple[str, int, int, float]] = [
            (each.kind, each.layer, each.index, each.logit) for each in self.components
        ]
        rows += [("rounding", -1, -1, self.rounding), ("soft cap", -1, -1, self.cap_step)]
        return pd.DataFrame(rows, columns=["kind", "layer", "index", "logit"])

    @property
    def name(self) -> str:
        """What was split: ``"logit of 'a'"`` or ``"logit of 'a' minus 'b'"``."""
        minus = "" if self.against is None else f" minus {self.against!r}"
        return f"logit of {self.token!r}{minus}"

    def __repr__(self) -> str:
        best = ", ".join(f"{each.label} {each.logit:+.2f}" for each in self.top(3))
        return (
            f"LogitAttribution({self.model}, {self.name} {self.logit:.2f} ({self.before_cap:.2f} before the "
            f"cap): {len(self.components)} components, {best})"
        )
