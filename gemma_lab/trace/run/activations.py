"""Read what the layers return on a prompt; `Lab.activations` calls `activations`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...errors import BadEdit
from ...models.chat.options import PromptOptions, check_keywords
from ...models.chat.prompt import prepare
from ...models.chat.request_builder import build_request
from ...models.loading.restore import restores_model
from ..interventions.activation_patching import ActivationProbe
from ..interventions.sites import require_site
from ..probes.model_modules import layers_of
from ..probes.recorder import Recorder
from ..records.activations import MAX_VALUES, Activations, Site, check_site, select_indices
from .run import trace

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel


@restores_model
def activations(
    model: LoadedModel,
    prompt: PromptLike = None,
    *,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    site: Site = "residual",
    **options: Unpack[PromptOptions],
) -> Activations:
    """Run the model on a prompt and return outputs of its layers; see `Lab.activations`."""
    check_keywords("activations", options, PromptOptions, also=("layers", "positions", "site"))
    request = build_request(model, prompt, options, max_new_tokens=0).with_options(max_new_tokens=0)
    count = len(prepare(model, request).ids)
    check_site(site)
    rows = select_indices(layers, count=len(layers_of(model.model)), what="layer")
    require_site(model.model, site, rows, model.name)
    columns = select_indices(positions, count=count, what="position")
    width = int(model.text_config.hidden_size)
    if len(rows) * len(columns) * width > MAX_VALUES:
        raise BadEdit(
            f"{len(rows)} layers × {len(columns):,} positions × {width:,} are more than the {MAX_VALUES:,} "
            "values that an edit may hold.",
            hint="Name fewer layers= or positions=.",
        )
    probe = ActivationProbe(rows, columns, width, site=site)
    with Recorder(model.model, [probe]):
        trace(model, request)
    return Activations(rows, columns, probe.result(), model.name, site)
