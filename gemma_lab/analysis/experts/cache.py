"""Hit rates of expert caches of every size, under several eviction policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...display import Displayed
from ...errors import LabError
from .routing_pool import RoutingPool
from .stack_distance import lru_hits, priority_hits

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

CACHE_POLICIES = {
    "lru": "evicts the least recently used",
    "lfu": "evicts the least frequently used so far, among equals the less recent",
    "pinned": "keeps the most frequently used of the profile, evicts nothing",
    "belady": "keeps what is needed again soonest; requires the future, an upper bound",
}
"""Eviction policies."""


@dataclass(frozen=True, eq=False)
class ExpertCacheCurve(Displayed):
    """Hits of expert caches of every size, from one trace.

    Attributes
    ----------
    layers
        The model's layer index of each cache.
    experts, top_k
        Experts per layer, and experts per token.
    tokens
        Tokens replayed.
    shared
        True for one cache for all layers, False for one of equal size per layer.
    hits
        Policy → hits, ``[caches, sizes]``: one row per layer, or a single row if `shared`. Column c − 1 is a
        cache of c experts.
    first_uses
        Requests that no policy can serve, because the expert was not requested before, ``[caches]``.
    profile
        Source of the pinned experts: ``"this trace"`` (hindsight) or ``"another trace"``.
    """

    layers: tuple[int, ...]
    experts: int
    top_k: int
    tokens: int
    shared: bool
    hits: dict[str, Counts]
    first_uses: Counts
    profile: str

    def __repr__(self) -> str:
        kind = "one shared cache" if self.shared else f"{len(self.layers)} caches, one per layer"
        half = self.sizes[len(self.sizes) // 2 - 1]
        rates = ", ".join(f"{name} {self.hit_rate(name)[half - 1]:.1%}" for name in self.hits)
        return (
            f"ExpertCacheCurve({kind}, {self.tokens:,} tokens, top-{self.top_k} of {self.experts} experts; "
            f"with {half:,} of {self.sizes[-1]:,} experts cached: {rates})"
        )

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Number of experts that one cache holds: 1 to all of them."""
        return np.arange(1, self.first_sizes + 1)

    @property
    def first_sizes(self) -> int:
        """The largest size: experts of a layer, or of all layers if `shared`."""
        return self.experts * (len(self.layers) if self.shared else 1)

    @property
    def share(self) -> Floats:
        """Fraction of all experts that is cached at each size, ``[sizes]``."""
        return np.asarray(self.sizes / self.sizes[-1])

    @property
    def requests(self) -> int:
        """Total number of requests: tokens × layers × top-k."""
        return self.tokens * len(self.layers) * self.top_k

    def hit_rate(self, policy: str = "lru", *, warm: bool = False) -> Floats:
        """Return hits ÷ requests over all layers, ``[sizes]``.

        Parameters
        ----------
        policy
            One that was replayed.
        warm
            Exclude the first requests for each expert. They miss in every cache; they are many in a short
            trace and few in a long conversation.

        Raises
        ------
        LabError
            If the policy was not replayed.
        """
        left = self.requests - (int(self.first_uses.sum()) if warm else 0)
        return np.asarray(self._of(policy).sum(axis=0) / max(left, 1))

    def by_layer(self, policy: str = "lru") -> Floats:
        """Return hits ÷ requests of each layer's cache, ``[layers, sizes]`` (``[1, sizes]`` if shared)."""
        hits = self._of(policy)
        return np.asarray(hits * (len(hits) / self.requests))

    def size_for(self, rate: float, policy: str = "lru") -> int | None:
        """Return the smallest size whose hit rate is at least `rate`; None if there is none."""
        reached = np.flatnonzero(self.hit_rate(policy) >= rate)
        return int(self.sizes[reached[0]]) if len(reached) else None

    def to_pandas(self) -> Any:
        """Return one row per size: size, share, and the hit rate of each policy."""
        import pandas as pd

        rates = {policy: self.hit_rate(policy) for policy in self.hits}
        return pd.DataFrame({"size": self.sizes, "share": self.share, **rates})

    def _of(self, policy: str) -> Counts:
        if policy not in self.hits:
            raise LabError(
                f"The policy {policy!r} was not replayed.", hint=f"There are {', '.join(self.hits)}."
            )
        return self.hits[policy]


