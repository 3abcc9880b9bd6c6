"""An adapter as a table and a figure: how it was trained, and which weights and experts it moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...models.fine_tuning.progress import LossCurve
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, definitions, group
from .loss_curve import draw_losses, loss_curve_html

if TYPE_CHECKING:
    from ...models.fine_tuning.adapter import Adapter

_STYLES = {
    "attention": ("blue", "o", "-"),
    "mlp": ("green", "s", "--"),
    "experts": ("vermillion", "D", "-."),
    "router": ("orange", "^", ":"),
    "vision": ("purple", "v", "-"),
    "audio": ("sky", "P", "--"),
    "other": ("grey", "x", ":"),
}


def adapter_html(adapter: Adapter) -> Markup:
    """Return what an adapter is, and the loss curve of its training."""
    facts: list[tuple[object, object]] = [
        ("adapter", bdi(adapter.name)),
        ("base", bdi(adapter.base)),
        ("targets", ", ".join(f"{name} ({n} weights)" for name, n in adapter.weights_by_target().items())),
        ("parameters", f"{adapter.parameters:,} (rank {adapter.rank}, alpha {adapter.alpha:g})"),
    ]
    if adapter.settings is not None:
        settings = adapter.settings
        ended = "" if adapter.finished else ", interrupted"
        facts.append(
            (
                "training",
                f"{len(adapter.losses):,} steps of {settings.batch_size}, learning rate "
                f"{settings.learning_rate:g}, seed {settings.seed}{ended}",
            )
        )
    if adapter.kl_to_base is not None:
        facts.append(("KL to the base", f"{adapter.kl_to_base:.3g} nats per answer token"))
    curve = loss_curve_html(LossCurve(adapter.losses)) if adapter.losses else ""
    return group(f"Adapter {adapter.name}", definitions(facts), curve)


def adapter_figure(adapter: Adapter) -> Plot:
    """Draw the loss curve, and the size of the updates by layer and target."""
    norms = adapter.update_norms()
    layers = norms[norms["layer"] >= 0]
    columns = 2 if adapter.losses else 1
    with new_figure(4.6 * columns, 3.0, ncols=columns, squeeze=False) as (drawing, grid):
        if adapter.losses:
            draw_losses(grid[0][0], LossCurve(adapter.losses))
            grid[0][0].set_title("Loss")
        axes = grid[0][-1]
        for target in adapter.targets:
            own = layers[layers["target"] == target]
            by_layer = (own["norm"] ** 2).groupby(own["layer"]).sum() ** 0.5
            colour, marker, style = _STYLES[target]
            axes.plot(
                by_layer.index, by_layer.to_numpy(), color=OKABE_ITO[colour], marker=marker, linestyle=style,
                markersize=5, label=target,
            )  # fmt: skip
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, None)
        axes.set_xlabel("layer (of the decoder or the tower)")
        axes.set_ylabel("norm of the update")
        axes.set_title("Size of the update")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8.5)
        hide_frame(axes, keep="bottom")
    largest = layers.loc[layers["norm"].idxmax()] if len(layers) else None
    where = "" if largest is None else f"; the largest update is in layer {int(largest['layer'])}"
    return Plot(drawing, text=f"Adapter {adapter.name} of {adapter.base}{where}.")


def expert_updates_figure(adapter: Adapter) -> Plot:
    """Draw the norm of every expert's update, layers × experts.

    Parameters
    ----------
    adapter
        An adapter with the target ``"experts"``.
    """
    norms = adapter.expert_norms()
    share = float((norms > norms.max() / 2).mean())
    with new_figure(8.4, 0.9 + 0.22 * len(norms)) as (drawing, axes):
        image = axes.imshow(norms, aspect="auto", cmap="viridis_r", interpolation="nearest", vmin=0)
        axes.set_xlabel("expert")
        axes.set_ylabel("layer")
        axes.set_yticks(range(len(norms)))
        axes.set_title(f"Updates of experts (adapter: {adapter.name})")
        drawing.colorbar(image, ax=axes, label="norm of the update")
    layer, expert = np.unravel_index(int(norms.argmax()), norms.shape)
    return Plot(
        drawing,
        text=f"Updates of {norms.size:,} experts: the largest in layer {layer}, expert {expert}; "
        f"{share:.0%} are more than half as large.",
    )
