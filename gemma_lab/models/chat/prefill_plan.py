"""Prefill of a long prompt in chunks: how large they may be, and where they may end.

The memory of a chunk beside the model follows from the configuration, layer by layer (`PrefillMemory`): masks
grow with chunk × context, activations with the chunk, the cache with the context. Chunks change nothing that
a model computes but the order in which products are summed: logits agree with those of a single pass to
rounding (in float32 to about 1e-5), and those of two prefills with the same chunks bit for bit. `chat`,
`stream` and `trace` use the same chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import DoesNotFit
from ...family.memory import kv_cache_bytes
from ...system import hardware
from ...system.hardware import amount
from .chunked_prefill import blocks

if TYPE_CHECKING:
    from ...family.architecture import Architecture, Layer
    from ..loading.loaded_model import LoadedModel
    from .prompt import Prompt

#: Maximum length of a prompt that is read in one pass: the masks of local layers grow with its square.
SINGLE_PASS_TOKENS = 4096
#: Tokens per chunk of a longer prompt, if memory allows. Fixed, so that the same prompt gives the same bits
#: on machines with enough memory; larger matrices would not be faster.
CHUNK_TOKENS = 1024
#: Maximum bytes of the masks of a chunk, regardless of the free memory: halving a chunk costs little time,
#: and the mask of 1,024 tokens at the end of 131,072 is most of the memory of its prefill.
MASK_BYTES = 512 * 2**20
#: A chunk is halved down to this before `DoesNotFit` is raised.
MIN_CHUNK_TOKENS = 64
#: Fraction of the free memory that a chunk may take: the allocator rounds up, and other programs run, too.
MEMORY_FRACTION = 0.6


@dataclass(frozen=True)
class PrefillMemory:
    """Bytes that a prefill needs besides the weights.

    ``fixed + context × C + token × P + pair × P × C`` for a chunk of P tokens at the end of a context of C.

    Attributes
    ----------
    fixed
        The caches of the local layers, and the logits of one token.
    context
        Per token of the context: the cache of the global layers, which is copied when a chunk is added, and
        one layer's keys and values repeated for its query heads.
    token
        Per token of the chunk: the widest layer's activations, per-layer embeddings, the masks of the local
        layers.
    pair
        Per token of the chunk and token of the context: the mask of the global layers, as booleans and as the
        numbers that the attention kernel takes.
    """

    fixed: int
    context: int
    token: int
    pair: int

    @classmethod
    def of(cls, shape: Architecture, *, value_bytes: int, eager: bool = False) -> PrefillMemory:
        """Return the memory of an architecture.

        Parameters
        ----------
        shape
            The architecture.
        value_bytes
            Bytes per number of the model's dtype.
        eager
            Whether attention is ``"eager"``, which also materialises the scores of all heads.

        Notes
        -----
        A mask takes 3 bytes per entry as booleans (it, its inverse and a temporary) and `value_bytes` as
        numbers. Scores take 4 bytes for the float32 softmax and two copies in the model's dtype. Logits are
        kept in the model's dtype and in three float32 copies.
        """
        globals_ = [layer for layer in shape.owners if layer.window is None]
        locals_ = [layer for layer in shape.owners if layer.window is not None]
        window = shape.window or 0
        widths = [2 * layer.kv_heads * layer.head_dim for layer in globals_]  # keys and values of a token
        repeated = max((2 * layer.heads * layer.head_dim for layer in globals_), default=0)
        heads = max((layer.heads for layer in shape.layers), default=1)
        mask = 3 + value_bytes + (heads * (4 + 2 * value_bytes) if eager else 0)
        local_mask = mask * (window + CHUNK_TOKENS) if locals_ else 0
        activations = max(layer_width(layer, shape.hidden) for layer in shape.layers)
        per_layer_embeddings = 3 * len(shape.layers) * shape.ple_width
        local_cache = (
            kv_cache_bytes(shape, window, value_bytes=value_bytes) - sum(widths) * window * value_bytes
        )
        logits = shape.vocabulary * (value_bytes + 3 * 4)
        return cls(
            fixed=max(0, local_cache) + logits,
            context=value_bytes * (sum(widths) + max(widths, default=0) + repeated),
            token=value_bytes * (activations + per_layer_embeddings) + local_mask,
            pair=mask if globals_ else 0,
        )

    def bytes(self, chunk: int, context: int) -> int:
        """Return the bytes of a chunk at the end of a context, both in tokens."""
        return self.fixed + self.context * context + self.token * chunk + self.pair * chunk * context


def layer_width(layer: Layer, hidden: int) -> int:
    """Return the numbers per token that a layer holds at the same time: residual stream and widest branch."""
    attention = 3 * layer.heads * layer.head_dim + 4 * layer.kv_heads * layer.head_dim
    dense = 3 * layer.mlp_width
    experts = layer.top_k * (2 * hidden + 3 * layer.expert_width) + 3 * layer.experts
    return 6 * hidden + max(attention, dense + experts)


@dataclass(frozen=True)
class Plan:
    """The chunks in which a prompt is read.

    Attributes
    ----------
    stops
        The end of each chunk, in tokens; the last is the end of the prompt.
    chunk
        Tokens of a chunk, unless an image is longer.
    """

    stops: tuple[int, ...]
    chunk: int

    @property
    def single_pass(self) -> bool:
        """Whether the prompt is read in one pass."""
        return len(self.stops) == 1


def plan(model: LoadedModel, prompt: Prompt, *, free: int | None = None) -> Plan:
    """Return the chunks in which a prompt is read.

    Parameters
    ----------
    model, prompt
        The model and its input.
    free
        Bytes of memory on the model's device. Default: what is free now.

    Raises
    ------
    DoesNotFit
        If even chunks of 64 tokens, with the cache of the prompt, take more than what is free.
    """
    total = len(prompt.ids)
    free = free_memory(model) if free is None else free
    eager = getattr(model.text_config, "_attn_implementation", "sdpa") == "eager"
    shape = model.architecture
    memory = PrefillMemory.of(shape, value_bytes=model.dtype.itemsize, eager=eager)
    limit = MEMORY_FRACTION * free
    if total <= SINGLE_PASS_TOKENS and memory.bytes(total, total) <= limit:
        return Plan((total,), total)
    chunk = CHUNK_TOKENS
    while chunk > MIN_CHUNK_TOKENS and (
        memory.bytes(chunk, total) > limit or memory.pair * chunk * total > MASK_BYTES
    ):
        chunk //= 2
    if (least := memory.bytes(min(MIN_CHUNK_TOKENS, total), total)) > free:
        raise DoesNotFit(
            f"Reading {total:,} tokens with {model.name} takes {amount(least)} beside the weights, even in "
            f"chunks of {MIN_CHUNK_TOKENS}; {amount(free)} are free on {model.device}.",
            hint="Shorten the prompt, load the model in bfloat16, or choose one with fewer global layers.",
        )
    return Plan(tuple(_stops(total, chunk, blocks(prompt.inputs))), chunk)


def _stops(total: int, chunk: int, uncut: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the ends of chunks: never inside a range of `uncut`; the last begins after all of them."""
    start, last = 0, uncut[-1][1] if uncut else 0
    while start < total:
        stop = min(start + chunk, total)
        for first, after in uncut:
            if first < stop < after:  # before the range, unless it begins the chunk: then after it
                stop = first if first > start else after
        if start < last <= stop == total and last < total:
            stop = last  # ``generate`` gets the last chunk, and takes only ids
        yield stop
        start = stop


def free_memory(model: LoadedModel) -> int:
    """Return the free bytes of the model's device, with those that torch holds in reserve."""
    device = model.device
    if device.type == "cuda":
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + spare)
    free = next((each.free for each in hardware.devices() if each.kind == device.type), None)
    return hardware.free_ram() if free is None else free
