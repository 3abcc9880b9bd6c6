"""`Adapter`: a small set of trained weights, how they were trained, and what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ...display import Displayed
from ...errors import LabError
from ...files import make_folder
from .adapter_data import AdapterData
from .adapter_files import write_adapter
from .layouts import LAYOUTS, Layout
from .updates import expert_norms, update_norms

if TYPE_CHECKING:
    import pandas as pd

    from .change_check import AdapterCheck
    from .encoding import EncodedExample


@dataclass(eq=False, repr=False)
class Adapter(AdapterData, Displayed):
    """A LoRA adapter of one base model: `Lab.fine_tune` returns one, ``lab.adapters`` lists those of a lab.

    Attributes besides those of `gemma_lab.models.fine_tuning.adapter_data.AdapterData`:

    Attributes
    ----------
    probes
        Some of its training examples, at which `check` compares.
    owner
        Weak reference to the ``lab.adapters`` that it is in.
    """

    probes: tuple[EncodedExample, ...] = field(default=(), repr=False)
    owner: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, data: AdapterData) -> Self:
        """Return an adapter with the values of another."""
        return cls(**{each.name: getattr(data, each.name) for each in fields(AdapterData)})

    def update_norms(self) -> pd.DataFrame:
        """Return the Frobenius norm of every weight's update: target, layer, weight, norm.

        The layer is that of the decoder or the tower; −1 for weights outside layers. For experts it is the
        norm over all of them; `expert_norms` has one per expert.
        """
        import pandas as pd

        return pd.DataFrame(update_norms(self))

    def expert_norms(self) -> Any:
        """Return the Frobenius norm of every expert's update, ``(layers, experts)``, float32.

        Raises
        ------
        LabError
            If the adapter changes no experts.
        """
        return expert_norms(self)

    def check(self, prompts: Any = None, *, merged: bool | None = None) -> AdapterCheck:
        """Check that the adapter changes the model, and that every form of it changes it equally.

        Gradients of its tensors in training, KL divergence to the base model, and logits with the adapter
        attached, merged into the weights, and reloaded from both file layouts. The model is restored bit for
        bit.

        Parameters
        ----------
        prompts
            Examples to compare at, as `Lab.fine_tune` takes them; by default some of its training.
        merged
            Whether the merged form is compared, which keeps a copy of the adapted weights meanwhile. By
            default it is if there is memory for them.

        Returns
        -------
        AdapterCheck
            ``.passed``, ``.problems``, and the numbers.

        Raises
        ------
        LabError
            If the adapter is not in a lab, or there are no examples to compare at.
        """
        checked: AdapterCheck = self.collection().check(self.name, prompts, merged=merged)
        return checked

    def merge(self, folder: str | Path | None = None) -> None:
        """Add the adapter to the weights of its lab for good; it is removed from ``lab.adapters``.

        Parameters
        ----------
        folder
            Where to save the merged checkpoint, which `gemma_lab.load` then loads; by default it is not.

        Notes
        -----
        Loading the base again is the only way back. In bfloat16 the sum is rounded: updates much smaller than
        a weight are lost (`check` measures it).
        """
        self.collection().merge(self.name, folder)

    def save(self, folder: str | Path, *, layout: Layout = "packed") -> Path:
        """Save the adapter as PEFT does: ``adapter_config.json`` and ``adapter_model.safetensors``.

        Parameters
        ----------
        folder
            Where to; it is made. Files of an earlier adapter in it are replaced.
        layout
            ``"packed"``: fused experts as PEFT trains and loads them. ``"per expert"``: one module per expert
            and projection, as servers take them. Both are read by ``gemma_lab.load(…, adapter=folder)``.

        Returns
        -------
        Path
            `folder`.
        """
        if layout not in LAYOUTS:
            raise LabError(f"layout={layout!r}.", hint=f"One of {', '.join(map(repr, LAYOUTS))}.")
        target = make_folder("folder", folder, example='adapter.save("my-adapter")')
        return write_adapter(self, target, layout)

    def collection(self) -> Any:
        """Return the ``lab.adapters`` that it is in.

        Raises
        ------
        LabError
            If it was unloaded or merged.
        """
        owner = self.owner() if self.owner is not None else None
        if owner is None or self.name not in owner or owner[self.name] is not self:
            raise LabError(
                f"The adapter {self.name} is in no lab: it was unloaded or merged.",
                hint="adapter.save(folder), then lab.adapters.load(folder).",
            )
        return owner

    def __repr__(self) -> str:
        trained = f", {len(self.losses):,} steps" if self.losses else ""
        loss = f", loss {self.losses[0]:.3f} → {_end(self.losses):.3f}" if self.losses else ""
        kl = "" if self.kl_to_base is None else f", KL to the base {self.kl_to_base:.3g} nats per token"
        ended = "" if self.finished else ", interrupted"
        return (
            f"Adapter({self.name} of {self.base}: {' + '.join(self.targets)}, rank {self.rank}, "
            f"{self.parameters:,} parameters{trained}{loss}{kl}{ended})"
        )


def _end(losses: list[float]) -> float:
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)
