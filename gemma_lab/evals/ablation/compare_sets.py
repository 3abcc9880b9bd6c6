"""Read answers without several sets, and without the random sets of each, in the same forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .control_sets import possible_sets, random_sets, require_experts_left, shares, strata
from .model_state import adapter_of, edit_of
from .result import AblationTest, Measure, p_value, require_finite

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from .answer_scores import AnswerReader, AnswerScores
    from .components import Components, Kind
    from .control_sets import Match

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PlannedTest:
    """One set to be ablated, and how.

    Attributes
    ----------
    claim
        What the set is said to be.
    components
        Layer to experts or heads.
    measure
        Which questions count.
    match
        What random sets have in common with the set.
    """

    claim: str
    components: Components
    measure: Measure
    match: Match


@dataclass(frozen=True, eq=False)
class SetComparison:
    """An ablation test, and p values of random sets that were tested in the same way.

    Attributes
    ----------
    test
        The test of the set.
    negative
        P value of each further random set, drawn like those of the null and compared with them.
    """

    test: AblationTest
    negative: Array


def compare_sets(
    lab: LoadedModel,
    kind: Kind,
    reader: AnswerReader,
    intact: AnswerScores,
    groups: tuple[str, ...],
    planned: Sequence[PlannedTest],
    *,
    draws: int,
    negatives: int = 0,
    seed: int,
    progress: bool,
) -> list[SetComparison]:
    """Ablate sets and their random sets.

    Parameters
    ----------
    lab, kind
        The model, and what the sets name.
    reader, intact
        Reads the answers; has read them with everything in place.
    groups
        Of each example.
    planned
        The sets.
    draws
        Random sets for each; all there are, where there are fewer.
    negatives
        Further random sets for each, to be tested like the set.
    seed
        Of the draws; each set has draws of its own.
    progress
        Show a progress bar.

    Raises
    ------
    BadEdit
        If a random set could leave too few experts under the active edit.
    LabError
        If an effect is not finite.
    """
    from tqdm.auto import tqdm

    drawn = []
    for number, one in enumerate(planned):
        of = strata(lab, kind, one.match, reader.load)
        if kind == "experts":
            require_experts_left(lab, one.components, of)
        found = random_sets(one.components, of, draws=draws + negatives, seed=seed + number)
        spare = negatives if possible_sets(one.components, of) >= draws + negatives else 0
        drawn.append((found[: len(found) - spare], found[len(found) - spare :]))
    listed = [[one.components, *null, *spare] for one, (null, spare) in zip(planned, drawn, strict=True)]
    every = [one for sets in listed for one in sets]
    title = f"{len(every)} ablations of {lab.name}"
    with tqdm(total=len(reader), desc=title, disable=not progress, leave=False) as bar:
        scores = reader.read(every, kind, bar=bar)
    share = shares(every, kind, reader.load)
    results, first = [], 0
    for one, sets, (null, _) in zip(planned, listed, drawn, strict=True):
        at, stop = slice(first + 1, first + 1 + len(null)), first + len(sets)
        test = AblationTest(
            model=lab.name, claim=one.claim, kind=kind, components=one.components, groups=groups,
            measure=one.measure, match=one.match, seed=seed, intact=intact.log_probs[0],
            ablated=scores.log_probs[first], controls=scores.log_probs[at], right_intact=intact.right[0],
            right_ablated=scores.right[first], right_controls=scores.right[at], share=float(share[first]),
            control_shares=share[at], adapter=adapter_of(lab), active_edit=edit_of(lab) or None,
        )  # fmt: skip
        require_finite(test.effect, test.control_effects)
        others = test.effects_of(scores.log_probs[at.stop : stop])
        controls = test.control_effects
        results.append(SetComparison(test, np.array([p_value(float(each), controls) for each in others])))
        first = stop
    return results
