"""What the licences of Gemma 4 and of the models it is compared with allow. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import overload

from ..display import Displayed
from .facts import read_facts


@dataclass(frozen=True)
class Licence:
    """One licence.

    Attributes
    ----------
    models
        Whose weights it covers.
    name
        Of the licence.
    answers
        Question → answer.
    url, source
        Address of the text, and the document that names it as the models' licence.
    checked
        Date of the last look, ISO.
    """

    models: tuple[str, ...]
    name: str
    answers: Mapping[str, str] = field(hash=False)
    url: str
    source: str
    checked: str


class Licences(Displayed, Sequence[Licence]):
    """Licences side by side."""

    def __init__(self, rows: Iterable[Licence]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Licence: ...
    @overload
    def __getitem__(self, index: slice) -> Licences: ...
    def __getitem__(self, index: int | slice) -> Licence | Licences:
        found = self._rows[index]
        return found if isinstance(found, Licence) else Licences(found)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Licence]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return "Licences(" + "; ".join(f"{', '.join(row.models)}: {row.name}" for row in self) + ")"


def licences() -> Licences:
    """Return the licences: Gemma 4, Gemma 3, the Qwen neighbours, hosted models."""
    data = read_facts("licences.json")
    return Licences(
        Licence(
            models=tuple(row["models"]),
            name=row["name"],
            answers=MappingProxyType(dict(zip(data["questions"], row["answers"], strict=True))),
            url=row["url"],
            source=row["source"],
            checked=data["checked"],
        )
        for row in data["licences"]
    )
