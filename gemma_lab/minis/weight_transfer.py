"""Weight transfer: a mini continues from an earlier one, or takes another's encoders and vocabulary.

A token of the new vocabulary starts as the mean of the tokens that the old tokenizer splits it into, as in
vocabulary transfer (Mosin et al. 2021, arXiv:2112.14569); all other weights are copied. Minis of different
names share only the shape of their vision encoder and the width of their embeddings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..errors import LabError

#: tables with one row a piece
_BY_PIECE = ("embed_tokens.weight", "embed_tokens_per_layer.weight")
#: what minis of different names have alike
_ALIKE = ("embed_tokens.weight", "vision_tower.encoder.", "vision_tower.patch_embedder.", "embed_vision.")
#: sense -> the part of a weight's name that shows it
_SENSES = {"sight": "vision_tower.", "hearing": "audio_tower."}


def carry_over(model: Any, tokenizer: Any, folder: Path) -> list[str]:
    """Copy the weights of a published mini into a model of any vocabulary.

    From a mini of the same name, all of them; from another one, its vision encoder and its embeddings.

    Parameters
    ----------
    model
        A new model; its embeddings have one row per token of `tokenizer`.
    folder
        The published mini.

    Returns
    -------
    list of str
        The encoders that are trained after the transfer: ``"sight"``, ``"hearing"``.

    Raises
    ------
    LabError
        If it has other weights than the model, or weights of another size.
    """
    from safetensors.torch import load_file
    from transformers import GemmaTokenizer

    old = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    before = GemmaTokenizer.from_pretrained(folder)
    if before.get_vocab() != tokenizer.get_vocab():
        pieces = _pieces(before, tokenizer)
        for name in old:
            if name.endswith(_BY_PIECE):
                old[name] = torch.stack([old[name][ids].mean(0) for ids in pieces])
    wanted = {name: weight.shape for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    if _experts(folder) != bool(model.config.text_config.enable_moe_block):
        old = {name: weight for name, weight in old.items() if name in wanted and _alike(name)}
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
    return [sense for sense, part in _SENSES.items() if any(part in name for name in old)]


def _experts(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text())["text_config"]["enable_moe_block"])


def _alike(name: str) -> bool:
    return any(part in name for part in _ALIKE)


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
