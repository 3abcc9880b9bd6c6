"""Comparison of two traces: changed tokens, divergence of their next-token distributions, changed routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks import type_name
from ..display import Displayed
from ..errors import LabError
from .alignment import AlignedPair, align, common_prefix
from .kl_divergence import KLBound, kl_bound

if TYPE_CHECKING:
    from ..trace.records.generation import Generation
    from ..trace.records.routing import Routing
    from ..trace.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoutingChange(Displayed):
    """Difference of the routing of the same tokens in two runs; arrays are ``[layers]`` unless noted.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens
        Number of compared tokens: the common prefix of the prompts.
    experts
        Mean over tokens of the Jaccard index of the two sets of chosen experts (intersection ÷ union).
    weight
        Mean over tokens of the weight given to the same experts, ``Σ_e min(a_e, b_e)``, where a and b are the
        token's gate weights normalised to sum to 1 (before the per-expert scale). 1 is the same mixture.
    changed
        Fraction of tokens whose sets of experts differ.
    by_token
        Jaccard index of each token, mean over layers, ``[tokens]``.
    first
        Layer and token of the first difference, in the order of computation: the lowest layer, and its first
        token. None if there is none.
    """

    layers: tuple[int, ...]
    tokens: int
    experts: Floats
    weight: Floats
    changed: Floats
    by_token: Floats
    first: tuple[int, int] | None

    def __repr__(self) -> str:
        return (
            f"RoutingChange({len(self.layers)} layers, {self.tokens:,} tokens: mean experts in common "
            f"{self.experts.mean():.2f}, weight in common {self.weight.mean():.2f})"
        )

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, experts, weight, changed."""
        import pandas as pd

        columns = {"experts": self.experts, "weight": self.weight, "changed": self.changed}
        return pd.DataFrame({"layer": self.layers, **columns})


@dataclass(frozen=True, eq=False)
class Comparison(Displayed):
    """Two traces side by side; arrays have one entry per row of `pairs`.

    Attributes
    ----------
    names
        Name of each run: its model, and whether it was edited.
    answers
        The generated texts.
    pairs
        The generated tokens, aligned.
    texts, labels
        Text that each generated token of the first and second run adds, ``""`` for control tokens and for
        bytes of an incomplete character; and a label to show it alone.
    logprobs
        Log-probability that each run gave its own token, nats, ``[rows, 2]``; NaN where it has none.
    kl
        Lower bound of ``KL(first ‖ second)`` of the next token, nats; NaN in rows that only one run has. It
        is computed from the recorded top log-probabilities by `gemma_lab.analysis.kl_bound`: tokens whose
        probability is known on both sides are outcomes of their own, all others are merged into one.
    resolved
        Probability, under the first, of the tokens that are outcomes of their own. At 1 `kl` is exact.
    same_context
        Whether everything before the token is the same in both runs (prompt, media, generated tokens), so
        that `kl` compares two models and not two texts.
    prompts, shared
        Tokens of each prompt, and length of their common prefix.
    routing
        Difference of the routing of the common prefix; None where it cannot be compared, see `note`.
    note
        Why `routing` is None; ``""`` otherwise.
    overruled
        Whether a grammar forbade the likeliest token of each run, bool ``[rows, 2]``; False without a
        grammar. The log-probabilities and `kl` are those of the model, before the grammar: where only the
        grammar differs, `kl` is 0 up to and including the first changed token.
    """

    names: tuple[str, str]
    answers: tuple[str, str]
    pairs: tuple[AlignedPair, ...]
    texts: tuple[tuple[str, ...], tuple[str, ...]]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    logprobs: Floats
    kl: Floats
    resolved: Floats
    same_context: NDArray[np.bool]
    prompts: tuple[int, int]
    shared: int
    routing: RoutingChange | None
    note: str = ""
    overruled: NDArray[np.bool] = field(default_factory=lambda: np.zeros((0, 2), dtype=bool))

    @property
    def changed(self) -> int:
        """Number of rows that are not the same token."""
        return sum(pair.change != "same" for pair in self.pairs)

    @property
    def first_change(self) -> int | None:
        """The first row that is not the same token; None if the answers are equal."""
        return next((row for row, pair in enumerate(self.pairs) if pair.change != "same"), None)

    @property
    def mean_kl(self) -> float:
        """Mean of `kl` over the rows in the same context, nats per token; NaN if there are none."""
        values = self.kl[self.same_context]
        return float(values.mean()) if len(values) else float("nan")

    def __repr__(self) -> str:
        return f"Comparison({' and '.join(self.names)}: {'; '.join(self.findings())})"

    def findings(self) -> list[str]:
        """Return the findings as short statements."""
        findings = []
        if self.pairs:
            first = self.first_change
            where = "" if first is None else f", from token {first}"
            findings.append(f"{self.changed} of {len(self.pairs)} generated tokens changed{where}")
        for side, name in enumerate(("first", "second")):
            rows = np.flatnonzero(self.overruled[:, side])
            if len(rows):
                place = getattr(self.pairs[rows[0]], name)
                times = f"{len(rows)} time{'s' * (len(rows) != 1)}"
                findings.append(f"the grammar of the {name} overruled the model {times}, from token {place}")
        compared = int(self.same_context.sum())
        if compared:
            findings.append(f"mean KL ≥ {self.mean_kl:.3g} nats over {compared} tokens in the same context")
        if self.routing is None:
            findings.append(self.note)
        else:
            change, layers = self.routing, len(self.routing.layers)
            findings.append(
                f"experts in common {change.experts.mean():.2f}, weight {change.weight.mean():.2f} "
                f"over {self.shared:,} shared prompt tokens in {layers} layer{'s' * (layers != 1)}"
            )
        return findings

    def to_pandas(self) -> Any:
        """Return one row per pair: first, second, change; each side's token, logprob and overruled; kl, …."""
        import pandas as pd

        data: dict[str, Any] = {
            "first": pd.array([pair.first for pair in self.pairs], dtype="Int64"),
            "second": pd.array([pair.second for pair in self.pairs], dtype="Int64"),
            "change": [pair.change for pair in self.pairs],
        }
        for side, (name, labels) in enumerate(zip(("first", "second"), self.labels, strict=True)):
            positions = [getattr(pair, name) for pair in self.pairs]
            data[f"{name}_token"] = [None if index is None else labels[index] for index in positions]
            data[f"{name}_logprob"] = self.logprobs[:, side]
            data[f"{name}_overruled"] = self.overruled[:, side]
        data |= {"kl": self.kl, "resolved": self.resolved, "same_context": self.same_context}
        return pd.DataFrame(data)


