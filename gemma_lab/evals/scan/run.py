"""Run a scan; `Lab.scan` calls `scan`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.head_types import classify_heads
from ...analysis.attention.sinks import attention_sinks
from ...checks import whole_number
from ...errors import LabError
from ...models.chat.options import RequestOptions, check_keywords
from ...models.chat.request_builder import build_request
from ...models.chat.sampling import Sampling
from ...models.loading.restore import restores_model
from ...models.tokens.vocabulary import Vocabulary
from ...trace.interventions.apply import active_edit
from ...trace.run.run import trace
from ..ablation.components import expert_limits
from ..ablation.control_sets import load_strata
from ..statistics import holm
from .against_chance import answer_depth, load_against_chance
from .answer_reading import AnswerReading
from .candidates import EXPERT_STATISTIC, HEAD_STATISTIC, expert_scores, head_kinds, head_scores, with_room
from .knockout import Knockout, knock_out
from .scan import UNCERTAIN, Scan, UncertainToken

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.request import Request
    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.interventions.edit import Edit
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Heads that are knocked out together; of experts, as many as a token has.
_HEADS = 4
_MAX_NEW_TOKENS = 32
_MAX_DRAWS = 9999


@restores_model
def scan(
    model: LoadedModel,
    prompt: PromptLike = None,
    *,
    draws: int = 99,
    progress: bool = True,
    **options: Unpack[RequestOptions],
) -> Scan:
    """Trace a prompt and its answer, and test what stands out; see `Lab.scan`."""
    check_keywords("scan", options, RequestOptions, also=("draws", "progress"))
    draws = whole_number("draws", draws, minimum=0, maximum=_MAX_DRAWS)
    request = build_request(
        model, prompt, dict(options), sampling=Sampling.greedy(), max_new_tokens=_MAX_NEW_TOKENS
    )
    if not request.max_new_tokens:
        raise LabError("A scan needs an answer, and max_new_tokens is 0.", hint="Pass max_new_tokens=32.")
    request = request.with_options(top_logprobs=max(3, request.top_logprobs))
    seed = options.get("seed") or request.seed or 0  # a greedy request keeps none
    traced = trace(model, request, attention=True, logit_lens=True)
    skipped: dict[str, str] = {}
    sinks = None
    try:
        sinks = attention_sinks(traced)
    except LabError as error:  # a short text
        skipped["sinks"] = error.what.removesuffix(".")
    load = None if traced.routing is None else load_against_chance(traced.routing, seed=seed)
    if load is None:
        skipped["expert load"] = skipped["expert knock-out"] = f"{model.name} has no experts"
    depth = answer_depth(traced)
    if depth is None:
        skipped["lens"] = "the lens was not recorded behind the answer"
    return Scan(
        trace=traced,
        uncertain=_uncertain(model, traced),
        sinks=sinks,
        heads=classify_heads(traced, seed=seed),
        load=load,
        depth=depth,
        knockouts=_knockouts(model, request, traced, draws, seed, progress, skipped),
        skipped=skipped,
        vocabulary=int(model.vocabulary),
        draws=draws,
        seed=seed,
    )


def _uncertain(model: LoadedModel, traced: Trace) -> tuple[UncertainToken, ...]:
    generation = traced.generation
    if generation is None:
        return ()
    name = Vocabulary(model.tokenizer).name
    rows = np.flatnonzero(traced.tokens.generated)
    found = []
    for at in np.flatnonzero(np.exp(generation.logprobs) < UNCERTAIN).tolist():
        chosen = int(generation.ids[at])
        others = zip(
            generation.alternative_ids[at].tolist(), generation.alternative_logprobs[at].tolist(), strict=True
        )
        found.append(
            UncertainToken(
                row=int(rows[at]) if at < len(rows) else -1,
                text=name(chosen),
                probability=float(np.exp(generation.logprobs[at])),
                entropy=float(generation.entropy[at]),
                instead=tuple(
                    (name(one), float(np.exp(logprob))) for one, logprob in others if one != chosen
                ),
            )
        )
    return tuple(found)


def _knockouts(
    model: LoadedModel,
    request: Request,
    traced: Trace,
    draws: int,
    seed: int,
    progress: bool,
    skipped: dict[str, str],
) -> tuple[Knockout, ...]:
    """Knock out the best heads and experts, and correct their p values together."""
    from tqdm.auto import tqdm

    generation = traced.generation
    if not draws or generation is None:
        skipped |= dict.fromkeys(("head knock-out", "expert knock-out"), "draws=0 was passed")
        return ()
    edit = active_edit(model.model)
    wanted = [*_heads(traced, edit, skipped), *_experts(traced, model, edit, skipped)]
    reading = AnswerReading(model, request, generation.ids.tolist())
    intact = reading.logprob()
    found: list[Knockout] = []
    total = sum(1 + count + draws for _, _, _, count, _, _ in wanted)
    with tqdm(total=total, desc=f"knock-outs of {model.name}", leave=False, disable=not progress) as bar:
        for kind, scores, strata, count, statistic, match in wanted:
            one = knock_out(
                kind,  # type: ignore[arg-type]
                scores, strata, count=count, draws=draws, seed=seed, statistic=statistic, match=match,
                logprob=reading.logprob, intact=intact, advance=bar.update,
            )  # fmt: skip
            if len(one.controls):
                found.append(one)
            else:
                skipped[f"{kind[:-1]} knock-out"] = f"there is no other set of {kind} to draw"
    adjusted = holm([one.p for one in found])
    return tuple(replace(one, adjusted=value) for one, value in zip(found, adjusted, strict=True))


#: Kind, score of every candidate, stratum of every unit, number of candidates, statistic, match in words.
_Wanted = tuple[str, dict[Any, float], dict[Any, Any], int, str, str]


def _heads(traced: Trace, edit: Edit, skipped: dict[str, str]) -> Iterator[_Wanted]:
    """Return what to knock out of the heads, if there is anything; heads that are ablated already are not."""
    kinds = head_kinds(traced)
    ablated = {unit for unit in kinds if unit[1] in edit.listed("ablate_heads", unit[0])}
    scores = _without(head_scores(traced), ablated)
    match = "as many heads of local and of global layers" + (", none ablated already" if ablated else "")
    if scores:
        count = min(_HEADS, max(1, len(scores) // 4))
        yield "heads", scores, _without(kinds, ablated), count, HEAD_STATISTIC, match
    elif ablated:
        skipped["head knock-out"] = "the active edit ablates all heads that were recorded"


def _experts(traced: Trace, model: LoadedModel, edit: Edit, skipped: dict[str, str]) -> Iterator[_Wanted]:
    """Return what to knock out of the experts, if there is anything that the active edit leaves."""
    if traced.routing is None:
        return
    scores, load = expert_scores(traced)
    strata, limits = load_strata(load), expert_limits(model)
    # ablating these as well would change nothing, or contradict the edit
    fixed = {unit for unit in strata if unit[1] in (*limits[unit[0]].ablated, *limits[unit[0]].forced)}
    scores = with_room(_without(scores, fixed), {layer: limit.room for layer, limit in limits.items()})
    match = "as many of each layer, chosen about as often in this text"
    match += ", none ablated or forced already" if fixed else ""
    if scores:
        count = min(traced.routing.top_k, len(scores))
        yield "experts", scores, _without(strata, fixed), count, EXPERT_STATISTIC, match
    else:
        skipped["expert knock-out"] = _no_experts(edit, traced.routing)


def _without(units: dict[Any, Any], left_out: set[Any]) -> dict[Any, Any]:
    return {unit: value for unit, value in units.items() if unit not in left_out}


def _no_experts(edit: Edit, routing: Routing) -> str:
    """Return why no expert can be knocked out."""
    if not edit:
        return f"each token needs {routing.top_k} of {routing.experts} experts, and none can be spared"
    return (
        f"the active edit ablates or forces so many experts that of those chosen for the answer none can be "
        f"spared; each token needs {routing.top_k} of {routing.experts}"
    )
