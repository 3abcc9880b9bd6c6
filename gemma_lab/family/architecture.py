"""Architecture of a Gemma 4, layer by layer, read from a ``config.json``. No torch, no transformers.

The rules are those of transformers 5.23, ``models/gemma4/{configuration,modeling}_gemma4.py`` (and
``gemma4_unified``): which layers are local, where keys and values share one projection, and which layers read
another layer's cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from ..display import Displayed
from ..errors import NotGemma4
from .defaults import AUDIO, TEXT, VISION
from .sources import read_data

SIZES = ("E2B", "E4B", "12B", "26B-A4B", "31B")
"""The five sizes, smallest first. ``data/configs`` holds the configuration of each."""


@dataclass(frozen=True)
class Layer:
    """One decoder layer.

    Attributes
    ----------
    index
        Index in the decoder, from 0.
    kind
        ``"local"`` (sliding attention) or ``"global"`` (full attention).
    window
        Tokens that a query of a local layer sees, its own included; None for a global layer.
    heads, kv_heads
        Query heads, and key/value heads.
    head_dim
        Width of a head.
    tied_kv
        True if one projection makes both keys and values (K=V). They still differ after their norms, and both
        are cached.
    kv_shared_from
        Index of the layer whose keys and values this one reads; None if it has its own.
    mlp_width
        Width of the dense feed-forward branch.
    experts, top_k, expert_width
        Number of experts, experts per token, and width of an expert; all 0 without a mixture of experts.
    """

    index: int
    kind: Literal["local", "global"]
    window: int | None
    heads: int
    kv_heads: int
    head_dim: int
    tied_kv: bool
    kv_shared_from: int | None
    mlp_width: int
    experts: int = 0
    top_k: int = 0
    expert_width: int = 0


@dataclass(frozen=True)
class Architecture(Displayed):
    """The shape of one model.

    Attributes
    ----------
    name
        Size or model name, for views.
    model_type
        As in the configuration: ``"gemma4"`` or ``"gemma4_unified"`` (or their text-only kinds).
    hidden, vocabulary, context
        Width of the residual stream, tokens in the vocabulary, and longest context in tokens.
    layers
        The decoder's layers, first to last.
    ple_width, ple_vocabulary
        Width per layer of the per-layer embeddings (PLE), and rows of their table; 0 without them.
    tied_embeddings
        True if the output head is the token embedding.
    softcap
        Soft cap of the final logits, or None.
    bidirectional
        Kinds of layers in which the tokens of one image or video frame attend to each other in both
        directions, as transformers 5.24 computes it: none in E2B and E4B, ``("local",)`` in 26B-A4B and 31B,
        within the window; ``("local", "global")`` in 12B, whose model class masks both kinds alike
        (``Gemma4UnifiedModel.forward``).
    vision, audio
        The configuration of each tower with defaults filled in, or None.
    """

    name: str
    model_type: str
    hidden: int
    vocabulary: int
    context: int
    layers: tuple[Layer, ...] = field(repr=False)
    ple_width: int
    ple_vocabulary: int
    tied_embeddings: bool
    softcap: float | None
    bidirectional: tuple[str, ...]
    vision: Mapping[str, Any] | None = field(repr=False, hash=False)
    audio: Mapping[str, Any] | None = field(repr=False, hash=False)

    def __repr__(self) -> str:
        kinds = self.kinds
        experts = f", {self.experts} experts top-{self.top_k}" if self.experts else ""
        return (
            f"Architecture({self.name}: {len(self.layers)} layers, "
            f"{kinds['local']} local (window {self.window}) + {kinds['global']} global, "
            f"hidden {self.hidden:,}{experts}, context {self.context:,} tokens)"
        )

    @property
    def kinds(self) -> dict[str, int]:
        """Number of ``"local"`` and of ``"global"`` layers."""
        total = sum(layer.kind == "local" for layer in self.layers)
        return {"local": total, "global": len(self.layers) - total}

    @property
    def window(self) -> int | None:
        """Sliding window of the local layers, in tokens; None if no layer is local."""
        return next((layer.window for layer in self.layers if layer.kind == "local"), None)

    @property
    def owners(self) -> tuple[Layer, ...]:
        """The layers with their own keys and values, which they cache."""
        return tuple(layer for layer in self.layers if layer.kv_shared_from is None)

    @property
    def experts(self) -> int:
        """Experts per layer, or 0."""
        return max((layer.experts for layer in self.layers), default=0)

    @property
    def top_k(self) -> int:
        """Experts per token and layer, or 0."""
        return max((layer.top_k for layer in self.layers), default=0)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Input modalities: ``text``, and those of ``image``, ``video`` and ``audio`` that the model has."""
        seen = ("image", "video") if self.vision is not None else ()
        return ("text", *seen, *(("audio",) if self.audio is not None else ()))

    @property
    def unified(self) -> bool:
        """True for the encoder-free models, which project patches and sound directly into the decoder."""
        return self.model_type.startswith("gemma4_unified")


