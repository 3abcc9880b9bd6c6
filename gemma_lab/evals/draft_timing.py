"""Measured time of passes with several tokens, and measured speed-up by drafting, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..checks import whole_number
from ..display import Displayed
from ..errors import LabError
from ..models.drafting.candidates import without_rejected
from ..models.loading.compat_cache import cache_in, cache_name
from ..models.loading.restore import RestoreStack
from .acceptance_by_kind import answer, require_drafter

if TYPE_CHECKING:
    from .model import DraftedModel

_CONTEXT = 96
"""Tokens in the cache while passes are timed."""


@dataclass(frozen=True)
class DraftTimes(Displayed):
    """Time of passes with one token and with several, and of drafting one, on one machine.

    Attributes
    ----------
    model, drafter
        Their names.
    tokens
        Tokens of the timed passes, ascending, the first is 1.
    pass_s
        Seconds of such a pass, and of its routed experts: two numbers for each of `tokens`.
    draft_s
        Seconds of drafting one token.
    """

    model: str
    drafter: str
    tokens: tuple[int, ...]
    pass_s: tuple[tuple[float, float], ...]
    draft_s: float

    @property
    def expert_time(self) -> float:
        """Share of a plain pass's time that goes into its routed experts, 0 to 1."""
        whole, experts = self.pass_s[0]
        return experts / whole

    @property
    def draft_time(self) -> float:
        """Time of drafting one token ÷ time of a plain pass."""
        return self.draft_s / self.pass_s[0][0]

    @property
    def token_time(self) -> float:
        """Time that each further token adds to a pass beside its experts ÷ time of a plain pass."""
        if len(self.tokens) == 1:
            return 0.0
        (first, first_experts), (last, last_experts) = self.pass_s[0], self.pass_s[-1]
        added = (last - last_experts) - (first - first_experts)
        return max(0.0, added / (self.tokens[-1] - 1) / first)

    @property
    def shares(self) -> dict[str, float]:
        """The three of them, as `ExpertUnions.speedup` takes them."""
        return {
            "expert_time": self.expert_time,
            "draft_time": self.draft_time,
            "token_time": self.token_time,
        }

    def to_pandas(self) -> Any:
        """Return one row per number of tokens: milliseconds of a pass, and of its experts."""
        import pandas as pd

        rows = zip(self.tokens, self.pass_s, strict=True)
        return pd.DataFrame(
            [
                {"tokens": tokens, "pass_ms": 1e3 * whole, "experts_ms": 1e3 * experts}
                for tokens, (whole, experts) in rows
            ]
        )

    def __repr__(self) -> str:
        return (
            f"DraftTimes({self.model} with {self.drafter}: a pass takes {1e3 * self.pass_s[0][0]:.2f} ms, "
            f"{self.expert_time:.0%} of it in experts; a drafted token {1e3 * self.draft_s:.2f} ms; each "
            f"further token of a pass {self.token_time:.0%} of a pass, beside its experts)"
        )


