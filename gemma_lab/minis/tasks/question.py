"""One question with its right answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ...checkup.grading import plain


@dataclass(frozen=True)
class Question:
    """A question as a person would put it, and the answer that is right.

    Attributes
    ----------
    skill
        Which skill it tests: ``"digits"``, ``"names"``, ``"numbers"`` or ``"recall"``.
    prompt, answer
        The question and the one right answer.
    image
        A PIL picture to look at, or None.
    group
        What accuracy is broken down by, such as the language's code.
    more
        Further (prompt, answer) pairs about the same text, for training in one conversation.
    """

    skill: str
    prompt: str
    answer: str
    image: Any = None
    group: str = ""
    more: tuple[tuple[str, str], ...] = ()

    def grade(self, said: str) -> bool:
        """Return whether an answer is right: equal but for NFC, case, spacing and a final full stop."""
        return plain(said) == plain(self.answer)


def held_out(key: str, *, share: float = 0.15) -> bool:
    """Return whether a key belongs to the held-out share: decided by its hash, so the split never moves."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
