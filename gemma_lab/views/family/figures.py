"""Figures of the family: its layers, its parameters, its caches and its published benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...family.architecture import SIZES, Architecture, get_architecture
from ...family.memory import kv_cache_bytes
from ...family.parameters import Parameters, count_parameters
from ...units import gib, parameters, tokens
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOCAL, GLOBAL = OKABE_ITO["sky"], OKABE_ITO["vermillion"]

MODEL_STYLES = {
    "E2B": (OKABE_ITO["sky"], "o"),
    "E4B": (OKABE_ITO["green"], "s"),
    "12B": (OKABE_ITO["orange"], "D"),
    "26B-A4B": (OKABE_ITO["vermillion"], "^"),
    "31B": (OKABE_ITO["blue"], "v"),
    "Gemma 3 27B": (OKABE_ITO["black"], "x"),
}
"""Colour and marker of each model, the same in every figure."""

_PARTS = (
    ("token embedding", ("embedding", "head"), "sky", ""),
    ("per-layer embedding table", ("ple_table",), "yellow", ""),
    ("attention", ("attention",), "blue", ""),
    ("dense feed-forward", ("mlp",), "green", ""),
    ("experts", ("experts",), "vermillion", ""),
    ("routers, norms, PLE projections", ("router", "norms", "ple"), "grey", ""),
    ("vision and audio", ("vision", "vision_projector", "audio", "audio_projector"), "purple", "///"),
)


def layer_types_figure(shapes: Architecture | Sequence[Architecture] | None = None) -> Plot:
    """Draw every decoder layer of some models: local or global, with its own cache or a shared one.

    Parameters
    ----------
    shapes
        The models. Default: the five sizes.
    """
    shapes = _listed(shapes)
    longest = max(len(shape.layers) for shape in shapes)
    with new_figure(10.5, 0.95 + 0.78 * len(shapes)) as (figure, axes):
        for row, shape in enumerate(shapes):
            _draw_layers(axes, shape, -row)
        axes.set(xlim=(-0.9, longest + 0.1), ylim=(-len(shapes) + 0.32, 0.62))
        axes.set_yticks([-row for row in range(len(shapes))], [_strip_label(shape) for shape in shapes])
        axes.set_xticks(range(0, longest, 5))
        axes.set_xlabel("layer, from 0")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        _strip_legend(figure, shapes)
    kinds = "; ".join(
        f"{shape.name} {shape.kinds['local']} local + {shape.kinds['global']} global" for shape in shapes
    )
    return Plot(figure, text=f"Decoder layers: {kinds}")


def parameters_figure(
    shapes: Architecture | Parameters | Sequence[Architecture | Parameters] | None = None,
) -> Plot:
    """Draw the parameters of some models as stacked bars, group by group.

    Parameters
    ----------
    shapes
        The models. Default: the five sizes.
    """
    counts = [
        shape if isinstance(shape, Parameters) else count_parameters(shape) for shape in _listed(shapes)
    ]
    longest = max(counted.total for counted in counts) / 1e9
    with new_figure(10.5, 1.25 + 0.62 * len(counts)) as (figure, axes):
        for row, counted in enumerate(counts):
            _bar(axes, counted, row, longest)
        axes.set_yticks(range(len(counts)), [counted.name for counted in counts], fontweight="bold")
        axes.invert_yaxis()
        axes.set(xlim=(0, longest * 1.18), xlabel="parameters, billions (10⁹)")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=9)
    sums = "; ".join(f"{counted.name} {parameters(counted.total)}" for counted in counts)
    return Plot(figure, text=f"Parameters by part: {sums}")


def kv_cache_figure(shapes: Architecture | Sequence[Architecture] | None = None, *, start: int = 256) -> Plot:
    """Draw the bfloat16 key-value cache of one sequence against its length, both axes logarithmic.

    Parameters
    ----------
    shapes
        The models. Default: the five sizes.
    start
        Shortest context, in tokens.
    """
    shapes = _listed(shapes)
    ends: list[tuple[Architecture, int]] = []
    with new_figure(9.0, 5.0) as (figure, axes):
        for shape in shapes:
            lengths = _powers(start, shape.context)
            sizes = [kv_cache_bytes(shape, length) for length in lengths]
            colour, marker = _style(shape.name)
            axes.plot(lengths, [size / 2**30 for size in sizes], color=colour, marker=marker, ms=5, lw=1.8)
            ends.append((shape, sizes[-1]))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=10)
        ticks = _powers(start, max(shape.context for shape in shapes))[::2]
        axes.set_xticks(ticks, [tokens(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="context, tokens (1K = 1,024)", ylabel="cache, GiB (2³⁰ bytes)")
        axes.set_xlim(start * 0.9, ticks[-1] * 4.6)
        axes.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
        axes.grid(axis="y", color=FAINT, lw=0.7)
        axes.set_axisbelow(True)
        _end_labels(axes, ends)
    text = "; ".join(f"{shape.name} {gib(size)} at {tokens(shape.context)}" for shape, size in ends)
    return Plot(figure, text=f"Key-value cache, bfloat16, one sequence: {text}")


def _listed(shapes: Any) -> list[Any]:
    if shapes is None:
        return [get_architecture(size) for size in SIZES]
    return list(shapes) if isinstance(shapes, Sequence) else [shapes]


def _draw_layers(axes: Axes, shape: Architecture, y: float) -> None:
    from matplotlib.patches import Rectangle

    for layer in shape.layers:
        colour = LOCAL if layer.kind == "local" else GLOBAL
        shared = layer.kv_shared_from is not None
        height = 0.42 if layer.kind == "local" else 0.62
        inset = 0.05 if shared else 0.0  # an outline is drawn half outside: the same size for both
        box = Rectangle(
            (layer.index - 0.4 + inset, y - height / 2 + inset / 2),
            0.8 - 2 * inset,
            height - inset,
            facecolor="white" if shared else colour,
            edgecolor=colour,
            lw=1.3 if shared else 0.0,
            snap=False,
        )
        axes.add_patch(box)
        if layer.tied_kv:
            axes.text(
                layer.index, y, "=", ha="center", va="center", color="white", fontsize=10, fontweight="bold"
            )
    donors = sorted({layer.kv_shared_from for layer in shape.layers if layer.kv_shared_from is not None})
    for kv_shared_from in donors:
        axes.plot(kv_shared_from, y + 0.40, marker="v", color=INK, ms=5, clip_on=False)
    if donors:
        first = next(layer.index for layer in shape.layers if layer.kv_shared_from is not None)
        note = f"{first}–{len(shape.layers) - 1} read the caches of {' and '.join(map(str, donors))}"
        axes.text(len(shape.layers), y, note, va="center", fontsize=9)


def _strip_label(shape: Architecture) -> str:
    experts = f", {shape.experts} experts" if shape.experts else ""
    return f"{shape.name}\n{len(shape.layers)} layers, window {shape.window}{experts}"


def _strip_legend(figure: Any, shapes: Sequence[Architecture]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=LOCAL, edgecolor=LOCAL, label="local: sliding window"),
        Patch(facecolor=GLOBAL, edgecolor=GLOBAL, label="global: full attention"),
    ]
    layers = [layer for shape in shapes for layer in shape.layers]
    if any(layer.tied_kv for layer in layers):
        handles.append(Line2D([], [], ls="", marker="$=$", color=GLOBAL, ms=9, label="K = V projection"))
    if any(layer.kv_shared_from is not None for layer in layers):
        handles.append(Patch(facecolor="white", edgecolor=INK, label="shared cache"))
        handles.append(Line2D([], [], ls="", marker="v", color=INK, ms=5, label="source of shared caches"))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), fontsize=9, handletextpad=0.5
    )


def _bar(axes: Axes, counted: Parameters, row: int, longest: float) -> None:
    left = 0.0
    for label, fields, colour, hatch in _PARTS:
        width = sum(getattr(counted, field) for field in fields) / 1e9
        axes.barh(
            row,
            width,
            left=left,
            height=0.62,
            color=OKABE_ITO[colour],
            edgecolor="white",
            lw=0.8,
            hatch=hatch,
            label=label if row == 0 else None,
        )
        if width > longest * 0.045:
            ink = INK if colour in ("yellow", "sky") else "white"
            axes.text(
                left + width / 2, row, f"{width:.2f}", ha="center", va="center", color=ink, fontsize=8.5
            )
        left += width
    axes.text(left + longest * 0.008, row, _bar_label(counted), va="center", fontsize=9)


def _bar_label(counted: Parameters) -> str:
    if counted.experts:
        return f"{parameters(counted.total)}\n{parameters(counted.active)} active per token"
    if counted.ple_table:
        return f"{parameters(counted.total)}\n{parameters(counted.effective)} effective"
    return parameters(counted.total)


def _style(name: str) -> tuple[str, str]:
    return MODEL_STYLES.get(name, (OKABE_ITO["purple"], "P"))


def _powers(start: int, stop: int) -> list[int]:
    """Return the doublings from `start` on, and `stop` as the last value in any case."""
    lengths = []
    while start < stop:
        lengths.append(start)
        start *= 2
    return [*lengths, stop]


def _end_labels(axes: Axes, ends: Sequence[tuple[Architecture, int]]) -> None:
    """Label the curves at their ends, moved apart where they would overlap."""
    lowest = 0.0
    for shape, size in sorted(ends, key=lambda end: (end[0].context, end[1])):
        height = size / 2**30
        lowest = max(height, lowest * 1.42) if lowest else height
        text = f" {shape.name}: {gib(size)}"
        x = max(other.context for other, _ in ends) if shape.context > 131072 else shape.context
        axes.annotate(text, (x, height), (x * 1.06, lowest), va="center", fontsize=9, fontweight="bold")
