"""The texts that a Jacobian lens is fitted and compared on by default: two halves that share no question."""

from __future__ import annotations

from typing import Literal

from ..errors import LabError
from .questions import load_questions

#: Skills whose questions are text with a written answer, and short.
_SKILLS = ("names", "numbers", "dates", "recall", "arithmetic", "facts")
#: Questions per skill.
_QUESTIONS = 12
DESCRIPTION = f"{len(_SKILLS) * _QUESTIONS} questions of the check-up with their answers"
"""What a lens says that was fitted on the default texts."""


def lens_corpus(part: Literal["fit", "held-out"] = "fit") -> list[tuple[str, str]]:
    """Return questions of the check-up with their answers, of six skills.

    Twelve of each: names, numbers and dates, between 12 (held out: 13) languages, and recall, arithmetic and
    facts.

    Parameters
    ----------
    part
        ``"fit"``: what `gemma_lab.Lab.fit_lens` takes by default; ``"held-out"``: other questions, which
        `gemma_lab.evals.compare_lenses` reads.

    Returns
    -------
    list of tuple
        Prompt and answer of each.

    Raises
    ------
    LabError
        If there is no such part.
    """
    if part not in ("fit", "held-out"):
        raise LabError(f"The corpus has no part {part!r}.", hint='part="fit" or part="held-out".')
    found = []
    for skill in _SKILLS:
        questions = load_questions(skills=[skill])
        half = len(questions) // 2
        chosen = questions[half : half + _QUESTIONS] if part == "fit" else questions[:_QUESTIONS]
        found += [(question.prompt, question.answer) for question in chosen]
    return found
