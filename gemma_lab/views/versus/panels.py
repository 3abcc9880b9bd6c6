"""The panels of a comparison: one function per part, which draws into given axes.

The first model is blue with circles, the second vermillion with diamonds, what is due to chance or rounding
grey; no distinction is by colour alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...evals.statistics import clustered_mean_interval
from ..base.figure import FAINT, INK, OKABE_ITO, hide_frame
from ..base.text import counted, shorten
from ..experts.load import layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ...analysis.attention.distance import AttentionDistance
    from ...analysis.experts.flips import RoutingFlips
    from ...evals.versus.answers import TokenDivergence
    from ...evals.versus.checkups import CheckupComparison
    from ...evals.versus.resources import MemoryComparison, SpeedComparison

Names = tuple[str, str]
FIRST, SECOND, BESIDE = OKABE_ITO["blue"], OKABE_ITO["vermillion"], OKABE_ITO["grey"]
#: Smallest divergence that is drawn as itself, nats: float32 logits do not resolve less.
_FLOOR = 1e-12
#: Longest title of a side in a panel, characters.
_LONGEST = 24


def short(names: Names) -> Names:
    """Return the titles of both sides, shortened for a panel."""
    return shorten(names[0], _LONGEST), shorten(names[1], _LONGEST)


def draw_checkup(axes: Axes, data: CheckupComparison) -> None:
    """Draw the accuracy of each skill in both models, with 95 % intervals and chance."""
    rows = np.arange(len(data.skills))
    for row, skill in zip(rows, data.skills, strict=True):
        for place, (side, colour, marker) in enumerate(((0, FIRST, "o"), (1, SECOND, "D"))):
            at = row + (place - 0.5) * 0.34
            low, high = skill.intervals[side]
            axes.hlines(at, 100 * low, 100 * high, color=colour, lw=1.6)
            axes.plot(100 * skill.accuracies[side], at, marker, color=colour, ms=4.5, zorder=3)
        if skill.chance is not None:
            axes.vlines(100 * skill.chance, row - 0.4, row + 0.4, color=BESIDE, lw=1.4)
        mark = " *" if skill.adjusted < 0.05 else ""
        axes.annotate(
            f"{skill.answers.first}:{skill.answers.second}{mark}", (1.02, row),
            xycoords=("axes fraction", "data"), va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(rows, [skill.skill for skill in data.skills])
    axes.set(xlim=(-2, 102), ylim=(len(rows) - 0.4, -0.6),
             xlabel="accuracy, % (bars: 95 % interval; grey: chance)\n"
                    "right: only first : only second correct; * p < 0.05, Holm")  # fmt: skip
    axes.set_title("Check-up")
    axes.grid(axis="x", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    hide_frame(axes, keep="bottom")


def draw_divergence(axes: Axes, data: TokenDivergence) -> None:
    """Draw which fraction of tokens has at least a divergence, beside that of rounding."""
    top = max(float(data.kl.max()), 1e-6)
    for values, colour, style in ((data.noise, BESIDE, "--"), (data.kl, INK, "-")):
        ordered = np.maximum(np.sort(values), _FLOOR)
        share = 100 * (1 - np.arange(len(ordered)) / len(ordered))
        axes.step(ordered, share, where="pre", color=colour, ls=style, lw=1.8)
    if data.mean_kl > _FLOOR:
        axes.axvline(data.mean_kl, color=OKABE_ITO["orange"], lw=1.6)
        low, high = data.mean_kl_interval
        if low > 0:
            axes.axvspan(low, high, color=OKABE_ITO["orange"], alpha=0.2, lw=0)
    axes.set_xscale("log")
    axes.set(xlim=(_FLOOR, top * 3), ylim=(0, 102), ylabel="tokens with at least this KL, %")
    axes.set_xlabel(
        f"KL(first ‖ second) of the next token, nats (at {_FLOOR:g}: or less)\n"
        f"orange: mean {data.mean_kl:.3g}, 95 % interval; dashed: rounding",
        fontsize=8.5,
    )
    low, high = data.agreement_interval
    axes.set_title(f"Next token: same top {data.agreement:.1%}")
    axes.text(
        0.98, 0.98,
        f"same top: {low:.1%} to {high:.1%}\nby chance {data.chance_agreement:.1%}",
        transform=axes.transAxes, fontsize=8, va="top", ha="right",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def draw_flips(
    axes: Axes, data: RoutingFlips, noise: RoutingFlips | None = None, prompts: NDArray[Any] | None = None
) -> None:
    """Draw the slots flipped and the gate weight moved of each layer, beside chance and rounding."""
    rows = np.arange(len(data.layers))
    series = (
        # not the colours of the two models
        (data.flipped, OKABE_ITO["green"], "o", "slots flipped"),
        (data.weight, OKABE_ITO["purple"], "s", "gate weight moved"),
    )
    highest = 0.0
    for shift, (values, colour, marker, label) in zip((-0.07, 0.07), series, strict=True):
        means = 100 * values.mean(axis=1)
        highest = max(highest, float(means.max()))
        axes.plot(rows + shift, means, marker=marker, ms=5, lw=1.2, color=colour, label=label)
        if prompts is not None and len(set(prompts.tolist())) > 1:
            bounds = [clustered_mean_interval(row, prompts) for row in values]
            lows, highs = (100 * np.asarray(side) for side in zip(*bounds, strict=True))
            axes.vlines(rows + shift, lows, highs, color=colour, lw=1.4, alpha=0.8)
            highest = max(highest, float(highs.max()))
    if noise is not None:
        level = 100 * noise.by_layer
        highest = max(highest, float(level.max()))
        axes.plot(rows, level, color=BESIDE, ls=":", lw=1.6, label="slots, by rounding")
    limit = max(1.0, 1.2 * highest)
    chance = 100 * data.chance
    if np.isfinite(chance).any() and np.nanmin(chance) <= limit:
        axes.plot(rows, chance, color=BESIDE, ls="--", lw=1.4, label="slots, by chance")
    elif np.isfinite(chance).any():
        axes.text(
            0.98, 0.98, f"slots by chance: {np.nanmin(chance):.0f} to {np.nanmax(chance):.0f} %",
            transform=axes.transAxes, ha="right", va="top", fontsize=8,
        )  # fmt: skip
    axes.set(xlabel="layer", ylabel="of each token's slots or weight, %", ylim=(-0.02 * limit, limit),
             title=f"Routing: {data.mean:.1%} of slots flipped")  # fmt: skip
    layer_ticks(axes, data.layers, axis="x")
    axes.legend(loc="upper left", fontsize=8)


def draw_attention(
    figure: Any, axes: Axes, data: AttentionDistance, noise: AttentionDistance | None = None
) -> None:
    """Draw the attention that moved of each layer and head."""
    values = 100 * data.by_head
    top = max(0.1, float(np.nanmax(values)))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("attention on other keys, %")
    bar.outline.set_visible(False)
    layer_ticks(axes, data.layers)
    heads = range(0, values.shape[1], -(-values.shape[1] // 16))
    axes.set_xticks(heads, [str(head) for head in heads])
    axes.tick_params(length=0)
    rounding = "" if noise is None else f"; rounding {noise.mean:.2g}"
    reference = float(np.nanmean(data.between_heads)) if np.isfinite(data.between_heads).any() else np.nan
    beside = "" if np.isnan(reference) else f"between two heads: {reference:.0%}{rounding}"
    axes.set(xlabel=f"head\n{beside}".strip(), ylabel="layer", title=f"Attention: {data.mean:.1%} moved")
    hide_frame(axes)


def draw_memory(axes: Axes, data: MemoryComparison) -> None:
    """Draw the bytes of each part in both models."""
    parts = [part for part in data.parts if max(data.first.get(part, 0), data.second.get(part, 0)) > 0]
    largest = max(max(data.totals), 1)
    scale, unit = (1e9, "GB") if largest >= 1e9 else (1e6, "MB")
    rows = np.arange(len(parts))
    for place, (side, colour, hatch) in enumerate(((data.first, FIRST, ""), (data.second, SECOND, "////"))):
        values = [side.get(part, 0) / scale for part in parts]
        axes.barh(
            rows + (place - 0.5) * 0.38, values, height=0.36, facecolor=colour if not hatch else "white",
            edgecolor=colour, hatch=hatch, lw=0.8,
        )  # fmt: skip
    axes.set_yticks(rows, [_brief(part) for part in parts], fontsize=8)
    first, second = (total / scale for total in data.totals)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=f"weights in memory, {unit} (10⁹ bytes)"
             if unit == "GB" else "weights in memory, MB (10⁶ bytes)")  # fmt: skip
    axes.set_title(f"Memory: {first:.1f} and {second:.1f} {unit}")
    axes.tick_params(axis="y", length=0)
    hide_frame(axes, keep="bottom")


def draw_speed(axes: Axes, data: SpeedComparison, names: Names) -> None:
    """Draw the tokens per second of every round in both models."""
    for pair in data.decoding:
        axes.plot([0, 1], pair, color=FAINT, lw=1.4, zorder=1)
        axes.plot(0, pair[0], "o", color=FIRST, ms=6, zorder=2)
        axes.plot(1, pair[1], "D", color=SECOND, ms=6, zorder=2)
    how = "measured in turn" if data.alternated else "measured one after the other"
    spread = "" if np.isnan(data.spread) else f";\nsame model: × {data.spread:.2f} between rounds"
    axes.set_xticks([0, 1], [name.replace(", ", ",\n") for name in names])
    axes.set(xlim=(-0.4, 1.4), ylim=(0, 1.12 * float(np.nanmax(data.decoding))), ylabel=data.unit,
             xlabel=f"{counted(data.rounds, 'round')}, {how}{spread}",
             title=f"Speed: × {np.median(data.ratios):.2f}")  # fmt: skip


def side_legend(figure: Figure, names: Names) -> None:
    """Add a legend of the two sides below a figure."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        (
            Line2D([], [], color=colour, marker=marker, ms=5, lw=1.6),
            Patch(facecolor=face, edgecolor=colour, hatch=hatch),
        )
        for colour, marker, face, hatch in ((FIRST, "o", FIRST, ""), (SECOND, "D", "white", "////"))
    ]
    figure.legend(
        handles=handles, labels=[f"first: {names[0]}", f"second: {names[1]}"], loc="outside lower center",
        ncols=2, handler_map={tuple: HandlerTuple(ndivide=None)}, handlelength=3.5,
    )  # fmt: skip


def _brief(part: str) -> str:
    """Return the name of a part without what it includes."""
    return part.split(" (", maxsplit=1)[0].split(",", maxsplit=1)[0]
