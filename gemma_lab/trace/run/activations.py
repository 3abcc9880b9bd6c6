"""Read the residual stream of a prompt: the verb behind `gemma_lab.activations`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...errors import BadEdit
from ...interventions.activation_patching import ActivationProbe
from ...models.chat.messages import conversation
from ...models.chat.prompt import frame_limit, prepare
from ..probes.model_modules import layers_of
from ..probes.recorder import Recorder
from ..records.activations import MOST_VALUES, Activations, select_indices
from .run import trace

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel


def activations(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]],
    *,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    **options: Any,
) -> Activations:
    """Run the model on a prompt and return the outputs of some layers at some tokens.

    Parameters
    ----------
    lab
        The loaded model.
    prompt
        As for `Lab.trace`.
    layers
        Layers of the decoder; all by default.
    positions
        Tokens of the prompt, as rows of ``trace.tokens``; negative ones count from its end. All by default.
    **options
        ``images``, ``video``, ``audio``, ``max_soft_tokens``, ``system``, ``previous`` and ``thinking``, as
        for `Lab.trace`.

    Returns
    -------
    Activations
        Read under the active edit.

    Raises
    ------
    BadEdit
        If the model has no such layer, the prompt no such token, or there would be more values than an edit
        may hold.
    """
    if "images" in options:
        options["images"] = list(options["images"])  # they are read twice
    messages = conversation(
        prompt,
        frames=frame_limit(lab),
        **{name: value for name, value in options.items() if name not in ("thinking", "max_soft_tokens")},
    )
    prepared = prepare(
        lab,
        messages,
        thinking=options.get("thinking", False),
        max_soft_tokens=options.get("max_soft_tokens"),
    )
    rows = select_indices(layers, count=len(layers_of(lab.model)), what="layer")
    columns = select_indices(positions, count=len(prepared.ids), what="position")
    width = int(lab.text_config.hidden_size)
    if len(rows) * len(columns) * width > MOST_VALUES:
        raise BadEdit(
            f"{len(rows)} layers × {len(columns):,} positions × {width:,} are more than the {MOST_VALUES:,} "
            "values that an edit may hold.",
            hint="Name fewer layers= or positions=.",
        )
    probe = ActivationProbe(rows, columns, width)
    with Recorder(lab.model, [probe]):
        trace(lab, prompt, **options)
    return Activations(rows, columns, probe.result(), lab.name)
