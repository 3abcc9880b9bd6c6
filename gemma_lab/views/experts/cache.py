"""Hit rates of expert caches, and the decoding speed that follows from them: two figures and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...family.memory import GIB
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...analysis.experts.cache import ExpertCacheCurve
    from ...analysis.experts.offload import Offload

_STYLES = {
    "belady": ("Belady's bound", OKABE_ITO["black"], "--"),
    "pinned": ("pinned by use", OKABE_ITO["green"], "-."),
    "lfu": ("LFU", OKABE_ITO["orange"], ":"),
    "lru": ("LRU", OKABE_ITO["blue"], "-"),
}
_COLOURS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange", "sky"))
_DASHES = ("-", "--", "-.", ":")


def expert_cache_figure(curve: ExpertCacheCurve) -> Plot:
    """Draw the hit rate of every policy against the fraction of experts that is cached.

    Parameters
    ----------
    curve
        From `gemma_lab.analysis.expert_cache_curve`.
    """
    with new_figure(8.0, 4.4) as (figure, axes):
        percent = 100 * curve.share
        for policy in sorted(curve.hits, key=list(_STYLES).index):
            name, colour, dash = _STYLES[policy]
            axes.plot(percent, 100 * curve.hit_rate(policy), color=colour, ls=dash, lw=1.9, label=name)
        axes.plot(percent, percent, color=FAINT, lw=1.2, zorder=0)
        axes.annotate(
            "no locality", (62, 60), color="#8A8A8A", fontsize=8.5, rotation=32, va="top", ha="left"
        )
        axes.set(
            xlim=(0, 100),
            ylim=(0, 101),
            xlabel="experts on the GPU, % of all",
            ylabel="hit rate, %",
            title="Hit rate of an expert cache",
        )
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right")
    indices = [round(len(curve.sizes) * part) - 1 for part in (0.25, 0.5)]
    rates = "; ".join(
        f"{_STYLES[policy][0]} " + " and ".join(f"{curve.hit_rate(policy)[index]:.0%}" for index in indices)
        for policy in curve.hits
    )
    return Plot(figure, text=f"Hit rates with a quarter and a half of the experts cached: {rates}")


def offload_figure(*results: Offload, labels: Sequence[str] = ()) -> Plot:
    """Draw tokens/s against the fraction of experts on the GPU, with the largest fraction that fits.

    Parameters
    ----------
    *results
        From `gemma_lab.analysis.offload_speed`.
    labels
        One per result. Default: GPU, quantisation, and where misses are computed.

    Raises
    ------
    ValueError
        If there are labels, but not one per result.
    """
    names = list(labels) or [_name(result) for result in results]
    with new_figure(8.0, 4.4) as (figure, axes):
        for number, (result, name) in enumerate(zip(results, names, strict=True)):
            colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
            axes.plot(100 * result.share, result.tokens_per_second, color=colour, ls=dash, lw=1.9, label=name)
            if result.largest_fit is not None:
                row = result.largest_fit
                axes.plot(
                    100 * result.share[row],
                    result.tokens_per_second[row],
                    "o",
                    color=colour,
                    ms=8,
                    mec="white",
                )
        axes.plot([], [], "o", color="#8A8A8A", ms=8, mec="white", label="largest fraction that fits")
        top = max(float(result.tokens_per_second.max()) for result in results)
        axes.set(
            xlim=(0, 100),
            ylim=(0, top * 1.1),
            xlabel="experts on the GPU, % of all",
            ylabel="tokens per second, one sequence",
            title="26B-A4B: estimated decoding speed",
        )
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", labelcolor=INK)
    text = "; ".join(f"{name}: {_speed_text(result)}" for name, result in zip(names, results, strict=True))
    return Plot(figure, text=f"Estimated decoding speed of the 26B-A4B, under stated assumptions: {text}")


def offload_html(data: Offload) -> Markup:
    """Return the speeds as a table, with every assumption below it.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.offload_speed`.
    """
    rows = [
        [
            f"{data.share[row]:.0%}" + (" (largest that fits)" if row == data.largest_fit else ""),
            f"{data.gpu_bytes[row] / GIB:.1f}",
            f"{data.hit_rate[row]:.1%}",
            f"{data.missed_bytes[row] / 1e6:,.0f}",
            f"{data.tokens_per_second[row]:.1f}",
            f"{data.upper_bound[row]:.0f}",
        ]
        for row in data.table_rows()
    ]
    gpu = data.assumptions.gpu
    return table(
        rows,
        columns=[
            "Experts on GPU",
            "GPU memory, GiB",
            "Hit rate",
            "Missed MB per token",
            "Tokens/s",
            "Upper bound",
        ],
        caption=f"Estimated decoding speed of the 26B-A4B on {gpu.name} ({gpu.memory_gib:g} GiB)",
        align="lrrrrr",
        notes=["Assumptions:", *data.assumptions.lines()],
    )


def _name(result: Offload) -> str:
    assumed = result.assumptions
    misses = "copied" if assumed.misses == "copy" else "on the CPU"
    return f"{assumed.gpu.name}, {assumed.quantisation}, misses {misses} at {assumed.link:g} GB/s"


def _speed_text(result: Offload) -> str:
    row = result.largest_fit
    if row is None:
        return "does not fit"
    share = f"{result.share[row]:.0%} of the experts, the largest fraction that fits"
    return f"{result.tokens_per_second[row]:.1f} tokens/s with {share}"
