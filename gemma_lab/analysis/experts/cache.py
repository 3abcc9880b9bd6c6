"""How often the expert that a token needs is already on the card, for every size of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LabError
from .routing_pool import RoutingPool
from .stack_distance import lru_hits, priority_hits

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

CACHE_POLICIES = {
    "lru": "evicts the least recently used",
    "lfu": "evicts the least often used so far, the older of equals",
    "pinned": "keeps the most often used of the profile, evicts nothing",
    "belady": "knows the future: keeps what is needed again soonest; no policy hits more",
}
"""The policies and what each does."""


@dataclass(frozen=True, eq=False)
class ExpertCacheCurve:
    """Hits of expert caches of every size, from one trace.

    Attributes
    ----------
    layers
        The model's layer index of each cache's layer.
    experts, top_k
        Experts a layer, and how many a token needs.
    tokens
        Tokens replayed.
    shared
        True for one cache for all layers, False for one of equal size a layer.
    hits
        Policy → hits, ``[caches, sizes]``: one row a layer, or a single row if `shared`. Column c − 1 is a
        cache of c experts.
    first_uses
        Requests that no policy can serve, because nothing asked for the expert before, ``[caches]``.
    profile
        Where the pinned experts come from: ``"this trace"`` (hindsight) or ``"another trace"``.
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
        kind = "one shared cache" if self.shared else f"{len(self.layers)} caches, one a layer"
        half = self.sizes[len(self.sizes) // 2 - 1]
        rates = ", ".join(f"{name} {self.hit_rate(name)[half - 1]:.1%}" for name in self.hits)
        return (
            f"ExpertCacheCurve({kind}, {self.tokens:,} tokens, top-{self.top_k} of {self.experts} experts; with "
            f"{half:,} of {self.sizes[-1]:,} experts cached: {rates})"
        )

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Experts that one cache holds: 1 to all of them."""
        return np.arange(1, self.first_sizes + 1)

    @property
    def first_sizes(self) -> int:
        """The largest size: experts of a layer, or of all layers if `shared`."""
        return self.experts * (len(self.layers) if self.shared else 1)

    @property
    def share(self) -> Floats:
        """Part of all experts that is cached at each size, ``[sizes]``, 0 to 1."""
        return np.asarray(self.sizes / self.sizes[-1])

    @property
    def requests(self) -> int:
        """Requests in all: tokens × layers × top-k."""
        return self.tokens * len(self.layers) * self.top_k

    def hit_rate(self, policy: str = "lru", *, warm: bool = False) -> Floats:
        """Return hits ÷ requests over all layers, ``[sizes]``.

        Parameters
        ----------
        policy
            One that was replayed.
        warm
            Leave the first requests for each expert out of the count. They miss in every cache; in a short
            trace they are many, in a long conversation they vanish.

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
        """Return the smallest size whose hit rate is at least `rate`; None if none is."""
        reached = np.flatnonzero(self.hit_rate(policy) >= rate)
        return int(self.sizes[reached[0]]) if len(reached) else None

    def to_pandas(self) -> Any:
        """Return one row a size: size, share, and the hit rate of each policy."""
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

    Requests come in the order of decoding: token by token, in each token layer by layer, in each layer the k
    experts as the router returned them. A prompt that is prefilled in one batch loads each expert once for
    many tokens; replay the generated part alone (``routing.select(trace.tokens.generated)``) where that
    matters. Every cache starts empty, so the first request for an expert is a miss for every policy, also for
    the pinned one.

    LRU is counted by stack distance, the others by Mattson's stack algorithms (see
    `gemma_lab.analysis.experts.stack_distance`): all sizes in one pass, with the hits of a simulation at each size.

    - ``lru``: the least recently used goes (what most runtimes do).
    - ``lfu``: the least often used goes, counted over the whole replay; the less recent of equals.
    - ``pinned``: the c experts that were most often used stay, nothing else is ever cached.
    - ``belady``: what is needed again latest goes, or is not kept at all (Belady 1966, *A study of
      replacement algorithms for a virtual-storage computer*, IBM Systems Journal 5(2), 78–101, with bypass).
      It needs the future: the bound on all policies.

    Parameters
    ----------
    routing
        The routing of a trace, or of several of one model, replayed one after the other.
    policies
        Which of `CACHE_POLICIES` to replay.
    shared
        One cache for the experts of all layers instead of one of equal size a layer. Its LFU and Belady
        curves cost tens of microseconds a request: a minute for 10,000 tokens of 30 layers.
    profile
        Where the pinned experts are counted. Default: `routing` itself, which is hindsight.

    Raises
    ------
    LabError
        If a policy is unknown, there is no token, or the routings are of different models.
    """
    unknown = [name for name in policies if name not in CACHE_POLICIES]
    if unknown or not policies:
        raise LabError(
            f"No cache policy is called {unknown!r}.", hint=f"There are {', '.join(CACHE_POLICIES)}."
        )
    pool = RoutingPool(routing)
    ids = _requests(pool, shared=shared)
    items = pool.experts * (len(pool.layers) if shared else 1)
    flat = ids.reshape(len(ids), -1)
    uses = _uses(flat, items)
    if profile is None:
        favourites = uses
    else:
        other = RoutingPool(profile)
        RoutingPool([*pool.parts, *other.parts])  # refuses another model
        favourites = _uses(_requests(other, shared=shared).reshape(len(ids), -1), items)
    hits = {}
    for policy in policies:
        if policy == "lru":
            hits[policy] = np.stack([lru_hits(cache, items) for cache in ids])
        elif policy == "lfu":
            hits[policy] = priority_hits(flat, items, _use_counts(flat, items), bypass=False)
        elif policy == "belady":
            hits[policy] = priority_hits(flat, items, _next_uses(flat, items), bypass=True)
        else:
            hits[policy] = _pinned_hits(uses, favourites)
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
    """Return the requests ``[caches, steps, items a step]``; experts of all layers are numbered if shared."""
    ids = pool.all_ids()
    if not shared:
        return ids
    numbered = ids + pool.experts * np.arange(len(pool.layers))[:, None, None]
    return np.ascontiguousarray(numbered.transpose(1, 0, 2)).reshape(1, pool.tokens, -1)


def _uses(flat: NDArray[np.intp], items: int) -> Counts:
    return np.stack([np.bincount(cache, minlength=items) for cache in flat])


def _pinned_hits(uses: Counts, favourites: Counts) -> Counts:
    order = np.argsort(-favourites, axis=1, kind="stable")
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
    """Return the requests ordered by item and then by time, and where each item's begin."""
    order = np.argsort(row, kind="stable")
    first = np.concatenate([[0], np.bincount(row, minlength=items).cumsum()[:-1]])
    return order, first