@cache
def get_architecture(size: str) -> Architecture:
    """Return the architecture of one of `SIZES`, from its configuration in ``data/configs``.

    Raises
    ------
    NotGemma4
        If `size` is none of them.
    """
    return from_config(configuration(size), name=size)


def configuration(size: str) -> dict[str, Any]:
    """Return the configuration of one of `SIZES` in the hub's form, a fresh copy each time.

    Raises
    ------
    NotGemma4
        If `size` is none of them.
    """
    if size not in SIZES:
        raise NotGemma4(f"There is no Gemma 4 size {size!r}.", hint=f"The sizes are {', '.join(SIZES)}.")
    config: dict[str, Any] = read_data(f"configs/{size}.json")
    return config


def from_config(config: Mapping[str, Any], *, name: str = "") -> Architecture:
    """Return the architecture that a configuration describes.

    Parameters
    ----------
    config
        A parsed ``config.json`` of a Gemma 4: as on the hub, or as transformers 5.15 and later save it (with
        ``per_layer_config``); whole or of the text decoder alone.
    name
        What views call it. Default: the model type.

    Raises
    ------
    NotGemma4
        If the configuration is of another architecture.
    """
    kind = str(config.get("model_type"))
    text_kind = kind if kind.endswith("_text") else f"{kind}_text"
    if text_kind not in TEXT:
        raise NotGemma4(
            f"A configuration of type {kind!r} is not a Gemma 4 decoder.",
            hint=f"The known types are {', '.join(TEXT)} and the multimodal models around them.",
        )
    text = {**TEXT[text_kind], **(config if kind == text_kind else config.get("text_config") or {})}
    return Architecture(
        name=name or kind,
        model_type=kind,
        hidden=text["hidden_size"],
        vocabulary=text["vocab_size"],
        context=text["max_position_embeddings"],
        layers=_layers(text),
        ple_width=text.get("hidden_size_per_layer_input", 0),
        ple_vocabulary=text["vocab_size_per_layer_input"] if text.get("hidden_size_per_layer_input") else 0,
        tied_embeddings=config.get("tie_word_embeddings", text["tie_word_embeddings"]),
        softcap=text["final_logit_softcapping"],
        bidirectional=_bidirectional(text_kind) if text["use_bidirectional_attention"] == "vision" else (),
        vision=_tower(config.get("vision_config"), VISION.get(kind)),
        audio=_tower(config.get("audio_config"), AUDIO.get(kind)),
    )


def _bidirectional(text_kind: str) -> tuple[str, ...]:
    return ("local", "global") if text_kind.startswith("gemma4_unified") else ("local",)


def _tower(config: Mapping[str, Any] | None, defaults: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if config is None or defaults is None:
        return None
    return MappingProxyType({**defaults, **config})


def _layers(text: Mapping[str, Any]) -> tuple[Layer, ...]:
    kinds = _kinds(text)
    shared_from = len(kinds) - text["num_kv_shared_layers"]
    moe = bool(text.get("enable_moe_block"))
    layers = []
    for index, kind in enumerate(kinds):
        shared = index >= shared_from
        kv_heads, head_dim = _heads(text, index, kind)
        layers.append(
            Layer(
                index=index,
                kind=kind,
                window=text["sliding_window"] if kind == "local" else None,
                heads=text["num_attention_heads"],
                kv_heads=kv_heads,
                head_dim=head_dim,
                tied_kv=bool(text["attention_k_eq_v"]) and kind == "global",
                # a KV-shared layer reads the last layer of its kind that has its own keys and values
                kv_shared_from=_last(kinds[:shared_from], kind) if shared else None,
                mlp_width=text["intermediate_size"] * (2 if shared and text["use_double_wide_mlp"] else 1),
                experts=text["num_experts"] if moe else 0,
                top_k=text["top_k_experts"] if moe else 0,
                expert_width=text["moe_intermediate_size"] if moe else 0,
            )
        )
    return tuple(layers)


def _kinds(text: Mapping[str, Any]) -> tuple[Literal["local", "global"], ...]:
    count = text["num_hidden_layers"]
    types = list(text["layer_types"] or [])
    if not types:  # transformers' default: five local layers to one global, and the last one global
        types = ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(count)]
        types[-1] = "full_attention"
    return tuple("local" if name == "sliding_attention" else "global" for name in types)


def _heads(text: Mapping[str, Any], index: int, kind: str) -> tuple[int, int]:
    """Return the key/value heads and the head width of one layer."""
    per_layer = text.get("per_layer_config")
    if per_layer is not None:  # the form that transformers 5.15 and later save; keys "05" or 5
        numbered = {int(key): value for key, value in per_layer.items() if str(key).isdigit()}
        own = {**text, **numbered.get(index, {})}
        return own["num_key_value_heads"], own["head_dim"]
    if kind == "local":
        return text["num_key_value_heads"], text["head_dim"]
    kv_heads = text.get("num_global_key_value_heads") if text["attention_k_eq_v"] else None
    return kv_heads or text["num_key_value_heads"], text.get("global_head_dim", 512)


def _last(kinds: tuple[Literal["local", "global"], ...], kind: str) -> int:
    return max(index for index, name in enumerate(kinds) if name == kind)
