"""Experts that several tokens load together when a model verifies drafts, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...checks import real_number, whole_number
from ...display import Displayed
from ...errors import LabError
from .routing_pool import RoutingPool

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]

#: Most tokens of a pass whose union is counted.
MAX_TOKENS = 64
_NEVER = np.iinfo(np.int64).max  # distance to an earlier use that does not exist


@dataclass(frozen=True, eq=False)
class DraftSpeedup(Displayed):
    """Expected speed-up of decoding with a drafter, for each number of drafted tokens.

    Attributes
    ----------
    drafts
        Tokens drafted per pass, int64 ``[n]``; the first is 0, plain decoding.
    acceptance
        Probability that a drafted token is accepted, given that those before it were.
    tokens_per_pass
        Expected tokens per pass, ``[n]``: (1 − a^(d+1)) ÷ (1 − a) (Leviathan et al. 2022, arXiv 2211.17192).
    time
        Time of a pass with its drafts ÷ time of a plain pass, ``[n]``.
    experts
        Experts of a layer that a pass loads, mean over layers, ``[n]``.
    """

    drafts: NDArray[np.int64]
    acceptance: float
    tokens_per_pass: Floats
    time: Floats
    experts: Floats

    @property
    def speedup(self) -> Floats:
        """Tokens per second ÷ those of plain decoding, ``[n]``."""
        return np.asarray(self.tokens_per_pass / self.time)

    @property
    def best(self) -> int:
        """Drafted tokens per pass with the largest speed-up; 0 if drafting does not pay."""
        return int(self.drafts[int(np.argmax(self.speedup))])

    def to_pandas(self) -> Any:
        """Return one row per number of drafted tokens."""
        import pandas as pd

        columns = {
            "drafts": self.drafts,
            "experts": self.experts,
            "tokens_per_pass": self.tokens_per_pass,
            "time": self.time,
            "speedup": self.speedup,
        }
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        return (
            f"DraftSpeedup(best with {self.best} drafts per pass: {self.speedup.max():.2f} × plain decoding, "
            f"at acceptance {self.acceptance:.2f})"
        )


@dataclass(frozen=True, eq=False)
class ExpertUnions(Displayed):
    """Number of experts that neighbouring tokens are routed to together.

    Attributes
    ----------
    layers
        The model's layer index of each of the L rows.
    experts, top_k
        Experts per layer, and experts per token.
    tokens
        Tokens of the routing.
    sizes
        Tokens of a pass, int64 ``[K]``: the drafted ones and the one before them. 1 is plain decoding.
    windows
        Runs of neighbouring tokens that were counted for each size, int64 ``[K]``.
    mean, deviation
        Mean and standard deviation over those runs of the size of the union, ``[L, K]``, experts.
    """

    layers: tuple[int, ...]
    experts: int
    top_k: int
    tokens: int
    sizes: NDArray[np.int64]
    windows: NDArray[np.int64]
    mean: Floats
    deviation: Floats

    @property
    def overall(self) -> Floats:
        """Mean over the layers of the size of the union, ``[K]``, experts."""
        return np.asarray(self.mean.mean(axis=0))

    @property
    def independent(self) -> Floats:
        """Expected size if tokens chose uniformly and independently, ``[K]``: E (1 − (1 − k/E)^n)."""
        return np.asarray(self.experts * (1 - (1 - self.top_k / self.experts) ** self.sizes))

    @property
    def growth(self) -> Floats:
        """Experts loaded ÷ those of one token, mean over the layers, ``[K]``; 1 for one token."""
        return self.overall / self.top_k

    def speedup(
        self,
        acceptance: float,
        *,
        expert_time: float,
        draft_time: float,
        token_time: float = 0.0,
    ) -> DraftSpeedup:
        """Return the speed-up that drafting should give on text that is routed like this one.

        Where a pass takes as long as its weights take to read, its time grows with the experts that its
        tokens load together: T(d) ÷ T(0) = 1 + s (U(d + 1) ÷ U(1) − 1) + d (t + c).

        Parameters
        ----------
        acceptance
            Probability a that a drafted token is accepted, given that those before it were, 0 to 1
            (``reply.acceptance.rate``).
        expert_time
            Share s of a plain pass's time that goes into its routed experts, 0 to 1.
        draft_time
            Time c of drafting one token ÷ time of a plain pass.
        token_time
            Time t that each further token adds to a pass beside its experts ÷ time of a plain pass; 0 where
            reading weights takes all the time.

        Raises
        ------
        LabError
            If a number is out of range, or the sizes are not 1, 2, 3, ….
        """
        if not np.array_equal(self.sizes, np.arange(1, len(self.sizes) + 1)):
            raise LabError(
                f"The unions are of {self.sizes.tolist()} tokens.", hint="Count them for k=range(1, 9)."
            )
        rate = real_number("acceptance", acceptance, minimum=0, maximum=1)
        share = real_number("expert_time", expert_time, minimum=0, maximum=1)
        draft = real_number("draft_time", draft_time, minimum=0, maximum=1e6)
        token = real_number("token_time", token_time, minimum=0, maximum=1e6)
        drafts = self.sizes - 1
        return DraftSpeedup(
            drafts=drafts,
            acceptance=rate,
            tokens_per_pass=np.cumsum(rate**drafts, dtype=np.float64),
            time=1 + share * (self.growth - 1) + drafts * (token + draft),
            experts=self.overall,
        )

    def drafter(self, tokens: int, acceptance: float) -> dict[str, Any]:
        """Return what `gemma_lab.plan` takes as ``drafter=``, with the experts that a pass loads.

        Parameters
        ----------
        tokens
            Tokens drafted per pass.
        acceptance
            As for `speedup`.

        Raises
        ------
        LabError
            If the union of ``tokens + 1`` tokens was not counted.
        """
        drafted = whole_number("tokens", tokens, minimum=1)
        found = np.flatnonzero(self.sizes == drafted + 1)
        if not len(found):
            raise LabError(
                f"The union of {drafted + 1} tokens was not counted, only of {self.sizes.tolist()}.",
                hint=f"gl.analysis.expert_unions(…, k=range(1, {drafted + 2})).",
            )
        share = float(self.overall[found[0]]) / self.experts
        return {"tokens": drafted, "acceptance": acceptance, "expert_share": share}

    def to_pandas(self) -> Any:
        """Return one row per layer and size: layer, tokens, windows, mean, deviation."""
        import pandas as pd

        rows, columns = self.mean.shape
        return pd.DataFrame(
            {
                "layer": np.repeat(self.layers, columns),
                "tokens": np.tile(self.sizes, rows),
                "windows": np.tile(self.windows, rows),
                "mean": self.mean.ravel(),
                "deviation": self.deviation.ravel(),
            }
        )

    def __repr__(self) -> str:
        last = int(self.sizes[-1])
        return (
            f"ExpertUnions({len(self.layers)} layers, {self.tokens:,} tokens, top-{self.top_k} of "
            f"{self.experts} experts: {last} tokens load {self.overall[-1]:.1f} experts of a layer, "
            f"{self.independent[-1]:.1f} if independent)"
        )


def expert_unions(
    routing: Routing | Sequence[Routing] | Any, *, k: Iterable[int] = range(1, 9)
) -> ExpertUnions:
    """Count the experts that k neighbouring tokens load together, in every layer.

    A model with experts that verifies drafted tokens reads the union of their experts, where a dense model
    reads the same weights for all of them: this is what drafting costs a mixture of experts.

    Parameters
    ----------
    routing
        A trace, or the routing of one, or several routings of one model, whose tokens are not joined.
        ``trace.routing.select(trace.tokens.generated)`` counts the answer only.
    k
        Tokens of a pass, 1 to 64: drafted ones and the one before them.

    Returns
    -------
    ExpertUnions

    Raises
    ------
    LabError
        If a size is out of range, or no routing has as many tokens.
    """
    sizes = np.unique([whole_number("k", each, minimum=1, maximum=MAX_TOKENS) for each in k])
    if not len(sizes):
        raise LabError("No number of tokens was given.", hint="For example k=range(1, 9).")
    pool = RoutingPool(getattr(routing, "routing", routing))
    if (longest := max(pool.lengths)) < sizes[-1]:
        raise LabError(
            f"The routing has {longest} tokens in a row, and k goes up to {sizes[-1]}.",
            hint="Trace a longer text, or count fewer tokens together.",
        )
    counted = [
        _unions(np.asarray(part.ids, dtype=np.intp), pool.experts, sizes)
        for part in pool.parts
        if part.ids.shape[1]
    ]
    # per size, the unions of all runs of all parts: [layers, windows]
    joined = [np.concatenate([part[index] for part in counted], axis=1) for index in range(len(sizes))]
    return ExpertUnions(
        layers=pool.layers,
        experts=pool.experts,
        top_k=pool.top_k,
        tokens=pool.tokens,
        sizes=sizes.astype(np.int64),
        windows=np.asarray([each.shape[1] for each in joined], dtype=np.int64),
        mean=np.stack([each.mean(axis=1) for each in joined], axis=1),
        deviation=np.stack([each.std(axis=1) for each in joined], axis=1),
    )


def _unions(ids: NDArray[np.intp], experts: int, sizes: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return for each size the union of every run of so many tokens, ``[layers, tokens - size + 1]``.

    A token adds to the union of a run the experts that no earlier token of the run chose: those whose last
    use is at least as far back as the run's first token.
    """
    since = _since_last_use(ids, experts)
    tokens, largest = ids.shape[1], int(sizes[-1])
    # [offset, layers, tokens]: new experts of a token that is the offset-th of a run
    fresh = np.stack([(since > offset).sum(axis=2) for offset in range(min(largest, tokens))])
    found = []
    for size in sizes.tolist():
        starts = max(0, tokens - size + 1)
        union = np.zeros((len(ids), starts), dtype=np.int64)
        for offset in range(min(size, tokens)):
            union += fresh[offset, :, offset : offset + starts]
        found.append(union)
    return found


def _since_last_use(ids: NDArray[np.intp], experts: int) -> NDArray[np.int64]:
    """Return how many tokens ago each chosen expert was chosen before, ``[layers, tokens, k]``."""
    layers, tokens, _ = ids.shape
    since = np.full(ids.shape, _NEVER, dtype=np.int64)
    last = np.full((layers, experts), -1, dtype=np.int64)
    rows = np.arange(layers)[:, None]
    for token in range(tokens):
        before = last[rows, ids[:, token]]
        since[:, token] = np.where(before >= 0, token - before, _NEVER)
        last[rows, ids[:, token]] = token
    return since
