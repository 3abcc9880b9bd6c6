"""Activations: the residual stream of some layers at some tokens, as data without torch.

`gemma_lab.trace.interventions.activation_patching` reads and writes them in a model.
"""

from __future__ import annotations

import base64
import hashlib
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ...checks import as_index, short_repr
from ...errors import BadEdit, BadTrace

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values that an edit may hold: 16 MiB, so that it fits into the manifest of a trace file.
MAX_VALUES = 1 << 22
HOW = "For example Patch(lab.activations(prompt, layers=[3], positions=[12]), positions=[9])."
_FIELDS = {"model", "layers", "positions", "width", "values"}
#: Where in a layer: after it, or what its attention, its dense branch or the sum of its experts returns,
#: each before the norm that follows it.
Site = Literal["residual", "attention", "mlp", "experts"]


@dataclass(frozen=True, eq=False, repr=False)
class Activations:
    """Outputs of some layers, or of their branches, at some tokens of a prompt; see `Lab.activations`.

    Attributes
    ----------
    layers
        The model's own layer indices.
    positions
        Tokens of the prompt, as rows of ``trace.tokens``.
    values
        float32 ``[layers, positions, width]``, as the next layer reads them (for Gemma 4 after the layer's
        scalar). Exact for weights in float32, bfloat16 and float16.
    model
        Name of the model.
    site
        ``"residual"``: the residual stream after the layer. Or what one of its branches returns, before the
        norm that follows: ``"attention"``, ``"mlp"`` (the dense branch) or ``"experts"`` (their sum).

    Raises
    ------
    BadEdit
        If the parts do not fit together, or a value is not finite.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    values: NDArray[np.float32]
    model: str = "model"
    site: Site = "residual"

    def __post_init__(self) -> None:
        check_site(self.site)
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim != 3 or values.shape[:2] != (len(self.layers), len(self.positions)):
            raise BadEdit(
                f"Activations of {len(self.layers)} layers and {len(self.positions)} positions have "
                f"the shape {list(values.shape)}.",
                hint="lab.activations makes them.",
            )
        for listed, what in ((self.layers, "layer"), (self.positions, "position")):
            if len(set(listed)) != len(listed) or not listed:
                raise BadEdit(f"Activations have no {what}, or one twice: {short_repr(listed)}.", hint=HOW)
        if not np.isfinite(values).all():
            raise BadEdit("Activations hold values that are not finite.", hint="Read them again.")
        if np.may_share_memory(values, self.values):
            values = values.copy()  # the caller's array stays writable and cannot change this one
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.values.shape[2])

    def at(
        self, *, layers: Iterable[int] | None = None, positions: Iterable[int] | None = None
    ) -> Activations:
        """Return the activations of some layers and positions, in the order given.

        Raises
        ------
        BadEdit
            If they are not among them.
        """
        rows = _indices_of(self.layers, layers, "layer")
        columns = _indices_of(self.positions, positions, "position")
        return Activations(
            tuple(self.layers[row] for row in rows),
            tuple(self.positions[column] for column in columns),
            self.values[np.ix_(rows, columns)],
            self.model,
            self.site,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; the activations as base64 of little-endian float32."""
        raw = self.values.astype("<f4").tobytes()
        data = {
            "model": self.model,
            "layers": list(self.layers),
            "positions": list(self.positions),
            "width": self.width,
            "values": base64.b64encode(raw).decode("ascii"),
        }
        return data if self.site == "residual" else data | {"site": self.site}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Activations:
        """Return the activations that `to_dict` returned these values for.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        if not isinstance(data, Mapping) or set(data) - {"site"} != _FIELDS:
            raise BadEdit(f"Activations cannot be read from {short_repr(data)}.", hint=HOW)
        layers, positions = as_indices(data["layers"], "a layer"), as_indices(data["positions"], "a token")
        width = as_index(data["width"], "a width", "patch", hint=HOW)
        try:
            raw = base64.b64decode(data["values"], validate=True)
        except (TypeError, ValueError) as error:
            raise BadEdit("The values of activations are not base64.", hint=HOW) from error
        if not isinstance(data["model"], str) or len(raw) != 4 * len(layers) * len(positions) * width:
            raise BadEdit(
                f"Activations of {len(layers)} layers, {len(positions)} positions and width {width:,} hold "
                f"{len(raw):,} bytes.",
                hint="Save them again.",
            )
        values = np.frombuffer(raw, dtype="<f4").reshape(len(layers), len(positions), width)
        return cls(layers, positions, values, data["model"], data.get("site", "residual"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the values, as hexadecimal digits."""
        return hashlib.sha256(self.values.astype("<f4").tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activations) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.model, self.site, self.layers, self.positions, self.values.shape, self.digest

    def __repr__(self) -> str:
        model = " ".join(self.model.split())
        of = "" if self.site == "residual" else f"{self.site} of "
        return (
            f"Activations({model}: {of}{len(self.layers)} layers × {len(self.positions)} positions × "
            f"{self.width:,})"
        )


