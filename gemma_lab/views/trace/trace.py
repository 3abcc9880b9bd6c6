"""A trace at a glance, as script-free HTML: what ran, its tokens, and how every layer used its experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import OKABE_ITO
from ..base.html import Markup, bdi, definitions, escape, table
from ..chat.chat import visible
from .tokens import text_html

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Tokens drawn, and experts drawn one by one; of more experts neighbours share a bar.
MOST_TOKENS, MOST_BARS = 200, 128
_TALL = 22  # of a strip of bars, in its own units
_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}


def trace_html(trace: Trace) -> Markup:
    """Return a summary of a trace: its facts, its text cut into tokens, and one row of load bars a layer.

    Parameters
    ----------
    trace
        What `Lab.trace` or `gemma_lab.open_trace` returned.

    Returns
    -------
    Markup
        Without timings, so that the same trace gives the same HTML. It grows with layers, not with tokens
        beyond the first 200.
    """
    name = visible(str(trace.meta.get("model", "model")))
    return Markup(
        f'<div role="group" aria-label="{escape(visible(repr(trace)))}" style="max-width:64em;margin:.5em 0">'
        f"{definitions(_facts(trace), caption=Markup(f'Trace of {bdi(name)}'))}"
        f"<details open><summary>Text</summary>{text_html(trace.tokens, most=MOST_TOKENS)}</details>"
        f"{'' if trace.routing is None else _layers(trace.routing)}</div>"
    )


def _facts(trace: Trace) -> list[tuple[str, object]]:
    tokens, routing, generation = trace.tokens, trace.routing, trace.generation
    facts: list[tuple[str, object]] = [
        ("tokens", f"{len(tokens):,}: {_counted(tokens.modalities)}"),
        ("roles", _counted(role or "outside any turn" for role in tokens.roles)),
    ]
    if generation is not None:
        finish_reason = _FINISH.get(generation.finish_reason, generation.finish_reason)
        facts.append(("generated", f"{len(generation):,} tokens, {visible(finish_reason)}"))
    if generation is not None and generation.text.strip():
        facts.append(("answer", bdi(_short(generation.text))))
    if routing is None:
        facts.append(("experts", "none: no layer was traced that has any"))
    else:
        facts.append(
            ("experts", f"top-{routing.top_k} of {routing.experts} in {_many(len(routing.layers), 'layer')}")
        )
        size = f"{routing.nbytes / 1e6:.1f} MB, {routing.bytes_per_token_layer:.3g} B per token and layer"
        facts.append(("precision", f"{routing.precision} ({size})"))
    if trace.meta.get("edit"):
        facts.append(("edit", bdi(_short(str(trace.meta["edit"])))))
    if trace.images:
        facts.append(("pictures", ", ".join(f"{image.width} × {image.height}" for image in trace.images)))
    return facts


def _layers(routing: Routing) -> Markup:
    """Return one row a layer: its load bars, and what they come to."""
    tokens = len(routing)
    rows = []
    for row, layer in enumerate(routing.layers):
        counts = np.bincount(np.asarray(routing.ids[row]).reshape(-1), minlength=routing.experts)
        rows.append(
            (
                layer,
                _strip(counts, layer=layer, tokens=tokens, top_k=routing.top_k),
                f"{int(counts.argmax())}: {_percent(counts.max(), tokens)}",
                int((counts == 0).sum()),
                _mean(routing.entropy[row]),
                _mean(routing.expert_output_fraction[row]),
            )
        )
    even = f"{100 * routing.top_k / routing.experts:.3g} %"
    # an expert of E is missed by T tokens with probability (1 - k/E)^T, see `gemma_lab.analysis.experts.load`
    chance = routing.experts * (1 - routing.top_k / routing.experts) ** tokens
    return table(
        rows,
        columns=(
            "layer", "tokens each expert served", "busiest expert", "unused", "entropy in nats",
            "experts' share",
        ),
        align="rlrrrr",
        caption=f"Load of {routing.experts} experts in each layer",
        notes=[
            f"Bars: share of the {tokens:,} tokens that each expert served, by expert, each layer on its own "
            f"scale; the line is an even split ({even}).",
            f"Were all experts equally likely, {chance:.1f} would be unused after so many tokens.",
            "Entropy of the router over all experts and the experts' part of the feed-forward output: means "
            "over the tokens.",
        ],
    )  # fmt: skip


def _strip(counts: NDArray[np.int64], *, layer: int, tokens: int, top_k: int) -> Markup:
    """Return the loads of one layer as an SVG of bars, with what it shows in words."""
    wide = -(-len(counts) // MOST_BARS)  # experts a bar
    bars = [float(counts[at : at + wide].mean()) for at in range(0, len(counts), wide)]
    even = tokens * top_k / len(counts)
    top = max([*bars, even, 1e-9])
    steps = "".join(
        f"M{at} {_TALL}v{-_TALL * bar / top:.1f}h.8V{_TALL}z" for at, bar in enumerate(bars) if bar
    )
    line = _TALL - _TALL * even / top
    told = (
        f"Layer {layer}: expert {int(counts.argmax())} served most, {_percent(counts.max(), tokens)} of the "
        f"tokens; {int((counts == 0).sum())} of {len(counts)} experts served none"
    )
    return Markup(
        f'<svg role="img" aria-label="{escape(told)}" viewBox="0 0 {len(bars)} {_TALL}" '
        f'preserveAspectRatio="none" style="width:24em;max-width:100%;height:{_TALL}px">'
        f'<title>{escape(told)}</title><path fill="{OKABE_ITO["blue"]}" d="{steps}"/>'
        f'<path stroke="{OKABE_ITO["orange"]}" vector-effect="non-scaling-stroke" '
        f'd="M0 {line:.1f}H{len(bars)}"/></svg>'
    )


def _counted(values: Iterable[str]) -> str:
    names, counts = np.unique(np.array(list(values), dtype=str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{counts[at]:,} {names[at]}" for at in order) or "none"


def _percent(count: int, tokens: int) -> str:
    return f"{100 * count / max(1, tokens):.0f} %"


def _mean(values: NDArray[np.floating]) -> str:
    return f"{float(np.mean(values, dtype=np.float64)):.2f}" if values.size else "–"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _short(text: str) -> str:
    shown = visible(text.strip())
    return shown if len(shown) <= 200 else shown[:199] + "…"
