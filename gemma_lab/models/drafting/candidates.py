"""transformers' candidate generator of Gemma 4's drafters, on exactly the keys that are known.

After a rejected draft, transformers 5.24 hands a drafter the keys of rejected tokens, too: one of them in the
global layers, and beyond the sliding window all of them in the local layers. The model's choices do not
change, but drafts get worse.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers.generation.candidate_generator import SinglePositionMultiTokenCandidateGenerator

KeysAndValues = dict[str, tuple[torch.Tensor, torch.Tensor]]


class DraftCandidates(SinglePositionMultiTokenCandidateGenerator):
    """Proposes tokens with a drafter, and keeps what it proposed.

    Parameters
    ----------
    drafter
        The drafter's model.
    embeddings
        The model's own embedding table.
    settings
        The ``GenerationConfig`` of the run.
    tokens
        Tokens proposed per pass, at most.

    Attributes
    ----------
    proposed : list of int
        The ids that the current pass verifies.
    """

    def __init__(self, drafter: Any, embeddings: Any, settings: Any, *, tokens: int) -> None:
        super().__init__(drafter, embeddings, settings)
        self.num_assistant_tokens = tokens
        self.proposed: list[int] = []

    def get_candidates(  # type: ignore[override]
        self,
        input_ids: torch.LongTensor,
        model_kwargs: dict[str, Any],
        model_outputs: Any,
        is_first_iteration: bool,
        n_last_matches: int,
        **options: Any,
    ) -> tuple[torch.LongTensor, torch.Tensor | None]:
        """Return the ids with the proposed ones after them, and the drafter's logits of those."""
        self.proposed = []
        if not is_first_iteration:
            known = input_ids.shape[1] - 1  # the model has not read the last token yet
            model_outputs = SimpleNamespace(
                hidden_states=model_outputs.hidden_states,
                shared_kv_states=without_rejected(model_outputs.shared_kv_states, known),
            )
        ids, logits = super().get_candidates(
            input_ids,
            model_kwargs=model_kwargs,
            model_outputs=model_outputs,
            is_first_iteration=is_first_iteration,
            n_last_matches=n_last_matches,
            **options,
        )
        self.proposed = ids[0, input_ids.shape[1] :].tolist()
        return ids, logits


def without_rejected(shared: KeysAndValues, known: int) -> KeysAndValues:
    """Return shared keys and values without those of rejected tokens, which are the last ones.

    Parameters
    ----------
    shared
        By kind of layer, keys and values ``[1, heads, tokens, width]``; local layers hold the latest tokens.
    known
        Tokens that were read and accepted.
    """
    rejected = shared["full_attention"][0].shape[2] - known
    if rejected <= 0:
        return dict(shared)
    return {
        kind: (keys[:, :, :-rejected], values[:, :, :-rejected]) for kind, (keys, values) in shared.items()
    }
