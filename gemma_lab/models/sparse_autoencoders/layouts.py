"""Published layouts of SAEs, as the parts of a `SparseAutoencoder`; what a layout leaves open is refused.

==============  =========================================  ==================================================
Layout          Files                                      Tensors
==============  =========================================  ==================================================
``sae_lens``    ``cfg.json``, ``sae_weights.safetensors``  ``W_enc`` ``[width, features]``, ``b_enc``,
                                                           ``W_dec`` ``[features, width]``, ``b_dec``,
                                                           ``threshold`` (JumpReLU, and BatchTopK and
                                                           matryoshka SAEs, which are saved as JumpReLU)
``sparsify``    ``cfg.json``, ``sae.safetensors``          ``encoder.weight`` ``[features, width]``,
                                                           ``encoder.bias``, ``W_dec`` ``[features, width]``,
                                                           ``b_dec``; the folder is named after the layer
``gemma_scope`` ``config.json``, ``params.safetensors``    ``w_enc`` ``[width, features]``, ``b_enc``,
                                                           ``w_dec`` ``[features, width]``, ``b_dec``,
                                                           ``threshold``
``safetensors`` one ``*.safetensors``                      ``encoder.weight`` ``[features, width]``,
                                                           ``encoder.bias``, ``decoder.weight``
                                                           ``[width, features]``, ``decoder.bias``
==============  =========================================  ==================================================

Read in SAELens 6.54.12 and EleutherAI's sparsify 1.3.3, November 2026. ``gemma_scope`` is that of Gemma
Scope 2, published for Gemma 3, whose inputs SAELens' loader does not centre either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...checks import real_number, short_repr, whole_number
from ...errors import BadCheckpoint, LabError

Tensors = Mapping[str, torch.Tensor]
#: TransformerLens' names and those of modules of transformers, with the layer after which they read.
_AFTER = re.compile(r"(?:blocks\.(\d+)\.hook_resid_post|(?:[\w-]+\.)*layers\.(\d+)(?:\.output)?)")
_BEFORE = re.compile(r"blocks\.(\d+)\.hook_resid_pre")
#: Architectures of sae_lens that are saved with a threshold.
_JUMPING = ("jumprelu", "batchtopk", "matryoshka_batchtopk")
_NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale")


@dataclass(frozen=True)
class Given:
    """What the caller states about an SAE whose files do not: None where nothing is stated."""

    layer: int | None = None
    activation: str | None = None
    k: int | None = None
    apply_b_dec_to_input: bool | None = None
    input_scale: float | None = None


def layer_of_hook(hook: Any) -> int:
    """Return the layer after which a hook reads the residual stream.

    Raises
    ------
    LabError
        If it reads anything else, such as the output of an MLP, or the embeddings.
    """
    text = str(hook)
    if (match := _AFTER.fullmatch(text)) is not None:
        return int(match[1] or match[2])
    before = _BEFORE.fullmatch(text)
    if before is not None and int(before[1]) > 0:
        return int(before[1]) - 1
    raise LabError(
        f"The SAE reads {short_repr(hook)}, which is not the residual stream after a layer.",
        hint="Read are blocks.N.hook_resid_post, blocks.N.hook_resid_pre (N > 0) and …layers.N.",
    )


def from_sae_lens(config: Mapping[str, Any], tensors: Tensors, given: Given) -> dict[str, Any]:
    """Return the parts of an SAE in sae_lens' layout, of version 6 and of those before.

    Raises
    ------
    BadCheckpoint
        If tensors are missing, superfluous, or contradict the configuration.
    LabError
        If it is of a kind that is not read here, or the layer is stated by neither file nor caller.
    """
    metadata = config.get("metadata")
    about = {**config, **metadata} if isinstance(metadata, Mapping) else dict(config)
    kind, k = _sae_lens_kind(about, tensors)
    _refuse_changed_stream(about)
    parts = dict(tensors)
    scale = parts.pop("scaling_factor", None)
    threshold = parts.pop("topk_threshold", None) if kind == "jumprelu" else None
    names = {"W_enc", "b_enc", "W_dec", "b_dec"} | ({"threshold"} if kind == "jumprelu" else set())
    if threshold is not None and "b_enc" in parts:  # of a training that was not finished: one for all
        parts.setdefault("threshold", torch.ones_like(parts["b_enc"]) * threshold.float())
    _exactly(parts, names, "sae_lens")
    _check_sizes(about, parts["W_dec"].shape, width="d_in", features="d_sae")
    parts = _folded(parts, about, scale, given)
    normalization = about.get("normalize_activations") or "none"
    if normalization in (True, "expected_average_only_in", False):
        normalization = "none"  # the factor was folded into the weights, or `_folded` refused
    if normalization not in _NORMALIZATIONS:
        raise _not_read(f"normalize_activations is {short_repr(normalization)}")
    hook = about.get("hook_name", about.get("hook_point"))
    return {
        "layer": _layer(None if hook is None else layer_of_hook(hook), given),
        "encoder": parts["W_enc"],
        "encoder_bias": parts["b_enc"],
        "decoder": parts["W_dec"],
        "decoder_bias": parts["b_dec"],
        "threshold": parts.get("threshold"),
        "activation": kind,
        "k": k,
        "normalization": normalization,
        "apply_b_dec_to_input": _flag(about, "apply_b_dec_to_input", default=True),
        "trained_on": str(about.get("model_name") or ""),
        **_own(about),
    }


def from_sparsify(
    config: Mapping[str, Any], tensors: Tensors, given: Given, *, folder: str
) -> dict[str, Any]:
    """Return the parts of an SAE in sparsify's layout; `folder` is named after what it reads.

    Raises
    ------
    BadCheckpoint
        If tensors are missing, superfluous, or contradict the configuration.
    LabError
        If it is a transcoder or of another activation, or the layer is not known.
    """
    if _flag(config, "transcode", default=False) or _flag(config, "skip_connection", default=False):
        raise _not_read("it is a transcoder, which predicts another activation than it reads")
    if config.get("activation", "topk") != "topk":
        raise _not_read(f"its activation is {short_repr(config.get('activation'))}")
    if _flag(config, "signed", default=False):  # of releases before 1.0
        raise _not_read("its features can be negative (signed)")
    _exactly(tensors, {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}, "sparsify")
    _check_sizes(config, tensors["W_dec"].shape, width="d_in", features="num_latents")
    known = _AFTER.fullmatch(folder) is not None
    return {
        "layer": _layer(layer_of_hook(folder) if known or given.layer is None else None, given),
        "encoder": tensors["encoder.weight"].T.contiguous(),
        "encoder_bias": tensors["encoder.bias"],
        "decoder": tensors["W_dec"],
        "decoder_bias": tensors["b_dec"],
        "activation": "topk",
        "k": whole_number("k of cfg.json", config.get("k"), minimum=1),
        "apply_b_dec_to_input": True,
    }


def from_gemma_scope(config: Mapping[str, Any], tensors: Tensors, given: Given) -> dict[str, Any]:
    """Return the parts of a JumpReLU SAE in the layout of Gemma Scope 2, whose input is not centred.

    Raises
    ------
    BadCheckpoint
        If tensors are missing, superfluous, or contradict the configuration.
    LabError
        If it is a transcoder or a crosscoder, or of another activation.
    """
    hook = config.get("hf_hook_point_in")
    if config.get("type", "sae") != "sae" or config.get("hf_hook_point_out", hook) != hook:
        raise _not_read("it predicts another activation than it reads")
    if _flag(config, "affine_connection", default=False):
        raise _not_read("it has an affine connection beside its features")
    if config.get("architecture") != "jump_relu":
        raise _not_read(f"its architecture is {short_repr(config.get('architecture'))}")
    _exactly(tensors, {"w_enc", "b_enc", "w_dec", "b_dec", "threshold"}, "Gemma Scope")
    _check_sizes(config, tensors["w_dec"].shape, width="", features="width")
    return {
        "layer": _layer(layer_of_hook(hook), given),
        "encoder": tensors["w_enc"],
        "encoder_bias": tensors["b_enc"],
        "decoder": tensors["w_dec"],
        "decoder_bias": tensors["b_dec"],
        "threshold": tensors["threshold"],
        "activation": "jumprelu",
        "apply_b_dec_to_input": _flag(config, "apply_b_dec_to_input", default=False),
        "trained_on": str(config.get("model_name") or ""),
    }


def from_plain(tensors: Tensors, given: Given) -> dict[str, Any]:
    """Return the parts of an SAE that is nothing but an encoder and a decoder.

    Raises
    ------
    BadCheckpoint
        If tensors are missing or superfluous.
    LabError
        If the caller does not state the layer, the activation, or what happens to a decoder's bias.
    """
    required = {"encoder.weight", "encoder.bias", "decoder.weight"}
    has_bias = "decoder.bias" in tensors
    _exactly(tensors, required | ({"decoder.bias"} if has_bias else set()), "plain safetensors")
    if given.activation not in ("relu", "topk"):
        raise LabError(
            f"The file does not say which activation its SAE has, and activation={given.activation!r} does "
            "not, either.",
            hint='Its model card may: pass activation="relu", or activation="topk" with k=….',
        )
    if has_bias and given.apply_b_dec_to_input is None:
        raise LabError(
            "The file has a decoder.bias and does not say whether it is subtracted from the input.",
            hint="Its model card may: pass apply_b_dec_to_input=True or False.",
        )
    decoder = tensors["decoder.weight"].T.contiguous()
    topk = given.activation == "topk"
    if given.k is not None and not topk:
        raise LabError(f"k={given.k} does not go with activation='relu'.", hint="Leave one of them out.")
    return {
        "layer": _layer(None, given),
        "encoder": tensors["encoder.weight"].T.contiguous(),
        "encoder_bias": tensors["encoder.bias"],
        "decoder": decoder,
        "decoder_bias": tensors["decoder.bias"] if has_bias else decoder.new_zeros(decoder.shape[-1]),
        "activation": given.activation,
        "k": whole_number("k", given.k, minimum=1) if topk else None,
        "apply_b_dec_to_input": bool(given.apply_b_dec_to_input),
    }


def _sae_lens_kind(about: Mapping[str, Any], tensors: Tensors) -> tuple[str, int | None]:
    """Return activation and k. Before version 6, TopK is an activation of the standard architecture."""
    architecture = about.get("architecture") or "standard"
    function = about.get("activation_fn", about.get("activation_fn_str")) or "relu"
    arguments = about.get("activation_fn_kwargs")
    if architecture in _JUMPING:
        if function != "relu":
            raise _not_read(f"its activation is {short_repr(function)}")
        return "jumprelu", None
    if architecture == "standard" and function == "topk" and isinstance(arguments, Mapping):
        return "topk", whole_number("k of cfg.json", arguments.get("k"), minimum=1)
    if architecture == "topk":
        k = about.get("k", arguments.get("k") if isinstance(arguments, Mapping) else None)
        return "topk", whole_number("k of cfg.json", k, minimum=1)
    if architecture == "standard" and function == "relu":
        if "threshold" in tensors:
            raise BadCheckpoint(
                "cfg.json describes a ReLU SAE, and its weights have thresholds.", hint="Download it again."
            )
        return "relu", None
    raise _not_read(f"its architecture is {short_repr(architecture)} with {short_repr(function)}")


def _refuse_changed_stream(about: Mapping[str, Any]) -> None:
    """Refuse SAEs of other activations than the model's own residual stream."""
    if about.get("reshape_activations", "none") not in ("none", None):
        raise _not_read(f"reshape_activations is {short_repr(about['reshape_activations'])}")
    if about.get("hook_head_index") is not None:
        raise _not_read(f"it reads head {short_repr(about['hook_head_index'])}")
    changes = about.get("model_from_pretrained_kwargs")
    if isinstance(changes, Mapping) and changes.get("center_writing_weights"):
        raise _not_read("it was trained on weights that TransformerLens centred")


