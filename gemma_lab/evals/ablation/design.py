"""The design of an ablation study: everything that is fixed before the confirmation questions are read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...display import Displayed
from .control_sets import describe_match
from .model_state import describe_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...trace.interventions.edit import Edit
    from .compare_sets import PlannedTest
    from .components import Kind


#: What the positive control of a measure is.
_STRONGEST = {"experts": "the experts that", "heads": "the heads, or all heads of the layer, that"}


@dataclass(frozen=True)
class Candidate:
    """A set of one size, on the development questions.

    Attributes
    ----------
    size
        Number of experts or heads.
    standardised
        Its damage beyond matched random sets, in standard deviations of theirs; NaN if it was the only one.
    """

    size: int
    standardised: float


@dataclass(frozen=True)
class PlannedClaim:
    """A set to be tested, and the sizes that it was chosen among.

    Attributes
    ----------
    test
        The set, its measure and its null.
    candidates
        The sizes; the one with the most damage beyond its random sets was chosen.
    """

    test: PlannedTest
    candidates: tuple[Candidate, ...]

    @property
    def name(self) -> str:
        """What the set is said to be."""
        return self.test.claim

    @property
    def size(self) -> int:
        """Number of experts or heads."""
        return sum(map(len, self.test.components.values()))

    @property
    def chosen(self) -> str:
        """How the size was chosen, in words."""
        if len(self.candidates) == 1:
            return "size given"
        listed = ", ".join(f"{one.size} ({one.standardised:+.1f} SD)" for one in self.candidates)
        return f"of {listed} on the screening questions"


@dataclass(frozen=True, eq=False)
class StudyDesign(Displayed):
    """Question, questions of both parts, measure, null, controls and rule of an ablation study.

    Attributes
    ----------
    model
        Name of the model.
    kind
        ``"experts"`` or ``"heads"``.
    question
        What the study asks.
    development, screening, confirmation
        Number of questions by group: of those that choose sets, of those among them that are read with sets
        ablated, and of those that test the sets.
    repeated
        Number of examples that were left out because another had the same prompt.
    claims, controls
        The sets to be tested, and the positive control of each measure.
    draws, development_draws
        Number of random sets per set on the confirmation and on the development questions.
    negatives
        Number of further random sets per set, which are tested like it: the negative control.
    alpha, family_alpha
        Largest p value of a confirmed claim: of its own, and corrected for the number of claims (Holm 1979).
    minimum_effect
        Smallest damage beyond the random sets that counts, nats per answer token.
    seed
        Of the split and the draws.
    digests
        SHA-256 of the prompts: of the development questions, and of the confirmation questions.
    adapter
        Name and digest of the adapter that is active from start to end, or None.
    active_edit
        The edit that is; None if none is.
    """

    model: str
    kind: Kind
    question: str
    development: dict[str, int]
    screening: dict[str, int]
    confirmation: dict[str, int]
    repeated: int
    claims: tuple[PlannedClaim, ...]
    controls: tuple[PlannedClaim, ...]
    draws: int
    development_draws: int
    negatives: int
    alpha: float
    family_alpha: float
    minimum_effect: float
    seed: int
    digests: tuple[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    adapter: Mapping[str, str] | None = None
    active_edit: Edit | None = None

    @property
    def fingerprint(self) -> str:
        """First 12 digits of the SHA-256 of `to_json`: publish it before the study is confirmed."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """The design as terms and texts, in the order in which it is decided."""
        state = describe_state(self.adapter, self.active_edit)
        repeated = f"; {self.repeated} repeated prompts left out" if self.repeated else ""
        rows = [
            ("question", self.question),
            *([("model", f"{self.model} under {state}, from start to end")] if state else []),
            ("development", f"{_listed(self.development)}: choose sets{repeated}"),
            ("screening", f"{_listed(self.screening)}, of these: ablations choose sizes and controls"),
            ("confirmation", f"{_listed(self.confirmation)}: other prompts, read once, by confirm()"),
            ("measure", "log-probability of the right answer lost per token, read after the prompt, nats"),
            ("null", f"{self.draws} random sets for each set, drawn from all {self.kind}, its own included"),
            (
                "positive control",
                f"of each measure: {_STRONGEST[self.kind]} did most damage to the screening questions",
            ),
            (
                "negative control",
                f"{self.negatives} further random sets per set, tested like it: p values must be uniform",
            ),
            (
                "confirmed",
                f"p ≤ {self.alpha:g}, and p ≤ {self.family_alpha:g} corrected for {len(self.claims)} "
                f"{'claim' if len(self.claims) == 1 else 'claims'} (Holm), and at least "
                f"{self.minimum_effect:g} nats beyond the mean of the random sets",
            ),
            ("failed its control", "not confirmed, though the positive control of its measure was detected "
             f"(p ≤ {self.alpha:g} and {self.minimum_effect:g} nats beyond)"),
            ("inconclusive", "a control fails, or too few other sets match"),
        ]  # fmt: skip
        rows += [(f"claim {number}", self.describe(one)) for number, one in enumerate(self.claims, start=1)]
        rows += [("control", self.describe(one)) for one in self.controls]
        return tuple(rows)

    def describe(self, claim: PlannedClaim) -> str:
        """Return a planned set in words: name, size, measure and null."""
        loss = str(claim.test.measure).removeprefix("log-probability lost per answer token, nats, ")
        match = describe_match(self.kind, claim.test.match)
        return f"{claim.name}: {claim.size} {self.kind}, {claim.chosen}; {loss}; random sets of {match}"

    def to_json(self) -> str:
        """Return the design, with the sets and the digests of all prompts, as JSON."""
        plain = asdict(replace(self, adapter=None, active_edit=None))
        # Only where there are any: all other designs keep the fingerprints that they were published with.
        del plain["adapter"], plain["active_edit"]
        if self.adapter:
            plain["adapter"] = dict(self.adapter)
        if self.active_edit:
            plain["active_edit"] = self.active_edit.to_dict()
        return json.dumps(plain, ensure_ascii=False, sort_keys=True, default=str)

    def to_pandas(self) -> Any:
        """Return `rows` as a frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["part", "design"])

    def __repr__(self) -> str:
        return (
            f"StudyDesign({self.fingerprint}: {self.model}, {len(self.claims)} claims about {self.kind}, "
            f"{sum(self.development.values())} development and {sum(self.confirmation.values())} "
            f"confirmation questions, {self.draws} random sets each)"
        )


def _listed(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    named = ", ".join(f"{count} {group}" for group, count in counts.items() if group)
    return f"{total} questions ({named})" if named else f"{total} questions"
