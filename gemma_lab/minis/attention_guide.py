"""Guidance of attention: which tokens a question about a clip has to attend to, used in training only.

The answer to *when does it change?* depends on one of some 300 tokens. Until the global layer attends to it,
what it reads there teaches nothing, and while it reads nothing, no gradient tells it where to attend: after
five minutes of such questions alone, accuracy was still that of a guess. The same holds for comparing frames:
a soft token says whether a thing moved once some head attends to the same place one frame earlier, which had
not formed in 100 minutes. Here layers learn directly where to attend (supervised attention, Liu et al. 2016,
arXiv:1609.04186); the answers followed within minutes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import torch

Look = tuple[int, int, Sequence[int]]
"""Row of a batch, position of a token, and positions of the tokens that it should attend to."""


class AttentionGuide:
    """Loss on the attention of one layer of a model, with the hook that keeps what it needs.

    Parameters
    ----------
    model
        A Gemma 4 model.
    layer
        Number of the layer, from 0. Default: the last global one.
    """

    def __init__(self, model: Any, layer: int | None = None) -> None:
        kinds = model.config.text_config.layer_types
        last = max(number for number, kind in enumerate(kinds) if kind == "full_attention")
        layers = model.model.language_model.layers
        self._attention = layers[last if layer is None else layer].self_attn
        self._given: dict[str, Any] = {}
        self._attention.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _module: Any, _inputs: Any, given: dict[str, Any]) -> None:
        self._given = given

    def loss(self, looks: Sequence[Look]) -> torch.Tensor:
        """Return how little the layer attended where it should, in the last forward pass.

        Parameters
        ----------
        looks
            Where it should attend. What the layer's mask hides is left out.

        Returns
        -------
        torch.Tensor
            Mean over `looks` of the negative logarithm of the weight on the right tokens, in the head whose
            mean is least: the others are free. 0 without any. The sum over heads would be 1 with a quarter in
            each, and no head could then tell the right tokens from the others; with the best head of each
            look, two heads with one of two shapes each were right in every clip.
        """
        if not looks:
            return torch.zeros(())
        queries, keys = self._queries_and_keys()
        found = [
            self._log_weights(queries[row], keys[row], self._seen(row, keys.shape[2]), [*some])
            for row, some in itertools.groupby(looks, key=lambda look: look[0])
        ]
        heads = torch.cat(found, dim=1)
        return -heads.mean(1).max() if heads.shape[1] else torch.zeros(())

    def _log_weights(
        self, queries: torch.Tensor, keys: torch.Tensor, seen: torch.Tensor, looks: list[Look]
    ) -> torch.Tensor:
        """Return the logarithm of each head's weight on the right tokens of one row, ``(heads, looks)``.

        Parameters
        ----------
        queries, keys
            Shape ``(heads, length, width)``; a head's keys are those of its group.
        seen
            Which keys (second) a token (first) may attend to.
        """
        at = torch.tensor([at for _, at, _ in looks])
        right = torch.zeros(len(looks), keys.shape[1], dtype=torch.bool)
        for number, (_, _, tokens) in enumerate(looks):
            right[number, list(tokens)] = True
        right &= seen[at]
        some = right.any(1)
        shared = keys.repeat_interleave(len(queries) // len(keys), dim=0)
        scores = torch.einsum("hld,htd->hlt", queries[:, at[some]], shared) * self._attention.scaling
        weights = torch.log_softmax(scores.float().masked_fill(~seen[at[some]], -torch.inf), -1)
        return weights.masked_fill(~right[some], -torch.inf).logsumexp(-1)

    def _seen(self, row: int, length: int) -> torch.Tensor:
        """Return which tokens each token of a row may attend to, ``(length, length)``."""
        mask = self._given.get("attention_mask")
        if mask is None:
            return torch.ones(length, length, dtype=torch.bool).tril()
        one: torch.Tensor = mask[row, 0]
        return one if one.dtype == torch.bool else one == 0

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
