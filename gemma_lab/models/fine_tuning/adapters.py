"""``lab.adapters``: the adapters of a loaded model, of which at most one is active."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch

from ...checks import as_path, short_repr
from ...display import Displayed
from ...errors import LabError
from ..loading.restore import RestoreStack
from .adapter import Adapter
from .adapter_files import read_adapter
from .base_identity import base_digest
from .change_check import check_adapter
from .encoding import ExampleSet
from .lora_layers import LoraLayers
from .targets import targets_of_weights

if TYPE_CHECKING:
    import pandas as pd

    from ..loading.loaded_model import LoadedModel
    from .adapter_data import AdapterData
    from .change_check import AdapterCheck

_PROBES = 8  # examples at which `check` compares, if they are passed


class Adapters(Displayed):
    """The adapters of one lab, by name; at most one is active at a time.

    While one is active, `Lab.name` is ``"<base>+<adapter>"``, and traces note it. Without an active one, the
    modules of the model are those of the base model.

    Attributes
    ----------
    model
        The lab that they belong to.
    training
        Whether a new adapter is being trained; adapters cannot change meanwhile.

    Examples
    --------
    >>> lab.adapters.load("runs/roman")
    >>> with lab.adapters.disabled():
    ...     before = lab.chat("What is XIV?")
    >>> lab.adapters.unload()
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._base_name = model.name
        self._adapters: dict[str, tuple[Adapter, LoraLayers]] = {}
        self._active: str | None = None
        self.training = False

    @property
    def active(self) -> Adapter | None:
        """The active adapter, or None."""
        return None if self._active is None else self._adapters[self._active][0]

    @property
    def base(self) -> str:
        """Name of the base model."""
        return self._base_name

    def __len__(self) -> int:
        return len(self._adapters)

    def __iter__(self) -> Iterator[Adapter]:
        return iter([adapter for adapter, _ in self._adapters.values()])

    def __contains__(self, name: object) -> bool:
        return name in self._adapters

    def __getitem__(self, name: str) -> Adapter:
        return self._entry(name)[0]

    def enable(self, name: str) -> None:
        """Make an adapter the active one, in place of any other."""
        self._entry(name)
        self._switch(name)

    def disable(self) -> None:
        """Make none active: the model is the base model again."""
        self._switch(None)

    @contextlib.contextmanager
    def enabled(self, name: str) -> Iterator[Adapter]:
        """Make an adapter the active one within a ``with`` block."""
        adapter = self._entry(name)[0]
        with self._switched(name):
            yield adapter

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Make none active within a ``with`` block."""
        with self._switched(None):
            yield

    def load(
        self, folder: str | Path, *, name: str | None = None, enable: bool = True, check_base: bool = True
    ) -> Adapter:
        """Read an adapter from a folder.

        Parameters
        ----------
        folder
            What `Adapter.save` or PEFT wrote, in either layout.
        name
            Its name here; by default the one that it was saved with.
        enable
            Make it the active one.
        check_base
            Refuse an adapter that was trained on other weights of the same shape.

        Returns
        -------
        Adapter

        Raises
        ------
        NotAvailable
            If the folder has no adapter.
        BadCheckpoint
            If its files are damaged, or of a model of another shape.
        LabError
            If it was trained on another base, or there is one of its name.
        """
        with self._as_base():
            adapter = Adapter.of(read_adapter(self.model.model, folder, name=name))
            self._check_name(adapter.name)
            mine = base_digest(self.model.model)
            if check_base and None not in (mine, adapter.base_digest) and mine != adapter.base_digest:
                raise LabError(
                    f"The adapter {adapter.name} was trained on {adapter.base}; {self._base_name} has the "
                    "same shape and other weights.",
                    hint="Load its base, or lab.adapters.load(folder, check_base=False).",
                )
            self.add(adapter, self.layers_of(adapter))
        if enable:
            self.enable(adapter.name)
        return adapter

    def unload(self, name: str | None = None) -> None:
        """Remove an adapter, or all of them, and restore the base model bit for bit.

        Parameters
        ----------
        name
            Of the adapter; by default all are removed.
        """
        names = list(self._adapters) if name is None else [self._entry(name)[0].name]
        if self._active in names:
            self.disable()
        for each in names:
            del self._adapters[each]

    def merge(self, name: str, folder: str | Path | None = None) -> None:
        """Add an adapter to the weights for good; see `Adapter.merge`."""
        layers = self.own_layers(name)
        if folder is not None:
            folder = as_path("folder", folder, example='adapter.merge("my-model")')
        self.disable()
        with RestoreStack() as restore:
            self._hold(restore)
            with torch.no_grad():
                for weight, update in layers.deltas():
                    weight.copy_((weight.float() + update).to(weight.dtype))
            del self._adapters[name]
            self._base_name = self.model.name = f"{self._base_name}+{name} merged"
        if folder is not None:
            self.model.model.save_pretrained(folder)
            self.model.processor.save_pretrained(folder)

    def check(self, name: str, prompts: Any = None, *, merged: bool | None = None) -> AdapterCheck:
        """Check what an adapter changes, and that all its forms agree; see `Adapter.check`."""
        adapter, layers = self._entry(name)
        if prompts is None:
            probes = list(adapter.probes)
        else:
            probes = list(ExampleSet(self.model, list(prompts)).first(_PROBES))
        if not probes:
            raise LabError(
                f"The adapter {name} was loaded from a file: there are no examples to compare at.",
                hint='Pass some, as for lab.fine_tune: adapter.check([("What is XIV?", "14")]).',
            )
        with self._as_base():
            return check_adapter(self.model, adapter, layers, self.layers_of, probes, merged=merged)

    # for the modules of this room

    def add(self, adapter: Adapter, layers: LoraLayers) -> None:
        """Add an adapter with its detached layers."""
        self._check_name(adapter.name)
        adapter.owner = ref(self)
        self._adapters[adapter.name] = (adapter, layers)

    def layers_of(self, adapter: AdapterData) -> LoraLayers:
        """Return new detached layers with the tensors of an adapter; the model must be the base model."""
        model = self.model.model
        targets = targets_of_weights(model, adapter.shapes)
        layers = LoraLayers(model, targets, rank=adapter.rank, alpha=adapter.alpha)
        layers.load(adapter.tensors)
        return layers

    def own_layers(self, name: str) -> LoraLayers:
        """Return the layers of an adapter."""
        return self._entry(name)[1]

    def free_name(self, wanted: str) -> str:
        """Return a name that no adapter has, made from a wanted one; raise `LabError` if that is no name."""
        _check_text(wanted)
        name, number = wanted, 1
        while name in self._adapters:
            number += 1
            name = f"{wanted}-{number}"
        return name

    @contextlib.contextmanager
    def _as_base(self) -> Iterator[None]:
        """Hold the model, as the base model, within a block."""
        with RestoreStack() as restore:
            self._hold(restore)
            if self._active is not None:
                restore.undo(self._attach, self._active)
                self._attach(None)
            yield

    @contextlib.contextmanager
    def _switched(self, name: str | None) -> Iterator[None]:
        before = self._active
        with RestoreStack() as restore:
            restore.undo(self._back_to, before)
            self._switch(name)
            yield

    def _back_to(self, name: str | None) -> None:
        if name is None or name in self._adapters:
            self._switch(name)

    def _switch(self, name: str | None) -> None:
        if name == self._active:
            return
        with RestoreStack() as restore:
            self._hold(restore)
            self._attach(name)

    def refuse_while_training(self) -> None:
        """Raise `LabError` if a new adapter is being trained: its layers are in the model."""
        if self.training:
            raise LabError(
                f"An adapter of {self._base_name} is being trained; adapters cannot change meanwhile.",
                hint="In on_progress the model can chat and be traced, with the adapter as far as it is.",
            )

    def _hold(self, restore: RestoreStack) -> None:
        self.refuse_while_training()
        lock = self.model.lock
        if lock.held_by_this_thread():
            raise LabError(
                "The model is generating in this thread; adapters cannot change meanwhile.",
                hint="Change them between two answers.",
            )
        restore.hold(lock)

    def _attach(self, name: str | None) -> None:
        """Exchange the layers; the model is held by the caller."""
        if self._active is not None:
            self._adapters[self._active][1].detach()
            self._active = None
        if name is not None:
            self._adapters[name][1].attach()
            self._active = name
        model = self.model
        model.name = self._base_name if name is None else f"{self._base_name}+{name}"
        model.adapter = None if name is None else {"name": name, "digest": self._adapters[name][0].digest}

    def _entry(self, name: Any) -> tuple[Adapter, LoraLayers]:
        if not isinstance(name, str) or name not in self._adapters:
            known = ", ".join(self._adapters) or "none yet: lab.fine_tune(…) or lab.adapters.load(folder)"
            raise LabError(f"There is no adapter {short_repr(name)}.", hint=f"Adapters: {known}.")
        return self._adapters[name]

    def _check_name(self, name: Any) -> None:
        _check_text(name)
        if name in self._adapters:
            raise LabError(
                f"There is an adapter {name} already.",
                hint=f"Pass another name, or lab.adapters.unload({name!r}) first.",
            )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per adapter: name, active, targets, rank, parameters, steps."""
        import pandas as pd

        columns = ["adapter", "active", "targets", "rank", "parameters", "steps"]
        rows = [
            (
                adapter.name,
                adapter is self.active,
                " + ".join(adapter.targets),
                adapter.rank,
                adapter.parameters,
                len(adapter.losses),
            )
            for adapter in self
        ]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        names = ", ".join(f"{name} (active)" if name == self._active else name for name in self._adapters)
        return f"Adapters({self._base_name}: {names or 'none'})"


def _check_text(name: Any) -> None:
    """Raise `LabError` unless a value can be the name of an adapter."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 80:
        raise LabError(f"{short_repr(name)} is no name of an adapter.", hint='For example name="roman".')


def adapters_of(model: LoadedModel) -> Adapters:
    """Return the adapters of a loaded model, always the same object."""
    if "_adapters" not in vars(model):
        vars(model)["_adapters"] = Adapters(model)
    found: Adapters = vars(model)["_adapters"]
    return found
