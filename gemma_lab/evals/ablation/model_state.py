"""What a model is while it is studied: its weights, its adapter and the edit that is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import LabError
from ...trace.interventions.edit import Edit

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel


@dataclass(frozen=True)
class ModelState:
    """The state of a model that its answers depend on.

    Attributes
    ----------
    weights
        Digests of its weights (`gemma_lab.models.loading.weights_digest`).
    adapter
        Name and digest of the active adapter, or None.
    active_edit
        The edit that is active; empty if none is.
    """

    weights: Mapping[str, str]
    adapter: Mapping[str, str] | None
    active_edit: Edit

    @classmethod
    def of(cls, lab: LoadedModel) -> ModelState:
        """Return the state of a model now."""
        from ...models.loading.weights_digest import weights_digest

        return cls(weights_digest(lab.model), adapter_of(lab), edit_of(lab))

    def require(self, lab: LoadedModel) -> None:
        """Raise `LabError` unless a model is in this state: a study is of one model from start to end."""
        from ...models.loading.weights_digest import same_weights

        now = ModelState.of(lab)
        if not same_weights(self.weights, now.weights):
            name = next(
                one for one in self.weights if not same_weights({one: self.weights[one]}, now.weights)
            )
            raise LabError(
                f"The weights of {lab.name} have changed since the study began: the digest of its {name} was "
                f"{self.weights[name][:12]} and is {now.weights[name][:12]}.",
                hint="Start another study of the model as it is now.",
            )
        if self.adapter != now.adapter:
            raise LabError(
                f"The study began with {_adapter_name(self.adapter)}; {_adapter_name(now.adapter)} is "
                "active.",
                hint="lab.adapters.enable(name), or lab.adapters.disable(), as it was then.",
            )
        if self.active_edit != now.active_edit:
            raise LabError(
                f"The study began under {_edit_name(self.active_edit)}; {_edit_name(now.active_edit)} is "
                "active.",
                hint="Make, extend and confirm a study in one `with lab.edit(…)` block, or outside of any.",
            )


def adapter_of(lab: LoadedModel) -> dict[str, str] | None:
    """Return name and digest of the active adapter, or None."""
    return dict(lab.adapter) if lab.adapter else None


def edit_of(lab: LoadedModel) -> Edit:
    """Return the active edit; an empty one if it changes nothing."""
    from ...trace.interventions.apply import active_edit

    return active_edit(lab.model) or Edit()


def describe_state(adapter: Mapping[str, str] | None, edit: Edit | None) -> str:
    """Return an adapter and an edit in words; nothing if there are none."""
    parts = [] if not adapter else [_adapter_name(adapter)]
    parts += [repr(edit)] if edit else []
    return " and ".join(parts)


def _adapter_name(adapter: Mapping[str, Any] | None) -> str:
    if not adapter:
        return "no adapter"
    return f"the adapter {short_repr(adapter.get('name'))} ({str(adapter.get('digest'))[:8]})"


def _edit_name(edit: Edit) -> str:
    return repr(edit) if edit else "no edit"
