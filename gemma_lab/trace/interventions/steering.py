"""Steering as a value: a direction that is added to the residual stream, times a strength.

No torch here: `gemma_lab.trace.interventions.activation_addition` adds it in a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...checks import real_number, short_repr
from ...errors import BadEdit, LabError
from ..records.activations import MAX_VALUES
from .attention_knockout import Span, SpanLike, as_span
from .direction import Direction

HOW = "For example Steering(direction, strength=2), with direction from lab.direction(…)."
#: Strength beyond which nothing of a residual stream is left.
_MAX_STRENGTH = 1e6


@dataclass(frozen=True, init=False)
class Steering:
    """A direction that is added to the residual stream at every token, times a strength.

    Activation addition: Turner et al. 2023 (arXiv:2308.10248); with mean differences of contrasting prompts:
    Panickssery et al. 2023 (arXiv:2312.06681).

    Parameters
    ----------
    direction
        The direction, e.g. from `Lab.direction`.
    strength
        Factor of its vectors; negative ones steer the other way, 0 changes nothing, bit for bit.
    layers
        After which of its layers; all of them by default.
    tokens
        Which tokens: ``(start, stop)``, `stop` exclusive, or None for every token from `start` on, as rows of
        ``trace.tokens``; or a slice or range. Every token by default, generated ones included.

    Raises
    ------
    BadEdit
        If an argument is of another form, or the direction has no such layer.
    """

    direction: Direction
    strength: float
    tokens: Span | None

    def __init__(
        self,
        direction: Direction,
        strength: float = 1.0,
        *,
        layers: Iterable[int] | None = None,
        tokens: SpanLike | None = None,
    ) -> None:
        if not isinstance(direction, Direction):
            raise BadEdit(f"Steering is along {short_repr(direction)}; it takes a direction.", hint=HOW)
        try:
            factor = real_number("strength", strength, minimum=-_MAX_STRENGTH, maximum=_MAX_STRENGTH)
        except BadEdit:
            raise
        except LabError as error:
            raise BadEdit(error.what, hint=HOW) from error
        object.__setattr__(self, "direction", direction if layers is None else direction.at(layers))
        object.__setattr__(self, "strength", factor + 0.0)  # −0.0 is 0.0
        span = (
            None if tokens is None else as_span("tokens", tokens, of="steering", argument="steer", hint=HOW)
        )
        object.__setattr__(self, "tokens", None if span == (0, None) else span)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers after which the direction is added."""
        return self.direction.layers

    def to_dict(self) -> dict[str, Any]:
        """Return the steering as JSON values."""
        return {
            "direction": self.direction.to_dict(),
            "strength": self.strength,
            "tokens": None if self.tokens is None else list(self.tokens),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Steering:
        """Return the steering that `to_dict` converted to these values.

        Raises
        ------
        BadEdit
            If the values are not those of a steering.
        """
        if not isinstance(data, Mapping) or set(data) != {"direction", "strength", "tokens"}:
            raise BadEdit(f"Steering cannot be read from {short_repr(data)}.", hint=HOW)
        return cls(Direction.from_dict(data["direction"]), data["strength"], tokens=data["tokens"])

    def __repr__(self) -> str:
        tokens = "" if self.tokens is None else f", tokens={self.tokens}"
        return f"Steering({self.direction!r}, strength={self.strength:g}{tokens})"


def as_steerings(value: Steering | Direction | Iterable[Steering | Direction]) -> tuple[Steering, ...]:
    """Return one steering or several as a tuple; of the same direction and tokens, the last strength is used.

    Raises
    ------
    BadEdit
        If the value is anything else, or holds more numbers than an edit can.
    """
    listed: Any = [value] if isinstance(value, Steering | Direction) else value
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise BadEdit(f"steer is {short_repr(listed)}.", hint=HOW)
    found: dict[Any, Steering] = {}
    for part in listed:
        if not isinstance(part, Steering | Direction):
            raise BadEdit(f"steer has {short_repr(part)}; it takes steerings.", hint=HOW)
        steering = Steering(part) if isinstance(part, Direction) else part
        found[steering.direction, steering.tokens] = steering
    size = sum(part.direction.vectors.size for part in found.values())
    if size > MAX_VALUES:
        raise BadEdit(
            f"The directions hold {size:,} values; an edit holds at most {MAX_VALUES:,}.",
            hint="Steer fewer layers.",
        )
    return tuple(found.values())
