"""Count the parameters of a Gemma 4, part by part, from its shape. No torch.

A test compares every part with the same part of transformers' own model, built on torch's meta device.
Buffers (the layer scalars, the clipping bounds and the standardisation of the towers) are not parameters and
are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..display import Displayed
from .architecture import Architecture, Layer

PARAMETER_GROUPS = {
    "embedding": "token embedding (and output head)",
    "ple_table": "per-layer embedding table",
    "ple": "per-layer embedding projections",
    "attention": "attention",
    "mlp": "dense feed-forward",
    "experts": "experts",
    "router": "router",
    "norms": "norms",
    "head": "output head, if it is not the embedding",
    "vision": "vision tower (12B: patch embedder)",
    "vision_projector": "vision projector",
    "audio": "audio tower",
    "audio_projector": "audio projector",
}
"""Parts of a model in the order in which views list them → their names."""


@dataclass(frozen=True)
class Parameters(Displayed):
    """Exact parameter counts of one model; each field but the last three is one of `PARAMETER_GROUPS`.

    Attributes
    ----------
    name
        Size or model name.
    experts_per_layer, top_k
        Experts per layer, and experts per token; 0 without experts.
    """

    name: str
    embedding: int
    ple_table: int
    ple: int
    attention: int
    mlp: int
    experts: int
    router: int
    norms: int
    head: int
    vision: int
    vision_projector: int
    audio: int
    audio_projector: int
    experts_per_layer: int = 0
    top_k: int = 0

    def __repr__(self) -> str:
        return (
            f"Parameters({self.name}: {self.total:,} in all, {self.text:,} in the decoder, "
            f"{self.effective:,} effective, {self.active:,} active)"
        )

    @property
    def parts(self) -> dict[str, int]:
        """Count of each of `PARAMETER_GROUPS` that the model has."""
        return {part: count for part in PARAMETER_GROUPS if (count := getattr(self, part))}

    @property
    def total(self) -> int:
        """All parameters: decoder, towers and projectors."""
        return sum(self.parts.values())

    @property
    def text(self) -> int:
        """The decoder with its embeddings, without towers and projectors."""
        return self.total - self.vision - self.vision_projector - self.audio - self.audio_projector

    @property
    def effective(self) -> int:
        """The decoder without the per-layer embedding table, which is only looked up: the “E” of E2B."""
        return self.text - self.ple_table

    @property
    def active(self) -> int:
        """Parameters that one token uses: `effective`, with `top_k` experts per layer; with the embedding."""
        if not self.experts:
            return self.effective
        return self.effective - self.experts * (self.experts_per_layer - self.top_k) // self.experts_per_layer

    def to_dict(self) -> dict[str, int | str]:
        """Return the parts, and ``total``, ``text``, ``effective`` and ``active``."""
        sums = {"total": self.total, "text": self.text, "effective": self.effective, "active": self.active}
        return {"name": self.name, **self.parts, **sums}


def count_parameters(shape: Architecture) -> Parameters:
    """Count the parameters of a model from its shape."""
    per_layer = [_layer(shape, layer) for layer in shape.layers]
    sums = {part: sum(layer[part] for layer in per_layer) for part in per_layer[0]} if per_layer else {}
    ple_rows = len(shape.layers) * shape.ple_width
    sums["ple"] += shape.hidden * ple_rows
    # the final norm, and the norm of the per-layer projection
    sums["norms"] += shape.hidden + shape.ple_width
    vision, vision_projector = _vision(shape)
    audio, audio_projector = _audio(shape)
    return Parameters(
        name=shape.name,
        embedding=shape.vocabulary * shape.hidden,
        ple_table=shape.ple_vocabulary * ple_rows,
        head=0 if shape.tied_embeddings else shape.vocabulary * shape.hidden,
        vision=vision,
        vision_projector=vision_projector,
        audio=audio,
        audio_projector=audio_projector,
        experts_per_layer=shape.experts,
        top_k=shape.top_k,
        **sums,
    )


def matrix_parameters(shape: Architecture) -> int:
    """Count the weights that int8 and int4 pack: attention, feed-forward layers and experts.

    Embedding, per-layer embeddings, router, norms, towers and projectors stay in 16 bits.
    """
    parameters = count_parameters(shape)
    return parameters.attention + parameters.mlp + parameters.experts


def stored(shape: Architecture) -> int:
    """Count all numbers in a checkpoint's files: the parameters and the saved buffers.

    The buffers: a scalar a decoder layer, the towers' clipping bounds (four a clipped matrix), and the bias
    and scale that standardise the vision tower's output.
    """
    numbers = count_parameters(shape).total + len(shape.layers)
    if shape.unified:
        return numbers
    if shape.vision is not None:
        numbers += 2 * shape.vision["hidden_size"] if shape.vision["standardize"] else 0
        numbers += 4 * 7 * shape.vision["num_hidden_layers"] if shape.vision["use_clipped_linears"] else 0
    if shape.audio is not None and shape.audio["use_clipped_linears"]:
        numbers += 4 * 10 * shape.audio["num_hidden_layers"]
    return numbers


def _layer(shape: Architecture, layer: Layer) -> dict[str, int]:
    """Count one decoder layer (``Gemma4TextDecoderLayer``)."""
    hidden = shape.hidden
    queries, keys = layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim
    own = layer.kv_shared_from is None
    projections = 2 * queries + (keys * (1 if layer.tied_kv else 2) if own else 0)  # q and o, k, v
    # before and after attention and feed-forward; of queries and keys
    norms = 4 * hidden + layer.head_dim * (2 if own else 1)
    if layer.experts:
        norms += 3 * hidden  # one after each branch, one before the experts
    if shape.ple_width:
        norms += hidden
    return {
        "attention": hidden * projections,
        "mlp": 3 * hidden * layer.mlp_width,
        "experts": 3 * hidden * layer.expert_width * layer.experts,
        # projection, scale a channel, scale an expert
        "router": hidden * layer.experts + hidden + layer.experts if layer.experts else 0,
        "ple": 2 * hidden * shape.ple_width,
        "norms": norms,
    }


def _vision(shape: Architecture) -> tuple[int, int]:
    """Count the vision tower (or the 12B's patch embedder) and its projector."""
    config = shape.vision
    if config is None:
        return 0, 0
    if shape.unified:
        pixels = 3 * (config["patch_size"] * config["pooling_kernel_size"]) ** 2
        width = config["mm_embed_dim"]
        # before and after the projection, and after the positions: weight and bias each
        norms = 2 * pixels + 2 * width + 2 * width
        embedder = norms + pixels * width + width + 2 * config["mm_posemb_size"] * width
        return embedder, config["output_proj_dims"] * shape.hidden
    width, head_dim = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    matrices = 2 * width * queries + 2 * width * keys + 3 * width * config["intermediate_size"]
    tower = config["num_hidden_layers"] * (matrices + 4 * width + 2 * head_dim)
    tower += 3 * config["patch_size"] ** 2 * width + 2 * config["position_embedding_size"] * width
    return tower, width * shape.hidden


def _audio(shape: Architecture) -> tuple[int, int]:
    """Count the audio tower (a conformer; the 12B has none) and its projector."""
    config = shape.audio
    if config is None:
        return 0, 0
    if shape.unified:
        return 0, config["audio_embed_dim"] * shape.hidden
    width, out = config["hidden_size"], config["output_proj_dims"]
    tower = config["num_hidden_layers"] * sum(_conformer(config)) + sum(_subsampling(config))
    return tower + width * out + out, out * shape.hidden


def _conformer(config: Mapping[str, Any]) -> Iterator[int]:
    width, head_dim = config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]
    # two feed-forwards of four times the width, with two norms each
    yield 2 * (8 * width * width + 2 * width)
    # queries, keys, values, output, relative keys; a scale a dimension
    yield 5 * width * width + head_dim
    # gated depthwise convolution with two norms
    yield 3 * width * width + width * config["conv_kernel_size"] + 2 * width
    # norms before and after attention, and at the end
    yield 3 * width


def _subsampling(config: Mapping[str, Any]) -> Iterator[int]:
    first, second = config["subsampling_conv_channels"]
    yield 9 * first + first
    yield 9 * first * second + second
    yield first // 4 * second * config["hidden_size"]