def compare(first: Trace, second: Trace) -> Comparison:
    """Compare two traces: one prompt with and without an edit or a grammar, or two models of one vocabulary.

    Parameters
    ----------
    first, second
        From `Lab.trace` or `gemma_lab.open_trace`.

    Returns
    -------
    Comparison

    Raises
    ------
    LabError
        If one of them is not a trace.

    Examples
    --------
    >>> plain = lab.trace("What is 7 in German?", max_new_tokens=8)
    >>> edit = gl.Edit(ablate_experts={3: [17]})
    >>> gl.compare(plain, lab.trace("What is 7 in German?", max_new_tokens=8, edit=edit))
    """
    from ..trace.trace import Trace

    for trace in (first, second):
        if not isinstance(trace, Trace):
            raise LabError(
                f"compare() takes two traces, not {type_name(trace)}.",
                hint="For example gl.compare(lab.trace(…), lab.trace(…)).",
            )
    prompts = [trace.tokens.ids[~trace.tokens.generated].tolist() for trace in (first, second)]
    shared = common_prefix(*prompts)
    same_prompt = prompts[0] == prompts[1] and _media(first) == _media(second)
    one, two = first.generation, second.generation
    pairs = align(_ids(one), _ids(two))
    bounds = [_bound(one, two, pair) for pair in pairs]
    same = np.cumsum([pair.change != "same" for pair in pairs], dtype=int) if pairs else np.zeros(0, int)
    before = np.concatenate([[0], same])[: len(pairs)]  # changed rows before each row
    both = np.asarray([bound is not None for bound in bounds], dtype=bool)
    shown = [texts_and_labels(trace) for trace in (first, second)]
    routing, note = _routing(first.routing, second.routing, shared)
    return Comparison(
        names=(_name(first), _name(second)),
        answers=("" if one is None else one.text, "" if two is None else two.text),
        pairs=tuple(pairs),
        texts=(shown[0][0], shown[1][0]),
        labels=(shown[0][1], shown[1][1]),
        logprobs=np.asarray(
            [(_logprob(one, pair.first), _logprob(two, pair.second)) for pair in pairs], dtype=float
        ).reshape(-1, 2),
        kl=np.asarray([np.nan if bound is None else bound.nats for bound in bounds], dtype=float),
        resolved=np.asarray([np.nan if bound is None else bound.resolved for bound in bounds], dtype=float),
        same_context=(before == 0) & both & same_prompt,
        prompts=(len(prompts[0]), len(prompts[1])),
        shared=shared,
        routing=routing,
        note=note,
        overruled=np.asarray(
            [(_overruled(one, pair.first), _overruled(two, pair.second)) for pair in pairs], dtype=bool
        ).reshape(-1, 2),
    )


