"""Memory that training takes beside the model's weights, estimated before it starts.

The estimate counts what autograd keeps of each layer for the gradients, the adapter with its gradients and
the two moments of AdamW, the logits of the answers, and the adapted copies of fused experts: PEFT adds the
update to all experts of a layer in every forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import DoesNotFit
from ...system.hardware import amount, devices

if TYPE_CHECKING:
    import torch

    from ...system.hardware import Device
    from .settings import TrainingSettings
    from .targets import Targets

#: Float32 numbers per number of the adapter: weight, gradient, and two moments.
_COPIES = 4
#: Float32 copies of the logits: as they are, capped, their softmax and its gradient.
_LOGITS = 4
#: Share of the estimate that is added for what the allocator cannot use.
_MARGIN = 0.1


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training takes beside the weights.

    Attributes
    ----------
    adapter
        The adapter, its gradients and the optimiser's state.
    activations
        What is kept of the layers for the gradients, and of the towers for media.
    experts
        Adapted copies of fused experts.
    logits
        Logits of the answers and their gradients.
    """

    adapter: int
    activations: int
    experts: int
    logits: int

    @property
    def total(self) -> int:
        """The sum, with a tenth for fragmentation."""
        return round((1 + _MARGIN) * (self.adapter + self.activations + self.experts + self.logits))

    def __str__(self) -> str:
        return (
            f"{amount(self.total)}: activations {amount(self.activations)}, adapter and optimiser "
            f"{amount(self.adapter)}, adapted experts {amount(self.experts)}, logits {amount(self.logits)}"
        )


def training_memory(
    model: torch.nn.Module,
    targets: Targets,
    settings: TrainingSettings,
    *,
    tokens: int,
    answer_tokens: int,
    patches: int = 0,
    value_bytes: int | None = None,
) -> TrainingMemory:
    """Estimate the memory of training.

    Parameters
    ----------
    model
        The model; one on the meta device will do, before anything is loaded.
    targets, settings
        What is trained, and how.
    tokens
        Tokens of the largest batch, padding included.
    answer_tokens
        Those of its answers.
    patches
        Patches of images and frames in that batch.
    value_bytes
        Bytes of a number of the model; by default of its own dtype.
    """
    config: Any = model.config
    text = config.get_text_config()
    size = value_bytes or next(model.parameters()).element_size()
    trained = "experts" in targets.names
    layers = [_layer_bytes(model, text, index, size, trained) for index in range(text.num_hidden_layers)]
    kept = sum(layers)
    if settings.gradient_checkpointing:  # the inputs of all layers, and one layer at a time
        kept = len(layers) * size * text.hidden_size + max(layers)
    tower = 0
    if patches and "vision" in targets.names and getattr(config, "vision_config", None) is not None:
        tower = patches * _tower_numbers(config.vision_config)
    experts = [shape for shape in targets.shapes.values() if len(shape) == 3]
    stacked = sum(shape[0] * shape[1] * shape[2] for shape in experts)
    if settings.gradient_checkpointing and experts:
        stacked = 2 * stacked // len(experts)  # both projections of one layer
    return TrainingMemory(
        adapter=_COPIES * 4 * targets.adapter_parameters(settings.rank),
        activations=tokens * kept + size * tower,
        experts=size * stacked,
        logits=_LOGITS * 4 * answer_tokens * text.vocab_size,
    )


def activation_bytes(model: torch.nn.Module, *, value_bytes: int | None = None) -> int:
    """Return how many bytes autograd keeps of all decoder layers per token, to within a fifth.

    Parameters
    ----------
    model
        The model; one on the meta device will do.
    value_bytes
        Bytes of a number of the model; by default of its own dtype.
    """
    config: Any = model.config
    text = config.get_text_config()
    size = value_bytes or next(model.parameters()).element_size()
    return sum(_layer_bytes(model, text, index, size, False) for index in range(text.num_hidden_layers))


def device_memory(device: torch.device) -> Device:
    """Return a device of torch as one of this machine, with its free memory."""
    found = devices()
    return next((each for each in found if each.name in (str(device), device.type)), found[-1])


def require_memory(needed: TrainingMemory, *, device: torch.device, name: str, checkpointing: bool) -> None:
    """Raise `DoesNotFit` if a device has less free memory than training takes."""
    place = device_memory(device)
    if needed.total <= place.free:
        return
    hint = (
        "Lower batch_size, shorten the examples, lower rank, choose fewer targets, or load a smaller model."
    )
    if not checkpointing:
        hint = f"Pass gradient_checkpointing=True. {hint}"
    raise DoesNotFit(
        f"Training {name} takes about {needed}. {amount(place.free)} are free on {place.label}.", hint=hint
    )


def _layer_bytes(model: Any, text: Any, index: int, size: int, experts: bool) -> int:
    """Return how many bytes autograd keeps of one decoder layer per token.

    Inputs and outputs of ``Gemma4TextDecoderLayer``'s norms, which compute in float32; queries, keys and
    values before and after norms and rotations; inputs of activation functions and products. The factors
    were set a fifth above what `torch.autograd.graph.saved_tensors_hooks` counts in the mini models.
    """
    layer = _layers(model)[index]
    hidden = text.hidden_size
    attention = layer.self_attn
    queries = attention.q_proj.out_features
    keys = attention.k_proj.out_features if getattr(attention, "k_proj", None) is not None else 0
    single = 7 * hidden + 2 * queries + 2 * keys  # float32
    numbers = 3 * hidden + 2 * queries + 4 * keys + 4 * layer.mlp.gate_proj.out_features
    if getattr(layer, "enable_moe_block", False):
        wide = text.top_k_experts * text.moe_intermediate_size
        chosen = text.top_k_experts * hidden
        numbers += 4 * wide + chosen + chosen // 4 + (chosen if experts else 0)
        single += 3 * hidden + 2 * text.num_experts
    if getattr(text, "hidden_size_per_layer_input", 0):
        numbers += 5 * text.hidden_size_per_layer_input
        single += 2 * hidden
    return int(4 * single + size * numbers)


def _tower_numbers(vision: Any) -> int:
    """Return how many numbers autograd keeps of the vision tower per patch."""
    layers = getattr(vision, "num_hidden_layers", 0) or 0
    hidden = getattr(vision, "hidden_size", 0) or 0
    wide = getattr(vision, "intermediate_size", 0) or 0
    return int(layers * (50 * hidden + 5 * wide))


def _layers(model: Any) -> Any:
    inner = model.model
    return (getattr(inner, "language_model", None) or inner).layers