def _folded(
    parts: dict[str, torch.Tensor], about: Mapping[str, Any], scale: torch.Tensor | None, given: Given
) -> dict[str, torch.Tensor]:
    """Return weights with every constant factor of input and activations multiplied into them."""
    parts = {name: value.float() for name, value in parts.items()}
    if scale is not None and not torch.allclose(scale.float(), torch.ones_like(scale.float())):
        if not _flag(about, "finetuning_scaling_factor", default=False):
            raise BadCheckpoint(
                "The weights have a scaling_factor, and cfg.json says that there is none.",
                hint="Download the SAE again, or ask who published it.",
            )
        parts["W_dec"] = parts["W_dec"] * scale.float()[:, None]
    if _flag(about, "rescale_acts_by_decoder_norm", default=False):
        norm = parts["W_dec"].norm(dim=-1).clamp_min(1e-8)
        parts["W_enc"], parts["b_enc"] = parts["W_enc"] * norm, parts["b_enc"] * norm
        parts["W_dec"] = parts["W_dec"] / norm[:, None]
    if about.get("normalize_activations") in (True, "expected_average_only_in"):
        if given.input_scale is None:
            raise LabError(
                "The SAE was trained on activations times a factor that its files do not have "
                "(normalize_activations: expected_average_only_in).",
                hint="Pass input_scale=…, the norm_scaling_factor of its release, or 1 if it is folded in.",
            )
        factor = real_number("input_scale", given.input_scale, minimum=1e-9, maximum=1e9)
        parts["W_enc"] = parts["W_enc"] * factor
        parts["W_dec"], parts["b_dec"] = parts["W_dec"] / factor, parts["b_dec"] / factor
    elif given.input_scale is not None:
        raise LabError(
            f"input_scale={given.input_scale} is of no use: the SAE's input is not scaled.",
            hint="Leave it out.",
        )
    return parts


