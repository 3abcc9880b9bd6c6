"""A logit split over components, as a figure and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families
from ..base.html import Markup, bdi, table
from ..base.text import visible, visible_token
from .maps import plain_token

if TYPE_CHECKING:
    from ...trace.records.logit_attribution import LogitAttribution

#: Kinds of components, and the colour of each.
_COLORS = {"head": "blue", "mlp": "orange", "expert": "green", "per-layer input": "purple"}
_ROWS = 12


def logit_attribution_figure(data: LogitAttribution) -> Plot:
    """Draw the shares of all components: stacked by layer on the left, the largest ones on the right.

    Parameters
    ----------
    data
        From `gemma_lab.Lab.attribute_logit`.
    """
    best = data.top(_ROWS)
    height = max(2.9, 1.2 + 0.21 * max(len(best), len(data.layers) / 2))
    with new_figure(9.4, height, ncols=2, gridspec_kw={"width_ratios": (3, 2)}) as (figure, axes):
        _by_layer(axes[0], data)
        places = range(len(best))
        colors = [OKABE_ITO[_COLORS.get(each.kind, "grey")] for each in best]
        axes[1].barh(places, [each.logit for each in best], color=colors, height=0.72)
        axes[1].set_yticks(places, [each.label for each in best], fontsize=8)
        axes[1].set_ylim(len(best) - 0.4, -0.6)
        axes[1].axvline(0, color=INK, lw=0.8)
        axes[1].set(xlabel="share of the logit", title="Largest components")
        axes[1].tick_params(axis="y", length=0)
        for one in axes:
            hide_frame(one, keep="bottom")
    return Plot(figure, text=logit_attribution_text(data))


def logit_attribution_html(data: LogitAttribution) -> Markup:
    """Return the sums by kind with rounding and soft cap, and the largest components, as tables."""
    sums: list[tuple[str, str]] = [(kind, f"{value:+.3f}") for kind, value in data.totals().items()]
    sums += [
        ("rounding of the model", f"{data.rounding:+.2g}"),
        ("before the soft cap", f"{data.before_cap:.3f}"),
        ("soft cap" if data.cap is None else f"soft cap of {data.cap:g}", f"{data.cap_step:+.3f}"),
        ("logit", f"{data.logit:.3f}"),
    ]
    whole = table(sums, columns=("sum of", "logit"), align="lr", caption=_title(data))
    best = table(
        [(each.label, f"{each.logit:+.3f}") for each in data.top(_ROWS)],
        columns=("component", "logit"),
        align="lr",
        caption=f"Largest of {len(data.components):,} components",
        notes=["Direct effects: what later layers make of a component is theirs."],
    )
    return whole + best


def logit_attribution_text(data: LogitAttribution) -> str:
    """Describe a split logit in one stable line."""
    sums = ", ".join(f"{kind} {value:+.2f}" for kind, value in data.totals().items())
    return (
        f"{data.name} of {data.model}: {sums}; together {data.before_cap:.2f}, {data.logit:.2f} after the "
        f"soft cap"
    )


def _title(data: LogitAttribution) -> Markup:
    names = [bdi(visible_token(each)) for each in (data.token, data.against) if each is not None]
    return Markup("{}: logit of {}").format(bdi(visible(data.model)), Markup(" minus ").join(names))


def _by_layer(axes: Any, data: LogitAttribution) -> None:
    """Draw stacked bars by layer: positive shares of a kind upwards, negative ones downwards."""
    layers = np.arange(len(data.layers))
    above, below = np.zeros(len(layers)), np.zeros(len(layers))
    for kind, color in _COLORS.items():
        if kind not in data.totals():
            continue
        split: Any = {1: np.zeros(len(layers)), -1: np.zeros(len(layers))}
        for each in data.components:
            if each.kind == kind:
                split[1 if each.logit >= 0 else -1][data.layers.index(each.layer)] += each.logit
        axes.bar(layers, split[1], bottom=above, color=OKABE_ITO[color], width=0.8, label=kind)
        axes.bar(layers, split[-1], bottom=below, color=OKABE_ITO[color], width=0.8)
        above, below = above + split[1], below + split[-1]
    embedding = data.totals().get("embedding", 0.0)
    axes.bar(-1, embedding, color=OKABE_ITO["grey"], width=0.8, label="embedding")
    axes.plot(layers, above + below, "o", color=INK, ms=3, label="sum of the layer")
    axes.axhline(0, color=INK, lw=0.8)
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    step = max(1, len(layers) // 12)
    axes.set_xticks([-1, *layers[::step]], ["emb.", *map(str, data.layers[::step])])
    axes.set(xlabel="layer", ylabel="share of the logit")
    axes.set_title(_heading(data), fontfamily=list(families()), parse_math=False)
    axes.legend(fontsize=8, loc="best")


def _heading(data: LogitAttribution) -> str:
    names = " − ".join(f"“{plain_token(each)}”" for each in (data.token, data.against) if each is not None)
    return f"Logit of {names}: {data.before_cap:.2f}, after the soft cap {data.logit:.2f}"
