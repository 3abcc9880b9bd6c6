"""Labels of the tokens of a sequence, modality and role, by which attention is summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ....models.tokens.kinds import MODALITIES, token_kinds
from ....models.tokens.roles import ROLES, RoleReader

if TYPE_CHECKING:
    from ....models.tokens.vocabulary import Vocabulary

#: Columns of the table of labels: modalities first, then roles.
LABELS = (*(f"modality:{name}" for name in MODALITIES), *(f"role:{name or 'none'}" for name in ROLES))


class Labels:
    """Labels of one sequence: those of the prompt at first, then those of each generated token.

    They equal the columns of `TokenTable`, except for an unfinished name after ``<|turn>``.

    Parameters
    ----------
    prompt
        Ids of the prompt.
    tokenizer, vocabulary
        Tokenizer of the checkpoint and its vocabulary.
    """

    def __init__(self, prompt: Sequence[int], *, tokenizer: Any, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._roles = RoleReader(vocabulary)
        for index in prompt:
            self._roles.read(index)
        kinds = np.asarray(
            token_kinds(prompt, tokenizer=tokenizer, vocabulary=vocabulary).modalities, dtype=object
        )
        kinds[np.asarray(self._roles.scaffold, dtype=bool) & (kinds == "text")] = "special"
        roles = np.asarray(self._roles.roles, dtype=object)
        self._count = len(prompt)
        self._table = np.zeros((max(64, 2 * len(prompt)), len(LABELS)), dtype=np.float32)
        for column, name in enumerate((*MODALITIES, *ROLES)):
            self._table[: self._count, column] = (kinds if column < len(MODALITIES) else roles) == name
        self._seen = self._table[: self._count].any(axis=0)
        changes = (self._table[1 : self._count] != self._table[: max(0, self._count - 1)]).any(axis=1)
        self._starts = [0, *(np.flatnonzero(changes) + 1).tolist()] if self._count else []
        self._fetched: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._count

    def write(self, index: int) -> None:
        """Add the label of the next generated token."""
        self._roles.read(index)
        special = self._vocabulary.is_special(index) or self._roles.scaffold[-1]
        if self._count == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[self._count, MODALITIES.index("special" if special else "text")] = 1
        self._table[self._count, len(MODALITIES) + ROLES.index(self._roles.roles[-1] or "model")] = 1
        row = self._table[self._count]
        self._seen |= row > 0
        if not self._count or (row != self._table[self._count - 1]).any():
            self._starts.append(self._count)
        self._count += 1

    def table(self, device: torch.device) -> torch.Tensor:
        """Return float32 ``[tokens, present labels]``: 1 where a token has a label."""
        if self._fetched is None or self._fetched.shape[0] != self._count or self._fetched.device != device:
            columns = list(self.present())
            self._fetched = torch.from_numpy(self._table[: self._count, columns]).to(device)
        return self._fetched

    def runs(self) -> list[int]:
        """Return the start of each run of tokens with equal labels, and the end of the last run."""
        return [*self._starts, self._count]

    def present(self) -> tuple[int, ...]:
        """Return the indices into `LABELS` of the labels that at least one token has."""
        return tuple(np.flatnonzero(self._seen).tolist())
