"""What a lab works on: a loaded Gemma 4 with its processor, and what there is to say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ...family.catalog import Checkpoint


class LoadedModel:
    """A loaded Gemma 4 that says what it is; `gemma_lab.lab.Lab` adds what can be done with it.

    Parameters
    ----------
    model, processor, name, checkpoint
        As for `Lab`, where the attributes are described, too.
    """

    def __init__(self, *, model: Any, processor: Any, name: str, checkpoint: Checkpoint | None) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", None) or processor
        self.config = model.config
        self.name = name
        self.checkpoint = checkpoint
        self.text_config = self.config.get_text_config()
        self.context = int(self.text_config.max_position_embeddings)
        self.vocabulary = int(self.text_config.vocab_size)
        self.modalities = _modalities(self.config, processor)

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the first weight that is in memory (offloaded ones are not)."""
        for parameter in self.model.parameters():
            if parameter.device.type != "meta":
                return torch.device(parameter.device)
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.model.dtype  # type: ignore[no-any-return]

    @property
    def parameters(self) -> int:
        """How many parameters the loaded model has; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def facts(self) -> dict[str, str]:
        """Return what the repr says, one entry a fact, in order."""
        facts = {
            "parameters": _count(self.parameters),
            "layers": f"{self.text_config.num_hidden_layers}",
        }
        if getattr(self.text_config, "enable_moe_block", False):
            facts["experts"] = f"{self.text_config.num_experts} experts top-{self.text_config.top_k_experts}"
        order = ("text", "image", "video", "audio")
        facts["modalities"] = "+".join(kind for kind in order if kind in self.modalities)
        facts["context"] = f"{self.context:,} tokens"
        facts["placement"] = f"{str(self.dtype).removeprefix('torch.')} on {self._where()}"
        return facts

    def __repr__(self) -> str:
        facts = self.facts()
        parts = [f"{facts['parameters']} parameters", f"{facts['layers']} layers"]
        parts += [facts["experts"]] if "experts" in facts else []
        parts += [facts["modalities"], f"context {facts['context']}", facts["placement"]]
        return f"{type(self).__name__}({self.name}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        from ...views.base.html import definitions

        return definitions(self.facts().items(), caption=f"{type(self).__name__}: {self.name}")

    def _where(self) -> str:
        devices = getattr(self.model, "hf_device_map", None) or {}
        names = sorted({_device_name(device) for device in devices.values()})
        return "+".join(names) or str(self.device)


def _device_name(device: Any) -> str:
    # accelerate names a GPU by its bare index
    return f"cuda:{device}" if isinstance(device, int) else str(device)


def _modalities(config: Any, processor: Any) -> frozenset[str]:
    sees = getattr(config, "vision_config", None) is not None
    hears = getattr(config, "audio_config", None) is not None
    found = {"text"}
    if sees and getattr(processor, "image_processor", None) is not None:
        found.add("image")
    if sees and getattr(processor, "video_processor", None) is not None:
        found.add("video")
    if hears and getattr(processor, "feature_extractor", None) is not None:
        found.add("audio")
    return frozenset(found)


def _count(number: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
