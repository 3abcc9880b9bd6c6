"""What the licences of Gemma 4 and of the models it is compared with allow. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
        The text, and where it is said that the models have this licence.
    checked
        Date of the last look, ISO.
    """

    models: tuple[str, ...]
    name: str
    answers: Mapping[str, str] = field(hash=False)
    url: str
    source: str
    checked: str


def licences() -> tuple[Licence, ...]:
    """Return the licences: Gemma 4, Gemma 3, the Qwen neighbours, hosted models."""
    data = read_facts("licences.json")
    return tuple(
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