def check_site(site: Any) -> Site:
    """Return a site.

    Raises
    ------
    BadEdit
        If there is no such site.
    """
    if not isinstance(site, str) or site not in get_args(Site):
        raise BadEdit(
            f"There is no site {short_repr(site)} in a layer.",
            hint="It is " + ", ".join(f'"{each}"' for each in get_args(Site)) + ".",
        )
    return site  # type: ignore[return-value]


def select_indices(indices: Iterable[int] | None, *, count: int, what: str) -> tuple[int, ...]:
    """Return indices below `count`, negative ones from the end, each once; all if None.

    Raises
    ------
    BadEdit
        If an index does not exist, or there are none.
    """
    if indices is None:
        return tuple(range(count))
    if isinstance(indices, str | bytes) or not isinstance(indices, Iterable):
        raise BadEdit(f"{what}s is {short_repr(indices)}.", hint=HOW)
    listed = [_whole(index, what) for index in indices]
    for index in listed:
        if not -count <= index < count:
            raise BadEdit(f"There is no {what} {index:,}.", hint=f"There are {what}s 0 to {count - 1:,}.")
    found = tuple(dict.fromkeys(index % count for index in listed))
    if not found:
        raise BadEdit(f"No {what} was requested.", hint=HOW)
    return found


def _whole(index: Any, what: str) -> int:
    """Return an index of any integer type; a bool is refused: it comes from a mask."""
    try:
        number = None if isinstance(index, bool) else operator.index(index)
    except TypeError:
        number = None
    if number is None:
        raise BadEdit(
            f"{short_repr(index)} is no {what}; it takes whole numbers.",
            hint="Of a mask, pass np.flatnonzero(mask).",
        )
    return number


def unread(read: int, requested: int) -> BadTrace:
    """Return the error for a run that did not pass through all requested activations."""
    return BadTrace(
        f"{read:,} of {requested:,} activations were read.",
        hint="The model was stopped, or another run intervened: record them again.",
    )


def _indices_of(have: tuple[int, ...], want: Iterable[int] | None, what: str) -> list[int]:
    if want is None:
        return list(range(len(have)))
    listed = list(want)
    missing = [index for index in listed if index not in have]
    if missing:
        raise BadEdit(
            f"The activations have no {what} {short_repr(missing[0])}.", hint=f"They have {brief(have)}."
        )
    return [have.index(index) for index in listed]


def as_indices(value: Any, what: str, *, argument: str = "patch", hint: str = HOW) -> tuple[int, ...]:
    """Return an argument as a tuple of indices.

    Parameters
    ----------
    value
        Its value.
    what
        What an index counts, e.g. ``"a layer"``.
    argument, hint
        Of which edit, and how it is written, for the error.

    Raises
    ------
    BadEdit
        If it is not several integers from 0.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise BadEdit(f"{argument} gives {short_repr(value)} where it takes several of {what}.", hint=hint)
    return tuple(as_index(index, what, argument, hint=hint) for index in value)


def brief(numbers: tuple[int, ...]) -> str:
    """Return numbers for an error or a repr; more than eight as the first, the last and their count."""
    listed = list(numbers)
    return str(listed) if len(listed) <= 8 else f"[{listed[0]} … {listed[-1]}: {len(listed)}]"
