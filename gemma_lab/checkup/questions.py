"""The questions of the check-up: one Parquet file, written by ``gemma-lab minis questions``.

They come from the held-out parts of the minis' tasks, drawn once, so that every model is asked the same and
nothing but this file is needed to ask them.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import data_path
from ..errors import LabError
from .grading import is_right

if TYPE_CHECKING:
    from PIL.Image import Image

QUICK = 20
"""Questions a skill of a quick check-up."""
_FILE = "checkup/questions.parquet"


@dataclass(frozen=True)
class Question:
    """One question of the check-up.

    Attributes
    ----------
    skill, group
        What it tests, e.g. ``"names"``, and what accuracy is broken down by, e.g. the language ``"vi"``.
    prompt, answer
        What is asked, and the one right answer.
    within
        Whether the answer may stand anywhere in the reply (`gemma_lab.checkup.grading.is_right`).
    png
        The picture that it is asked about, as PNG bytes; empty without one.
    """

    skill: str
    group: str
    prompt: str
    answer: str
    within: bool = True
    png: bytes = field(default=b"", repr=False)

    @property
    def image(self) -> Image | None:
        """The picture, or None."""
        if not self.png:
            return None
        from PIL import Image

        return Image.open(io.BytesIO(self.png)).convert("RGB")

    @property
    def modality(self) -> str:
        """``"image"`` when a picture has to be seen, else ``"text"``."""
        return "image" if self.png else "text"

    def is_right(self, said: str) -> bool:
        """Return whether a reply gives the answer (`gemma_lab.checkup.grading`)."""
        return is_right(said, self.answer, within=self.within)


@functools.cache
def _all() -> tuple[Question, ...]:
    import pyarrow.parquet as pq

    return tuple(Question(**row) for row in pq.read_table(data_path(_FILE)).to_pylist())


def skills() -> tuple[str, ...]:
    """Return the names of the skills, in the order in which they are asked."""
    return tuple(dict.fromkeys(question.skill for question in _all()))


def questions(*, only: Sequence[str] | None = None, each: int | None = None) -> list[Question]:
    """Return the questions, by skill.

    Parameters
    ----------
    only
        Skills; default all.
    each
        The first so many of each skill; default all 200.

    Raises
    ------
    LabError
        If there is no such skill.
    """
    unknown = set(only or ()) - set(skills())
    if unknown:
        raise LabError(
            f"The check-up has no skill named {', '.join(sorted(unknown))}.",
            hint=f"It asks for {', '.join(skills())}.",
        )
    kept = [
        [question for question in _all() if question.skill == skill][:each]
        for skill in skills()
        if only is None or skill in only
    ]
    return [question for part in kept for question in part]


def write(drawn: Iterable[Question], path: Path) -> Path:
    """Write questions to a Parquet file and return its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [vars(question) for question in drawn]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return path
