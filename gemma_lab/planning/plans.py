"""`Plan`: one model on one machine, what it takes, how fast it runs and what it costs. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..checks import real_number, whole_number
from ..display import Displayed
from ..errors import LabError
from .advice import advice_for
from .cost import Costs, Ownership, ownership_of, token_costs
from .drafting import Drafting, drafted_seconds
from .estimates import MEASURED_FAMILIES, WIDER, Estimate, fitted_estimate, hardware_width
from .evidence import MeasuredRun, nearest_runs
from .memory import GIB, MemoryPart, Setting, largest_batch, longest_context, total_bytes
from .speed import bound_seconds, decode_seconds, decode_terms, fitted_constants, prompt_seconds
from .workload import Step, decode_step, prompt_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .devices import Hardware
    from .expert_cache import ExpertCache
    from .models import ModelShape
    from .quantization import Quantization
    from .runtimes import Runtime

DEPTHS = (0, 1024, 4096, 8192, 16_384, 32_768, 65_536, 98_304, 131_072, 262_144)
"""Depths in tokens at which views show the speed."""


@dataclass(frozen=True)
class Plan(Displayed):
    """One model on one machine: memory by part, speed, cost.

    Attributes
    ----------
    setting
        Model, weights, hardware, runtime, context, batch.
    parts
        Memory by part, each with its formula and source.
    fits
        Whether it fits on the device; None if the device's memory is unknown.
    depth
        Tokens in the cache at which `decode` holds.
    prompt_tokens
        Tokens of the prompt of `first_token`.
    date
        Date of the runtime's build, ISO; ``""`` for the newest that was fitted.
    drafter
        How a drafter is used, or None.
    spilled
        Part → share in the computer's memory, for the speed: as asked for, or what does not fit.
    expert_cache
        The cache of experts on the device; None without one.
    """

    setting: Setting
    parts: tuple[MemoryPart, ...]
    fits: bool | None
    depth: int
    prompt_tokens: int
    date: str = ""
    drafter: Drafting | None = None
    spilled: Mapping[str, float] = field(default_factory=dict, hash=False)
    expert_cache: ExpertCache | None = None

    def __repr__(self) -> str:
        state = {True: "fits", False: "does not fit", None: "memory unknown"}[self.fits]
        size = f"{self.needed_bytes / GIB:.1f}"
        usable = self.usable_bytes
        of = f" of {usable / GIB:.1f}" if usable is not None else ""
        speed = f", {self.decode.value:.0f} tokens/s" if self.decode else ""
        return (
            f"Plan({self.shape.name} {self.weights.name} on {self.hardware.label}, {self.runtime.name}, "
            f"{self.setting.context:,} tokens: {state}, {size}{of} GiB{speed})"
        )

    @property
    def shape(self) -> ModelShape:
        """The model."""
        return self.setting.shape

    @property
    def weights(self) -> Quantization:
        """How its weights are packed."""
        return self.setting.weights

    @property
    def hardware(self) -> Hardware:
        """What it runs on."""
        return self.setting.hardware

    @property
    def runtime(self) -> Runtime:
        """What runs it."""
        return self.setting.runtime

    @property
    def needed_bytes(self) -> float:
        """Bytes on the device."""
        return total_bytes(self.parts)

    @property
    def host_bytes(self) -> float:
        """Bytes in the computer's own memory, beside a GPU."""
        return total_bytes(self.parts, "host")

    @property
    def usable_bytes(self) -> float | None:
        """Bytes that the device leaves free for a model; None if unknown."""
        return self.hardware.usable_bytes

    @cached_property
    def longest_context(self) -> int | None:
        """Longest context in tokens that fits with this batch; 0 if none; None if the memory is unknown."""
        return longest_context(self.setting)

    @cached_property
    def largest_batch(self) -> int | None:
        """Most sequences of this context that fit; 0 if none; None if the memory is unknown."""
        return largest_batch(self.setting)

    @cached_property
    def advice(self) -> tuple[str, ...]:
        """What to change if it does not fit, or what limits it if it does."""
        return advice_for(self.setting, self.longest_context)

    @cached_property
    def decode(self) -> Estimate | None:
        """Tokens/s of one sequence at `depth`; None if the bandwidth is unknown."""
        return self.decode_at(self.depth)

    @cached_property
    def throughput(self) -> Estimate | None:
        """Tokens/s of all sequences of the batch together at `depth`; None if the bandwidth is unknown."""
        single = self.decode
        if single is None:
            return None
        batch = self.setting.batch
        return Estimate(
            single.value * batch,
            single.low * batch,
            single.high * batch,
            "tokens/s",
            f"{batch} × {single.value:.1f}",
            single.source,
        )

    @cached_property
    def prompt(self) -> Estimate | None:
        """Tokens/s at which the prompt is processed; None if bandwidth or rate of operations is unknown."""
        if not self.hardware.bandwidth_gb_s:
            return None
        step = self._step(self.depth)
        work = prompt_work(
            self.shape,
            self.weights,
            self.hardware,
            self.runtime,
            tokens=self.prompt_tokens,
            step=step,
            host_parts=self.spilled,
        )
        seconds = prompt_seconds(work, fitted_constants())
        if seconds is None:
            return None
        rate = self.prompt_tokens / seconds
        formula = (
            f"{work.operations / 1e12:.2f}×10¹² operations at {work.rate / 1e12:g}×10¹² a second × a fitted "
            f"share, or {work.piece_bytes / 1e9:.1f} GB for every {work.piece} tokens, whichever is longer"
        )
        return fitted_estimate("prompt", rate, "tokens/s", formula, wider=self._wider())

    @cached_property
    def first_token(self) -> Estimate | None:
        """Seconds until the first token of an answer to `prompt_tokens` tokens."""
        if self.prompt is None:
            return None
        tokens, rate = self.prompt_tokens, self.prompt
        return Estimate(
            tokens / rate.value,
            tokens / rate.high,
            tokens / rate.low,
            "s",
            f"{tokens:,} tokens ÷ {rate.value:,.0f}/s",
            rate.source,
        )

    @cached_property
    def bound(self) -> float | None:
        """Tokens/s of one sequence that nothing can exceed without a drafter: bandwidth ÷ bytes read."""
        if not self.hardware.bandwidth_gb_s:
            return None
        return 1 / bound_seconds(self._step(self.depth))

    @cached_property
    def nearest(self) -> tuple[MeasuredRun, ...]:
        """Measured runs most like this plan."""
        return nearest_runs(self.shape, self.weights, self.hardware, self.runtime, depth=self.depth)

    def decode_at(self, depth: int) -> Estimate | None:
        """Return the tokens/s of one sequence with `depth` tokens in its cache; None without a bandwidth.

        Raises
        ------
        LabError
            If `depth` is negative or beyond the model's context.
        """
        depth = whole_number("depth", depth, minimum=0, maximum=self.shape.context)
        if not self.hardware.bandwidth_gb_s:
            return None
        constants = fitted_constants()
        step = self._step(depth)
        if self.drafter is not None:
            checking = self._step(
                depth, tokens_at_once=self.drafter.tokens + 1, expert_share=self.drafter.expert_share
            )
            seconds = drafted_seconds(step, checking, self.shape, self.drafter, constants)
            formula = (
                f"{self.drafter.tokens} drafts of acceptance {self.drafter.acceptance:g}: "
                f"{self.drafter.tokens_per_step:.2f} tokens a step of "
                f"{seconds * self.drafter.tokens_per_step * 1e3:.2f} ms"
            )
        else:
            seconds = decode_seconds(step, constants)
            formula = _decode_formula(step, seconds)
        return fitted_estimate("decode", 1 / seconds, "tokens/s", formula, wider=self._wider())

    def depths(self) -> list[tuple[int, Estimate]]:
        """Return (depth, tokens/s of one sequence) up to the plan's context."""
        inside = [depth for depth in DEPTHS if depth < self.setting.context]
        pairs = [(depth, self.decode_at(depth)) for depth in (*inside, self.setting.context)]
        return [(depth, estimate) for depth, estimate in pairs if estimate is not None]

    def exceeds_bound(self, tokens_per_second: float) -> bool:
        """Return whether a measured speed is faster than reading the weights allows.

        Then a drafter was on, or an answer came from a cache, or model, bits or hardware are other ones.
        """
        speed = real_number("tokens_per_second", tokens_per_second, minimum=0, maximum=1e9)
        return self.bound is not None and speed > self.bound

    def cost(
        self,
        *,
        owned: Ownership | Mapping[str, float] | None = None,
        usd_per_hour: float | None = None,
        hosted: Sequence[str] | None = ("gemma-4-31B", "gemma-4-26B-A4B", "claude-haiku-5.5", "gpt-4o-mini"),
        on: str | None = None,
    ) -> Costs:
        """Return US dollars of a million tokens: owned, rented, hosted.

        Parameters
        ----------
        owned
            What owning costs, or fields of `Ownership` to change. Default: the hardware's price and power,
            three years, a load of 20 %, 0.25 USD/kWh.
        usd_per_hour
            Of rented hardware. Default: the newest shipped price; hardware without one is left out.
        hosted
            Hosted models to compare with; None for none.
        on
            Day for the prices, ISO. Default: today. A model whose prices have ended by then has no row;
            `Costs.notes` names it.

        Raises
        ------
        LabError
            If the bandwidth is unknown, so that no speed can be predicted, or a number is out of range.
        """
        if self.throughput is None:
            raise LabError(
                f"The bandwidth of {self.hardware.name} is unknown, so its tokens have no cost.",
                hint="Give bandwidth_gb_s.",
            )
        return token_costs(
            self.hardware,
            answer=self.throughput,
            prompt=self.prompt,
            owned=self.ownership(owned),
            usd_per_hour=usd_per_hour,
            hosted=[hosted] if isinstance(hosted, str) else hosted or (),
            on=on,
            prompt_tokens=self.prompt_tokens,
        )

    def ownership(self, owned: Ownership | Mapping[str, float] | None = None) -> Ownership | None:
        """Return what owning the hardware costs; None if its price or power is not known."""
        return ownership_of(self.hardware, owned)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data."""

        def plain(estimate: Estimate | None) -> dict[str, Any] | None:
            return None if estimate is None else estimate.to_dict()

        return {
            "model": self.shape.key,
            "quantization": self.weights.name,
            "hardware": self.hardware.label,
            "runtime": self.runtime.name,
            "runtime_date": self.date,
            "context": self.setting.context,
            "batch": self.setting.batch,
            "cache_bits": self.setting.cache_bits,
            "fits": self.fits,
            "needed_bytes": round(self.needed_bytes),
            "host_bytes": round(self.host_bytes),
            "usable_bytes": None if self.usable_bytes is None else round(self.usable_bytes),
            "parts": [part.to_dict() for part in self.parts],
            "longest_context": self.longest_context,
            "largest_batch": self.largest_batch,
            "advice": list(self.advice),
            "spilled": dict(self.spilled),
            "expert_cache": None if self.expert_cache is None else self.expert_cache.to_dict(),
            "depth": self.depth,
            "decode": plain(self.decode),
            "throughput": plain(self.throughput),
            "prompt_tokens": self.prompt_tokens,
            "prompt": plain(self.prompt),
            "first_token": plain(self.first_token),
            "bound": self.bound,
            "nearest": [
                {"run": run.label, "tokens_per_second": run.tokens_per_second, "source": run.source}
                for run in self.nearest
            ],
        }

    def _step(self, depth: int, *, tokens_at_once: int = 1, expert_share: float | None = None) -> Step:
        return decode_step(
            self.shape,
            self.weights,
            self.hardware,
            self.runtime,
            depth=depth,
            batch=self.setting.batch,
            cache_value_bytes=self.setting.cache_bits / 8,
            date=self.date,
            tokens_at_once=tokens_at_once,
            host_parts=self.spilled,
            expert_hit_rate=None if self.expert_cache is None else self.expert_cache.hit_rate,
            expert_share=expert_share,
        )

    def _wider(self) -> float:
        """Return what the interval is wider by, for what the fit has not seen."""
        wider = hardware_width(self.hardware)
        if self.runtime.family not in MEASURED_FAMILIES:
            wider += WIDER["runtime"]
        if self.spilled or (self.expert_cache is not None and self.expert_cache.hit_rate < 1):
            wider += WIDER["spilled"]
        if self.drafter is not None and self.drafter.assumed:
            wider += WIDER["drafter"]
        if self.setting.batch > 1:
            wider += WIDER["batch"]
        return wider


def _decode_formula(step: Step, seconds: float) -> str:
    weights, overhead, cache = decode_terms(step, fitted_constants())
    read = (step.shared_bytes + step.expert_bytes * step.expert_share) / 1e9
    kept = (step.global_bytes + step.local_bytes) / 1e9
    formula = (
        f"{read:.2f} GB of weights in {weights * 1e3:.2f} ms"
        f" + {step.layers} layers in {overhead * 1e3:.2f} ms"
        f" + {kept:.3f} GB of cache in {cache * 1e3:.2f} ms"
    )
    rest = seconds - weights - overhead - cache
    if rest > 1e-9:
        formula += (
            f" + {(step.host_bytes + step.link_bytes) / 1e9:.2f} GB from main memory in {rest * 1e3:.2f} ms"
        )
    return f"{formula} at {step.bandwidth / 1e9:g} GB/s = {seconds * 1e3:.2f} ms"
