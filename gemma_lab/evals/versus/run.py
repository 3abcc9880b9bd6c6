"""Compare two models; `gemma_lab.versus` is `versus`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...checks import short_repr, whole_number
from ...errors import LabError
from ..report import Checkup
from .comparison import Versus
from .divergence import Divergence, LogitFiles, divergence
from .measurement import Measured, Settings, measure, speed
from .parts import assemble, paired_readings
from .prompts import asked_prompts
from .resources import SpeedComparison
from .sides import Side, release_memory, sides


def versus(
    first: Any,
    second: Any,
    prompts: Any = None,
    *,
    checkup: bool | str | Sequence[str] | tuple[Checkup, Checkup] = False,
    answers: Sequence[Any] | None = None,
    max_new_tokens: int = 32,
    attention_rows: int = 8,
    rounds: int = 3,
    names: tuple[str, str] | None = None,
    progress: bool = True,
) -> Versus:
    """Compare two models, or one model in two states, on the same prompts.

    Both answer each prompt greedily. Then both read the prompt with the *same* answer, that of the first
    model, and their next-token distributions, routing and attention are compared token by token. The first
    model also reads everything a second time, in two passes: what differs there is rounding.

    Parameters
    ----------
    first, second
        A `Lab`; an edit of the other side's lab (``lab.edit(…)`` or `gemma_lab.Edit`); a
        `gemma_lab.evals.Variant`; a connected server, of which only answers and check-up can be compared; or
        a function without arguments that loads a model. With a function, the models are never in memory
        together: each is loaded, measured and released in turn.
    prompts
        One prompt or several: texts, conversations, token ids, `Request` values, questions of the check-up.
        Default: the check-up's first question of each skill about text or images.
    checkup
        Compare check-ups as well: True (20 questions per skill), ``"full"``, a list of skills, or a tuple of
        both models' check-ups if they exist.
    answers
        Answers to read instead of those of the first model, one per prompt: texts or token ids.
    max_new_tokens
        Maximum length of an answer, in tokens.
    attention_rows
        Number of queries per prompt whose attention is compared; 0 leaves attention out.
    rounds
        How often the answers are generated again to measure the speed; 0 leaves it out. Models in memory
        together are measured in turn.
    names
        Titles of the two sides.
    progress
        Show progress bars.

    Returns
    -------
    Versus
        A table, a figure, ``worst(n)`` tokens; what could not be compared is None, with the reason in
        ``absent``.

    Raises
    ------
    LabError
        If an argument is of the wrong type, or neither side answers any prompt.
    BadEdit
        If an edit does not fit the model.

    Examples
    --------
    >>> gl.versus(lab, lab.edit(ablate_experts={3: [17]}), ["What is 7 in German?"])
    >>> gl.versus(lambda: gl.load("26b-a4b-it"), lambda: gl.load("26b-a4b-it", quantization="int4"))
    """
    settings = Settings(
        prompts=asked_prompts(prompts),
        answers=None if answers is None else _listed(answers),
        max_new_tokens=whole_number("max_new_tokens", max_new_tokens, minimum=1),
        attention_rows=whole_number("attention_rows", attention_rows, minimum=0),
        checkup=_checkup_options(checkup),
        rounds=whole_number("rounds", rounds, minimum=0),
        progress=progress,
    )
    if settings.answers is not None and len(settings.answers) != len(settings.prompts):
        raise LabError(
            f"There are {len(settings.answers)} answers for {len(settings.prompts)} prompts.",
            hint="Pass one answer per prompt.",
        )
    _check_names(names)
    two = sides(first, second)
    with tempfile.TemporaryDirectory(prefix="gemma-lab-versus-") as folder:
        one, other, compared, noise = _measure(two, settings, LogitFiles(folder))
    if not any(reply is not None for reply in (*one.replies, *other.replies)):
        reasons = dict.fromkeys([*one.refused.values(), *other.refused.values()])
        raise LabError(
            f"Neither model takes any of the {len(settings.prompts)} prompts: {'; '.join(reasons)}",
            hint="Pass prompts that one of them can answer.",
        )
    if isinstance(checkup, tuple) and _are_checkups(checkup):
        one.checkup, other.checkup = checkup
    timed = _speed(two, settings, one, other)
    labels = [prompt.label for prompt in settings.prompts]
    return assemble(one, other, labels, paired_readings(one, other, compared, noise), timed, names=names)


def _measure(
    two: tuple[Side, Side], settings: Settings, files: LogitFiles
) -> tuple[Measured, Measured, dict[int, Divergence], dict[int, Divergence]]:
    """Measure both sides; return them with the divergence of each prompt, and that of rounding."""
    noise: dict[int, Divergence] = {}
    compared: dict[int, Divergence] = {}

    def keep(index: int, _: list[int], logits: Any) -> None:
        files.put(index, logits)

    def against(found: dict[int, Divergence]) -> Callable[[int, list[int], Any], None]:
        def compare(index: int, ids: list[int], logits: Any) -> None:
            found[index] = divergence(files.get(index), logits, ids)

        return compare

    alone = not (two[0].resident and two[1].resident)
    one = measure(two[0], settings, given=None, on_logits=keep, on_control=against(noise), timed=alone)
    if not two[0].resident:
        release_memory()  # before the second is loaded
    other = measure(two[1], settings, given=one, on_logits=against(compared), timed=alone)
    return one, other, compared, noise


def _speed(
    two: tuple[Side, Side], settings: Settings, one: Measured, other: Measured
) -> SpeedComparison | None:
    """Return the speeds, measured in turn if both sides are in memory; None if there are none."""
    if not settings.rounds:
        return None
    together = two[0].resident and two[1].resident
    if together:
        for number in range(settings.rounds):
            pairs = list(zip(two, (one, other), strict=True))
            for side, found in pairs if number % 2 == 0 else pairs[::-1]:
                with side.open() as lab:
                    found.speeds.append(speed(lab, settings))
    decoding, prefill, answers = np.asarray([one.speeds, other.speeds], dtype=float).transpose(2, 1, 0)
    if np.isfinite(decoding).all():
        return SpeedComparison(decoding, prefill, together)
    # a server tells no times: whole answers are compared
    return SpeedComparison(answers, prefill, together, whole=True) if np.isfinite(answers).all() else None


def _are_checkups(checkup: Any) -> bool:
    return isinstance(checkup, tuple) and len(checkup) == 2 and all(isinstance(c, Checkup) for c in checkup)


def _checkup_options(checkup: Any) -> dict[str, Any] | None:
    if checkup is False or checkup is None or _are_checkups(checkup):
        return None
    if checkup is True:
        return {}
    if checkup == "full":
        return {"full": True}
    if isinstance(checkup, list | tuple) and checkup and all(isinstance(name, str) for name in checkup):
        return {"skills": list(checkup)}
    raise LabError(
        f"checkup={short_repr(checkup)} is no check-up.",
        hint='Pass True, "full", a list of skills, or the two check-ups: (a.checkup(), b.checkup()).',
    )


def _check_names(names: Any) -> None:
    if names is not None and not (
        isinstance(names, tuple | list) and len(names) == 2 and all(isinstance(name, str) for name in names)
    ):
        raise LabError(f"names={short_repr(names)} are not two texts.", hint='names=("before", "after").')


def _listed(answers: Any) -> list[Any]:
    if isinstance(answers, str) or not isinstance(answers, Iterable):
        raise LabError(
            f"answers={short_repr(answers)} is not a list of answers.", hint="Pass one per prompt, in a list."
        )
    return list(answers)
