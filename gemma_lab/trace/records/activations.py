"""The residual stream at some tokens, as data, and putting it in the place of another run's.

No torch here: `gemma_lab.interventions.activation_patching` reads and writes it in a model.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadEdit, BadTrace
from ...interventions.parsing import short, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...lab import Lab

#: Values that an edit may hold: 16 MiB, so that it fits into the manifest of a trace file.
MOST_VALUES = 1 << 22
_HOW = "For example Patch(gl.activations(lab, prompt, layers=[3], positions=[12]), positions=[9])."
_FIELDS = {"model", "layers", "positions", "width", "values"}


@dataclass(frozen=True, eq=False, repr=False)
class Activations:
    """What some layers gave for some tokens: the residual stream after each layer.

    `activations` reads them from a model.

    Attributes
    ----------
    layers
        Layers of the model.
    positions
        Tokens of the prompt that they were read from, as rows of ``trace.tokens``.
    values
        float32 ``[layers, positions, width]``, as the next layer reads them (for Gemma 4 after the layer's
        scalar). Exact for weights in float32, bfloat16 and float16.
    model
        What the model is called.

    Raises
    ------
    BadEdit
        If the parts do not fit together, or a value is not finite.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    values: NDArray[np.float32]
    model: str = "model"

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim != 3 or values.shape[:2] != (len(self.layers), len(self.positions)):
            raise BadEdit(
                f"Activations of {len(self.layers)} layers and {len(self.positions)} positions have "
                f"the shape {list(values.shape)}.",
                hint="gl.activations makes them.",
            )
        for listed, what in ((self.layers, "layer"), (self.positions, "position")):
            if len(set(listed)) != len(listed) or not listed:
                raise BadEdit(f"Activations name no {what}, or one twice: {short(listed)}.", hint=_HOW)
        if not np.isfinite(values).all():
            raise BadEdit("Activations hold values that are not finite.", hint="Read them again.")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.values.shape[2])

    def at(
        self, *, layers: Iterable[int] | None = None, positions: Iterable[int] | None = None
    ) -> Activations:
        """Return those of some layers and positions, in the order given.

        Raises
        ------
        BadEdit
            If they are not among them.
        """
        rows = _places(self.layers, layers, "layer")
        columns = _places(self.positions, positions, "position")
        return Activations(
            tuple(self.layers[row] for row in rows),
            tuple(self.positions[column] for column in columns),
            self.values[np.ix_(rows, columns)],
            self.model,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold; the numbers as base64 of little-endian float32."""
        raw = self.values.astype("<f4").tobytes()
        return {
            "model": self.model, "layers": list(self.layers), "positions": list(self.positions),
            "width": self.width, "values": base64.b64encode(raw).decode("ascii"),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Activations:
        """Return those of which `to_dict` gave these values.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        if not isinstance(data, Mapping) or set(data) != _FIELDS:
            raise BadEdit(f"Activations cannot be read from {short(data)}.", hint=_HOW)
        layers, positions = _indices(data["layers"], "a layer"), _indices(data["positions"], "a token")
        width = whole(data["width"], "a width", "patch", hint=_HOW)
        try:
            raw = base64.b64decode(data["values"], validate=True)
        except (TypeError, ValueError) as error:
            raise BadEdit("The values of activations are no base64.", hint=_HOW) from error
        if not isinstance(data["model"], str) or len(raw) != 4 * len(layers) * len(positions) * width:
            raise BadEdit(
                f"Activations of {len(layers)} layers, {len(positions)} positions and width {width:,} hold "
                f"{len(raw):,} bytes.",
                hint="Save them again.",
            )
        values = np.frombuffer(raw, dtype="<f4").reshape(len(layers), len(positions), width)
        return cls(layers, positions, values, data["model"])

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
        return self.model, self.layers, self.positions, self.values.shape, self.digest

    def __repr__(self) -> str:
        model = " ".join(self.model.split())
        return (
            f"Activations({model}: {len(self.layers)} layers × {len(self.positions)} positions × "
            f"{self.width:,})"
        )


@dataclass(frozen=True, init=False)
class Patch:
    """Activations of one run, to stand in the place of another run's at some tokens.

    Parameters
    ----------
    source
        From `activations`.
    layers
        Which of its layers; all by default. What layer 3 gave is what layer 3 will give.
    positions
        The tokens of the run that is changed, one a position of `source`, as rows of ``trace.tokens``; the
        same ones as in the source by default.

    Raises
    ------
    BadEdit
        If there are not as many positions, or one is given twice.

    Notes
    -----
    Activation patching: Vig et al. 2020 (arXiv:2004.12265), Meng et al. 2022 (arXiv:2202.05262), where it is
    called causal tracing.
    """

    source: Activations
    positions: tuple[int, ...]

    def __init__(
        self, source: Activations, *, layers: Iterable[int] | None = None,
        positions: Iterable[int] | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(source, Activations):
            raise BadEdit(f"A patch is made of {short(source)}; it takes activations.", hint=_HOW)
        found = source.positions if positions is None else _indices(positions, "a token")
        if len(found) != len(source.positions) or len(set(found)) != len(found):
            raise BadEdit(
                f"A patch of {len(source.positions)} positions goes to {short(list(found))}.",
                hint="Give as many different positions as the source has; source.at(positions=…) has fewer.",
            )
        object.__setattr__(self, "source", source if layers is None else source.at(layers=layers))
        object.__setattr__(self, "positions", found)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose output it replaces."""
        return self.source.layers

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        return {"source": self.source.to_dict(), "positions": list(self.positions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Patch:
        """Return the patch of which `to_dict` gave these values.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        if not isinstance(data, Mapping) or set(data) != {"source", "positions"}:
            raise BadEdit(f"A patch cannot be read from {short(data)}.", hint=_HOW)
        return cls(Activations.from_dict(data["source"]), positions=data["positions"])

    def __repr__(self) -> str:
        return f"Patch({self.source!r}, positions={_brief(self.positions)})"


def activations(
    lab: Lab,
    prompt: str | list[dict[str, Any]],
    *,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    **asking: Any,
) -> Activations:
    """Read a prompt and keep what some layers gave at some tokens.

    Parameters
    ----------
    lab
        The loaded model.
    prompt
        As for `Lab.trace`.
    layers
        Layers of the decoder; all by default.
    positions
        Tokens of the prompt, as rows of ``trace.tokens``; negative ones count from its end. All by default.
    **asking
        ``images``, ``video``, ``audio``, ``max_soft_tokens``, ``system``, ``previous`` and ``thinking``, as for
        `Lab.trace`.

    Returns
    -------
    Activations
        Under the edits that are in force.

    Raises
    ------
    BadEdit
        If the model has no such layer, the prompt no such token, or there would be more values than an edit
        may hold.
    """
    from ...interventions.activation_patching import read_activations

    return read_activations(lab, prompt, layers=layers, positions=positions, asking=asking)


def patches(given: Patch | Activations | Iterable[Patch]) -> tuple[Patch, ...]:
    """Read one patch or several, in their order: where two write the same place, the last one stands.

    Raises
    ------
    BadEdit
        If it is anything else, or holds too much.
    """
    listed: Any = [given] if isinstance(given, Patch | Activations) else given
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise BadEdit(f"patch is {short(listed)}.", hint=_HOW)
    found: list[Patch] = []
    for part in listed:
        if not isinstance(part, Patch | Activations):
            raise BadEdit(f"patch has {short(part)}; it takes patches.", hint=_HOW)
        found.append(Patch(part) if isinstance(part, Activations) else part)
    kept = tuple(dict.fromkeys(reversed(found)))[::-1]
    size = sum(part.source.values.size for part in kept)
    if size > MOST_VALUES:
        raise BadEdit(
            f"The patches hold {size:,} values; an edit holds at most {MOST_VALUES:,}.",
            hint="Patch fewer layers or positions.",
        )
    return kept


def wanted(given: Iterable[int] | None, *, count: int, what: str) -> tuple[int, ...]:
    """Return indices below `count`, negative ones from the end, each once; all if none are given.

    Raises
    ------
    BadEdit
        If there is no such index, or none at all.
    """
    if given is None:
        return tuple(range(count))
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise BadEdit(f"{what}s is {short(given)}.", hint=_HOW)
    listed = [int(index) for index in given]
    for index in listed:
        if not -count <= index < count:
            raise BadEdit(f"There is no {what} {index:,}.", hint=f"There are {what}s 0 to {count - 1:,}.")
    found = tuple(dict.fromkeys(index % count for index in listed))
    if not found:
        raise BadEdit(f"No {what} was asked for.", hint=_HOW)
    return found


def unread(found: int, asked: int) -> BadTrace:
    """Return the error of activations that a run did not pass through."""
    return BadTrace(
        f"{found:,} of {asked:,} activations were read.",
        hint="The model was stopped, or another run came between: read them again.",
    )


def _places(have: tuple[int, ...], want: Iterable[int] | None, what: str) -> list[int]:
    if want is None:
        return list(range(len(have)))
    listed = list(want)
    missing = [index for index in listed if index not in have]
    if missing:
        raise BadEdit(
            f"The activations have no {what} {short(missing[0])}.", hint=f"They have {_brief(have)}."
        )
    return [have.index(index) for index in listed]


def _indices(given: Any, what: str) -> tuple[int, ...]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise BadEdit(f"A patch gives {short(given)} where it takes several of {what}.", hint=_HOW)
    return tuple(whole(index, what, "patch", hint=_HOW) for index in given)


def _brief(numbers: tuple[int, ...]) -> str:
    listed = list(numbers)
    return str(listed) if len(listed) <= 8 else f"[{listed[0]} … {listed[-1]}: {len(listed)}]"