@dataclass(frozen=True)
class DraftSpeed(Displayed):
    """Measured speed with and without a drafter.

    Attributes
    ----------
    model, drafter
        Their names.
    seconds
        Kind of text → drafted tokens per pass (0: without the drafter) → seconds per token, median over the
        repetitions.
    clock
        ``"processor time"`` on a CPU, which others beside it change little, else ``"wall time"``.
    """

    model: str
    drafter: str
    seconds: dict[str, dict[int, float]]
    clock: str

    @property
    def speedup(self) -> dict[str, dict[int, float]]:
        """Kind → drafted tokens per pass → tokens/s ÷ those without the drafter."""
        return {
            kind: {drafts: each[0] / each[drafts] for drafts in each if drafts}
            for kind, each in self.seconds.items()
        }

    def to_pandas(self) -> Any:
        """Return one row per kind and number of drafts: seconds per token, and the speed-up."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"kind": kind, "drafts": drafts, "s_per_token": took, "speedup": each[0] / took}
                for kind, each in self.seconds.items()
                for drafts, took in each.items()
            ]
        )

    def __repr__(self) -> str:
        best = {kind: max(each.items(), key=lambda item: item[1]) for kind, each in self.speedup.items()}
        parts = ", ".join(f"{kind} {ratio:.2f} × with {drafts}" for kind, (drafts, ratio) in best.items())
        return f"DraftSpeed({self.model} with {self.drafter}, {self.clock}, best of each: {parts})"


def draft_times(lab: DraftedModel, *, tokens: Iterable[int] = range(1, 10), repeats: int = 15) -> DraftTimes:
    """Time passes of a model with one token and with several, and its drafter.

    Parameters
    ----------
    lab
        A model that was loaded with ``drafter=``.
    tokens
        Tokens of a pass; 1 is always among them.
    repeats
        Passes of which the median is taken.

    Raises
    ------
    LabError
        If the model has no drafter, or a number is out of range.
    """
    require_drafter(lab)
    counts = sorted({1, *(whole_number("tokens", each, minimum=1, maximum=64) for each in tokens)})
    repeats = whole_number("repeats", repeats, minimum=1)
    with lab.lock, torch.no_grad():
        timed = _TimedPasses(lab)
        passes = tuple(timed.passes(count, repeats) for count in counts)
        draft = timed.draft(repeats)
    return DraftTimes(lab.name, lab.drafter.name, tuple(counts), passes, draft)


def draft_speed(
    lab: DraftedModel,
    prompts: Mapping[str, Iterable[Any]],
    *,
    drafts: Iterable[int] = (1, 2, 4, 8),
    repeats: int = 3,
    temperature: float = 0.0,
    **options: Any,
) -> DraftSpeed:
    """Time whole answers with and without the drafter, in turns.

    Parameters
    ----------
    lab
        A model that was loaded with ``drafter=``.
    prompts
        As for `draft_acceptance`.
    drafts
        Tokens drafted per pass.
    repeats
        Rounds; each answers every prompt in every way once.
    temperature, **options
        As for `Lab.chat`, for every prompt.

    Raises
    ------
    LabError
        If the model has no drafter, there is no prompt, or answers with and without the drafter differ.
    """
    require_drafter(lab)
    drafter, given = lab.drafter, {kind: list(asked) for kind, asked in prompts.items()}
    ways = [0, *dict.fromkeys(whole_number("drafts", each, minimum=1, maximum=32) for each in drafts)]
    repeats = whole_number("repeats", repeats, minimum=1)
    if not any(given.values()):
        raise LabError("No prompt was given.", hint='For example {"sums": ["What is 7 + 5?"]}.')
    took: dict[str, dict[int, list[float]]] = {kind: {way: [] for way in ways} for kind in given}
    proposed = drafter.tokens
    now = _clock(lab.device)
    try:
        for _ in range(repeats):
            for kind, asked in given.items():
                answers = {}
                for way in ways:
                    lab.drafter = drafter if way else None
                    drafter.tokens = way or proposed
                    start = now()
                    replies = [answer(lab, each, temperature=temperature, **options) for each in asked]
                    count = sum(len(reply.tokens) for reply in replies)
                    took[kind][way].append((now() - start) / max(1, count))
                    answers[way] = [[token.id for token in reply.tokens] for reply in replies]
                _require_equal(kind, answers)
    finally:
        lab.drafter, drafter.tokens = drafter, proposed
    seconds = {
        kind: {way: statistics.median(each) for way, each in by_way.items()} for kind, by_way in took.items()
    }
    clock = "processor time" if lab.device.type == "cpu" else "wall time"
    return DraftSpeed(lab.name, drafter.name, seconds, clock)


def _require_equal(kind: str, answers: dict[int, list[list[int]]]) -> None:
    """Raise `LabError` if a way of decoding gave other tokens than plain decoding."""
    for way, ids in answers.items():
        if ids != answers[0]:
            raise LabError(
                f"With {way} drafted tokens per pass, an answer of the kind {kind!r} differs.",
                hint="Two tokens are as good as equally likely there, and passes of several tokens round "
                "otherwise: compare them in float32, or pass seed=… if tokens are sampled.",
            )


def _clock(device: torch.device) -> Callable[[], float]:
    """Return the clock of a device, in seconds, after all its work is done."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    return now


class _TimedPasses:
    """Passes of a model over the same cache; hold the model's lock."""

    def __init__(self, lab: DraftedModel) -> None:
        self._lab, self._model = lab, lab.model
        self._now = _clock(lab.device)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(lab.vocabulary, (1, _CONTEXT + 64), generator=generator).to(lab.device)
        self._ids = ids
        self._output = self._model(
            input_ids=ids[:, :_CONTEXT],
            use_cache=True,
            output_hidden_states=True,
            return_shared_kv_states=True,
        )
        self._cache = cache_in(self._output)
        self._cache.activate_past_recording()
        self._cache.crop(0)
        self._experts = [
            layer.experts for layer in self._model.get_decoder().layers if hasattr(layer, "experts")
        ]

    def passes(self, tokens: int, repeats: int) -> tuple[float, float]:
        """Return the median seconds of a pass of so many tokens, and of its experts."""
        whole, inside = [], []
        for _ in range(repeats + 1):  # the first chooses kernels
            spans: list[float] = []
            with RestoreStack() as restore:
                for experts in self._experts:
                    restore.hook(experts, partial(self._begin, spans), before=True)
                    restore.hook(experts, partial(self._end, spans))
                self._pass(tokens)
                inside.append(sum(spans))
            start = self._now()
            self._pass(tokens)  # without hooks, which take time of their own
            whole.append(self._now() - start)
        return statistics.median(whole[1:]), statistics.median(inside[1:])

    def draft(self, repeats: int) -> float:
        """Return the median seconds of drafting one token."""
        took = []
        known = _CONTEXT - 1
        shared = without_rejected(self._output.shared_kv_states, known)
        last = self._model.get_input_embeddings()(self._ids[:, known : known + 1])
        embeds = torch.cat([last, self._output.hidden_states[-1][:, known - 1 : known]], dim=-1)
        position = torch.tensor([[known]], device=self._ids.device)
        for _ in range(repeats + 1):
            start = self._now()
            output = self._lab.drafter.model(
                inputs_embeds=embeds,
                attention_mask=torch.ones_like(self._ids[:, : known + 1]),
                position_ids=position,
                shared_kv_states=shared,
                use_cache=False,
            )
            self._model.get_input_embeddings()(output.logits.argmax(-1))
            took.append(self._now() - start)
        return statistics.median(took[1:])

    def _pass(self, tokens: int) -> None:
        given = self._ids[:, _CONTEXT : _CONTEXT + tokens]
        options = {"output_hidden_states": True, "return_shared_kv_states": True}
        self._model(input_ids=given, use_cache=True, **{cache_name(self._model): self._cache}, **options)
        self._cache.crop(-tokens)

    def _begin(self, spans: list[float], *_: Any) -> None:
        spans.append(-self._now())

    def _end(self, spans: list[float], *_: Any) -> None:
        spans[-1] += self._now()