def _layer(found: int | None, given: Given) -> int:
    if found is None and given.layer is None:
        raise LabError(
            "The files do not say after which layer the SAE reads.", hint="Pass layer=…, from its model card."
        )
    if found is not None and given.layer is not None and found != given.layer:
        raise LabError(
            f"The SAE reads after layer {found}, and layer={given.layer} was passed.", hint="Leave layer out."
        )
    return whole_number("layer", given.layer if found is None else found, minimum=0)


def _own(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `SparseAutoencoder.save` noted of the training."""
    noted = about.get("gemma_lab")
    if not isinstance(noted, Mapping):
        return {}
    digest, training = noted.get("base_digest"), noted.get("training")
    return {
        "base_digest": _texts(digest) if isinstance(digest, Mapping) else None,
        "training": dict(training) if isinstance(training, Mapping) else {},
    }


def _texts(digest: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): value for name, value in digest.items() if isinstance(value, str)}


def _check_sizes(config: Mapping[str, Any], shape: Any, *, width: str, features: str) -> None:
    """Raise `BadCheckpoint` if a configuration states other sizes than ``[features, width]`` of the decoder.

    The two are then of different SAEs. 0 states nothing.
    """
    for name, size in zip((features, width), shape, strict=False):
        stated = config.get(name)
        if isinstance(stated, int) and stated and stated != size:
            raise BadCheckpoint(
                f"The configuration states {name} = {stated:,}; the weights of the decoder have the shape "
                f"{list(shape)}.",
                hint="Download both files again.",
            )


def _flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadCheckpoint(f"{name} of cfg.json is {short_repr(value)}.", hint="Download the SAE again.")
    return value


def _exactly(tensors: Tensors, names: set[str], layout: str) -> None:
    """Raise `BadCheckpoint` unless these are the tensors: another one would change what features mean."""
    missing, other = sorted(names - tensors.keys()), sorted(tensors.keys() - names)
    if missing or other:
        what = f"lack {missing[0]}" if missing else f"have {short_repr(other[0])}, which is not used here"
        raise BadCheckpoint(
            f"The weights of the SAE ({layout}) {what}.",
            hint="An SAE here is an encoder, a decoder and their biases; other kinds are not read.",
        )


def _not_read(what: str) -> LabError:
    return LabError(
        f"SAEs of this kind are not read: {what}.",
        hint="Read are ReLU, TopK, BatchTopK, matryoshka and JumpReLU SAEs of the residual stream.",
    )
