"""The lower layers of a mini without encoders, which do what an encoder does elsewhere.

They end with the first global layer. In a new model, soft tokens of raw patches and raw frames carry no
more than a projection of them, and the answers to questions are no signal to learn to perceive from; as in
the minis with encoders, what perceives is taught first (`gemma_lab.minis.perception`), on the hidden states
of soft tokens above these layers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .tokenizer import token_id


def lower_layers(config: Any) -> int:
    """Return the number of lower layers: as far as the first global one."""
    return int(config.text_config.layer_types.index("full_attention")) + 1


class LowerLayers:
    """Runs the lower layers of a decoder alone.

    Parameters
    ----------
    model
        A Gemma 4 model without encoders.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def hidden(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the residual stream above the lower layers, ``(rows, length, width)``."""
        kept: list[torch.Tensor] = []
        text = self.model.model.language_model
        count = lower_layers(self.model.config)
        hook = text.layers[count - 1].register_forward_hook(
            lambda _module, _inputs, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        try:
            with self._only(count):
                self.model.model(**inputs, use_cache=False)
        finally:
            hook.remove()
        return kept[0]

    @contextlib.contextmanager
    def _only(self, count: int) -> Iterator[None]:
        """Let the decoder end after its first layers."""
        config = self.model.model.language_model.config
        before = config.num_hidden_layers
        config.num_hidden_layers = count
        try:
            yield
        finally:
            config.num_hidden_layers = before

    def see(self, pixels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the normalised hidden states of the soft tokens of images, ``(images, tokens, width)``."""
        count, soft = pixels.shape[:2]
        ids = _between("boi_token", "image_token", "eoi_token", torch.full((count,), soft))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids),
                  "mm_token_type_ids": (ids == token_id("image_token")).long(),
                  "pixel_values": pixels, "image_position_ids": positions}  # fmt: skip
        return _normed(self.hidden(inputs)[:, 2 : 2 + soft])

    def hear(self, features: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same of sounds, ``(sounds, frames, width)``, and which of them are no padding."""
        ids = _between("boa_token", "audio_token", "eoa_token", real.sum(1))
        inputs = {"input_ids": ids, "attention_mask": (ids != token_id("pad_token")).long(),
                  "mm_token_type_ids": torch.zeros_like(ids),
                  "input_features": features, "input_features_mask": real}  # fmt: skip
        return _normed(self.hidden(inputs)[:, 2 : 2 + real.shape[1]]), real


def _between(before: str, soft: str, after: str, counts: torch.Tensor) -> torch.Tensor:
    """Return rows of ``<bos>``, the token before, `counts` soft tokens, and the token after them."""
    ids = torch.full((len(counts), int(counts.max()) + 3), token_id("pad_token"))
    for row, count in zip(ids, counts.tolist(), strict=True):
        row[0], row[1], row[2 + count] = token_id("bos_token"), token_id(before), token_id(after)
        row[2 : 2 + count] = token_id(soft)
    return ids


def _normed(hidden: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.rms_norm(hidden, hidden.shape[-1:])
