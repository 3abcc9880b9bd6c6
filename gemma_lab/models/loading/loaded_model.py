"""A loaded Gemma 4 with its processor, its lock and its last results."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from ...display import Displayed
from ...family.architecture import Architecture, from_config
from ...family.other_decoders import from_decoder_config
from ..quantization.weight_bits import WeightBits, is_quantized, method_name, weight_bits, weight_count
from .restore import ModelLock
from .verify_weights import require_finite

if TYPE_CHECKING:
    from ...family.catalog import Checkpoint


class LoadedModel(Displayed):
    """A loaded Gemma 4 with its processor. `gemma_lab.Lab` adds the verbs: `chat`, `trace` and others.

    Parameters
    ----------
    model
        A ``Gemma4ForConditionalGeneration``, ``Gemma4UnifiedForConditionalGeneration``,
        ``Gemma4ForCausalLM`` or ``Gemma4UnifiedForCausalLM`` of transformers.
    processor
        Its processor; a bare tokenizer for a text-only checkpoint.
    name
        Its name in messages and results, e.g. ``"mini-moe"``.
    checkpoint
        Its row of the catalog, if it has one.

    Attributes
    ----------
    model, processor, tokenizer, config
        The objects of transformers, unwrapped. `config` is the model's own.
    name : str
    checkpoint : Checkpoint or None
    text_config
        The configuration of the language model.
    context : int
        Maximum length of prompt and answer together, in tokens (``max_position_embeddings``).
    modalities : frozenset of str
        Of ``"text"``, ``"image"``, ``"video"``, ``"audio"``: those with a tower or an embedder in the model
        and a processor.
    vocabulary : int
        Size of the embedding table, in tokens.
    lock : ModelLock
        Held while the model runs: one generation at a time.
    drafter : Drafter or None
        Proposes tokens that the model verifies (`gemma_lab.models.drafting.drafter.Drafter`); None without
        one. It can be set to None to go on without.
    last_reply : Reply or None
        The last answer, also if it was interrupted.
    last_run : ToolRun or None
        The last conversation with tools (`Lab.run`), also if it was interrupted.
    last_checkup : Checkup or None
        The last check-up, with the questions that were answered if it was interrupted.
    last_causal_map : CausalMap or None
        The last causal map, with NaN for the cells that were left if it was interrupted.
    last_adapter : Adapter or None
        The last adapter that was trained, also if its training was interrupted.
    jacobian_lens : JacobianLens or None
        The Jacobian lens that traces use (`Lab.fit_lens` sets it; so can you). None: one that ships for the
        model's weights, if there is one.
    adapter : dict or None
        Name and digest of the active adapter, which traces note.
    interrupted_trace : Trace or None
        What the last trace had recorded when an interrupt or an error ended it: complete chunks of its
        prompt, as if they were all of it (``meta["prefill"]`` has the numbers). None if the trace was
        completed, or if it ended while the probes were keeping a chunk.
    """

    def __init__(
        self, *, model: Any, processor: Any, name: str, checkpoint: Checkpoint | None = None
    ) -> None:
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
        self.lock = ModelLock()
        self.drafter: Any = None
        self.last_reply: Any = None
        self.last_run: Any = None
        self.last_checkup: Any = None
        self.last_causal_map: Any = None
        self.interrupted_trace: Any = None
        self.last_adapter: Any = None
        self.adapter: dict[str, str] | None = None
        self.jacobian_lens: Any = None

    @property
    def device(self) -> torch.device:
        """Device of the inputs: that of the first weight in memory (offloaded weights are not)."""
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
        """Number of parameters of the loaded model; tied ones count once, packed ones as unpacked."""
        if is_quantized(self.model):
            return weight_count(self.model)
        return sum(parameter.numel() for parameter in self.model.parameters())

    def check_weights(self) -> None:
        """Check that every value of every weight is finite; loading checks a sample of them.

        Reads all weights once. Those that accelerate keeps on disk are left out.

        Raises
        ------
        BadCheckpoint
            With the names of the weights that hold NaN or infinity.
        """
        require_finite(self.model, self.name, every_value=True)

    @cached_property
    def architecture(self) -> Architecture:
        """The model's shape, layer by layer; of other families that of the text decoder."""
        config = self.config.to_dict()
        if str(config.get("model_type")).startswith("gemma4"):
            return from_config(config)
        return from_decoder_config(self.text_config.to_dict())

    def facts(self) -> dict[str, str]:
        """Return the facts that the repr lists, in order."""
        facts = {
            "parameters": _count(self.parameters),
            "layers": f"{self.text_config.num_hidden_layers}",
        }
        if getattr(self.text_config, "enable_moe_block", False):
            facts["experts"] = f"{self.text_config.num_experts} experts top-{self.text_config.top_k_experts}"
        order = ("text", "image", "video", "audio")
        facts["modalities"] = "+".join(kind for kind in order if kind in self.modalities)
        facts["context"] = f"{self.context:,} tokens"
        if is_quantized(self.model):
            facts["weights"] = f"{method_name(self.model)}: {self.bits().summary}"
        facts["placement"] = f"{str(self.dtype).removeprefix('torch.')} on {self._where()}"
        return facts

    def bits(self) -> WeightBits:
        """Count in how many bits each part of the model is really held, from the tensors in memory.

        Returns
        -------
        WeightBits
            Weights, bytes, bits a weight (scales included) and format of each part: experts, attention,
            embeddings and so on; a table and a figure.

        Examples
        --------
        >>> lab.bits()["experts"].bits
        4.5
        """
        return weight_bits(self.model, self.name)

    def __repr__(self) -> str:
        facts = self.facts()
        parts = [f"{facts['parameters']} parameters", f"{facts['layers']} layers"]
        parts += [facts["experts"]] if "experts" in facts else []
        parts += [facts["modalities"], f"context {facts['context']}"]
        parts += [facts[name] for name in ("weights", "placement") if name in facts]
        return f"{type(self).__name__}({self.name}: {', '.join(parts)})"

    def _where(self) -> str:
        devices = getattr(self.model, "hf_device_map", None) or {}
        names = sorted({_device_name(device) for device in devices.values()})
        return "+".join(names) or str(self.device)


def _device_name(device: Any) -> str:
    # accelerate names a GPU by its bare index
    return f"cuda:{device}" if isinstance(device, int) else str(device)


def _modalities(config: Any, processor: Any) -> frozenset[str]:
    parts = {
        "image": ("vision_config", "image_processor"),
        "video": ("vision_config", "video_processor"),
        "audio": ("audio_config", "feature_extractor"),
    }
    return frozenset(["text"]).union(
        modality
        for modality, (tower, part) in parts.items()
        if getattr(config, tower, None) is not None and getattr(processor, part, None) is not None
    )


def _count(number: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
