"""An activation patch as a value: activations of one run, written in place of another run's.

No torch here: `gemma_lab.trace.interventions.activation_patching` writes patches into a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...checks import short_repr
from ...errors import BadEdit
from ..records.activations import HOW, MAX_VALUES, Activations, as_indices, brief


@dataclass(frozen=True, init=False)
class Patch:
    """Activations of one run that replace those of another run at some tokens.

    Parameters
    ----------
    source
        From `activations`.
    layers
        Which of its layers to write; all by default. The output of layer 3 replaces the output of layer 3.
    positions
        The tokens of the changed run, i.e. rows of its ``trace.tokens``, one per position of `source`; by
        default the same positions.

    Raises
    ------
    BadEdit
        If their number differs from the source's, or a position is given twice.

    Notes
    -----
    Activation patching: Vig et al. 2020 (arXiv:2004.12265), Meng et al. 2022 (arXiv:2202.05262), where it is
    called causal tracing.
    """

    source: Activations
    positions: tuple[int, ...]

    def __init__(
        self,
        source: Activations,
        *,
        layers: Iterable[int] | None = None,
        positions: Iterable[int] | None = None,
    ) -> None:
        if not isinstance(source, Activations):
            raise BadEdit(f"A patch is made of {short_repr(source)}; it takes activations.", hint=HOW)
        found = source.positions if positions is None else as_indices(positions, "a token")
        if len(found) != len(source.positions) or len(set(found)) != len(found):
            raise BadEdit(
                f"A patch of {len(source.positions)} positions goes to {short_repr(list(found))}.",
                hint="Give as many different positions as the source has; source.at(positions=…) has fewer.",
            )
        object.__setattr__(self, "source", source if layers is None else source.at(layers=layers))
        object.__setattr__(self, "positions", found)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers whose output is replaced."""
        return self.source.layers

    def to_dict(self) -> dict[str, Any]:
        """Return the patch as JSON values."""
        return {"source": self.source.to_dict(), "positions": list(self.positions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Patch:
        """Return the patch that `to_dict` converted to these values.

        Raises
        ------
        BadEdit
            If the values are not those of a patch.
        """
        if not isinstance(data, Mapping) or set(data) != {"source", "positions"}:
            raise BadEdit(f"A patch cannot be read from {short_repr(data)}.", hint=HOW)
        return cls(Activations.from_dict(data["source"]), positions=data["positions"])

    def __repr__(self) -> str:
        return f"Patch({self.source!r}, positions={brief(self.positions)})"


def as_patches(value: Patch | Activations | Iterable[Patch]) -> tuple[Patch, ...]:
    """Return one patch or several as a tuple, in their order: the last one to write a token is used.

    Raises
    ------
    BadEdit
        If the value is anything else, or holds more than `MAX_VALUES` numbers.
    """
    listed: Any = [value] if isinstance(value, Patch | Activations) else value
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise BadEdit(f"patch is {short_repr(listed)}.", hint=HOW)
    found: list[Patch] = []
    for part in listed:
        if not isinstance(part, Patch | Activations):
            raise BadEdit(f"patch has {short_repr(part)}; it takes patches.", hint=HOW)
        found.append(Patch(part) if isinstance(part, Activations) else part)
    kept = tuple(dict.fromkeys(reversed(found)))[::-1]
    size = sum(part.source.values.size for part in kept)
    if size > MAX_VALUES:
        raise BadEdit(
            f"The patches hold {size:,} values; an edit holds at most {MAX_VALUES:,}.",
            hint="Patch fewer layers or positions.",
        )
    return kept
