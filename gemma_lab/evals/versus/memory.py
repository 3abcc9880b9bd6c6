"""Bytes of a loaded model's weights, by part."""

from __future__ import annotations

from typing import Any

from ...models.fine_tuning.adapters import adapters_of


def memory_by_part(lab: Any) -> dict[str, int]:
    """Return the bytes that the weights of a loaded model take, by part.

    Those of the model are counted as `LoadedModel.bits` does, scales of a quantisation included; the active
    adapter and the drafter are parts of their own.
    """
    sizes = {part.label: round(part.bytes) for part in lab.bits().parts if part.bytes}
    adapter = adapters_of(lab).active
    if adapter is not None:
        sizes["adapter"] = sum(tensor.nbytes for tensor in adapter.tensors.values())
    if lab.drafter is not None:
        sizes["drafter"] = sum(weight.nbytes for weight in lab.drafter.model.parameters())
    return sizes
