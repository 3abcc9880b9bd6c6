"""A cut of the attention as a value: which tokens may no longer look at which."""

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


class Stretch(Protocol):
    """Whatever has a start and a stop: a slice, a range, a `gemma_lab.models.tokens.table.Run`."""

    @property
    def start(self) -> Any:
        """The first of its tokens."""

    @property
    def stop(self) -> Any:
        """The one after the last."""


Span = tuple[int, int | None]
Spanned = tuple[int, int | None] | list[int | None] | Stretch


@dataclass(frozen=True, init=False)
class AttentionKnockout:
    """Attention that is taken away: queries of one span may not look at keys of another.

    The scores of what is cut are masked before the softmax, so the rest of a row shares the attention in the
    proportions that it had. What the keys' tokens hold may still arrive by way of tokens in between, unless
    those are cut off from them too.

    Parameters
    ----------
    queries, keys
        Positions of tokens, as the rows of ``trace.tokens``: ``(start, stop)``, `stop` exclusive, None for
        everything that is read and written from `start` on; or a slice, a range, a run of a token table.
    layers
        Layers of the model in which it holds; all by default.
    heads
        Query heads for which it holds; all by default.

    Raises
    ------
    BadEdit
        If something is no span, layer or head.

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
        self, *, queries: Spanned, keys: Spanned, layers: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
    ) -> None:  # fmt: skip
        found = {
            "queries": _span("queries", queries),
            "keys": _span("keys", keys),
            "layers": _numbers("a layer", layers),
            "heads": _numbers("a head", heads),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def holds_in(self, layer: int) -> bool:
        """Return whether it cuts anything in a layer."""
        return self.layers is None or layer in self.layers

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        told: dict[str, Any] = {"queries": list(self.queries), "keys": list(self.keys)}
        for name in ("layers", "heads"):
            listed = getattr(self, name)
            if listed is not None:
                told[name] = list(listed)
        return told

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AttentionKnockout:
        """Return the cut of which `to_dict` gave these values.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        known = {"queries", "keys", "layers", "heads"}
        if not isinstance(data, Mapping) or not {"queries", "keys"} <= set(data) <= known:
            raise BadEdit(f"A cut cannot be read from {short_repr(data)}.", hint=HOW)
        return cls(**data)

    def __repr__(self) -> str:
        parts = [f"{name}={value}" for name, value in vars(self).items() if value is not None]
        return f"AttentionKnockout({', '.join(parts)})"


def cuts(given: AttentionKnockout | Iterable[AttentionKnockout]) -> tuple[AttentionKnockout, ...]:
    """Read one cut or several; each once, in a fixed order.

    Raises
    ------
    BadEdit
        If it is anything else.
    """
    listed = [given] if isinstance(given, AttentionKnockout) else given
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise BadEdit(f"knock_out_attention is {short_repr(given)}.", hint=HOW)
    found = list(listed)
    for cut in found:
        if not isinstance(cut, AttentionKnockout):
            raise BadEdit(f"knock_out_attention has {short_repr(cut)}; it takes cuts.", hint=HOW)
    return tuple(sorted(set(found), key=repr))


def said(span: Span) -> str:
    """Return a span in words: ``"30 to 41"`` (the last one included), ``"30 on"``."""
    start, stop = span
    if stop is None:
        return f"{start:,} on"
    return f"{start:,}" if stop == start + 1 else f"{start:,} to {stop - 1:,}"


def _span(name: str, given: Any) -> Span:
    if isinstance(given, tuple | list) and len(given) == 2:
        start, stop = given
    elif hasattr(given, "start") and hasattr(given, "stop") and getattr(given, "step", None) in (None, 1):
        start, stop = given.start, given.stop
    else:
        raise BadEdit(f"{name} of a cut is {short_repr(given)}; it is (start, stop).", hint=HOW)
    first = 0 if start is None else as_index(start, "a token", "knock_out_attention", hint=HOW)
    last = None if stop is None else as_index(stop, "a token", "knock_out_attention", hint=HOW)
    if last is not None and last <= first:
        raise BadEdit(f"{name} of a cut is {short_repr(given)}: there is no token in it.", hint=HOW)
    return first, last


def _numbers(what: str, given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise BadEdit(f"A cut gives {short_repr(given)} where it takes {what[2:]}s.", hint=HOW)
    listed = tuple(sorted({as_index(value, what, "knock_out_attention", hint=HOW) for value in given}))
    if not listed:
        raise BadEdit(f"A cut names no {what[2:]} at all.", hint=f"Leave out {what[2:]}s= for all of them.")
    return listed
