"""An attention knockout as a value: keys that queries cannot attend to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ...checks import as_index, short_repr
from ...errors import BadEdit

HOW = (
    "For example AttentionKnockout(queries=(30, None), keys=(4, 20)): from token 30 on, no query attends to "
    "tokens 4 to 19."
)


class HasBounds(Protocol):
    """An object with a start and a stop: a slice, a range, a `gemma_lab.models.tokens.table.Run`."""

    @property
    def start(self) -> Any:
        """The first token."""

    @property
    def stop(self) -> Any:
        """The token after the last."""


Span = tuple[int, int | None]
SpanLike = tuple[int, int | None] | list[int | None] | HasBounds


@dataclass(frozen=True, init=False)
class AttentionKnockout:
    """An attention knockout: queries of one span cannot attend to keys of another (Geva et al. 2023).

    The scores of the keys are masked before the softmax, so the weights of the other keys keep their
    proportions (arXiv:2304.14767). Information about the keys' tokens may still reach the queries through
    tokens in between, unless a knockout hides the keys from those, too.

    Parameters
    ----------
    queries, keys
        Positions of tokens, i.e. rows of ``trace.tokens``: ``(start, stop)``, `stop` exclusive, or None for
        every token from `start` on; or a slice, a range, a run of a token table.
    layers
        Layers in which it applies; all by default.
    heads
        Query heads to which it applies; all by default.

    Raises
    ------
    BadEdit
        If an argument is not a valid span, layer or head.

    Examples
    --------
    >>> AttentionKnockout(queries=(30, None), keys=slice(4, 20), layers=[5])
    AttentionKnockout(queries=(30, None), keys=(4, 20), layers=(5,))
    """

    queries: Span
    keys: Span
    layers: tuple[int, ...] | None
    heads: tuple[int, ...] | None

    def __init__(
        self,
        *,
        queries: SpanLike,
        keys: SpanLike,
        layers: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
    ) -> None:
        fields = {
            "queries": as_span("queries", queries),
            "keys": as_span("keys", keys),
            "layers": _numbers("a layer", layers),
            "heads": _numbers("a head", heads),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def applies_to(self, layer: int) -> bool:
        """Return whether the knockout applies to a layer."""
        return self.layers is None or layer in self.layers

    def to_dict(self) -> dict[str, Any]:
        """Return the knockout as JSON values."""
        fields: dict[str, Any] = {"queries": list(self.queries), "keys": list(self.keys)}
        for name in ("layers", "heads"):
            indices = getattr(self, name)
            if indices is not None:
                fields[name] = list(indices)
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AttentionKnockout:
        """Return the knockout that `to_dict` converted to these values.

        Raises
        ------
        BadEdit
            If the values are not those of a knockout.
        """
        known = {"queries", "keys", "layers", "heads"}
        if not isinstance(data, Mapping) or not {"queries", "keys"} <= set(data) <= known:
            raise BadEdit(f"An attention knockout cannot be read from {short_repr(data)}.", hint=HOW)
        return cls(**data)

    def __repr__(self) -> str:
        parts = [f"{name}={value}" for name, value in vars(self).items() if value is not None]
        return f"AttentionKnockout({', '.join(parts)})"


def as_knockouts(value: AttentionKnockout | Iterable[AttentionKnockout]) -> tuple[AttentionKnockout, ...]:
    """Return one knockout or several as a tuple without repetitions, in a fixed order.

    Raises
    ------
    BadEdit
        If the value is anything else.
    """
    listed = [value] if isinstance(value, AttentionKnockout) else value
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise BadEdit(f"knock_out_attention is {short_repr(value)}.", hint=HOW)
    knockouts = list(listed)
    for knockout in knockouts:
        if not isinstance(knockout, AttentionKnockout):
            raise BadEdit(
                f"knock_out_attention has {short_repr(knockout)}; it takes AttentionKnockout objects.",
                hint=HOW,
            )
    return tuple(sorted(set(knockouts), key=repr))


def format_span(span: Span) -> str:
    """Format a span: ``"30 to 41"`` (the last token included), ``"30 on"``."""
    start, stop = span
    if stop is None:
        return f"{start:,} on"
    return f"{start:,}" if stop == start + 1 else f"{start:,} to {stop - 1:,}"


def as_span(
    name: str,
    value: Any,
    *,
    of: str = "an attention knockout",
    argument: str = "knock_out_attention",
    hint: str = HOW,
) -> Span:
    """Parse a span of tokens: ``(start, stop)`` with a `stop` of None for all that follow, a slice or range.

    Raises
    ------
    BadEdit
        If it is anything else, or holds no token; the message names it as `name` of what `of` says.
    """
    if isinstance(value, tuple | list) and len(value) == 2:
        start, stop = value
    elif hasattr(value, "start") and hasattr(value, "stop") and getattr(value, "step", None) in (None, 1):
        start, stop = value.start, value.stop
    else:
        raise BadEdit(f"{name} of {of} is {short_repr(value)}, not (start, stop).", hint=hint)
    first = 0 if start is None else as_index(start, "a token", argument, hint=hint)
    last = None if stop is None else as_index(stop, "a token", argument, hint=hint)
    if last is not None and last <= first:
        raise BadEdit(f"{name} of {of} is {short_repr(value)}: it has no token.", hint=hint)
    return first, last


def _numbers(what: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    plural = f"{what[2:]}s"
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise BadEdit(f"An attention knockout has {plural}={short_repr(value)}.", hint=HOW)
    indices = tuple(sorted({as_index(index, what, "knock_out_attention", hint=HOW) for index in value}))
    if not indices:
        raise BadEdit(f"An attention knockout has no {plural}.", hint=f"Leave out {plural}= for all of them.")
    return indices
