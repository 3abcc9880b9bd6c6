"""Two traces side by side: which tokens changed, how far their probabilities moved, which experts differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
class RoutingChange:
    """How the routing of the same tokens differs between two runs; arrays are ``[layers]`` unless said.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens
        How many tokens were compared: those that both prompts begin with.
    experts
        Mean over tokens of the Jaccard index of the two sets of chosen experts: common ÷ chosen by either.
    weight
        Mean over tokens of the weight that went to the same experts, ``Σ_e min(a_e, b_e)``, where a and b are
        the token's shares made to sum to 1 (before the per-expert scale). 1 is the same mixture.
    changed
        Part of the tokens whose sets of experts differ.
    by_token
        The Jaccard index of each token, mean over layers, ``[tokens]``.
    first
        Layer and token of the first difference, in the order in which a model computes a prompt: the lowest
        layer, and its first token. None if there is none.
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
        """Return one row a layer: layer, experts, weight, changed."""
        import pandas as pd

        columns = {"experts": self.experts, "weight": self.weight, "changed": self.changed}
        return pd.DataFrame({"layer": self.layers, **columns})


@dataclass(frozen=True, eq=False)
class Comparison(Displayed):
    """Two traces side by side; arrays have one entry a row of `pairs`.

    Attributes
    ----------
    names
        What the two are: model, and whether edited.
    answers
        The text that each generated.
    pairs
        The generated tokens, aligned.
    texts, labels
        What each generated token of the first and of the second adds to the text, ``""`` for control tokens
        and for bytes of an unfinished character; and how to show it alone.
    logprobs
        Log-probability that each gave its own token, nats, ``[rows, 2]``; NaN where it has none.
    kl
        A lower bound of ``KL(first ‖ second)`` of the next token here, nats; NaN in rows that only one has.
        It comes from the recorded alternatives by `gemma_lab.analysis.kl_divergence.kl_bound`: each token whose
        probability is known on both sides is a bin, all others together are one.
    resolved
        Probability, under the first, of the tokens with a bin of their own. At 1 `kl` is exact.
    same_context
        Whether everything before is the same on both sides, so that `kl` compares two models and not two
        texts: prompt, media, and every generated token before.
    prompts, shared
        Tokens of each prompt, and how many tokens both begin with.
    routing
        How the routing of those differs; None where it cannot be compared, see `note`.
    note
        Why there is no `routing`; ``""`` if there is.
    """

    names: tuple[str, str]
    answers: tuple[str, str]
    pairs: tuple[AlignedPair, ...]
    texts: tuple[tuple[str, ...], tuple[str, ...]]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    logprobs: Floats
    kl: Floats
    resolved: Floats
    same_context: NDArray[np.bool_]
    prompts: tuple[int, int]
    shared: int
    routing: RoutingChange | None
    note: str = ""

    @property
    def changed(self) -> int:
        """How many rows are not the same token."""
        return sum(pair.change != "same" for pair in self.pairs)

    @property
    def first_change(self) -> int | None:
        """The first row that is not the same token; None if the answers are the same."""
        return next((row for row, pair in enumerate(self.pairs) if pair.change != "same"), None)

    @property
    def mean_kl(self) -> float:
        """Mean of `kl` over the rows in the same context, nats a token; NaN if there is none."""
        values = self.kl[self.same_context]
        return float(values.mean()) if len(values) else float("nan")

    def __repr__(self) -> str:
        return f"Comparison({' and '.join(self.names)}: {'; '.join(self.findings())})"

    def findings(self) -> list[str]:
        """Return what was found, in short sentences."""
        found = []
        if self.pairs:
            first = self.first_change
            where = "" if first is None else f", from token {first}"
            found.append(f"{self.changed} of {len(self.pairs)} generated tokens changed{where}")
        compared = int(self.same_context.sum())
        if compared:
            found.append(f"mean KL ≥ {self.mean_kl:.3g} nats over {compared} tokens in the same context")
        if self.routing is None:
            found.append(self.note)
        else:
            change, layers = self.routing, len(self.routing.layers)
            found.append(
                f"experts in common {change.experts.mean():.2f}, weight {change.weight.mean():.2f} "
                f"over {self.shared:,} shared prompt tokens in {layers} layer{'s' * (layers != 1)}"
            )
        return found

    def to_pandas(self) -> Any:
        """Return one row a pair: first, second, change, tokens, logprobs, kl, resolved, same_context."""
        import pandas as pd

        data: dict[str, Any] = {
            "first": pd.array([pair.first for pair in self.pairs], dtype="Int64"),
            "second": pd.array([pair.second for pair in self.pairs], dtype="Int64"),
            "change": [pair.change for pair in self.pairs],
        }
        for side, (name, labels) in enumerate(zip(("first", "second"), self.labels, strict=True)):
            places = [getattr(pair, name) for pair in self.pairs]
            data[f"{name}_token"] = [None if place is None else labels[place] for place in places]
            data[f"{name}_logprob"] = self.logprobs[:, side]
        data |= {"kl": self.kl, "resolved": self.resolved, "same_context": self.same_context}
        return pd.DataFrame(data)