def expert_cache_curve(
    routing: Routing | Sequence[Routing],
    *,
    policies: Sequence[str] = tuple(CACHE_POLICIES),
    shared: bool = False,
    profile: Routing | Sequence[Routing] | None = None,
) -> ExpertCacheCurve:
    """Replay a trace through expert caches of every size at once.

    Requests are ordered as in decoding: by token, then by layer, then as the router returned the k experts. A
    prompt prefilled in one batch loads each expert once for many tokens; replay only the generated part
    (``routing.select(trace.tokens.generated)``) where that matters. Every cache starts empty, so the first
    request for an expert is a miss for every policy, including the pinned one.

    LRU is counted by stack distance, the others by Mattson's stack algorithms (see
    `gemma_lab.analysis.experts.stack_distance`): all sizes in one pass, with the hits of a simulation at each
    size.

    - ``lru``: evicts the least recently used (as most runtimes do).
    - ``lfu``: evicts the least frequently used over the whole replay; among equals, the less recent.
    - ``pinned``: keeps the c most frequently used experts and caches nothing else.
    - ``belady``: evicts, or does not keep, what is needed again latest (Belady 1966, *A study of replacement
      algorithms for a virtual-storage computer*, IBM Systems Journal 5(2), 78–101, with bypass). It requires
      the future: an upper bound of all policies.

    Parameters
    ----------
    routing
        Of a trace, or of several of one model, replayed one after the other.
    policies
        Of `CACHE_POLICIES`.
    shared
        One cache for the experts of all layers instead of one of equal size per layer. Its LFU and Belady
        curves take tens of microseconds per request: a minute for 10,000 tokens of 30 layers.
    profile
        Routing by which the pinned experts are chosen. Default: `routing` itself, i.e. hindsight.

    Returns
    -------
    ExpertCacheCurve

    Raises
    ------
    LabError
        If a policy is unknown, there is no token, or the routings are of different models.
    """
    unknown = [name for name in policies if name not in CACHE_POLICIES]
    if unknown or not policies:
        raise LabError(
            f"There is no cache policy {unknown!r}.", hint=f"There are {', '.join(CACHE_POLICIES)}."
        )
    pool = RoutingPool(routing)
    ids = _requests(pool, shared=shared)
    items = pool.experts * (len(pool.layers) if shared else 1)
    flat = ids.reshape(len(ids), -1)
    uses = _uses(flat, items)
    if profile is None:
        preferred = uses
    else:
        other = RoutingPool(profile)
        RoutingPool([*pool.parts, *other.parts])  # refuses another model
        preferred = _uses(_requests(other, shared=shared).reshape(len(ids), -1), items)
    hits = {}
    for policy in policies:
        if policy == "lru":
            hits[policy] = np.stack([lru_hits(cache, items) for cache in ids])
        elif policy == "lfu":
            hits[policy] = priority_hits(flat, items, _use_counts(flat, items), bypass=False)
        elif policy == "belady":
            hits[policy] = priority_hits(flat, items, _next_uses(flat, items), bypass=True)
        else:
            hits[policy] = _pinned_hits(uses, preferred)
    return ExpertCacheCurve(
        layers=pool.layers,
        experts=pool.experts,
        top_k=pool.top_k,
        tokens=pool.tokens,
        shared=shared,
        hits=hits,
        first_uses=(uses > 0).sum(axis=1),
        profile="this trace" if profile is None else "another trace",
    )


def _requests(pool: RoutingPool, *, shared: bool) -> NDArray[np.intp]:
    """Return the requests ``[caches, steps, items per step]``; if shared, experts of all layers differ."""
    ids = pool.all_ids()
    if not shared:
        return ids
    numbered = ids + pool.experts * np.arange(len(pool.layers))[:, None, None]
    return np.ascontiguousarray(numbered.transpose(1, 0, 2)).reshape(1, pool.tokens, -1)


def _uses(flat: NDArray[np.intp], items: int) -> Counts:
    return np.stack([np.bincount(cache, minlength=items) for cache in flat])


def _pinned_hits(uses: Counts, preferred: Counts) -> Counts:
    order = np.argsort(-preferred, axis=1, kind="stable")
    return np.take_along_axis(np.maximum(uses - 1, 0), order, axis=1).cumsum(axis=1)


def _use_counts(flat: NDArray[np.intp], items: int) -> Counts:
    """Return the priorities of LFU: uses so far, then recency, ``[caches, requests]``."""
    requests = flat.shape[1]
    priority = np.empty(flat.shape, dtype=np.int64)
    for cache, row in enumerate(flat):
        order, first = _by_item(row, items)
        ordinal = np.empty(requests, dtype=np.int64)
        ordinal[order] = np.arange(requests) - first[row[order]]
        priority[cache] = ordinal * requests + np.arange(requests)
    return priority


def _next_uses(flat: NDArray[np.intp], items: int) -> Counts:
    """Return the priorities of Belady's policy: the sooner an item is needed again, the higher."""
    requests = flat.shape[1]
    priority = np.empty(flat.shape, dtype=np.int64)
    for cache, row in enumerate(flat):
        order, _ = _by_item(row, items)
        again = row[order[1:]] == row[order[:-1]]
        upcoming = np.arange(requests)  # never again: the lowest, all different
        upcoming[order[:-1][again]] = 2 * requests - order[1:][again]
        priority[cache] = upcoming
    return priority


def _by_item(row: NDArray[np.intp], items: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the requests ordered by item and then by time, and the start of each item's."""
    order = np.argsort(row, kind="stable")
    first = np.concatenate([[0], np.bincount(row, minlength=items).cumsum()[:-1]])
    return order, first
