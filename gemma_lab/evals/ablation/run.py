"""Run ablation tests: ablate a set of experts or heads, and matched random sets, while answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import short_repr, whole_number
from ...errors import BadEdit, LabError
from .answer_scores import AnswerReader
from .control_sets import by_layer, expert_sets, head_sets
from .result import AblationTest

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from .answer_scores import Array, Components, Kind
    from .control_sets import Match

_EXPERTS_HINT = "Pass layers and experts: {0: [17, 5]}."
_HEADS_HINT = "Pass layers and heads, {5: [0, 2]}, or pairs of them, [(5, 0), (5, 2)]."


def ablate_experts(
    lab: LoadedModel,
    experts: Mapping[int, Sequence[int]],
    examples: Sequence[Any],
    *,
    claim: str | None = None,
    groups: Sequence[str] | None = None,
    target: str | None = None,
    draws: int = 199,
    match: Match = "load",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> AblationTest:
    """Test what a set of experts causes: ablate it, and matched random sets of the same size.

    How often an expert is chosen, or for which tokens, does not tell whether the answer needs it
    (arXiv:2606.10703); ablation against random experts of the same layers, as many per layer, does
    (arXiv:2606.25092). The measure is fixed beforehand: the log-probability of given answers, read after
    their prompts (teacher forcing). All sets of an example share its forward passes.

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
        The group that the set is said to serve: the measure is then its loss minus that of the others.
    draws
        Number of random sets. The smallest p value is ``1 / (draws + 1)``.
    match
        ``"load"``: each expert is replaced by one of its layer that is chosen about as often on these
        examples; a busy expert is missed more than an idle one whatever it does. ``"size"``: by any other.
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
        If the model has no such experts, or a layer has too few others.
    LabError
        If there are no examples, one cannot be used, or no example is of the target.
    """
    draws = whole_number("draws", draws, minimum=1)
    if match not in ("size", "load"):
        raise LabError(f"match={match!r} is no way to draw.", hint='match="load" or match="size".')
    shape = lab.architecture
    if not shape.experts:
        raise BadEdit(
            f"{lab.name} has no experts.", hint="Load a mixture-of-experts model: gl.load('mini-moe')."
        )
    chosen = _checked(experts, "expert", lambda _: int(shape.experts or 0), len(shape.layers), _EXPERTS_HINT)
    for layer, listed in chosen.items():
        if 2 * len(listed) > shape.experts:
            raise BadEdit(
                f"{len(listed)} of {shape.experts} experts of layer {layer} leave too few for a random set.",
                hint="Ablate at most half of a layer's experts.",
            )
    return _test(
        lab, "experts", chosen, examples, claim=_claim(claim, experts, "chosen experts"), groups=groups,
        target=target, match=match, batch_size=batch_size, seed=seed, progress=progress,
        draw=lambda load: expert_sets(chosen, load, draws=draws, match=match, seed=seed),
    )  # fmt: skip


def ablate_heads(
    lab: LoadedModel,
    heads: Mapping[int, Sequence[int]] | Sequence[tuple[int, int]],
    examples: Sequence[Any],
    *,
    claim: str | None = None,
    groups: Sequence[str] | None = None,
    target: str | None = None,
    draws: int = 199,
    match: Literal["size", "kind"] = "size",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> AblationTest:
    """Test what a set of heads causes: ablate it, and as many random other heads.

    The experiment of Wu et al. 2024 (arXiv:2404.15574, section 4.1), who mask the top retrieval heads and as
    many random ones, with the log-probability of the answers as the measure.

    Parameters
    ----------
    lab
        The loaded model.
    heads
        Pairs of layer and query head, e.g. ``retrieval.best(3)``, or layer to heads. Do not choose them by
        these examples.
    examples, claim, groups, target, batch_size, seed, progress
        As for `ablate_experts`.
    draws
        Number of random sets; all there are, where there are fewer: one head of a small model leaves too few
        to decide anything.
    match
        ``"size"``: as many of all other heads. ``"kind"``: as many of local and of global layers as are
        ablated, which a model with few global layers may not have.

    Returns
    -------
    AblationTest

    Raises
    ------
    BadEdit
        If the model has no such heads, or too few others.
    LabError
        If there are no examples, one cannot be used, or no example is of the target.
    """
    from ...trace.interventions.head_ablation import heads_of

    draws = whole_number("draws", draws, minimum=1)
    counts = {layer: one.count for layer, one in heads_of(lab.model).items()}
    listed = heads if isinstance(heads, Mapping) else _pairs(heads)
    chosen = _checked(listed, "head", lambda layer: counts.get(layer, 0), len(lab.architecture.layers),
                      _HEADS_HINT)  # fmt: skip
    if match not in ("size", "kind"):
        raise LabError(f"match={match!r} is no way to draw.", hint='match="size" or match="kind".')
    kinds = {
        (layer, head): str(lab.architecture.layers[layer].kind) if match == "kind" else ""
        for layer, count in counts.items()
        for head in range(count)
    }
    pairs = [(layer, head) for layer, of in chosen.items() for head in of]
    sets = head_sets(pairs, kinds, draws=draws, seed=seed)
    if not sets:
        raise BadEdit(
            f"{len(pairs)} of {len(kinds)} heads leave too few for a random set (match={match!r}).",
            hint='Ablate at most half of the heads; of either kind of layer with match="kind".',
        )
    return _test(
        lab, "heads", chosen, examples, claim=_claim(claim, heads, "chosen heads"), groups=groups,
        target=target, match=match, batch_size=batch_size, seed=seed, progress=progress,
        draw=lambda _: sets,
    )  # fmt: skip


def _test(
    lab: LoadedModel,
    kind: Kind,
    chosen: Components,
    examples: Sequence[Any],
    *,
    claim: str,
    groups: Sequence[str] | None,
    target: str | None,
    match: str,
    batch_size: int,
    seed: int,
    progress: bool,
    draw: Callable[[dict[int, Array]], list[Components]],
) -> AblationTest:
    from tqdm.auto import tqdm

    named = _groups(groups, examples)
    if target is not None and len({one == target for one in named}) < 2:
        raise LabError(
            f"Of {len(named)} examples, {named.count(str(target))} are of the group {target!r}.",
            hint="A target needs examples of its group and of others.",
        )
    reader = AnswerReader(lab, examples, batch_size=whole_number("batch_size", batch_size, minimum=1))
    intact = reader.read_intact()
    sets = draw(reader.load)
    title = f"{len(sets) + 1} ablations of {lab.name}"
    with tqdm(total=len(reader), desc=title, disable=not progress, leave=False) as bar:
        found = reader.read([chosen, *sets], kind, bar=bar)
    shares = np.array([_share(one, reader.load, kind) for one in (chosen, *sets)])
    return AblationTest(
        model=lab.name, claim=claim, kind=kind, components=chosen, groups=named, target=target,
        intact=intact.log_probs[0], ablated=found.log_probs[0], controls=found.log_probs[1:],
        right_intact=intact.right[0], right_ablated=found.right[0], right_controls=found.right[1:],
        share=float(shares[0]), control_shares=shares[1:], match=match, seed=seed,
    )  # fmt: skip


def _share(components: Components, load: Mapping[int, Array], kind: Kind) -> float:
    """Return the fraction of all choices of all layers' routers that falls on a set; NaN for heads."""
    if kind == "heads":
        return float("nan")
    chosen = sum(int(load[layer][list(experts)].sum()) for layer, experts in components.items())
    return chosen / sum(int(one.sum()) for one in load.values())


