"""Compare published sizes with those computed from the configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from ..display import Displayed
from .architecture import get_architecture
from .memory import GIB, weight_bytes
from .parameters import count_parameters, stored
from .sources import Source, read_data, source


@dataclass(frozen=True)
class Claim:
    """A published figure and the same quantity computed here.

    Attributes
    ----------
    size
        One of the five sizes.
    quantity
        What was published, in words.
    published
        The figure as published, in `unit`.
    digits
        Decimals it was published with.
    counted
        The same quantity from the configuration, in `unit`, unrounded.
    unit
        ``"B"`` (10⁹ parameters), ``"numbers"`` or ``"GiB"``.
    how
        How it was counted.
    source
        Where it was published.
    """

    size: str
    quantity: str
    published: float
    digits: int
    counted: float
    unit: str
    how: str
    source: Source

    @property
    def difference(self) -> float:
        """Computed minus published, in `unit`."""
        return self.counted - self.published

    @property
    def percent(self) -> float:
        """The difference in per cent of the published figure."""
        return 100 * self.difference / self.published

    @property
    def reproduced(self) -> bool:
        """True if the count, rounded to the published decimals, is the published figure."""
        return round(self.counted, self.digits) == self.published

    def __repr__(self) -> str:
        verdict = "reproduced" if self.reproduced else f"{self.percent:+.1f} %"
        shown = max(self.digits, 3) if self.unit != "numbers" else 0
        return (
            f"Claim({self.size} {self.quantity}: published {self.published:,.{self.digits}f} {self.unit}, "
            f"counted {self.counted:,.{shown}f} {self.unit}, {verdict})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, the difference, and the source's address."""
        return {
            "size": self.size,
            "quantity": self.quantity,
            "published": self.published,
            "counted": self.counted,
            "unit": self.unit,
            "difference": self.difference,
            "percent": self.percent,
            "reproduced": self.reproduced,
            "how": self.how,
            "source": self.source.title,
            "url": self.source.url,
        }


class Claims(Displayed, Sequence[Claim]):
    """Several claims, as a table."""

    def __init__(self, rows: Sequence[Claim], *, caption: str) -> None:
        self._rows = tuple(rows)
        self.caption = caption

    @overload
    def __getitem__(self, index: int) -> Claim: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Claim]: ...
    def __getitem__(self, index: int | slice) -> Claim | Sequence[Claim]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._rows)

    def __repr__(self) -> str:
        same = sum(claim.reproduced for claim in self)
        worst = max(self, key=lambda claim: abs(claim.percent))
        return (
            f"Claims({len(self)} published figures, {same} reproduced to their last digit, "
            f"largest difference {worst.percent:+.1f} % ({worst.size} {worst.quantity}))"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as plain data."""
        return {"caption": self.caption, "claims": [claim.to_dict() for claim in self]}


def parameter_claims() -> Claims:
    """Compare the published parameter counts with the exact ones."""
    return Claims(_read("parameters"), caption="Parameters: published and counted")


def memory_claims() -> Claims:
    """Compare the published sizes of the weights with the arithmetic of `weight_bytes`.

    Google's table is headed “GB”; its 16-bit figures agree with GiB (2³⁰ bytes), so GiB are compared.
    """
    return Claims(_read("memory"), caption="Weights in memory: published and computed")


def _read(kind: str) -> list[Claim]:
    return [
        Claim(
            size=row["size"],
            quantity=row["quantity"],
            published=row["published"],
            digits=row["digits"],
            counted=_counted(row["size"], row["measure"]),
            unit=row["unit"],
            how=row["how"],
            source=source(row["source"]),
        )
        for row in read_data("claims.json")[kind]
    ]


def _counted(size: str, measure: str) -> float:
    """Evaluate one of the measures that ``claims.json`` uses, in the unit it belongs to."""
    shape = get_architecture(size)
    kind, _, detail = measure.partition(":")
    if kind == "stored":
        return stored(shape)
    if kind == "bits":  # every weight has the same number of bits
        return count_parameters(shape).total * float(detail) / 8 / GIB
    if kind == "weights":
        return weight_bytes(shape, detail) / GIB
    return float(count_parameters(shape).to_dict()[measure]) / 1e9
