"""Read a layer's output as the model reads its last one: final norm, output head, soft cap of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import LabError
from .model_modules import device_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Readout:
    """The final norm, the output head and the soft cap of a model, and the Jacobians of a lens.

    Parameters
    ----------
    model
        A language model of transformers with its output head.
    jacobians
        ``[width, width]`` by layer, float16 or float32: what a layer's output is multiplied by first. None:
        it is read as it is.

    Attributes
    ----------
    layers : list of Module
        The decoder's layers.
    norm : Module
        The final norm.

    Raises
    ------
    LabError
        If the model has no final norm or no head.
    """

    def __init__(
        self, model: torch.nn.Module, *, jacobians: Mapping[int, NDArray[np.floating]] | None = None
    ) -> None:
        source: Any = model
        decoder: Any = source.get_decoder() if hasattr(source, "get_decoder") else model
        head = source.get_output_embeddings() if hasattr(source, "get_output_embeddings") else None
        norm, layers = getattr(decoder, "norm", None), getattr(decoder, "layers", None)
        if head is None or norm is None or layers is None:
            raise LabError(
                f"{type(model).__name__} has no final norm and output head for a logit lens.",
                hint="The lens needs a language model with its output head, not only the decoder.",
            )
        self.norm, self._head, self.layers = norm, head, list(layers)
        self._cap = getattr(source.config.get_text_config(), "final_logit_softcapping", None)
        last = len(self.layers) - 1  # its Jacobian is the identity: nothing to multiply
        self._jacobians = {
            layer: torch.from_numpy(np.ascontiguousarray(matrix)).to(self.device)
            for layer, matrix in (jacobians or {}).items()
            if layer != last
        }

    @property
    def device(self) -> torch.device:
        """Device that the output head computes on."""
        return device_of(self._head) or torch.device("cpu")

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return int(self._head.weight.shape[0])

    def transport(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """Multiply the output of a layer, ``[…, width]``, by its Jacobian, in float32, if it has one."""
        matrix = self._jacobians.get(layer)
        if matrix is None:
            return hidden
        moved = hidden.to(matrix.device, torch.float32) @ matrix.float().T
        return moved.to(hidden.dtype)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of ``[…, width]``, in the model's own dtype, as its last lines do."""
        device = device_of(self.norm)
        normed = self.norm(hidden if device is None else hidden.to(device)).to(self.device)
        logits: torch.Tensor = self._head(normed)
        if self._cap is not None:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits
