"""Variation: the share of training questions that are asked otherwise than those of the check-up."""

from __future__ import annotations

import random

SHARE = 1 / 3
"""Share of training questions that differ in wording, words or medium; the usual form stays most frequent."""


def varies(rng: random.Random, fixed: bool) -> bool:
    """Draw whether a question is varied.

    Parameters
    ----------
    fixed
        Whether the question must not vary, as in the held-out part and in the corpus of the tokenizer.
        Nothing is drawn then, so that the draws that follow stay the same.
    """
    return not fixed and rng.random() < SHARE
