"""Running means of losses, which curricula and mixtures follow."""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def record(running: MutableMapping[Key, float], key: Key, loss: float, *, keep: float) -> None:
    """Move a running mean towards a new loss; the first loss is its start.

    Parameters
    ----------
    running
        Key → running mean; changed in place.
    keep
        Share of the running mean that is kept, 0 to 1.
    """
    running[key] = keep * running.get(key, loss) + (1 - keep) * loss
