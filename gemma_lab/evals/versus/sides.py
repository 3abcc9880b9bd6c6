"""The two sides of a comparison: loaded models, one model under an edit or an adapter, or loaders."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ...checks import short_repr
from ...errors import LabError
from ...models.fine_tuning.adapters import adapters_of
from ...models.loading.loaded_model import LoadedModel
from ...models.loading.restore import RestoreStack
from ...trace.interventions.apply import EditContext, active_edit, editing
from ...trace.interventions.edit import Edit

_TAKES = (
    "Pass gl.load(…); lab.edit(…) or gl.Edit(…) beside its lab; gl.evals.Variant(lab, …); a function that "
    'loads a model, e.g. lambda: gl.load("mini-edge"); or a connected server.'
)


@dataclass(frozen=True, eq=False, repr=False)
class Variant:
    """A model in a state that a context manager makes, e.g. with an adapter switched off.

    Parameters
    ----------
    lab
        The loaded model.
    context
        Called without arguments whenever the model is to run; what it returns is entered before and left
        afterwards.
    name
        Of the variant in tables and figures.

    Examples
    --------
    >>> base = gl.evals.Variant(lab, lab.adapters.disabled, name="without the adapter")
    >>> gl.versus(base, lab)
    """

    lab: Any
    context: Callable[[], AbstractContextManager[Any]]
    name: str = ""

    def __post_init__(self) -> None:
        if not _is_lab(self.lab) or not callable(self.context):
            raise LabError(
                f"A variant is made of a lab and a function, not of {short_repr(self.lab)} and "
                f"{short_repr(self.context)}.",
                hint='For example gl.evals.Variant(lab, lab.adapters.disabled, name="base").',
            )

    def __repr__(self) -> str:
        return f"Variant({self.lab.name}: {self.name or 'changed'})"


def without_adapter(lab: Any) -> Variant:
    """Return the base model of a lab, whatever adapter is active, as a side of a comparison.

    Parameters
    ----------
    lab
        A loaded model, with an active adapter.

    Raises
    ------
    LabError
        If no adapter is active.

    Examples
    --------
    >>> lab = gl.load("mini-moe", adapter="roman")
    >>> gl.versus(gl.evals.without_adapter(lab), lab)
    """
    if not is_local(lab) or adapters_of(lab).active is None:
        raise LabError(
            f"{short_repr(lab)} has no active adapter.", hint='gl.load(…, adapter="folder") loads one.'
        )
    adapters = adapters_of(lab)
    return Variant(lab, adapters.disabled, name=adapters.base)


def without_drafter(lab: Any) -> Variant:
    """Return a lab that answers without its drafter, as a side of a comparison.

    Parameters
    ----------
    lab
        A loaded model with a drafter.

    Raises
    ------
    LabError
        If it has none.

    Examples
    --------
    >>> lab = gl.load("mini-moe", drafter="auto")
    >>> gl.versus(gl.evals.without_drafter(lab), lab)
    """
    if not is_local(lab) or lab.drafter is None:
        raise LabError(f"{short_repr(lab)} has no drafter.", hint='gl.load(…, drafter="auto") loads one.')

    @contextmanager
    def alone() -> Iterator[None]:
        with RestoreStack() as restore:
            restore.set_attribute(lab, "drafter", None)
            yield

    return Variant(lab, alone, name=f"{lab.name}, no drafter")


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison.

    Attributes
    ----------
    lab
        The model; None if it is loaded when its turn comes.
    context
        Returns the context manager in which the model runs.
    loader
        Loads the model; None if it is loaded.
    name
        Name given by the user; ``""`` for the model's own.
    change
        What the context changes, in a word; ``""`` if nothing.
    edit
        The edit that the context applies; None without one.
    """

    lab: Any = None
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    loader: Callable[[], Any] | None = None
    name: str = ""
    change: str = ""
    edit: Edit | None = None

    @property
    def resident(self) -> bool:
        """Whether the model is in memory during the whole comparison."""
        return self.loader is None

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Yield the model in its state; one that is loaded for it is no longer used afterwards."""
        if self.loader is None:
            with self.context():
                yield self.lab
            return
        lab = self.loader()
        if not _is_lab(lab):
            raise LabError(f"The loader returned {short_repr(lab)}, not a model.", hint=_TAKES)
        yield lab

    def description(self, lab: Any) -> str:
        """Return one line about the model, with its edit."""
        return repr(lab) if self.edit is None else f"{lab!r} under {self.edit!r}"

    def title(self, lab: Any) -> str:
        """Return the name of the side: the user's, else the model's and what is changed."""
        return self.name or (f"{lab.name}, {self.change}" if self.change else str(lab.name))


def sides(first: Any, second: Any) -> tuple[Side, Side]:
    """Return the two sides of a comparison.

    Parameters
    ----------
    first, second
        As `gemma_lab.versus` takes them. An edit without a model is one of the other side's model.

    Raises
    ------
    LabError
        If one of them is nothing that can be compared.
    """
    return _side(first, beside=second), _side(second, beside=first)


def is_local(lab: Any) -> bool:
    """Return whether a model runs in this process, so that it can be traced."""
    return isinstance(lab, LoadedModel)


def _is_lab(value: Any) -> bool:
    return is_local(value) or (
        not isinstance(value, type) and callable(getattr(value, "chat", None)) and hasattr(value, "name")
    )


def _side(value: Any, *, beside: Any) -> Side:
    if isinstance(value, Variant):
        return Side(value.lab, value.context, name=value.name, change="" if value.name else "changed")
    if isinstance(value, Edit | EditContext):
        return _edited(value, beside)
    if _is_lab(value):
        edit = active_edit(value.model) if is_local(value) else None
        return Side(value, change="edited" if edit else "", edit=edit or None)
    if callable(value) and not isinstance(value, type):
        return Side(loader=value)
    raise LabError(f"{short_repr(value)} cannot be compared.", hint=_TAKES)


def _edited(value: Edit | EditContext, beside: Any) -> Side:
    lab = beside.lab if isinstance(beside, Variant) else beside
    if not is_local(lab):
        raise LabError(
            f"{short_repr(value)} has no model beside it that is loaded in this process.",
            hint="gl.versus(lab, lab.edit(…)) compares a model with itself under an edit.",
        )
    edit = value.edit if isinstance(value, EditContext) else value
    if isinstance(value, EditContext) and value.model is not lab.model:
        raise LabError(
            "The edit is of another model than the other side.",
            hint="gl.versus(lab, lab.edit(…)) takes an edit of the same lab; to edit another model, open "
            "its edit around the call: with other.edit(…): gl.versus(lab, other).",
        )
    editing(lab, edit)  # raises BadEdit now, not after the first side has run
    outer = beside.context if isinstance(beside, Variant) else nullcontext

    @contextmanager
    def both() -> Iterator[None]:
        with outer(), editing(lab, edit):
            yield

    return Side(lab, both, change="edited", edit=edit)


def release_memory() -> None:
    """Return the memory of models that are no longer used, also on GPUs."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
