"""Size of the key-value caches and recurrent states of Gemma 4 and of models it is compared with. No torch.

`memory.kv_cache_bytes` counts one Gemma 4. This module does the same for groups of equal layers, so that
models with other kinds of layers can be compared: Qwen3.5's Gated DeltaNet layers have a state of fixed
size instead of keys and values.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ..display import Displayed
from ..errors import LabError
from .architecture import SIZES, Architecture, get_architecture
from .sources import Source, read_data, source


@dataclass(frozen=True)
class Kept:
    """A group of layers with the same cache, and its size.

    Attributes
    ----------
    kind
        ``"global"``: keys and values of every token; ``"local"``: of a window; ``"linear"``: a fixed state.
    count
        Layers.
    kv_heads, head_dim
        Of keys and values; 0 for a fixed state.
    window
        Tokens that a local layer keeps; None otherwise.
    state, state_bytes
        Numbers of a fixed state, and the bytes of each, for every dtype of the cache.
    convolution
        Numbers that a short convolution keeps, in the cache's dtype.
    """

    kind: Literal["global", "local", "linear"]
    count: int
    kv_heads: int = 0
    head_dim: int = 0
    window: int | None = None
    state: int = 0
    state_bytes: int = 4
    convolution: int = 0

    def bytes(self, tokens: int, *, value_bytes: int = 2) -> int:
        """Return the bytes of these layers' caches for one sequence of `tokens` tokens."""
        if self.kind == "linear":
            return self.count * (self.state * self.state_bytes + self.convolution * value_bytes)
        seen = tokens if self.window is None else min(tokens, self.window)
        return self.count * 2 * self.kv_heads * self.head_dim * seen * value_bytes


@dataclass(frozen=True)
class KVCache(Displayed):
    """The caches of a model's layers.

    Attributes
    ----------
    name
        Name of the model.
    context
        Its longest context, in tokens.
    groups
        The layers with a cache or state. KV-shared layers, which read another layer's cache, are in none.
    numbers
        Numbers per token that the attention layers would cache without windows and without shared caches.
    sources
        Sources of the shape.
    """

    name: str
    context: int
    groups: tuple[Kept, ...]
    numbers: int
    sources: tuple[Source, ...]

    def __repr__(self) -> str:
        parts = ", ".join(f"{group.count} {group.kind}" for group in self.groups)
        return f"KVCache({self.name}: {parts}; {self.slope() / 1024:g} KiB per token beyond the windows)"

    def bytes(self, tokens: int, *, value_bytes: int = 2) -> int:
        """Return the bytes of one sequence.

        Parameters
        ----------
        tokens
            Number of tokens of prompt and answer.
        value_bytes
            Bytes per cached number: 2 for bfloat16.

        Raises
        ------
        LabError
            If `tokens` is negative or more than the model's context.
        """
        if not 0 <= tokens <= self.context:
            raise LabError(
                f"{self.name} reads 0 to {self.context:,} tokens, not {tokens:,}.",
                hint="Ask for a length within its context.",
            )
        return sum(group.bytes(tokens, value_bytes=value_bytes) for group in self.groups)

    def slope(self, *, value_bytes: int = 2) -> int:
        """Return the bytes per further token once every window is full."""
        growing = (group for group in self.groups if group.kind == "global")
        return sum(group.bytes(1, value_bytes=value_bytes) for group in growing)

    def without_savings(self, tokens: int, *, value_bytes: int = 2) -> int:
        """Return the bytes if every attention layer cached its own keys and values of every token.

        A runtime that supports neither windows nor shared caches reserves this much. States of fixed size are
        unchanged.
        """
        fixed = sum(group.bytes(0, value_bytes=value_bytes) for group in self.groups)
        return fixed + self.numbers * tokens * value_bytes


def cache_of(shape: Architecture, *sources: Source) -> KVCache:
    """Return the caches of a Gemma 4, grouped by the shape of the layer, global layers first."""
    like = Counter((layer.kind, layer.kv_heads, layer.head_dim, layer.window) for layer in shape.owners)
    groups = tuple(
        Kept(kind, count, kv_heads, head_dim, window)
        for (kind, kv_heads, head_dim, window), count in sorted(like.items(), key=lambda item: item[0][0])
    )
    numbers = sum(2 * layer.kv_heads * layer.head_dim for layer in shape.layers)
    return KVCache(shape.name, shape.context, groups, numbers, sources)


@cache
def kv_caches() -> tuple[KVCache, ...]:
    """Return the caches of the five sizes of Gemma 4, smallest first, of Gemma 3 27B and Qwen3.5-35B-A3B."""
    family = tuple(cache_of(get_architecture(size), source("config")) for size in SIZES)
    return (*family, *map(_neighbour, read_data("neighbours.json")))


def _neighbour(row: dict[str, Any]) -> KVCache:
    groups = tuple(Kept(**group) for group in row["layers"])
    numbers = sum(group.count * 2 * group.kv_heads * group.head_dim for group in groups)
    return KVCache(row["name"], row["context"], groups, numbers, tuple(map(source, row["sources"])))
