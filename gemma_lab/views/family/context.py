"""Memory of a long context: key-value caches of several models, and measured costs of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...family.caches import KVCache, kv_caches
from ...units import gib, tokens
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from .figures import MODEL_STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEIGHBOURS = {"Qwen3.5-35B-A3B": (OKABE_ITO["purple"], "P")}
_LENGTHS = (1024, 4096, 32_768, 131_072, 262_144)


def kv_cache_comparison_figure(
    models: KVCache | Sequence[KVCache] | None = None, *, start: int = 1024
) -> Plot:
    """Draw the bfloat16 cache of one sequence against its length, for the family and other models.

    Parameters
    ----------
    models
        Default: the five sizes, Gemma 3 27B and Qwen3.5-35B-A3B.
    start
        Shortest length, in tokens.
    """
    models = [models] if isinstance(models, KVCache) else models or kv_caches()
    with new_figure(9.5, 5.2) as (figure, axes):
        for model in models:
            lengths = [start * 2**step for step in range(20) if start * 2**step <= model.context]
            colour, marker = _style(model.name)
            sizes = [model.bytes(length) / 2**30 for length in lengths]
            line = "--" if model.name not in MODEL_STYLES or "Gemma 3" in model.name else "-"
            axes.plot(lengths, sizes, line, color=colour, marker=marker, ms=5, lw=1.8)
        _scales(axes, start, max(model.context for model in models))
        _ends(axes, models)
    ends = "; ".join(f"{m.name} {gib(m.bytes(m.context))} at {tokens(m.context)}" for m in models)
    return Plot(figure, text=f"Key-value cache of one sequence, bfloat16: {ends}")


def window_savings_figure(models: Sequence[KVCache] | None = None, *, length: int = 131_072) -> Plot:
    """Draw the cache at one length, and its size without sliding windows and shared caches.

    Parameters
    ----------
    models
        Default: as for `kv_cache_comparison_figure`.
    length
        Tokens.
    """
    models = models or kv_caches()
    with new_figure(9.5, 1.1 + 0.5 * len(models)) as (figure, axes):
        for row, model in enumerate(models):
            actual, full = model.bytes(length), model.without_savings(length)
            axes.barh(row, full / 2**30, height=0.62, color=FAINT)
            axes.barh(row, actual / 2**30, height=0.62, color=_style(model.name)[0])
            axes.text(full / 2**30, row, f"  {gib(actual)} of {gib(full)}", va="center", fontsize=9)
        axes.set_yticks(range(len(models)), [model.name for model in models], fontweight="bold")
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        longest = max(model.without_savings(length) for model in models) / 2**30
        axes.set(xlim=(0, longest * 1.25), xlabel=f"GiB (2³⁰ bytes) at {tokens(length)} tokens, bfloat16")
        hide_frame(axes, keep="bottom")
    ratios = "; ".join(f"{m.name} {m.bytes(length) / m.without_savings(length):.0%}" for m in models)
    return Plot(
        figure, text=f"Fraction of a cache without windows and sharing at {tokens(length)} tokens: {ratios}"
    )


def kv_cache_comparison_text(
    models: Sequence[KVCache] | None = None, lengths: Sequence[int] = _LENGTHS
) -> str:
    """Return the numbers of `kv_cache_comparison_figure` as a text table; a dash beyond a model's context.

    Parameters
    ----------
    models
        Default: as for `kv_cache_comparison_figure`.
    lengths
        Columns, in tokens.
    """
    models = models or kv_caches()
    width = max(len(model.name) for model in models)
    lines = [f"{'':{width}}  {'KiB per token':>11}" + "".join(f"{tokens(length):>11}" for length in lengths)]
    for model in models:
        cells = [gib(model.bytes(n)) if n <= model.context else "–" for n in lengths]
        slope = f"{model.slope() / 1024:g}"
        lines.append(f"{model.name:{width}}  {slope:>11}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def run_cost_figure(costs: Mapping[str, Sequence[tuple[int, float]]], *, unit: str, title: str = "") -> Plot:
    """Draw the measured cost of runs against prompt length, one line per method.

    Parameters
    ----------
    costs
        Name of the method → (tokens, cost) pairs, shortest first.
    unit
        Of the cost, e.g. ``"seconds"``.
    title
        Above the figure.
    """
    colours = (OKABE_ITO["blue"], OKABE_ITO["vermillion"], OKABE_ITO["green"], OKABE_ITO["purple"])
    with new_figure(7.5, 3.6) as (figure, axes):
        for (name, pairs), colour, marker in zip(costs.items(), colours, "os^D", strict=False):
            lengths, values = zip(*pairs, strict=True)
            axes.plot(lengths, values, color=colour, marker=marker, ms=5, lw=1.8, label=name)
        shown = sorted({length for pairs in costs.values() for length, _ in pairs})
        axes.set_xscale("log", base=2)
        axes.set_xticks(shown, [tokens(length) for length in shown])
        axes.minorticks_off()
        axes.set(xlabel="prompt, tokens (1K = 1,024)", ylabel=unit, ylim=(0, None))
        axes.set_title(title)
        axes.grid(axis="y", color=FAINT, lw=0.7)
        axes.legend(loc="upper left")
    ways = ", ".join(costs)
    return Plot(
        figure,
        text=f"{title or unit} by length of the prompt: {ways}; {tokens(shown[0])} to {tokens(shown[-1])}",
    )


def _style(name: str) -> tuple[str, str]:
    return {**MODEL_STYLES, **NEIGHBOURS}.get(name, (OKABE_ITO["grey"], "*"))


def _scales(axes: Axes, start: int, longest: int) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=10)
    ticks = [start * 2**step for step in range(0, 20, 2) if start * 2**step <= longest]
    axes.set_xticks(ticks, [tokens(tick) for tick in ticks])
    axes.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes.minorticks_off()
    axes.set_xlim(start * 0.9, longest * 5.5)
    axes.set(xlabel="context, tokens (1K = 1,024)", ylabel="cache, GiB (2³⁰ bytes)")
    axes.grid(axis="y", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)


def _ends(axes: Axes, models: Sequence[KVCache]) -> None:
    """Label the curves in one column, moved apart where they would overlap."""
    longest, lowest = max(model.context for model in models), 0.0
    for model in sorted(models, key=lambda one: one.bytes(one.context)):
        height = model.bytes(model.context) / 2**30
        lowest = max(height, lowest * 1.4)
        label = f"{model.name}: {gib(model.bytes(model.context))}"
        axes.annotate(
            label, (model.context, height), (longest * 1.25, lowest), va="center", fontsize=9, color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.8, "relpos": (0, 0.5)},
        )  # fmt: skip
