"""A picture with its patches coloured by the experts that served them, drawn on the picture itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError
from ..base.colors import amounts
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...trace.trace import Trace

#: Colours for the experts that lead most patches; black and grey stay out, grey is everybody else.
LEADERS = tuple(
    OKABE_ITO[name] for name in ("orange", "sky", "green", "yellow", "blue", "vermillion", "purple")
)
_OTHERS = "#8a8f98"
_STRENGTH = 0.62
_LONGEST = 420  # pixels of a drawn picture


@dataclass(frozen=True)
class ExpertPatches:
    """The tokens of one picture in one layer.

    Attributes
    ----------
    tokens
        Their indices in the trace, ``[patches]``.
    boxes
        Left, top, right, bottom in pixels of the original picture, ``[patches, 4]``.
    leaders
        The expert of the largest weight of each patch, ``[patches]``.
    weights
        The summed weight of the experts asked about on each patch, or None if none were.
    layer
        The model's layer.
    """

    tokens: NDArray[np.intp]
    boxes: NDArray[np.int32]
    leaders: NDArray[np.int64]
    weights: NDArray[np.float32] | None
    layer: int

    @property
    def ranked(self) -> list[tuple[int, int]]:
        """Experts that lead at least one patch and how many, most first."""
        counts = Counter(self.leaders.tolist())
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def expert_patches(trace: Trace, *, image: int = 0, layer: int, experts: Sequence[int] = ()) -> ExpertPatches:
    """Return where the patches of a picture lie and which experts served them.

    Parameters
    ----------
    trace
        With a routing and a picture in its prompt.
    image
        Which picture, counted from 0.
    layer
        The model's layer.
    experts
        Experts whose summed weight is wanted.

    Raises
    ------
    LabError
        If the trace has no such picture or no such layer.
    """
    tokens = np.flatnonzero((trace.tokens.modalities == "image") & (trace.tokens.media_index == image))
    tokens = tokens[trace.tokens.boxes[tokens, 2] > trace.tokens.boxes[tokens, 0]]
    if trace.routing is None or not tokens.size:
        count = len(set(trace.tokens.media_index[trace.tokens.modalities == "image"].tolist()))
        raise LabError(
            f"This trace has no picture {image} with routed patches; it has {count} pictures.",
            hint="Trace a prompt with images=[…] on a model with experts.",
        )
    routing = trace.routing.layer(layer).select(tokens)
    ids, weights = routing.ids[0].astype(np.int64), routing.weights[0]
    leaders = np.take_along_axis(ids, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
    asked = (weights * np.isin(ids, list(experts))).sum(axis=1) if len(experts) else None
    return ExpertPatches(tokens, trace.tokens.boxes[tokens], leaders, asked, layer)


def draw_patches(trace: Trace, found: ExpertPatches, *, image: int = 0) -> Image:
    """Return the picture (or a grey sheet where the trace does not carry it) with its patches coloured.

    Without experts asked for, a patch has the colour of its heaviest expert, if that is among the seven that
    lead most patches; with them, it is tinted by their summed weight (viridis, white is none).
    """
    from PIL import Image as Pictures
    from PIL import ImageDraw

    known = image < len(trace.images)
    size = trace.images[image].size if known else (int(found.boxes[:, 2].max()), int(found.boxes[:, 3].max()))
    factor = _LONGEST / max(size)
    shown = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    smooth = Pictures.Resampling.LANCZOS if factor < 1 else Pictures.Resampling.NEAREST
    base = (
        trace.images[image].convert("RGB").resize(shown, smooth)
        if known
        else Pictures.new("RGB", shown, "#d5d8dd")
    )
    veil = Pictures.new("RGBA", shown, (0, 0, 0, 0))
    pen = ImageDraw.Draw(veil)
    for box, colour in zip(found.boxes, colours(found), strict=True):
        left, top, right, bottom = (round(float(side) * factor) for side in box)
        pen.rectangle((left, top, max(left, right - 2), max(top, bottom - 2)), fill=colour)
    return Pictures.alpha_composite(base.convert("RGBA"), veil).convert("RGB")


def colours(found: ExpertPatches) -> list[tuple[int, int, int, int]]:
    """Return one colour a patch, red, green, blue and strength in 0…255."""
    if found.weights is None:
        named = {expert: LEADERS[at] for at, (expert, _) in enumerate(found.ranked[: len(LEADERS)])}
        return [_rgba(named.get(int(expert), _OTHERS), _STRENGTH) for expert in found.leaders]
    tints = amounts(found.weights / (float(found.weights.max()) or 1.0)).tolist()
    return [
        (*tint, 191) if weight > 0 else (255, 255, 255, 150)
        for tint, weight in zip(tints, found.weights, strict=True)
    ]


def expert_patches_figure(trace: Trace, *, image: int = 0, layer: int, experts: Sequence[int] = ()) -> Plot:
    """Return the picture as it is, and with its patches coloured by their experts.

    Parameters
    ----------
    trace, image, layer, experts
        See `patches`.

    Raises
    ------
    LabError
        If the trace has no such picture or no such layer.
    """
    found = expert_patches(trace, image=image, layer=layer, experts=experts)
    known = image < len(trace.images)
    with new_figure(7.2 if known else 4.6, 4.1, ncols=2 if known else 1, squeeze=False) as (figure, grid):
        axes = list(grid[0])
        if known:
            axes[0].imshow(np.asarray(trace.images[image].convert("RGB")))
            axes[0].set_title("The picture")
        axes[-1].imshow(np.asarray(draw_patches(trace, found, image=image)))
        axes[-1].set_title(f"Layer {layer}: {_asked(experts)}")
        for each in axes:
            hide_frame(each)
            each.set_xticks([])
            each.set_yticks([])
        if found.weights is None:
            _legend(figure, found)
    return Plot(figure, text=describe_patches(found, image=image, experts=experts))


def describe_patches(found: ExpertPatches, *, image: int = 0, experts: Sequence[int] = ()) -> str:
    """Return in a sentence what the drawn patches show."""
    count = len(found.tokens)
    if found.weights is not None:
        served = int((found.weights > 0).sum())
        names = ", ".join(map(str, experts))
        return f"layer {found.layer}, picture {image + 1}: experts {names} served {served} of {count} patches"
    listed = ", ".join(f"{expert} leads {number}" for expert, number in found.ranked[:3])
    return (
        f"layer {found.layer}, picture {image + 1}: {len(found.ranked)} experts lead its {count} patches; "
        f"expert {listed}"
    )


def _asked(experts: Sequence[int]) -> str:
    if not len(experts):
        return "heaviest expert of each patch"
    return f"weight of expert{'s' if len(experts) > 1 else ''} {', '.join(map(str, experts))}"


def _legend(figure: Any, found: ExpertPatches) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=LEADERS[at], label=f"{expert} ({number})")
        for at, (expert, number) in enumerate(found.ranked[: len(LEADERS)])
    ]
    others = len(found.ranked) - len(handles)
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


def _rgba(colour: str, strength: float) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, round(255 * strength)