def compare(first: Trace, second: Trace) -> Comparison:
    """Compare two traces: of one prompt with and without an edit, or of two models with one vocabulary.

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
        If one of them is no trace.

    Examples
    --------
    >>> plain = lab.trace("What is 7 in German?", max_new_tokens=8)
    >>> gl.compare(plain, lab.trace("What is 7 in German?", max_new_tokens=8, edit=Edit(ablate_experts={3: [17]})))
    """
    from ..trace.trace import Trace

    for given in (first, second):
        if not isinstance(given, Trace):
            raise LabError(
                f"A {type(given).__name__} cannot be compared.",
                hint="Give two traces: gemma_lab.compare(lab.trace(…), lab.trace(…)).",
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
    written = [_written(trace) for trace in (first, second)]
    routing, note = _routing(first.routing, second.routing, shared)
    return Comparison(
        names=(_name(first), _name(second)),
        answers=("" if one is None else one.text, "" if two is None else two.text),
        pairs=tuple(pairs),
        texts=(written[0][0], written[1][0]),
        labels=(written[0][1], written[1][1]),
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
    )


def _ids(generation: Generation | None) -> list[int]:
    return [] if generation is None else [int(index) for index in generation.ids]


def _logprob(generation: Generation | None, place: int | None) -> float:
    return float("nan") if generation is None or place is None else float(generation.logprobs[place])


def _bound(one: Generation | None, two: Generation | None, pair: AlignedPair) -> KLBound | None:
    if one is None or two is None or pair.first is None or pair.second is None:
        return None
    return kl_bound(_known(one, pair.first), _known(two, pair.second))


def _known(generation: Generation, place: int) -> dict[int, float]:
    """Return the recorded log-probabilities at one position: the likeliest tokens, and the one chosen."""
    ids = generation.alternative_ids[place].tolist()
    known = dict(zip(ids, generation.alternative_logprobs[place].tolist(), strict=True))
    return known | {int(generation.ids[place]): float(generation.logprobs[place])}


def _written(trace: Trace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what each generated token adds to the text, and how to show it alone.

    The token chosen last was never read and may have no row in the table: its text is what is left of the
    answer, its name that of its id elsewhere.
    """
    ids, tokens = _ids(trace.generation), trace.tokens
    rows = np.flatnonzero(tokens.generated)[: len(ids)]
    texts = [str(tokens.texts[row]) for row in rows]
    names = {int(index): str(piece) for index, piece in zip(tokens.ids, tokens.pieces, strict=True)}
    if trace.generation is not None and len(texts) < len(ids):
        said, whole = "".join(texts), trace.generation.text
        texts.append(whole.removeprefix(said) if whole.startswith(said) else "")
        texts += [""] * (len(ids) - len(texts))
    labels = [text or names.get(index, f"<id {index}>") for index, text in zip(ids, texts, strict=True)]
    return tuple(texts), tuple(labels)


def _name(trace: Trace) -> str:
    return f"{trace.meta.get('model', 'model')}{', edited' if trace.meta.get('edit') else ''}"


def _routing(one: Routing | None, two: Routing | None, shared: int) -> tuple[RoutingChange | None, str]:
    if one is None or two is None:
        return None, "no routing to compare: without experts" if one is two else "only one has a routing"
    mine, theirs = ((part.layers, part.experts) for part in (one, two))
    if mine != theirs:
        return None, "no routing to compare: models of different shape"
    if not shared:
        return None, "no routing to compare: the prompts begin differently"
    return _change(one.select(slice(0, shared)), two.select(slice(0, shared)), shared), ""


def _change(one: Routing, two: Routing, shared: int) -> RoutingChange:
    rows = [_layer(one.layer(layer), two.layer(layer)) for layer in one.layers]
    alike = np.stack([jaccard for jaccard, _ in rows])
    differs = alike < 1
    places = np.argwhere(differs)
    return RoutingChange(
        layers=one.layers,
        tokens=shared,
        experts=alike.mean(axis=1),
        weight=np.asarray([weight.mean() for _, weight in rows]),
        changed=differs.mean(axis=1),
        by_token=alike.mean(axis=0),
        first=(one.layers[places[0, 0]], int(places[0, 1])) if len(places) else None,
    )


def _layer(one: Routing, two: Routing) -> Sequence[Floats]:
    """Return the Jaccard index and the weight in common of each token, both ``[tokens]``."""
    a, b = one.ids[0], two.ids[0]
    same = a[:, :, None] == b[:, None, :]  # [tokens, k, k]
    common = same.sum(axis=(1, 2))
    gate_weights = [part.gate_weights[0].astype(float) for part in (one, two)]
    mine, theirs = (part / part.sum(axis=1, keepdims=True) for part in gate_weights)
    weight = np.where(same, np.minimum(mine[:, :, None], theirs[:, None, :]), 0.0).sum(axis=(1, 2))
    return common / (one.top_k + two.top_k - common), np.minimum(weight, 1.0)


def _media(trace: Trace) -> object:
    return (trace.meta.get("request") or {}).get("media")
