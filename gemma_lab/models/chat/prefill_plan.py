"""Reading a long prompt in pieces: how large they may be, and where they may end.

What a piece needs beside the model follows from the true configuration, layer by layer (`Need`): masks grow
with piece × context, activations with the piece, the cache with the context. Pieces change nothing that a
model computes but the order in which products are summed: logits agree with those of a single pass to
rounding (in float32 to about 1e-5), and those of two readings in the same pieces bit for bit. `chat`,
`stream` and `trace` read in the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import DoesNotFit
from ...family.architecture import from_config
from ...family.memory import kv_cache_bytes
from ...system import hardware
from ...system.hardware import amount
from .chunked_prefill import blocks

if TYPE_CHECKING:
    from ...family.architecture import Architecture, Layer
    from ..loading.loaded_model import LoadedModel
    from .prompt import Prompt

#: A prompt up to here is read in one pass if memory allows: the masks of sliding layers grow with its square.
WHOLE = 4096
#: Tokens of a piece of a longer one, if memory allows. Fixed, so that the same prompt gives the same bits on
#: machines with enough memory; more would make matrices larger than a processor gains from.
PIECE = 1024
#: Bytes that the masks of a piece may take however much is free: half as large a piece costs little time, and
#: the mask of 1,024 tokens at the end of 131,072 is most of what reading them takes.
MASKS = 512 * 2**20
#: A piece is halved down to this before memory is said to be too small.
LEAST = 64
#: Of the free memory, what a piece may take: the allocator rounds up, and other programs live here, too.
SHARE = 0.6


@dataclass(frozen=True)
class Need:
    """Bytes that reading takes beside the weights.

    ``fixed + context × C + token × P + pair × P × C`` for a piece of P tokens at the end of a context of C.

    Attributes
    ----------
    fixed
        Of the local layers' caches, and of the logits of one token.
    context
        A token of the context: the global layers' cache, which is copied when a piece is added to it, and one
        layer's keys and values repeated for its query heads.
    token
        A token of the piece: the widest layer's activations, per-layer embeddings, the local layers' masks.
    pair
        A token of the piece and one of the context: the mask of the global layers, as booleans and as the
        numbers that the attention kernel wants.
    """

    fixed: int
    context: int
    token: int
    pair: int

    @classmethod
    def of(cls, shape: Architecture, *, value_bytes: int, eager: bool = False) -> Need:
        """Return the need of a shape in a dtype of `value_bytes`; `eager` attention also keeps its scores."""
        globals_ = [layer for layer in shape.owners if layer.window is None]
        locals_ = [layer for layer in shape.owners if layer.window is not None]
        window = shape.window or 0
        heads = max((layer.heads for layer in shape.layers), default=1)
        scores = heads * (4 + 2 * value_bytes) if eager else 0
        repeated = max((2 * layer.heads * layer.head_dim for layer in globals_), default=0)
        largest = max((2 * layer.kv_heads * layer.head_dim for layer in globals_), default=0)
        cache = sum(2 * layer.kv_heads * layer.head_dim for layer in globals_)
        width = max(_width(layer, shape.hidden) for layer in shape.layers)
        per_layer = 3 * len(shape.layers) * shape.ple_width
        mask = (3 + value_bytes + scores) * (window + PIECE) if locals_ else 0
        kept = kv_cache_bytes(shape, window, value_bytes=value_bytes) - cache * window * value_bytes
        return cls(
            fixed=max(0, kept) + shape.vocabulary * (value_bytes + 3 * 4),
            context=value_bytes * (cache + largest + repeated),
            token=value_bytes * (width + per_layer) + mask,
            pair=(3 + value_bytes + scores) if globals_ else 0,
        )

    def bytes(self, piece: int, context: int) -> int:
        """Return what a piece needs at the end of a context, in tokens."""
        return self.fixed + self.context * context + self.token * piece + self.pair * piece * context


def _width(layer: Layer, hidden: int) -> int:
    """Return the numbers that one token takes in a layer at once: residual stream and widest branch."""
    attention = 3 * layer.heads * layer.head_dim + 4 * layer.kv_heads * layer.head_dim
    dense = 3 * layer.mlp_width
    experts = layer.top_k * (2 * hidden + 3 * layer.expert_width) + 3 * layer.experts
    return 6 * hidden + max(attention, dense + experts)


@dataclass(frozen=True)
class Plan:
    """How a prompt is read.

    Attributes
    ----------
    stops
        Where each piece ends, in tokens; the last is the whole prompt.
    piece
        Tokens of a piece, unless a picture is longer.
    """

    stops: tuple[int, ...]
    piece: int

    @property
    def whole(self) -> bool:
        """Whether the prompt is read in one pass."""
        return len(self.stops) == 1


def plan(lab: LoadedModel, prompt: Prompt, *, free: int | None = None) -> Plan:
    """Return the pieces in which a prompt is read.

    Parameters
    ----------
    lab, prompt
        The model and what it reads.
    free
        Bytes of memory on the model's device. Default: what is free now.

    Raises
    ------
    DoesNotFit
        If even pieces of 64 tokens, with the cache of the whole prompt, take more than what is free.
    """
    total = len(prompt.ids)
    free = _free(lab) if free is None else free
    eager = getattr(lab.text_config, "_attn_implementation", "sdpa") == "eager"
    need = Need.of(from_config(lab.config.to_dict()), value_bytes=lab.dtype.itemsize, eager=eager)
    if total <= WHOLE and need.bytes(total, total) <= SHARE * free:
        return Plan((total,), total)
    piece = PIECE
    while piece > LEAST and (need.bytes(piece, total) > SHARE * free or need.pair * piece * total > MASKS):
        piece //= 2
    if (least := need.bytes(min(LEAST, total), total)) > free:
        raise DoesNotFit(
            f"Reading {total:,} tokens with {lab.name} takes {amount(least)} beside the weights, even in "
            f"pieces of {LEAST}; {amount(free)} are free on {lab.device}.",
            hint="Shorten the prompt, load the model in bfloat16, or choose one with fewer global layers.",
        )
    return Plan(tuple(_stops(total, piece, blocks(prompt.inputs))), piece)


def _stops(total: int, piece: int, closed: list[tuple[int, int]]) -> Iterator[int]:
    """Return where pieces end: never inside a block, and the last one begins after every block."""
    start, last = 0, closed[-1][1] if closed else 0
    while start < total:
        stop = min(start + piece, total)
        for first, after in closed:
            if first < stop < after:  # before the block, unless it begins the piece: then behind it
                stop = first if first > start else after
        if start < last <= stop == total and last < total:
            stop = last  # what generates gets the last piece, and takes only ids
        yield stop
        start = stop


def _free(lab: LoadedModel) -> int:
    """Return the bytes that the model's device can still give, what torch holds in reserve included."""
    device = lab.device
    if device.type == "cuda":
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + spare)
    found = next((each.free for each in hardware.devices() if each.kind == device.type), None)
    return hardware.free_ram() if found is None else found
