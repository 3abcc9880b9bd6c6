"""Weight transfer: a mini continues from an earlier one, or takes another's encoders and vocabulary.

A token of the new vocabulary starts as the mean of the tokens that the old tokenizer splits it into, as in
vocabulary transfer (Mosin et al. 2021, arXiv:2112.14569); all other weights are copied. Minis of different
names share only the shape of their vision encoder and the width of their embeddings; mini-unified takes the
attention and the norms of mini-moe, too, for its upper layers, and learns from its experts and its encoder
(`gemma_lab.minis.perception`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..errors import LabError
from .architecture import encoder_free, mini_config, new_model
from .lower_layers import lower_layers

#: tables with one row a piece
_BY_PIECE = ("embed_tokens.weight", "embed_tokens_per_layer.weight")
#: what minis of different names have alike
_ALIKE = ("embed_tokens.weight", "vision_tower.encoder.", "vision_tower.patch_embedder.", "embed_vision.")
#: sense -> the part of a weight's name that shows it
_SENSES = {"sight": "vision_tower.", "hearing": "audio_tower."}
#: of a layer with experts, what a dense layer has alike
_OF_LAYER = ("self_attn.", "input_layernorm.", "post_attention_layernorm.", "pre_feedforward_layernorm.",
             "post_feedforward_layernorm.", "layer_scalar")  # fmt: skip
_LAYER = "model.language_model.layers."
_HEAD = "lm_head.weight"
_QUIET = 1 / 3  # of a new model's outputs of the lower layers below taken ones, which expect the embeddings


def carry_over(model: Any, tokenizer: Any, folder: Path) -> list[str]:
    """Copy the weights of a published mini into a model of any vocabulary.

    From a mini of the same name, all of them; from another one, its vision encoder and its embeddings, and
    without encoders the attention and the norms of a mini with experts for the upper layers.

    Parameters
    ----------
    model
        A new model; its embeddings have one row per token of `tokenizer`.
    folder
        The published mini.

    Returns
    -------
    list of str
        What perceives after the transfer: ``"sight"``, ``"hearing"``.

    Raises
    ------
    LabError
        If it has other weights than the model, or weights of another size.
    """
    from transformers import GemmaTokenizer

    old = published_weights(folder)
    before = GemmaTokenizer.from_pretrained(folder)
    if before.get_vocab() != tokenizer.get_vocab():
        pieces = _pieces(before, tokenizer)
        for name in old:
            if name.endswith(_BY_PIECE):
                old[name] = torch.stack([old[name][ids].mean(0) for ids in pieces])
    wanted = {name: weight.shape for name, weight in model.state_dict().items() if name != _HEAD}
    alike: tuple[str, ...] | None = None  # all of them
    if _kind(json.loads((folder / "config.json").read_text(encoding="utf-8"))) != _kind(
        model.config.to_dict()
    ):
        alike = _ALIKE
        if encoder_free(model.config) and _experts(folder):
            old, alike = _above(old, lower_layers(model.config)), (*_ALIKE, "language_model.")
            _quieten(model)
        old = {n: weight for n, weight in old.items() if n in wanted and any(part in n for part in alike)}
        wanted = {name: shape for name, shape in wanted.items() if name in old}
    other = sorted(
        name
        for name in wanted | old
        if name not in wanted or name not in old or wanted[name] != old[name].shape
    )
    if other:
        raise LabError(
            f"{folder} is another shape: {len(other)} weights are missing, left over or of another size, the "
            f"first of them {other[0]}.",
            hint="Start from a mini that this release trained.",
        )
    model.load_state_dict(old, strict=False)  # the head is tied to the embeddings
    if encoder_free(model.config) and alike is None:
        return list(_SENSES)
    return [sense for sense, part in _SENSES.items() if any(part in name for name in old)]


def teacher_of(model: Any, tokenizer: Any, folder: Path) -> Any:
    """Return the published mini that a model without encoders learns from, or None if it learns from none.

    It has the vocabulary of `tokenizer` and takes no part in training.
    """
    if not encoder_free(model.config) or not _experts(folder):
        return None
    teacher = new_model(mini_config("mini-moe", len(tokenizer)), seed=0)
    carry_over(teacher, tokenizer, folder)
    return teacher.requires_grad_(False)


def published_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return a published mini's weights by their names in the model: files name some of them differently."""
    import transformers

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = getattr(transformers, config["architectures"][0])
    weights: dict[str, torch.Tensor] = kind.from_pretrained(folder, dtype=torch.float32).state_dict()
    return {name: weight for name, weight in weights.items() if name != _HEAD}


def _kind(config: dict[str, Any]) -> tuple[str, bool]:
    return config["model_type"], bool(config["text_config"].get("enable_moe_block"))


def _experts(folder: Path) -> bool:
    return _kind(json.loads((folder / "config.json").read_text(encoding="utf-8")))[1]


def _of_layer(name: str) -> bool:
    return name.removeprefix(_LAYER).partition(".")[2].startswith(_OF_LAYER)


def _above(old: dict[str, torch.Tensor], lower: int) -> dict[str, torch.Tensor]:
    """Return weights with what dense layers have alike moved above `lower` layers."""
    found = {name: weight for name, weight in old.items() if not name.startswith(_LAYER)}
    for name, weight in old.items():
        if name.startswith(_LAYER) and _of_layer(name):
            number, _, rest = name.removeprefix(_LAYER).partition(".")
            found[f"{_LAYER}{int(number) + lower}.{rest}"] = weight
    return found


def _quieten(model: Any) -> None:
    """Let the lower layers add little to their input."""
    for layer in model.model.language_model.layers[: lower_layers(model.config)]:
        layer.post_attention_layernorm.weight.data *= _QUIET
        layer.post_feedforward_layernorm.weight.data *= _QUIET


def _pieces(before: Any, after: Any) -> list[list[int]]:
    """Return for each id of `after` the ids of `before` that spell the same."""
    known, cut = before.get_vocab(), []
    for number in range(len(after)):
        piece = after.convert_ids_to_tokens(number)
        if piece in known:
            cut.append([known[piece]])
        else:
            cut.append(before.encode(piece.replace("▁", " "), add_special_tokens=False))
    return cut
