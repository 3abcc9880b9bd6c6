"""A loaded model as a table of its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, definitions

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from ...remote_lab import RemoteLab


def model_html(model: LoadedModel | RemoteLab) -> Markup:
    """Return the facts of a loaded or a served model as a table: one row per fact."""
    return definitions(model.facts().items(), caption=f"{type(model).__name__}: {model.name}")
