"""Prefix matching: looking at what followed the last time, and what of it a fixed distance would explain."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from .top_keys import TopKeys, evenly_spaced, top_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from .top_keys import Floats

#: Earlier places of a token that are looked for, at most.
_MOST_PLACES = 8
#: Queries below which nothing is said.
MIN_QUERIES = 12


def followers(ids: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return, for every token, the places right after earlier places of the same token, the last ones first.

    Places next to the query are left out: a head that looks at the previous token would be taken for one that
    matches prefixes wherever a text says "a b a b".

    Returns
    -------
    array
        int64 ``[tokens, 8]``; −1 where there are fewer.
    """
    found = np.full((len(ids), _MOST_PLACES), -1, dtype=np.int64)
    seen: dict[int, list[int]] = defaultdict(list)
    for query, token in enumerate(ids.tolist()):
        places = [place + 1 for place in seen[token][::-1] if place + 1 < query - 1][:_MOST_PLACES]
        found[query, : len(places)] = places
        seen[token].append(query)
    return found


def prefix_matching(
    attention: Attention, ids: NDArray[np.integer], *, draws: int = 100, seed: int = 0
) -> tuple[Floats, Floats, Floats] | None:
    """Return how much every head looks at what followed the last time, and how much it would by chance.

    The score is the prefix-matching score of Olsson et al. 2022 (arXiv:2209.11895): mean attention of a token
    to the tokens after earlier occurrences of the same token. A repeated block alone does not tell such a
    head from one that looks back by a fixed distance, which would score as high. So chance moves top_keys:
    every query gets the gaze of another one, as far back as it was there (the first token, the sink, is left
    out). A head that goes by distance scores the same then, a head that goes by content does not.

    Parameters
    ----------
    ids
        Of the tokens.
    draws
        How often top_keys are exchanged.

    Returns
    -------
    tuple or None
        Score, mean by chance and standard deviation by chance, each ``[heads]``; None with fewer than 12
        queries that repeat an earlier token.
    """
    places = followers(ids)
    queries = evenly_spaced(np.flatnonzero(places[:, 0] >= 0), 512)
    if len(queries) < MIN_QUERIES:
        return None
    found, wanted = top_keys(attention, queries), places[queries]
    score = found.mean_attention(_hit(found.keys, wanted))
    random = np.random.default_rng(seed)
    by_chance = np.stack([_moved(found, wanted, random.permutation(len(queries))) for _ in range(draws)])
    return score, by_chance.mean(axis=0), by_chance.std(axis=0)


def _hit(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    hit = np.zeros(keys.shape, dtype=bool)
    for column in range(wanted.shape[1]):
        place = wanted[:, column][None, :, None]
        hit |= (keys == place) & (place >= 0)
    return hit


def _moved(found: TopKeys, wanted: NDArray[np.int64], order: NDArray[np.int64]) -> Floats:
    back = found.queries[order][None, :, None] - found.keys[:, order]
    keys = found.queries[None, :, None] - back
    keys[found.keys[:, order] <= 0] = -1
    return np.asarray((found.weights[:, order] * (_hit(keys, wanted) & (keys >= 0))).sum(axis=2).mean(axis=1))


def repeated_text(words: list[str], *, blocks: int = 8, length: int = 6, seed: int = 0) -> str:
    """Return a text in which blocks of drawn words come back after a varying distance.

    What the score is measured on: nothing but the earlier occurrence says what comes next, and no fixed
    distance finds it.

    Parameters
    ----------
    words
        To draw from.
    blocks, length
        How many blocks, and words in each.
    """
    random = np.random.default_rng(seed)
    drawn = [[str(word) for word in random.choice(words, length)] for _ in range(blocks)]
    return " ".join(" ".join(drawn[block]) for block in (*range(blocks), *random.permutation(blocks)))