def _ids(generation: Generation | None) -> list[int]:
    return [] if generation is None else [int(index) for index in generation.ids]


def _logprob(generation: Generation | None, position: int | None) -> float:
    return float("nan") if generation is None or position is None else float(generation.logprobs[position])


def _overruled(generation: Generation | None, position: int | None) -> bool:
    return generation is not None and position is not None and bool(generation.overruled[position])


def _bound(one: Generation | None, two: Generation | None, pair: AlignedPair) -> KLBound | None:
    if one is None or two is None or pair.first is None or pair.second is None:
        return None
    return kl_bound(_known(one, pair.first), _known(two, pair.second))


def _known(generation: Generation, position: int) -> dict[int, float]:
    """Return the recorded log-probabilities at one position: the top tokens and the sampled one."""
    ids = generation.alternative_ids[position].tolist()
    known = dict(zip(ids, generation.alternative_logprobs[position].tolist(), strict=True))
    return known | {int(generation.ids[position]): float(generation.logprobs[position])}


def texts_and_labels(trace: Trace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the text that each generated token adds, and a label to show it alone.

    The last generated token was not fed back and may have no row in the table: its text is the rest of the
    answer, its label the piece of the same id elsewhere.
    """
    ids, tokens = _ids(trace.generation), trace.tokens
    rows = np.flatnonzero(tokens.generated)[: len(ids)]
    texts = [str(tokens.texts[row]) for row in rows]
    names = {int(index): str(piece) for index, piece in zip(tokens.ids, tokens.pieces, strict=True)}
    if trace.generation is not None and len(texts) < len(ids):
        known, answer = "".join(texts), trace.generation.text
        texts.append(answer.removeprefix(known) if answer.startswith(known) else "")
        texts += [""] * (len(ids) - len(texts))
    labels = [text or names.get(index, f"<id {index}>") for index, text in zip(ids, texts, strict=True)]
    return tuple(texts), tuple(labels)


def _name(trace: Trace) -> str:
    parts = [str(trace.meta.get("model", "model"))]
    request = trace.meta.get("request") or {}
    parts += ["edited"] if trace.meta.get("edit") else []
    parts += [f"with {name}" for name in ("schema", "tool_choice") if request.get(name) is not None]
    return ", ".join(parts)


def _routing(one: Routing | None, two: Routing | None, shared: int) -> tuple[RoutingChange | None, str]:
    if one is None or two is None:
        return None, "no routing to compare: no experts" if one is two else "only one has routing"
    mine, theirs = ((part.layers, part.experts) for part in (one, two))
    if mine != theirs:
        return None, "no routing to compare: models with different experts or layers"
    if not shared:
        return None, "no routing to compare: the prompts have no common prefix"
    return _change(one.select(slice(0, shared)), two.select(slice(0, shared)), shared), ""


def _change(one: Routing, two: Routing, shared: int) -> RoutingChange:
    rows = [_layer(one.layer(layer), two.layer(layer)) for layer in one.layers]
    jaccard = np.stack([index for index, _ in rows])
    differs = jaccard < 1
    positions = np.argwhere(differs)
    return RoutingChange(
        layers=one.layers,
        tokens=shared,
        experts=jaccard.mean(axis=1),
        weight=np.asarray([weight.mean() for _, weight in rows]),
        changed=differs.mean(axis=1),
        by_token=jaccard.mean(axis=0),
        first=(one.layers[positions[0, 0]], int(positions[0, 1])) if len(positions) else None,
    )


def _layer(one: Routing, two: Routing) -> Sequence[Floats]:
    """Return the Jaccard index and the common weight of each token, both ``[tokens]``."""
    a, b = one.ids[0], two.ids[0]
    same = a[:, :, None] == b[:, None, :]  # [tokens, k, k]
    common = same.sum(axis=(1, 2))
    gate_weights = [part.gate_weights[0].astype(float) for part in (one, two)]
    mine, theirs = (part / part.sum(axis=1, keepdims=True) for part in gate_weights)
    weight = np.where(same, np.minimum(mine[:, :, None], theirs[:, None, :]), 0.0).sum(axis=(1, 2))
    return common / (one.top_k + two.top_k - common), np.minimum(weight, 1.0)


def _media(trace: Trace) -> object:
    return (trace.meta.get("request") or {}).get("media")
