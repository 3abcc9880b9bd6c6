"""An image with its patches coloured by the experts that they were routed to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError
from ..base.colors import amount_colors
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.images import colour_patches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...trace.trace import Trace

#: Colours of the experts that are top-1 of most patches; grey is for all others.
TOP_COLOURS = tuple(
    OKABE_ITO[name] for name in ("orange", "sky", "green", "yellow", "blue", "vermillion", "purple")
)
_OTHERS = "#8a8f98"
_OPACITY = 0.62


@dataclass(frozen=True)
class ExpertPatches:
    """Routing of the patches of one image in one layer.

    Attributes
    ----------
    tokens
        Rows of the token table, ``[patches]``.
    boxes
        Left, top, right, bottom in pixels of the original image, ``[patches, 4]``.
    top_experts
        Expert with the largest weight of each patch, ``[patches]``.
    weights
        Summed weight of the requested experts, ``[patches]``; None if none were requested.
    layer
        The model's layer.
    """

    tokens: NDArray[np.intp]
    boxes: NDArray[np.int32]
    top_experts: NDArray[np.int64]
    weights: NDArray[np.float32] | None
    layer: int

    @property
    def ranked(self) -> list[tuple[int, int]]:
        """Experts that are top-1 of a patch, and of how many; most first."""
        counts = Counter(self.top_experts.tolist())
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def expert_patches(trace: Trace, *, image: int = 0, layer: int, experts: Sequence[int] = ()) -> ExpertPatches:
    """Return the positions of an image's patches and the experts they were routed to.

    Parameters
    ----------
    trace
        With routing, and an image in its prompt.
    image
        Index of the image, counted from 0.
    layer
        The model's layer.
    experts
        Experts whose weights are summed.

    Raises
    ------
    LabError
        If the trace has no such image or no such layer.
    """
    tokens = np.flatnonzero((trace.tokens.modalities == "image") & (trace.tokens.media_index == image))
    tokens = tokens[trace.tokens.boxes[tokens, 2] > trace.tokens.boxes[tokens, 0]]
    if trace.routing is None or not tokens.size:
        count = len(set(trace.tokens.media_index[trace.tokens.modalities == "image"].tolist()))
        raise LabError(
            f"This trace has no image {image} with routed patches; it has {count} images.",
            hint="Trace a prompt with images=[…] on a model with experts.",
        )
    routing = trace.routing.layer(layer).select(tokens)
    ids, weights = routing.ids[0].astype(np.int64), routing.weights[0]
    top_experts = np.take_along_axis(ids, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
    requested = (weights * np.isin(ids, list(experts))).sum(axis=1) if len(experts) else None
    return ExpertPatches(tokens, trace.tokens.boxes[tokens], top_experts, requested, layer)


def draw_patches(trace: Trace, patches: ExpertPatches, *, image: int = 0) -> Image:
    """Return the image (or a grey sheet, where it was not kept) with its patches coloured.

    By default, a patch has the colour of its top-1 expert, if that is one of the seven most frequent; with
    requested experts, the colour of their summed weight (viridis, white is none).
    """
    original = trace.images[image] if image < len(trace.images) else None
    return colour_patches(original, patches.boxes, colours(patches))


def colours(patches: ExpertPatches) -> list[tuple[int, int, int, int]]:
    """Return one colour per patch: red, green, blue and opacity, 0 to 255."""
    if patches.weights is None:
        named = {expert: TOP_COLOURS[at] for at, (expert, _) in enumerate(patches.ranked[: len(TOP_COLOURS)])}
        return [_rgba(named.get(int(expert), _OTHERS), _OPACITY) for expert in patches.top_experts]
    tints = amount_colors(patches.weights / (float(patches.weights.max()) or 1.0)).tolist()
    return [
        (*tint, 191) if weight > 0 else (255, 255, 255, 150)
        for tint, weight in zip(tints, patches.weights, strict=True)
    ]


def expert_patches_figure(trace: Trace, *, image: int = 0, layer: int, experts: Sequence[int] = ()) -> Plot:
    """Draw an image beside itself with its patches coloured by expert.

    Parameters
    ----------
    trace, image, layer, experts
        See `expert_patches`.

    Raises
    ------
    LabError
        If the trace has no such image or no such layer.
    """
    patches = expert_patches(trace, image=image, layer=layer, experts=experts)
    available = image < len(trace.images)
    with new_figure(7.2 if available else 4.6, 4.1, ncols=2 if available else 1, squeeze=False) as (
        figure,
        grid,
    ):
        axes = list(grid[0])
        if available:
            axes[0].imshow(np.asarray(trace.images[image].convert("RGB")))
            axes[0].set_title("Image")
        axes[-1].imshow(np.asarray(draw_patches(trace, patches, image=image)))
        axes[-1].set_title(f"Layer {layer}: {_requested(experts)}")
        for each in axes:
            hide_frame(each)
            each.set_xticks([])
            each.set_yticks([])
        if patches.weights is None:
            _legend(figure, patches)
    return Plot(figure, text=describe_patches(patches, image=image, experts=experts))


def describe_patches(patches: ExpertPatches, *, image: int = 0, experts: Sequence[int] = ()) -> str:
    """Describe coloured patches in one line."""
    count = len(patches.tokens)
    if patches.weights is not None:
        served = int((patches.weights > 0).sum())
        names = ", ".join(map(str, experts))
        return (
            f"layer {patches.layer}, image {image + 1}: {served} of {count} patches routed to experts {names}"
        )
    listed = ", ".join(f"{expert} ({number})" for expert, number in patches.ranked[:3])
    return (
        f"layer {patches.layer}, image {image + 1}: {len(patches.ranked)} experts are top-1 of its {count} "
        f"patches; most often {listed}"
    )


def _requested(experts: Sequence[int]) -> str:
    if not len(experts):
        return "top-1 expert of each patch"
    return f"weight of expert{'s' if len(experts) > 1 else ''} {', '.join(map(str, experts))}"


def _legend(figure: Any, patches: ExpertPatches) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=TOP_COLOURS[at], label=f"{expert} ({number})")
        for at, (expert, number) in enumerate(patches.ranked[: len(TOP_COLOURS)])
    ]
    others = len(patches.ranked) - len(handles)
    if others > 0:
        handles.append(Patch(color=_OTHERS, label=f"{others} others"))
    figure.legend(
        handles=handles,
        title="expert (patches)",
        loc="outside lower center",
        ncols=4,
        labelcolor=INK,
        fontsize=8.5,
    )


def _rgba(colour: str, opacity: float) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, round(255 * opacity)
