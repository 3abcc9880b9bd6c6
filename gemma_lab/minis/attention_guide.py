"""Guidance of attention: which tokens a question about a clip has to attend to, used in training only.

The answer to *when does it change?* depends on one of some 300 tokens. Until the global layer attends to it,
what it reads there teaches nothing, and while it reads nothing, no gradient tells it where to attend: after
five minutes of such questions alone, accuracy was still that of a guess. Here the layer learns directly where
to attend (supervised attention, Liu et al. 2016, arXiv:1609.04186). In weights that compared frames already,
the answer followed within three minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

Look = tuple[int, int, Sequence[int]]
"""Row of a batch, position of a token, and positions of the tokens that it should attend to."""


class AttentionGuide:
    """Loss on the attention of a model's last global layer, with the hook that keeps what it needs.

    Parameters
    ----------
    model
        A Gemma 4 model.
    """

    def __init__(self, model: Any) -> None:
        text = model.config.text_config
        last = max(number for number, kind in enumerate(text.layer_types) if kind == "full_attention")
        self._attention = model.model.language_model.layers[last].self_attn
        self._given: dict[str, Any] = {}
        self._attention.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _module: Any, _inputs: Any, given: dict[str, Any]) -> None:
        self._given = given

    def loss(self, looks: Sequence[Look]) -> torch.Tensor:
        """Return how little the layer attended where it should, in the last forward pass.

        Parameters
        ----------
        looks
            Where it should attend.

        Returns
        -------
        torch.Tensor
            Mean over `looks` of the negative logarithm of the weight on the right tokens, in the head that
            attends to them most: the others are free. 0 without any. The sum over heads would be 1 with a
            quarter in each, and no head could then tell the right tokens from the others.
        """
        if not looks:
            return torch.zeros(())
        queries, keys = self._queries_and_keys()
        losses = []
        for row, at, tokens in looks:
            # (heads, tokens so far); a head's keys are those of its group
            shared = keys[row, :, : at + 1].repeat_interleave(queries.shape[1] // keys.shape[1], dim=0)
            scores = torch.einsum("hd,htd->ht", queries[row, :, at], shared) * self._attention.scaling
            heads = torch.log_softmax(scores.float(), -1)[:, list(tokens)].logsumexp(-1)
            losses.append(-heads.max())
        return torch.stack(losses).mean()

    def _queries_and_keys(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both with positions applied, shape ``(rows, heads, length, width)``."""
        layer, hidden = self._attention, self._given["hidden_states"]
        turn = sys.modules[type(layer).__module__].apply_rotary_pos_emb
        cos, sin = self._given["position_embeddings"]
        shape = (*hidden.shape[:-1], -1, layer.head_dim)
        queries = turn(layer.q_norm(layer.q_proj(hidden).view(shape)), cos, sin, unsqueeze_dim=2)
        if layer.is_kv_shared_layer:
            keys = self._given["shared_kv_states"][layer.layer_type][0]
        else:
            keys = turn(layer.k_norm(layer.k_proj(hidden).view(shape)), cos, sin, unsqueeze_dim=2)
            keys = keys.transpose(1, 2)
        return queries.transpose(1, 2), keys
