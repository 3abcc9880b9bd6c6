"""Run single ablation tests: ablate a set of experts or heads, and matched random sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ...checks import members, short_repr, whole_number
from ...errors import BadEdit, LabError
from .answer_scores import AnswerReader
from .compare_sets import PlannedTest, compare_sets
from .components import read_components, read_kind
from .control_sets import possible_sets, read_match, strata
from .result import AblationTest, Measure

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from .components import Components, Kind
    from .control_sets import Match


def ablate_experts(
    lab: LoadedModel,
    experts: Mapping[int, Sequence[int]],
    examples: Sequence[Any],
    *,
    claim: str | None = None,
    groups: Sequence[str] | None = None,
    target: str | None = None,
    contrast: bool = True,
    draws: int = 199,
    match: Literal["size", "load"] = "load",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> AblationTest:
    """Ablate a set of experts and random sets of the same size, and compare what the answers lose.

    How often an expert is chosen, or for which tokens, does not tell whether the answer needs it
    (arXiv:2606.10703); ablation against random experts of the same layers, as many per layer, does
    (arXiv:2606.25092). The measure is the log-probability of given answers, read after their prompts (teacher
    forcing). All sets of an example share its forward passes.

    This is one comparison on examples of your choice, to explore with. For a verdict use
    `gemma_lab.evals.AblationStudy`, which keeps the questions that choose a set apart from those that test it
    and has controls.

    Parameters
    ----------
    lab
        A mixture-of-experts model.
    experts
        Layer to experts, e.g. from ``top_experts`` of a statistic. Do not choose them by these examples: a
        set chosen and tested on the same ones looks better than it is.
    examples
        Questions of the check-up with a written answer (`gemma_lab.evals.load_questions`), pairs of prompt
        and answer, or any form that `gemma_lab.Lab.fine_tune` takes.
    claim
        What is said of the set, for the result. Default: what chose it, or ``"chosen experts"``.
    groups
        One name per example. Default: the groups of questions.
    target
        The group that the set is said to serve. Default: all examples.
    contrast
        Whether the loss on the other examples is subtracted from that on the target's.
    draws
        Number of random sets. The smallest p value is ``1 / (draws + 1)``.
    match
        ``"load"``: as many experts of each layer from among the 16 nearest in load on these examples, since a
        busy expert is missed more than an idle one whatever it does. ``"size"``: as many of each layer.
    batch_size
        Sets per forward pass, at most; fewer where the prompt is long.
    seed
        Of the draws.
    progress
        Show a progress bar.

    Returns
    -------
    AblationTest

    Raises
    ------
    BadEdit
        If the model has no such experts, there is no other set that matches, or, with the active edit, too
        few experts would be left or one would be both ablated and forced.
    LabError
        If there are no examples, one cannot be used, or no example is of the target.
    """
    return _test(
        lab, "experts", experts, examples, claim=claim, groups=groups, target=target, contrast=contrast,
        draws=draws, match=match, batch_size=batch_size, seed=seed, progress=progress,
    )  # fmt: skip


def ablate_heads(
    lab: LoadedModel,
    heads: Mapping[int, Sequence[int]] | Sequence[tuple[int, int]],
    examples: Sequence[Any],
    *,
    claim: str | None = None,
    groups: Sequence[str] | None = None,
    target: str | None = None,
    contrast: bool = True,
    draws: int = 199,
    match: Literal["size", "kind"] = "size",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> AblationTest:
    """Ablate a set of heads and random sets of the same size, and compare what the answers lose.

    The experiment of Wu et al. 2024 (arXiv:2404.15574, section 4.1), who mask the top retrieval heads and as
    many random ones, with the log-probability of the answers as the measure.

    Parameters
    ----------
    lab
        The loaded model.
    heads
        Pairs of layer and query head, e.g. ``retrieval.best(3)``, or layer to heads. Do not choose them by
        these examples.
    examples, claim, groups, target, contrast, batch_size, seed, progress
        As for `ablate_experts`.
    draws
        Number of random sets; all there are, where there are fewer.
    match
        ``"size"``: as many heads. ``"kind"``: as many of local and of global layers.

    Returns
    -------
    AblationTest

    Raises
    ------
    BadEdit
        If the model has no such heads, or there is no other set that matches.
    LabError
        If there are no examples, one cannot be used, or no example is of the target.
    """
    return _test(
        lab, "heads", heads, examples, claim=claim, groups=groups, target=target, contrast=contrast,
        draws=draws, match=match, batch_size=batch_size, seed=seed, progress=progress,
    )  # fmt: skip


def name_of(given: str | None, components: Any, kind: Kind) -> str:
    """Return what a set is said to be: as given, or the statistic that chose it."""
    return str(given or getattr(components, "statistic", None) or f"chosen {kind}")


def read_examples(examples: Any) -> Sequence[Any]:
    """Return examples as they were given.

    Raises
    ------
    LabError
        If they are no list. A text has letters and a mapping has keys, which are no examples.
    """
    if isinstance(examples, str | bytes | bytearray) or not isinstance(examples, Sequence):
        raise LabError(
            f"examples is {short_repr(examples)}.",
            hint='Pass a list of questions, or of pairs: [("What is 9 plus 4?", "13")].',
        )
    return examples


def read_groups(groups: Sequence[str] | None, examples: Sequence[Any]) -> tuple[str, ...]:
    """Return the group of each example: as given, or that of a question.

    Raises
    ------
    LabError
        If they are no list, or not one per example. A text, a mapping or a set does not say which example has
        which group.
    """
    if groups is None:
        return tuple(str(getattr(one, "group", "")) for one in examples)
    if isinstance(groups, Mapping | set | frozenset | bytearray):
        raise LabError(f"groups={short_repr(groups)} is not a list.", hint="Pass one name per example.")
    named = members("groups", groups, example='groups=["words", "digits"]')
    if len(named) != len(examples):
        raise LabError(f"{len(named)} groups for {len(examples)} examples.", hint="Pass one per example.")
    return tuple(map(str, named))


def read_measure(target: str | None, contrast: bool, groups: tuple[str, ...]) -> Measure:
    """Return the measure of a test.

    Raises
    ------
    LabError
        If no example is of the target, or, for a contrast, all are.
    """
    if target is None:
        return Measure()
    inside = groups.count(str(target))
    if not inside or (contrast and inside == len(groups)):
        raise LabError(
            f"Of {len(groups)} examples, {inside} are of the group {target!r}.",
            hint="A target needs examples of its group and, unless contrast=False, of others.",
        )
    return Measure(str(target), bool(contrast))


def require_other_sets(
    lab: LoadedModel, kind: Kind, chosen: Components, match: Match, load: Any, *, at_least: int = 1
) -> None:
    """Raise `BadEdit` if a set has fewer matched random sets than `at_least`."""
    others = possible_sets(chosen, strata(lab, kind, match, load))
    if others < at_least:
        size = sum(map(len, chosen.values()))
        raise BadEdit(
            f"{size} {kind} of {len(chosen)} layers have {others} other sets that match (match={match!r}); "
            f"at least {at_least} are needed.",
            hint='match="size" leaves the most; take fewer of a layer, or more than one head.',
        )


def _test(
    lab: LoadedModel,
    kind: Kind,
    given: Any,
    examples: Sequence[Any],
    *,
    claim: str | None,
    groups: Sequence[str] | None,
    target: str | None,
    contrast: bool,
    draws: int,
    match: Any,
    batch_size: int,
    seed: int,
    progress: bool,
) -> AblationTest:
    draws, seed = whole_number("draws", draws, minimum=1), whole_number("seed", seed, minimum=0)
    kind, match = read_kind(lab, kind), read_match(kind, match)
    chosen = read_components(lab, kind, given)
    examples = read_examples(examples)
    named = read_groups(groups, examples)
    measure = read_measure(target, contrast, named)
    reader = AnswerReader(lab, examples, batch_size=whole_number("batch_size", batch_size, minimum=1))
    intact = reader.read_intact()
    require_other_sets(lab, kind, chosen, match, reader.load)
    planned = PlannedTest(name_of(claim, given, kind), chosen, measure, match)
    (found,) = compare_sets(
        lab, kind, reader, intact, named, [planned], draws=draws, seed=seed, progress=progress
    )
    return found.test
