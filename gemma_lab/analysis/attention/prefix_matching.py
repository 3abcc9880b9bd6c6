"""Prefix matching, the score of induction heads, and its value by distance alone."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from .top_keys import TopKeys, evenly_spaced, top_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from .top_keys import Floats

#: Earlier occurrences of a token that are considered, at most.
_MAX_OCCURRENCES = 8
#: Smallest number of queries for a score.
MIN_QUERIES = 12


def followers(ids: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the positions after earlier occurrences of each token, the latest first.

    Positions next to the query are excluded: in a text "a b a b", a previous-token head would otherwise score
    as an induction head.

    Returns
    -------
    array
        int64 ``[tokens, 8]``; −1 where there are fewer.
    """
    positions = np.full((len(ids), _MAX_OCCURRENCES), -1, dtype=np.int64)
    seen: dict[int, list[int]] = defaultdict(list)
    for query, token in enumerate(ids.tolist()):
        after = [position + 1 for position in reversed(seen[token]) if position + 1 < query - 1]
        after = after[:_MAX_OCCURRENCES]
        positions[query, : len(after)] = after
        seen[token].append(query)
    return positions


def prefix_matching(
    attention: Attention, ids: NDArray[np.integer], *, draws: int = 100, seed: int = 0
) -> tuple[Floats, Floats, Floats] | None:
    """Return the prefix-matching score of every head, with its mean and spread by chance.

    The score is that of Olsson et al. 2022 (arXiv:2209.11895): mean attention of a token to the tokens after
    earlier occurrences of the same token. With a single repeated block, a head that attends at a fixed
    distance scores as high. Chance therefore exchanges attention patterns: every query gets the pattern of
    another one, at the same distances (the first token, a sink, is excluded). A head that attends by distance
    keeps its score, a head that attends by content does not.

    Parameters
    ----------
    attention
        Of a trace, with top keys.
    ids
        Token ids.
    draws
        Number of permutations of the patterns.
    seed
        Of the permutations.

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
    by_chance = np.stack([_permuted(found, wanted, random.permutation(len(queries))) for _ in range(draws)])
    return score, by_chance.mean(axis=0), by_chance.std(axis=0)


def _hit(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool]:
    hit = np.zeros(keys.shape, dtype=bool)
    for column in range(wanted.shape[1]):
        place = wanted[:, column][None, :, None]
        hit |= (keys == place) & (place >= 0)
    return hit


def _permuted(found: TopKeys, wanted: NDArray[np.int64], order: NDArray[np.int64]) -> Floats:
    back = found.queries[order][None, :, None] - found.keys[:, order]
    keys = found.queries[None, :, None] - back
    keys[found.keys[:, order] <= 0] = -1
    return np.asarray((found.weights[:, order] * (_hit(keys, wanted) & (keys >= 0))).sum(axis=2).mean(axis=1))


def repeated_text(words: list[str], *, blocks: int = 8, length: int = 6, seed: int = 0) -> str:
    """Return a text in which blocks of random words recur after varying distances.

    It suits prefix matching: only the earlier occurrence predicts the next word, and no fixed distance finds
    it.

    Parameters
    ----------
    words
        To draw from.
    blocks, length
        Number of blocks, and words per block.
    seed
        Of the draws.
    """
    random = np.random.default_rng(seed)
    drawn = [[str(word) for word in random.choice(words, length)] for _ in range(blocks)]
    return " ".join(" ".join(drawn[block]) for block in (*range(blocks), *random.permutation(blocks)))
