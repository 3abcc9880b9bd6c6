"""One row of the corpus, and what a row may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

_UNSET = object()
ROOT = Path(__file__).parents[2]


class Corpus:
    """What rows share: models, opened once, and a folder to write to.

    Parameters
    ----------
    folder
        An empty folder that is a row's own.
    """

    media = ROOT / "data" / "media"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def lab(self) -> Any:
        """``mini-moe``: text, images, video."""
        return _mini("mini-moe")

    @cached_property
    def edge(self) -> Any:
        """``mini-edge``: text, images, video, audio."""
        return _mini("mini-edge")


_minis: dict[str, Any] = {}


def _mini(name: str) -> Any:
    import gemma_lab

    if name not in _minis:
        _minis[name] = gemma_lab.load(name, device="cpu", dtype="float32", progress=False)
    return _minis[name]


@dataclass(frozen=True)
class Row:
    """One input and what must come out of it. Exactly one of `equals`, `check` and `raises` is given.

    Attributes
    ----------
    name
        Unique within its kind; shown by pytest.
    run
        Takes a `Corpus`, makes the input, calls the package and returns what came out.
    equals
        The value that `run` must return.
    check
        A function that returns whether the value is right.
    raises
        The `LabError` subclass that `run` must raise, exactly.
    holds
        Texts (a name, a number, the path of a value) that the error's message or hint must contain.
    """

    name: str
    run: Callable[[Corpus], Any]
    equals: Any = field(default=_UNSET)
    check: Callable[[Any], object] | None = None
    raises: type[Exception] | None = None
    holds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (self.equals is not _UNSET, self.check is not None, self.raises is not None)
        if sum(expected) != 1:
            msg = f"Row {self.name!r}: give one of equals=, check= and raises=."
            raise ValueError(msg)
        if self.holds and self.raises is None:
            msg = f"Row {self.name!r}: holds= is about an error's message; give raises= as well."
            raise ValueError(msg)

    def verify(self, corpus: Corpus) -> None:
        """Run the row; raise `AssertionError` if something else comes out."""
        if self.raises is not None:
            self._verify_error(corpus, self.raises)
            return
        value = self.run(corpus)
        if self.check is not None:
            assert self.check(value), f"{self.name}: the check refuses {value!r}"
        else:
            assert value == self.equals

    def _verify_error(self, corpus: Corpus, expected: type[Exception]) -> None:
        with pytest.raises(expected) as caught:
            self.run(corpus)
        assert caught.type is expected, f"{caught.type.__name__} instead of {expected.__name__}"
        missing = [text for text in self.holds if text not in str(caught.value)]
        assert not missing, f"{missing} not in: {caught.value}"
