"""Summary of a trace as script-free HTML: its facts, its tokens, and the expert load of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import NotTraced
from ..attention.figures import attention_heads_figure
from ..base.figure import OKABE_ITO, Plot
from ..base.html import Markup, bdi, definitions, details, group, join, table, tag
from ..base.text import counted, shorten, visible
from ..experts.routing import load_by_layer_figure
from .logit_lens import logit_lens_figure
from .tokens import text_html

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Tokens drawn, and bars per layer; with more experts, neighbours share a bar.
MAX_TOKENS, MAX_BARS = 200, 128
_HEIGHT = 22  # of a strip of bars, in its own units
_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}


def trace_html(trace: Trace) -> Markup:
    """Return a summary of a trace: its facts, its text cut into tokens, and a row of load bars per layer.

    Parameters
    ----------
    trace
        From `Lab.trace` or `gemma_lab.open_trace`.

    Returns
    -------
    Markup
        Without timings, so that the same trace gives the same HTML. Its size does not grow beyond the first
        200 tokens.
    """
    name = bdi(visible(str(trace.meta.get("model", "model"))))
    return group(
        visible(repr(trace)),
        definitions(_facts(trace), caption=join(["Trace of ", name])),
        details("Text", text_html(trace.tokens, limit=MAX_TOKENS), open_=True),
        "" if trace.routing is None else _layers(trace.routing),
        style="max-width:64em;margin:.5em 0",
    )


def trace_figure(trace: Trace, **options: Any) -> Plot:
    """Draw the first record that a trace holds: expert loads, the maps of all heads, or the logit lens.

    Parameters
    ----------
    trace
        From `Lab.trace` or `gemma_lab.open_trace`.
    **options
        Of `load_by_layer_figure`, `attention_heads_figure` or `logit_lens_figure`.

    Raises
    ------
    NotTraced
        If it holds none of these.
    """
    if trace.routing is not None:
        return load_by_layer_figure(trace, **options)
    if trace.attention is not None and trace.attention.bands:
        return attention_heads_figure(trace, **options)
    if trace.logit_lens is not None and len(trace.logit_lens):
        return logit_lens_figure(trace.logit_lens, **options)
    raise NotTraced(
        "The trace holds no routing, attention maps or logit lens.",
        hint="Trace with attention=True or logit_lens=True, or a model with experts.",
    )


def _facts(trace: Trace) -> list[tuple[str, object]]:
    tokens, routing, generation = trace.tokens, trace.routing, trace.generation
    facts: list[tuple[str, object]] = [
        ("tokens", f"{len(tokens):,}: {_histogram(tokens.modalities)}"),
        ("roles", _histogram(role or "outside any turn" for role in tokens.roles)),
    ]
    if generation is not None:
        finish_reason = _FINISH.get(generation.finish_reason, generation.finish_reason)
        facts.append(("generated", f"{len(generation):,} tokens, {visible(finish_reason)}"))
    if generation is not None and generation.text.strip():
        facts.append(("answer", _excerpt(generation.text)))
    if routing is None:
        facts.append(("experts", "none: no layer with experts was traced"))
    else:
        layers = counted(len(routing.layers), "layer")
        facts.append(("experts", f"top-{routing.top_k} of {routing.experts} in {layers}"))
        size = f"{routing.nbytes / 1e6:.1f} MB, {routing.bytes_per_token_layer:.3g} B per token and layer"
        facts.append(("precision", f"{routing.precision} ({size})"))
    if trace.meta.get("edit"):
        facts.append(("edit", _excerpt(str(trace.meta["edit"]))))
    if trace.images:
        facts.append(("images", ", ".join(f"{image.width} × {image.height}" for image in trace.images)))
    return facts


def _layers(routing: Routing) -> Markup:
    """Return a table with a row per layer: its load bars and their summary."""
    tokens = len(routing)
    rows = []
    for row, layer in enumerate(routing.layers):
        counts = np.bincount(np.asarray(routing.ids[row]).reshape(-1), minlength=routing.experts)
        rows.append(
            (
                layer,
                _bars(counts, layer=layer, tokens=tokens, top_k=routing.top_k),
                f"{int(counts.argmax())}: {_percent(counts.max(), tokens)}",
                int((counts == 0).sum()),
                _mean(routing.entropy[row]),
                _mean(routing.expert_output_fraction[row]),
            )
        )
    even = f"{100 * routing.top_k / routing.experts:.3g} %"
    # T tokens miss one of E experts with probability (1 - k/E)^T, see `gemma_lab.analysis.expert_load`
    expected = routing.experts * (1 - routing.top_k / routing.experts) ** tokens
    columns = ("layer", "load of each expert", "busiest expert", "unused", "router entropy, nats")
    return table(
        rows,
        columns=(*columns, "expert output fraction"),
        align="rlrrrr",
        caption=f"Load of {routing.experts} experts in each layer",
        notes=[
            f"Bars: fraction of the {tokens:,} tokens routed to each expert, each layer on its own scale; "
            f"the line is an even load ({even}).",
            f"If all experts were equally likely, {expected:.1f} would be unused after {tokens:,} tokens.",
            "Router entropy and the experts' fraction of the feed-forward output are means over the tokens.",
        ],
    )


def _bars(counts: NDArray[np.int64], *, layer: int, tokens: int, top_k: int) -> Markup:
    """Return the loads of one layer as an SVG of bars, with a description in words."""
    per_bar = -(-len(counts) // MAX_BARS)
    bars = [float(counts[at : at + per_bar].mean()) for at in range(0, len(counts), per_bar)]
    even = tokens * top_k / len(counts)
    top = max([*bars, even, 1e-9])
    steps = "".join(
        f"M{at} {_HEIGHT}v{-_HEIGHT * bar / top:.1f}h.8V{_HEIGHT}z" for at, bar in enumerate(bars) if bar
    )
    line = _HEIGHT - _HEIGHT * even / top
    label = (
        f"Layer {layer}: busiest expert {int(counts.argmax())}, {_percent(counts.max(), tokens)} of the "
        f"tokens; {int((counts == 0).sum())} of {len(counts)} experts unused"
    )
    effect = "non-scaling-stroke"
    return tag(
        "svg",
        tag("title", label),
        tag("path", fill=OKABE_ITO["blue"], d=steps),
        tag("path", stroke=OKABE_ITO["orange"], vector_effect=effect, d=f"M0 {line:.1f}H{len(bars)}"),
        role="img",
        aria_label=label,
        viewBox=f"0 0 {len(bars)} {_HEIGHT}",
        preserveAspectRatio="none",
        style=f"width:24em;max-width:100%;height:{_HEIGHT}px",
    )


def _histogram(values: Iterable[str]) -> str:
    names, counts = np.unique(np.array(list(values), dtype=str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{counts[at]:,} {names[at]}" for at in order) or "none"


def _percent(count: int, tokens: int) -> str:
    return f"{100 * count / max(1, tokens):.0f} %"


def _mean(values: NDArray[np.floating]) -> str:
    return f"{float(np.mean(values, dtype=np.float64)):.2f}" if values.size else "–"


def _excerpt(text: str) -> Markup:
    return bdi(shorten(visible(text.strip()), 200))
