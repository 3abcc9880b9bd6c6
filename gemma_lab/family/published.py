"""Benchmark figures published by Google for Gemma 4, with sources and footnotes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, overload

from ..display import Displayed
from .sources import Source, read_data, source

MODELS = ("E2B", "E4B", "12B", "26B-A4B", "31B", "Gemma 3 27B")
"""The columns: the five sizes, instruction-tuned and thinking, and the model before them."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes
    ----------
    name
        As the model card calls it.
    group
        Its subject.
    unit
        ``"%"``, ``"Elo"``, …; ``""`` where the card names none.
    better
        ``"higher"`` or ``"lower"``.
    figures
        Model → figure, written as it was published; None where none was.
    marks
        Model → footnote mark beside its figure, e.g. ``"*"``.
    """

    name: str
    group: str
    unit: str
    better: Literal["higher", "lower"]
    figures: Mapping[str, str | None] = field(hash=False)
    marks: Mapping[str, str] = field(hash=False)

    @property
    def scores(self) -> dict[str, float]:
        """Model → figure as a number, for the models that have one."""
        return {model: float(figure) for model, figure in self.figures.items() if figure is not None}

    @property
    def best(self) -> str:
        """The model with the best published figure."""
        scores = self.scores
        choose = max if self.better == "higher" else min
        return choose(scores, key=lambda model: scores[model])

    def shown(self, model: str) -> str:
        """The figure of one model with its footnote mark, or “–”."""
        figure = self.figures[model]
        return "–" if figure is None else f"{figure}{self.marks.get(model, '')}"

    def __repr__(self) -> str:
        arrow = "↑" if self.better == "higher" else "↓"
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"Benchmark({self.name} {arrow}{unit}: " + ", ".join(f"{m} {self.shown(m)}" for m in MODELS) + ")"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        plain = {"name": self.name, "group": self.group, "unit": self.unit, "better": self.better}
        return {**plain, "figures": dict(self.figures), "marks": dict(self.marks)}


@dataclass(frozen=True)
class Published(Displayed, Sequence[Benchmark]):
    """The table of `published`.

    Attributes
    ----------
    rows
        The benchmarks, in the card's order.
    sources
        Sources of the figures, with what was taken from each.
    notes
        Footnotes.
    """

    rows: tuple[Benchmark, ...]
    sources: tuple[tuple[str, Source], ...]
    notes: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> Benchmark: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Benchmark]: ...
    def __getitem__(self, index: int | slice) -> Benchmark | Sequence[Benchmark]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Benchmark]:
        return iter(self.rows)

    def __repr__(self) -> str:
        figures = sum(len(row.scores) for row in self)
        return f"Published({len(self)} benchmarks, {len(MODELS)} models, {figures} figures)"

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return {
            "benchmarks": [row.to_dict() for row in self],
            "sources": [{"of": of, "title": where.title, "url": where.url} for of, where in self.sources],
            "notes": list(self.notes),
        }


def published() -> Published:
    """Return the published benchmarks of all five sizes (instruction-tuned, thinking) beside Gemma 3 27B."""
    data = read_data("benchmarks.json")
    rows = tuple(
        Benchmark(
            name=row["name"],
            group=row["group"],
            unit=row["unit"],
            better=row["better"],
            figures=MappingProxyType(dict(zip(MODELS, row["figures"], strict=True))),
            marks=MappingProxyType(row.get("marks", {})),
        )
        for row in data["benchmarks"]
    )
    sources = tuple((entry["of"], source(entry["source"])) for entry in data["sources"])
    return Published(rows=rows, sources=sources, notes=tuple(data["notes"]))
