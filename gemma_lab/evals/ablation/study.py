"""Ablation studies: sets are chosen on development questions, and tested once on others, beside controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ...checks import real_number, whole_number
from ...display import Displayed
from ...errors import BadEdit, LabError
from .answer_scores import AnswerReader
from .causal_order import CausalOrder
from .compare_sets import PlannedTest, compare_sets
from .components import all_units, by_layer, expert_limits, read_components, read_kind
from .control_sets import possible_sets, read_match, require_experts_left, strata
from .design import Candidate, PlannedClaim, StudyDesign
from .model_state import ModelState
from .run import name_of, read_examples, read_groups, read_measure
from .split import split_examples
from .study_result import StudyResult

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from .answer_scores import AnswerScores
    from .components import Components
    from .result import Measure

#: Random sets per candidate on the development questions: enough to choose a size, not to decide.
_DEVELOPMENT_DRAWS = 19
#: Further random sets per set that are tested like it.
_NEGATIVES = 10


class AblationStudy(Displayed):
    """Study of what sets of experts or heads cause, pre-registered by its construction.

    Examples are split, by group, into *development* questions, which choose sets and sizes, and
    *confirmation* questions, which share no prompt with them and are read once, by `confirm`. `add` names a
    claim; `design` fixes everything that is decided before: question, measure, null, controls, rule, sets.

    No statistic of a running model tells what its answers need (arXiv:2606.10703), and an ablation that finds
    nothing may only be too weak. So every measure has a positive control, the experts or heads that did most
    damage to the screening questions, and the null has a negative control: random sets, tested like the
    claims, whose p values have to be uniform. Claims that do not exceed their random sets have failed if the
    positive control did; otherwise nothing is decided.

    A study is of one model: the weights, the adapter and the edit that is active when it is made must be the
    same whenever it reads questions.

    Parameters
    ----------
    lab
        The loaded model.
    kind
        ``"experts"`` (never chosen when ablated) or ``"heads"`` (their output is zero).
    examples
        Questions of the check-up with a written answer (`gemma_lab.evals.load_questions`), pairs of prompt
        and answer, or any form that `gemma_lab.Lab.fine_tune` takes.
    groups
        One name per example. Default: the groups of questions.
    development
        Number of development questions per group.
    screening
        Number of them that are read with sets ablated, to choose sizes and positive controls; None for all.
    confirmation
        Number of confirmation questions per group; None for all that are left.
    question
        What the study asks, for its design.
    draws
        Random sets per set; more are drawn where the correction for the number of claims needs more.
    alpha, family_alpha
        Largest p value of a confirmed claim: of its own, and corrected for the number of claims.
    minimum_effect
        Smallest damage beyond the random sets that counts, nats per answer token: less can be significant,
        and says that the answers do not need the set.
    seed
        Of the split and of all draws.
    batch_size
        Sets per forward pass, at most.
    progress
        Show progress bars.

    Raises
    ------
    BadEdit
        If the model has no experts.
    LabError
        If there are too few examples, or too few draws for `alpha`.

    Examples
    --------
    >>> study = gl.evals.AblationStudy(lab, "heads", questions, development=6)  # doctest: +SKIP
    >>> scores = gl.evals.score_retrieval_heads(lab, study.development)  # doctest: +SKIP
    >>> study.add([scores.best(2), scores.best(4)], "retrieval heads")  # doctest: +SKIP
    >>> print(study.design())  # doctest: +SKIP
    >>> study.confirm()  # doctest: +SKIP
    """

    def __init__(
        self,
        lab: LoadedModel,
        kind: Literal["experts", "heads"],
        examples: Sequence[Any],
        *,
        groups: Sequence[str] | None = None,
        development: int = 6,
        screening: int | None = None,
        confirmation: int | None = None,
        question: str | None = None,
        draws: int = 199,
        alpha: float = 0.01,
        family_alpha: float = 0.05,
        minimum_effect: float = 0.01,
        seed: int = 0,
        batch_size: int = 256,
        progress: bool = True,
    ) -> None:
        self._lab, self._kind = lab, read_kind(lab, kind)
        self._alpha = real_number("alpha", alpha, minimum=1e-6, maximum=0.5)
        self._family_alpha = real_number("family_alpha", family_alpha, minimum=1e-6, maximum=0.5)
        self._minimum_effect = real_number("minimum_effect", minimum_effect, minimum=0.0, maximum=100.0)
        self._draws = whole_number("draws", draws, minimum=1)
        if 1 / (self._draws + 1) > self._alpha:
            raise LabError(
                f"draws={draws} allows no p value below {1 / (self._draws + 1):.3g}; alpha is {alpha:g}.",
                hint=f"Take draws={math.ceil(1 / self._alpha) - 1} or more.",
            )
        examples = read_examples(examples)
        self._seed = whole_number("seed", seed, minimum=0)
        self._batch_size = whole_number("batch_size", batch_size, minimum=1)
        self._progress = bool(progress)
        if confirmation is not None:
            confirmation = whole_number("confirmation", confirmation, minimum=1)
        self._state = ModelState.of(lab)
        self._question = str(question or f"Which of these sets of {self._kind} do the answers need?")
        self._split = split_examples(
            lab, examples, read_groups(groups, examples),
            development=whole_number("development", development, minimum=1),
            confirmation=confirmation, seed=self._seed,
        )  # fmt: skip
        if screening is not None:
            screening = whole_number("screening", screening, minimum=1)
        self._screening = self._split.development.first(screening)
        self._claims: list[PlannedClaim] = []
        self._read: tuple[AnswerReader, AnswerScores] | None = None
        self._design: StudyDesign | None = None
        self._result: StudyResult | None = None

    @property
    def development(self) -> list[Any]:
        """The development questions: statistics that choose a set may use these, and nothing else."""
        return list(self._split.development.examples)

    @property
    def claims(self) -> tuple[PlannedClaim, ...]:
        """The sets that have been added."""
        return tuple(self._claims)

    def add(
        self,
        sets: Any,
        claim: str | None = None,
        *,
        target: str | None = None,
        contrast: bool = True,
        match: Literal["size", "load", "kind"] | None = None,
    ) -> PlannedClaim:
        """Add a claim: a set that the answers are said to need.

        Parameters
        ----------
        sets
            Layer to experts or heads, or pairs of layer and head; or a list of such sets of different sizes.
            Of those the one is taken that does most damage to the screening questions beyond 19 matched
            random sets, in standard deviations of theirs.
        claim
            What the set is said to be. Default: the statistic that chose it.
        target
            The group of questions that the set is said to serve. Default: all.
        contrast
            Whether the loss on the other questions is subtracted: then a set that everything needs does not
            count as the target's.
        match
            What random sets have in common with it: ``"load"`` (experts; the default of experts), ``"kind"``
            of layer (heads), or ``"size"`` alone (the default of heads).

        Returns
        -------
        PlannedClaim

        Raises
        ------
        BadEdit
            If the model has no such experts or heads, too few other sets match for `alpha`, or, with the
            active edit, too few experts would be left or one would be both ablated and forced.
        LabError
            If the design is fixed, the target has no questions, or the model's weights, adapter or active
            edit are no longer those that the study began with.
        """
        if self._design is not None:
            raise LabError(
                "The design of this study is fixed.",
                hint="Add claims before design(), or start another study.",
            )
        self._state.require(self._lab)
        listed = self._candidates(sets)
        candidates = [read_components(self._lab, self._kind, one) for one in listed]
        measure = read_measure(target, contrast, self._screening.groups)
        how = read_match(self._kind, match or ("load" if self._kind == "experts" else "size"))
        name = name_of(claim, listed[0], self._kind)
        planned = [PlannedTest(name, one, measure, how) for one in candidates]
        found = self._choose(planned)
        self._claims.append(found)
        return found

    def design(self) -> StudyDesign:
        """Choose the positive controls on the screening questions, fix the design and return it.

        Raises
        ------
        LabError
            If there is no claim, or the model is not the one that the study began with.
        """
        if self._design is None:
            if not self._claims:
                raise LabError("The study has no claim.", hint="study.add(experts, 'what they are').")
            self._state.require(self._lab)
            measures = dict.fromkeys(one.test.measure for one in self._claims)
            controls = tuple(map(self._control, measures))
            self._design = StudyDesign(
                model=self._lab.name, kind=self._kind, question=self._question,
                development=self._split.development.counts, screening=self._screening.counts,
                confirmation=self._split.confirmation.counts,
                repeated=self._split.repeated, claims=self.claims, controls=controls,
                draws=max(self._draws, math.ceil(len(self._claims) / self._family_alpha) - 1),
                development_draws=_DEVELOPMENT_DRAWS, negatives=_NEGATIVES, alpha=self._alpha,
                family_alpha=self._family_alpha, minimum_effect=self._minimum_effect, seed=self._seed,
                digests=(self._split.development.digests, self._split.confirmation.digests),
                adapter=self._state.adapter, active_edit=self._state.active_edit or None,
            )  # fmt: skip
        return self._design

    def confirm(self) -> StudyResult:
        """Read the confirmation questions, once, and return the result; later calls return the same one.

        Raises
        ------
        LabError
            If there is no claim, or the model is not the one that the study began with.
        """
        if self._result is None:
            self._state.require(self._lab)
            design, part = self.design(), self._split.confirmation
            reader = AnswerReader(self._lab, part.examples, batch_size=self._batch_size)
            found = compare_sets(
                self._lab, self._kind, reader, reader.read_intact(), part.groups,
                [one.test for one in (*design.claims, *design.controls)], draws=design.draws,
                negatives=design.negatives, seed=self._seed + 1, progress=self._progress,
            )  # fmt: skip
            count = len(design.claims)
            self._result = StudyResult(design, tuple(found[:count]), tuple(found[count:]))
        return self._result

    def __repr__(self) -> str:
        state = "designed" if self._design is not None else "open"
        state = "confirmed once" if self._result is not None else state
        return (
            f"AblationStudy({self._lab.name}, {len(self._claims)} claims about {self._kind}, "
            f"{len(self._split.development.examples)} development and "
            f"{len(self._split.confirmation.examples)} confirmation questions; {state})"
        )

    def to_pandas(self) -> Any:
        """Return one row per claim: claim, size, measure, match."""
        import pandas as pd

        rows = [(one.name, one.size, str(one.test.measure), one.test.match) for one in self._claims]
        return pd.DataFrame(rows, columns=["claim", "size", "measure", "match"])

    def _candidates(self, sets: Any) -> list[Any]:
        """Return the sets of a claim: one, or several of different sizes."""
        if not isinstance(sets, Sequence) or isinstance(sets, str) or not sets:
            return [sets]
        several = all(
            isinstance(one, Mapping) or (isinstance(one, Sequence) and one and isinstance(one[0], Sequence))
            for one in sets
        )
        return list(sets) if several else [sets]

    def _development(self) -> tuple[AnswerReader, AnswerScores]:
        """Return the reader of the development questions, and what it reads with everything in place."""
        if self._read is None:
            reader = AnswerReader(self._lab, self._screening.examples, batch_size=self._batch_size)
            self._read = reader, reader.read_intact()
            self._order = CausalOrder(
                self._kind, *self._read, self._screening.groups, all_units(self._lab, self._kind),
                seed=self._seed, room=self._room(),
            )  # fmt: skip
        return self._read

    def _choose(self, planned: Sequence[PlannedTest]) -> PlannedClaim:
        """Choose among sets of different sizes on the screening questions."""
        reader, intact = self._development()
        for one in planned if self._kind == "experts" else ():
            require_experts_left(
                self._lab, one.components, strata(self._lab, self._kind, one.match, reader.load)
            )
        kept = [one for one in planned if 1 / (1 + self._others(one)) <= self._alpha]
        if not kept:
            one = planned[0]
            raise BadEdit(
                f"{one.claim}: only {self._others(one)} other sets match "
                f"(match={one.match!r}), so no p value can be {self._alpha:g}.",
                hint='Take match="size", fewer of each layer, or more than one head.',
            )
        if len(kept) == 1:
            return PlannedClaim(kept[0], (Candidate(_size(kept[0].components), float("nan")),))
        compared = compare_sets(
            self._lab, self._kind, reader, intact, self._screening.groups, kept,
            draws=_DEVELOPMENT_DRAWS, seed=self._seed, progress=self._progress,
        )  # fmt: skip
        scores = [one.test.standardised for one in compared]
        best = max(range(len(kept)), key=lambda index: scores[index])
        listed = (
            Candidate(_size(one.components), round(score, 2)) for one, score in zip(kept, scores, strict=True)
        )
        return PlannedClaim(kept[best], tuple(listed))

    def _control(self, measure: Measure) -> PlannedClaim:
        """Return the positive control of a measure: what did most damage to the screening questions."""
        from tqdm.auto import tqdm

        of = [one for one in self._claims if one.test.measure == measure]
        match = next((one.test.match for one in of if one.test.match != "size"), of[0].test.match)
        sizes = sorted({candidate.size for one in of for candidate in one.candidates})
        if self._kind == "experts":
            sizes = sizes[-1:]  # fewer look better on the questions that ranked them, and on no others
        reader, _ = self._development()
        groups = strata(self._lab, self._kind, match, reader.load)
        title = f"effects of {self._kind} of {self._lab.name}"
        with tqdm(desc=title, disable=not self._progress, leave=False) as bar:
            order = self._order.select(sizes[-1], measure, groups, bar=bar)
            layer = self._order.layer(measure, bar=bar) if self._kind == "heads" else []
        name = "positive control"
        if measure.target is not None:
            name += f", {measure.target}" + (" minus others" if measure.contrast else "")
        sets = [order[:size] for size in sorted({min(size, len(order)) for size in sizes})]
        if layer and sorted(layer) not in [sorted(one) for one in sets]:
            sets.append(layer)
        planned = [PlannedTest(name, by_layer(one), measure, match) for one in sets if one]
        if not planned:
            raise LabError(f"No {self._kind} are left for a {name}.", hint="Pass questions that use them.")
        return self._choose(planned)

    def _room(self) -> dict[int, int]:
        """Return how many experts of each layer can be ablated besides those of the active edit."""
        if self._kind == "heads":
            return {}
        return {layer: of.room for layer, of in expert_limits(self._lab).items()}

    def _others(self, planned: PlannedTest) -> int:
        reader, _ = self._development()
        return possible_sets(planned.components, strata(self._lab, self._kind, planned.match, reader.load))


def _size(components: Components) -> int:
    return sum(map(len, components.values()))
