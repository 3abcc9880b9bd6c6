"""The models a plan can be made for: parameters by part, and cache bytes stored and read. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from ..family.architecture import SIZES, Architecture, from_config, get_architecture
from ..family.caches import Kept
from ..family.parameters import count_parameters
from ..family.sources import source
from .facts import normalized, read_facts, unknown

if TYPE_CHECKING:
    from pathlib import Path

PARTS = {
    "embedding": "token embedding (and output head)",
    "head": "output head, if it is not the embedding",
    "ple_table": "per-layer embedding table",
    "attention": "attention",
    "dense": "dense feed-forward",
    "experts": "experts",
    "other": "router, norms and per-layer projections",
    "towers": "vision and audio towers",
}
"""The kinds of weights, in the order in which views list them, and what they are called."""


@dataclass(frozen=True)
class CacheLayers:
    """A group of like layers of the key-value cache.

    Attributes
    ----------
    stored
        The layers that own keys and values (or a state), and their shape.
    readers
        How many layers read such a cache at every step: the owners, and the layers that share it.
    query_width
        Query heads times the width of a head; 0 for a fixed state.
    """

    stored: Kept
    readers: int
    query_width: int = 0

    def attention_operations(self, tokens: int) -> float:
        """Return the operations of attention itself over a prompt: two products with every visible key."""
        if self.stored.kind == "linear":
            return 0.0
        window = self.stored.window
        if window is None or window >= tokens:
            pairs = tokens * (tokens + 1) / 2
        else:
            pairs = window * (window + 1) / 2 + (tokens - window) * window
        return self.readers * 4.0 * self.query_width * pairs

    def read_bytes(self, tokens: int, *, value_bytes: float = 2.0) -> float:
        """Return the bytes that one decoding step reads (and, for a fixed state, writes back)."""
        if self.stored.kind == "linear":
            return 2.0 * self.stored.bytes(tokens, value_bytes=2)
        seen = tokens if self.stored.window is None else min(tokens, self.stored.window)
        return self.readers * 2 * self.stored.kv_heads * self.stored.head_dim * seen * value_bytes


@dataclass(frozen=True)
class Drafter:
    """The small model that proposes tokens for speculative decoding.

    Attributes
    ----------
    parameters
        Parameters in all.
    exact
        Whether `parameters` is an exact count; otherwise it is rounded as published.
    """

    parameters: int
    exact: bool


@dataclass(frozen=True)
class ModelShape:
    """What a plan needs to know of a model.

    Attributes
    ----------
    name
        As views show it, e.g. ``"Gemma 4 26B-A4B"``.
    key
        Short name, e.g. ``"26B-A4B"``.
    family
        ``"gemma4"``, ``"gemma3"`` or ``"qwen3.5"``.
    kind
        ``"dense"``, ``"edge"`` (per-layer embeddings: E2B, E4B) or ``"moe"``.
    parts
        Parameters of each of `PARTS`.
    layers
        Decoder layers.
    hidden, vocabulary, context
        Width of the residual stream, tokens in the vocabulary, longest context in tokens.
    widest
        Width of the widest feed-forward activation of one token.
    per_layer_width
        Width of the per-layer embeddings of one token, all layers together; 0 without them.
    experts, top_k, expert_width
        Experts of a layer, how many a token visits, and the width of each; 0 without experts.
    cache
        Groups of layers that keep something of earlier tokens.
    audio
        Whether it takes in sound.
    drafter
        Its drafter, or None.
    sources
        Keys of `gemma_lab.family.sources` for the shape.
    """

    name: str
    key: str
    family: str
    kind: str
    parts: Mapping[str, int] = field(hash=False)
    layers: int
    hidden: int
    vocabulary: int
    context: int
    widest: int
    per_layer_width: int
    experts: int
    top_k: int
    expert_width: int
    cache: tuple[CacheLayers, ...] = field(hash=False)
    audio: bool = False
    drafter: Drafter | None = None
    sources: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Parameters in all, towers included."""
        return sum(self.parts.values())

    @property
    def text(self) -> int:
        """Parameters of the decoder with its embeddings."""
        return self.total - self.parts.get("towers", 0)

    @property
    def head_part(self) -> str:
        """The part that the output head multiplies by: ``"embedding"`` if it is tied."""
        return "head" if self.parts.get("head") else "embedding"

    def compute_parameters(self) -> int:
        """Return the parameters that one token of a prompt is multiplied by: no embedding, no head."""
        active = sum(self.parts[part] for part in ("attention", "dense", "other"))
        return active + (self.parts["experts"] * self.top_k // self.experts if self.experts else 0)

    def expert_share(self, tokens: float) -> float:
        """Return the share of the experts that `tokens` tokens visit together, on average.

        Independent uniform routing: 1 − (1 − k/E)^n, an upper bound for text whose tokens route alike.
        """
        if not self.experts:
            return 0.0
        return float(1.0 - (1.0 - self.top_k / self.experts) ** tokens)

    def stored_cache_bytes(
        self, tokens: int, *, batch: int = 1, value_bytes: float = 2.0, window_slack: float = 0.0
    ) -> dict[str, float]:
        """Return the bytes of the cache by kind of layer (``"global"``, ``"local"``, ``"linear"``).

        Parameters
        ----------
        tokens
            Tokens of one sequence.
        batch
            Sequences.
        value_bytes
            Bytes of a cached number: 2 for 16 bits, 1.0625 for GGUF's Q8_0.
        window_slack
            Tokens that a local layer keeps beyond its window.
        """
        sums: dict[str, float] = {}
        for group in self.cache:
            kept = group.stored
            if kept.kind == "linear":
                size = float(kept.bytes(tokens, value_bytes=2))
            else:
                seen = float(tokens if kept.window is None else min(tokens, kept.window + window_slack))
                size = kept.count * 2 * kept.kv_heads * kept.head_dim * seen * value_bytes
            sums[kept.kind] = sums.get(kept.kind, 0.0) + size * batch
        return sums

    def attention_operations(self, tokens: int) -> float:
        """Return the operations of attention itself over a prompt of `tokens` tokens."""
        return sum(group.attention_operations(tokens) for group in self.cache)

    def read_cache_bytes(self, tokens: int, *, value_bytes: float = 2.0) -> dict[str, float]:
        """Return the bytes that one decoding step of one sequence reads, by kind of layer."""
        sums: dict[str, float] = {}
        for group in self.cache:
            size = group.read_bytes(tokens, value_bytes=value_bytes)
            sums[group.stored.kind] = sums.get(group.stored.kind, 0.0) + size
        return sums


def model_shape(name: str | ModelShape) -> ModelShape:
    """Return the shape of a model by its name.

    Parameters
    ----------
    name
        A size (``"26B-A4B"``), an alias or hub id of the catalog (``"google/gemma-4-26B-A4B-it"``), or a
        neighbour: ``"Gemma 3 27B"``, ``"Qwen3.5-35B-A3B"``, ``"Qwen3.6-35B-A3B"``. A `ModelShape` passes.

    Raises
    ------
    LabError
        If no such model is known; the message has near names.
    """
    if isinstance(name, ModelShape):
        return name
    if not isinstance(name, str):
        raise LabError(f"A model is named by text, not by {type(name).__name__}.", hint='E.g. "26B-A4B".')
    shapes = shapes_by_key()
    wanted = normalized(name)
    found = _aliases().get(wanted) or _aliases().get(normalized(_without_suffixes(name)))
    if found is None:
        hint = "gl.catalog() lists the checkpoints."
        raise unknown("model", name, [*shapes, *(f"gemma-4-{size}" for size in SIZES)], hint=hint)
    return shapes[found]


@cache
def shapes_by_key() -> Mapping[str, ModelShape]:
    """Return every model a plan can be made for by name: five sizes, then the neighbours."""
    drafters = read_facts("models.json")["drafters"]
    shapes = {size: shape_of(get_architecture(size), drafter=drafters[size]) for size in SIZES}
    shapes |= {row["key"]: _neighbour(row) for row in read_facts("models.json")["neighbours"]}
    return MappingProxyType(shapes)


def shape_of(model: Architecture, *, drafter: Mapping[str, Any] | None = None, key: str = "") -> ModelShape:
    """Return the plan's view of a Gemma 4 architecture (a size, or a mini's own configuration)."""
    numbers = count_parameters(model)
    kind = "moe" if model.experts else "edge" if model.ple_width else "dense"
    owners: Counter[tuple[Any, ...]] = Counter()
    readers: Counter[tuple[Any, ...]] = Counter()
    heads = {}
    for layer in model.layers:
        like = (layer.kind, layer.kv_heads, layer.head_dim, layer.window)
        readers[like] += 1
        owners[like] += layer.kv_shared_from is None
        heads[like] = layer.heads
    groups = tuple(
        CacheLayers(
            Kept(like[0], owners[like], like[1], like[2], like[3]), readers[like], heads[like] * like[2]
        )
        for like in sorted(readers, key=lambda each: each[0])
    )
    key = key or model.name
    return ModelShape(
        name=f"Gemma 4 {model.name}" if model.name in SIZES else model.name,
        key=key,
        family="gemma4",
        kind=kind,
        parts=MappingProxyType(
            {
                "embedding": numbers.embedding,
                "head": numbers.head,
                "ple_table": numbers.ple_table,
                "attention": numbers.attention,
                "dense": numbers.mlp,
                "experts": numbers.experts,
                "other": numbers.router + numbers.norms + numbers.ple,
                "towers": numbers.vision + numbers.vision_projector + numbers.audio + numbers.audio_projector,
            }
        ),
        layers=len(model.layers),
        hidden=model.hidden,
        vocabulary=model.vocabulary,
        context=model.context,
        widest=max((layer.mlp_width for layer in model.layers), default=0),
        per_layer_width=len(model.layers) * model.ple_width,
        experts=model.experts,
        top_k=model.top_k,
        expert_width=max((layer.expert_width for layer in model.layers), default=0),
        cache=groups,
        audio=model.audio is not None,
        drafter=Drafter(drafter["parameters"], drafter["exact"]) if drafter else None,
        sources=("config", *(drafter["sources"] if drafter else ())),
    )


def shape_of_config(path: Path) -> ModelShape:
    """Return the shape of the Gemma 4 whose ``config.json`` lies in the folder `path`."""
    import json

    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return shape_of(from_config(config, name=path.name))


def source_lines(shape: ModelShape) -> tuple[str, ...]:
    """Return where the shape comes from, one line per source."""
    return tuple(source(key).label for key in shape.sources)


def _neighbour(row: Mapping[str, Any]) -> ModelShape:
    groups = tuple(
        CacheLayers(Kept(**group), group["count"], row["heads"] * group.get("head_dim", 0))
        for group in row["cache"]
    )
    return ModelShape(
        name=row["name"],
        key=row["key"],
        family=row["family"],
        kind=row["kind"],
        parts=MappingProxyType({part: row["parts"].get(part, 0) for part in PARTS}),
        layers=row["layers"],
        hidden=row["hidden"],
        vocabulary=row["vocabulary"],
        context=row["context"],
        widest=row["widest"],
        per_layer_width=0,
        experts=row["experts"],
        top_k=row["top_k"],
        expert_width=row["expert_width"],
        cache=groups,
        sources=tuple(row["sources"]),
    )


@cache
def _aliases() -> Mapping[str, str]:
    """Return normalized name → key of `shapes_by_key`."""
    names: dict[str, str] = {}
    for size in SIZES:
        for form in (size, f"gemma-4-{size}", f"gemma4:{size}", f"gemma4-{size}", f"google/gemma-4-{size}"):
            names[normalized(form)] = size
    names |= {"26b": "26B-A4B", "gemma426b": "26B-A4B", "gemma4:26b": "26B-A4B"}
    for row in read_facts("models.json")["neighbours"]:
        names |= {normalized(form): row["key"] for form in (row["key"], row["name"], *row["aliases"])}
    return MappingProxyType(names)


def _without_suffixes(name: str) -> str:
    """Cut the endings that name a checkpoint of a size: ``-it``, ``-assistant``, ``-qat-…``."""
    stem = name.lower()
    for mark in ("-it-qat", "-qat", "-it-assistant", "-assistant"):
        stem = stem.split(mark)[0]
    return stem.removesuffix("-it").removesuffix("-pt")