def _claim(given: str | None, components: Any, default: str) -> str:
    return str(given or getattr(components, "statistic", None) or default)


def _checked(components: Any, what: str, count: Callable[[int], int], layers: int, hint: str) -> Components:
    if not isinstance(components, Mapping) or not components:
        raise BadEdit(f"{what}s is {short_repr(components)}.", hint=hint)
    found: Components = {}
    for layer, listed in components.items():
        if whole_number("layer", layer, minimum=0) >= layers:
            raise BadEdit(f"There is no layer {layer}.", hint=f"Layers are 0 to {layers - 1}.")
        if isinstance(listed, str) or not hasattr(listed, "__iter__"):
            raise BadEdit(f"Layer {layer} has {short_repr(listed)} for {what}s.", hint=hint)
        numbers = tuple(sorted({whole_number(what, one, minimum=0) for one in listed}))
        if numbers and numbers[-1] >= count(int(layer)):
            raise BadEdit(
                f"Layer {layer} has no {what} {numbers[-1]}.", hint=f"It has {count(int(layer))}, from 0."
            )
        if numbers:
            found[int(layer)] = numbers
    if not found:
        raise BadEdit(f"There are no {what}s to ablate.", hint=hint)
    return found


def _pairs(heads: Any) -> Components:
    try:
        pairs = [(whole_number("layer", layer, minimum=0), whole_number("head", head, minimum=0))
                 for layer, head in heads]  # fmt: skip
    except (TypeError, ValueError):
        raise BadEdit(f"heads is {short_repr(heads)}.", hint=_HEADS_HINT) from None
    return by_layer(pairs)


def _groups(groups: Sequence[str] | None, examples: Sequence[Any]) -> tuple[str, ...]:
    if groups is None:
        return tuple(str(getattr(one, "group", "")) for one in examples)
    if len(groups) != len(examples):
        raise LabError(f"{len(groups)} groups for {len(examples)} examples.", hint="Pass one per example.")
    return tuple(map(str, groups))
