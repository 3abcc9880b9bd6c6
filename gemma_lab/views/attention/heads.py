"""Figures of head analyses: types, retrieval, sinks, window coverage; and a table of types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.head_types import HEAD_THRESHOLDS
from ...analysis.attention.retrieval_heads import RETRIEVAL_THRESHOLD
from ...analysis.attention.sinks import SINK_THRESHOLD
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...analysis.attention.head_types import HeadTypes
    from ...analysis.attention.retrieval_heads import RetrievalScores
    from ...analysis.attention.sinks import AttentionSinks
    from ...analysis.attention.window_coverage import WindowCoverage

#: Type → colour, and its letter for readers who cannot distinguish the colours.
_STYLES = {
    "retrieval": ("vermillion", "R"), "induction": ("purple", "I"), "previous token": ("blue", "P"),
    "first token": ("grey", "F"), "picture reading": ("green", "V"), "language bridging": ("orange", "B"),
    "local": ("sky", "L"), "other": ("", ""),
}  # fmt: skip
_MAX_LABELS = 24


def head_types_figure(data: HeadTypes) -> Plot:
    """Draw every head, a row per layer, in the colour and with the letter of its type.

    A head of several types has all their letters, and the colour of the first.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.classify_heads`.
    """
    layers, columns = _grid(data.heads)
    names = data.names
    with new_figure(max(5.5, 1.8 + 0.55 * len(columns)), 1.6 + 0.4 * len(layers)) as (figure, axes):
        for index, (layer, head) in enumerate(data.heads):
            row, column = layers.index(layer), columns.index(head)
            colour = _STYLES[names[index]][0]
            face = OKABE_ITO[colour] if colour else "white"
            axes.add_patch(_square(column, row, face, edge="#8A8A8A"))
            letters = "".join(_STYLES[type_][1] for type_ in HEAD_THRESHOLDS if data.passed[type_][index])
            dark = colour in ("blue", "grey", "vermillion", "green")
            axes.text(column, row, letters, ha="center", va="center", color="white" if dark else INK)
        local = {layer for (layer, _), is_local in zip(data.heads, data.local, strict=True) if is_local}
        axes.set_yticks(range(len(layers)), [f"{n} {'local' if n in local else 'global'}" for n in layers])
        axes.set_xticks(range(len(columns)), [str(head) for head in columns])
        axes.set(
            xlim=(-0.6, len(columns) - 0.4), ylim=(len(layers) - 0.4, -0.6), xlabel="query head",
            ylabel="layer", title="Head types",
        )  # fmt: skip
        axes.tick_params(length=0)
        hide_frame(axes)
        _legend(figure, [type_ for type_ in HEAD_THRESHOLDS if type_ not in data.untested])
    counted = ", ".join(
        f"{int(data.passed[type_].sum())} {type_}" for type_ in HEAD_THRESHOLDS if data.passed[type_].any()
    )
    return Plot(
        figure, text=f"{len(data.heads)} heads over {data.tokens:,} tokens: {counted or 'of no type'}"
    )


def head_types_html(data: HeadTypes) -> Markup:
    """Return a table of the head types: threshold, number of heads, and the heads with the highest scores.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.classify_heads`.
    """
    rows = []
    for type_, threshold in HEAD_THRESHOLDS.items():
        found = data.of(type_)
        if type_ in data.untested:
            rows.append((type_, f"{threshold:.2f}", "–", f"not tested: {data.untested[type_]}"))
            continue
        shown = ", ".join(
            f"{layer}.{head} ({data.scores[type_][data.heads.index((layer, head))]:.2f})"
            for layer, head in found[:4]
        )
        rows.append((type_, f"{threshold:.2f}", str(len(found)), shown + (" …" if len(found) > 4 else "")))
    return table(
        rows,
        columns=("type", "threshold", "heads", "layer.head (score)"),
        caption=f"Types of {len(data.heads)} heads over {data.tokens:,} tokens",
        align="lrrl",
        notes=("Tests and their sources: gl.analysis.classify_heads",),
    )


def retrieval_figure(data: RetrievalScores) -> Plot:
    """Draw the retrieval score of every head, highest first, with the score by position alone.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.retrieval_scores`.
    """
    order = np.argsort(-data.scores, kind="stable")[:_MAX_LABELS]
    rows = np.arange(len(order))
    with new_figure(7.0, 1.6 + 0.24 * len(order)) as (figure, axes):
        found = data.scores[order] >= RETRIEVAL_THRESHOLD
        colours = [OKABE_ITO["vermillion" if passed else "sky"] for passed in found]
        axes.barh(rows, data.scores[order], color=colours, height=0.7)
        axes.plot(
            data.chance[order], rows, ls="", marker="|", ms=11, mew=2, color=INK, label="by position alone"
        )
        axes.axvline(
            RETRIEVAL_THRESHOLD,
            color=OKABE_ITO["grey"],
            lw=1,
            ls="--",
            label=f"{RETRIEVAL_THRESHOLD} (Wu et al. 2024)",
        )
        names = ["layer {} head {}".format(*data.heads[index]) for index in order]
        axes.set_yticks(rows, names)
        axes.set(ylim=(len(order) - 0.4, -0.6), xlim=(0, 1), xlabel="fraction of the answer copied",
                 title=f"Retrieval score over {len(data.each):,} prompts")  # fmt: skip
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower left", ncols=2)
    best = data.best()[0]
    count = int((data.scores >= RETRIEVAL_THRESHOLD).sum())
    return Plot(
        figure,
        text=f"Retrieval scores over {len(data.each):,} prompts: {count} of {len(data.heads)} heads score "
        f"at least {RETRIEVAL_THRESHOLD}; best layer {best[0]} head {best[1]} ({data.scores.max():.2f})",
    )


def attention_sinks_figure(data: AttentionSinks) -> Plot:
    """Draw the mean attention that each sink receives from each head.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.attention_sinks`.
    """
    order = np.argsort(-data.received.mean(axis=0), kind="stable")[:_MAX_LABELS]
    with new_figure(max(5.5, 2.6 + 0.45 * len(order)), 1.8 + 0.16 * len(data.heads)) as (figure, axes):
        if len(order):
            image = axes.imshow(
                data.received[:, order],
                cmap="cividis",
                vmin=0,
                vmax=1,
                aspect="auto",
                interpolation="nearest",
            )
            bar = figure.colorbar(image, ax=axes, pad=0.02)
            bar.set_label("mean attention received")
            bar.outline.set_visible(False)
        names = [f"{data.tokens[index]:,}" for index in order]
        axes.set_xticks(range(len(order)), names, rotation=90 if len(order) > 6 else 0)
        starts = [
            row for row, (layer, _) in enumerate(data.heads) if not row or data.heads[row - 1][0] != layer
        ]
        axes.set_yticks(starts, [str(data.heads[row][0]) for row in starts])
        axes.set(xlabel="token (row of the table)", ylabel="layer, its heads below", title="Attention sinks")
        axes.tick_params(length=0)
        hide_frame(axes)
    return Plot(
        figure,
        text=f"{len(data.tokens)} of {data.length:,} tokens are sinks (mean attention ≥ {SINK_THRESHOLD}), "
        f"{data.heads_with_sink:.0%} of {len(data.heads)} heads have one; mean attention to the first token "
        f"{data.first.mean():.2f}",
    )


def window_coverage_figure(data: WindowCoverage) -> Plot:
    """Draw the fraction of pairs outside the window of each layer, and the global heads' attention there.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.window_coverage`.
    """
    rows = np.arange(len(data.layers))
    local = np.asarray([window is not None for window in data.windows])
    with new_figure(9.5, 1.9 + 0.22 * max(len(rows), len(data.heads)), ncols=2) as (figure, (left, right)):
        left.barh(rows, np.ones(len(rows)), color=FAINT, height=0.75)
        left.barh(rows, data.outside, color=OKABE_ITO["blue"], height=0.75)
        kinds = ["local" if is_local else "global" for is_local in local]
        left.set_yticks(rows, [f"{layer} {kind}" for layer, kind in zip(data.layers, kinds, strict=True)])
        left.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="fraction of pairs outside the window",
                 ylabel="layer", title="Outside the window")  # fmt: skip
        heads = np.arange(len(data.heads))
        right.hlines(heads, data.far_min, data.far_max, color=OKABE_ITO["vermillion"], lw=5)
        right.plot(data.far_min, heads, ls="", marker="o", ms=4, color=INK)
        right.set_yticks(heads, [f"{layer}.{head}" for layer, head in data.heads])
        right.set(xlim=(0, 1), ylim=(len(heads) - 0.4, -0.6), xlabel="attention outside the window, bounds",
                  ylabel="global layer.head", title="Attention of global heads there")  # fmt: skip
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
    worst = float(data.outside.max()) if len(rows) else 0.0
    return Plot(
        figure,
        text=f"{int(local.sum())} of {len(rows)} layers are local, with up to {worst:.0%} of the pairs of "
        f"{data.tokens:,} tokens outside the window; {len(data.heads)} global heads give keys there "
        f"{_percent(data.far_min)} to {_percent(data.far_max)} of their attention",
    )


def _grid(heads: tuple[tuple[int, int], ...]) -> tuple[list[int], list[int]]:
    return sorted({layer for layer, _ in heads}), sorted({head for _, head in heads})


def _square(column: float, row: float, face: str, *, edge: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, facecolor=face, edgecolor=edge, lw=0.8)


def _legend(figure: Any, kinds: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=OKABE_ITO[_STYLES[kind][0]], label=f"{_STYLES[kind][1]} {kind}") for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)


def _percent(values: Any) -> str:
    return f"{float(np.mean(values)):.0%}" if len(values) else "none"
