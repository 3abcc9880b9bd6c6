"""What fits, how fast, at what cost: `plan` and the `Plan` it returns. No torch."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..checks import real_number, short_repr, whole_number
from ..display import Displayed
from ..errors import LabError
from .advice import advice_for
from .cost import Costs, Ownership, hosted_cost, hourly_cost
from .devices import Hardware, find_hardware
from .drafting import Drafting, drafted_seconds, drafting
from .evidence import MeasuredRun, nearest_runs
from .expert_cache import CacheCurve, ExpertCache, OffloadCurve, expert_cache
from .facts import read_facts, unknown
from .memory import (
    GIB,
    MemoryPart,
    Placement,
    Setting,
    fits,
    largest_batch,
    longest_context,
    memory_parts,
    total_bytes,
)
from .models import ModelShape, model_shape
from .prices import PriceEnded, hosted_price, rental_price
from .quantization import Quantization, cache_bits, quantization, quantization_names
from .runtimes import Runtime, check_runs_on, find_runtime
from .speed import (
    Estimate,
    Step,
    bound_seconds,
    decode_seconds,
    decode_step,
    decode_terms,
    fitted_constants,
    prompt_seconds,
    prompt_work,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPTHS = (0, 1024, 4096, 8192, 16_384, 32_768, 65_536, 98_304, 131_072, 262_144)
"""Depths in tokens at which views show the speed."""

MEASURED_FAMILIES = ("llama.cpp", "vLLM", "MLX")
WIDER = {"runtime": 0.45, "spilled": 0.45, "drafter": 0.30, "batch": 0.30}
"""What is added to the interval in log units where no measured run was fitted; judged, not fitted."""
WIDER_HARDWARE = {"kind": 0.35, "assumed": 0.15, "rate": 0.10, "bandwidth": 0.15}
"""The same for hardware: a kind without fitted runs; a kind that was not given; a GPU of unknown rate of
operations, which may lack matrix units; and a bandwidth outside that of the fitted runs, times the logarithm
of how far."""
_MAX_SEQUENCES, _MAX_SOFT_TOKENS = 65_536, 1_000_000
_OFFLOADS = ("none", "auto", "experts", "layers")


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
        width = read_facts("constants.json")["interval"]["prompt"] + self._wider()
        rate = self.prompt_tokens / seconds
        formula = (
            f"{work.operations / 1e12:.2f}×10¹² operations at {work.rate / 1e12:g}×10¹² a second × a fitted "
            f"share, or {work.piece_bytes / 1e9:.1f} GB for every {work.piece} tokens, whichever is longer"
        )
        return _estimate(rate, width, "tokens/s", formula)

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
        width = read_facts("constants.json")["interval"]["decode"] + self._wider()
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
        return _estimate(1 / seconds, width, "tokens/s", formula)

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
        hosted: Sequence[str] = ("gemma-4-31B", "gemma-4-26B-A4B", "claude-haiku-5.5", "gpt-4o-mini"),
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
            Hosted models to compare with.
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
        speed = (self.throughput.value, self.throughput.low, self.throughput.high)
        prompt = self.prompt.value if self.prompt else None
        costs = []
        ownership = self.ownership(owned)
        if ownership is not None:
            costs.append(
                hourly_cost(
                    f"owned {self.hardware.label}, load {ownership.load:.0%}",
                    ownership.usd_per_working_hour,
                    prompt=prompt,
                    answer=speed,
                    formula=ownership.formula(),
                    source=self.hardware.source,
                )
            )
        rent = rental_price(self.hardware.label)
        if usd_per_hour is not None:
            usd_per_hour = real_number("usd_per_hour", usd_per_hour, minimum=0, maximum=1e6)
        if usd_per_hour is not None or rent is not None:
            price = usd_per_hour if usd_per_hour is not None else rent.usd_per_hour if rent else 0.0
            where = "given" if usd_per_hour is not None or rent is None else f"{rent.market}, {rent.date}"
            costs.append(
                hourly_cost(
                    f"rented {self.hardware.label} ({where})",
                    price,
                    prompt=prompt,
                    answer=speed,
                    formula=f"{price:g} USD an hour, fully used",
                    source=where if usd_per_hour is not None or rent is None else rent.source,
                )
            )
        notes = []
        for name in [hosted] if isinstance(hosted, str) else hosted:
            try:
                costs.append(hosted_cost(hosted_price(name, on=on, prompt=self.prompt_tokens)))
            except PriceEnded as ended:
                notes.append(ended.what)
        return Costs(costs, notes)

    def ownership(self, owned: Ownership | Mapping[str, float] | None = None) -> Ownership | None:
        """Return what owning the hardware costs; None if its price or power is not known."""
        if isinstance(owned, Ownership):
            return owned
        if owned is not None and not isinstance(owned, Mapping):
            raise LabError(
                f"owned is an Ownership or a mapping, not {short_repr(owned)}.",
                hint='E.g. {"price_usd": 1500}.',
            )
        fields = dict(owned or {})
        wrong = [name for name in fields if name not in Ownership.__dataclass_fields__]
        if wrong:
            raise unknown("field of ownership", wrong[0], Ownership.__dataclass_fields__)
        devices = self.hardware.devices
        defaults = {
            "price_usd": None if self.hardware.price_usd is None else self.hardware.price_usd * devices,
            "power_w": None if self.hardware.power_w is None else self.hardware.power_w * devices,
        }
        values = {**defaults, **fields}
        if values["price_usd"] is None or values["power_w"] is None:
            return None
        return Ownership(**values)  # type: ignore[arg-type]

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


def plan(
    model: str | ModelShape,
    *,
    hardware: str | Mapping[str, Any] | Hardware,
    quantization: str | float | Quantization | None = None,
    file_bytes: float | None = None,
    context: int = 8192,
    batch: int = 1,
    images: int = 0,
    runtime: str | Runtime = "llama.cpp",
    runtime_date: str = "",
    cache: str = "f16",
    drafter: bool | Mapping[str, Any] | None = None,
    offload: str = "none",
    expert_hit_rate: float | CacheCurve | OffloadCurve | None = None,
    depth: int | None = None,
    prompt: int = 1000,
) -> Plan:
    """Plan a model on a machine: what it takes, how fast it runs, what it costs.

    Parameters
    ----------
    model
        A size (``"26B-A4B"``), a checkpoint of the catalog, ``"Gemma 3 27B"``, ``"Qwen3.6-35B-A3B"``.
    hardware
        A name (``"RTX 3090"``, ``"2x RTX 5060 Ti"``, ``"M4 Max"``, ``"laptop"``), or a mapping with any of
        ``memory_gib``, ``bandwidth_gb_s``, ``tensor_tflops``, … (see `find_hardware`); what is unknown is
        left out, and so is what depends on it.
    quantization
        A name (``"Q4_K_M"``, ``"bf16"``, ``"w4a16"``) or a file's size in bytes. Default: the runtime's
        usual.
    file_bytes
        Size of the decoder's file, to which a named quantisation is scaled.
    context
        Tokens of a sequence that the cache is allocated for.
    batch
        Sequences decoded together.
    images
        Soft tokens of pictures processed at once; they count towards the context as the prompt does.
    runtime
        ``"llama.cpp"``, ``"Ollama"``, ``"vLLM"``, ``"MLX"``, ``"transformers"`` or ``"LiteRT-LM"``.
    runtime_date
        Date of its build, ISO: llama.cpp decodes twice as fast in October 2026 as in April. Default: newest.
    cache
        Type of the cache: ``"f16"``, ``"q8_0"``, ``"q4_0"``, ``"fp8"``.
    drafter
        True for the model's own drafter at published acceptance, or a mapping with any of ``tokens``,
        ``acceptance``, ``bits``, ``expert_share`` (the share of a layer's experts that the tokens of a pass
        load together; `gemma_lab.analysis.expert_unions` counts it).
    offload
        What may lie in the computer's memory: ``"none"``, ``"experts"`` (all of them), ``"layers"`` (as many
        as do not fit) or ``"auto"`` (as much as does not fit, in the runtime's way: experts first, or
        whole layers).
    expert_hit_rate
        Share of expert reads that a cache of experts on the device serves (0 to 1); the rest is fetched over
        the link. Or the curve of a real trace, from ``gl.analysis.expert_cache_curve`` or
        ``gl.analysis.offload_speed``: it is read at the capacity that the device's memory leaves, which
        `Plan.expert_cache` states.
    depth
        Tokens in the cache for the speed. Default: 1,024, or the context if that is shorter.
    prompt
        Tokens of the prompt for the time to the first token.

    Returns
    -------
    Plan

    Raises
    ------
    LabError
        If a name is not known (the message has near ones), a number is out of range, or a runtime lacks a
        quantisation, a cache type or the hardware.

    Examples
    --------
    >>> gl.plan("26B-A4B", hardware="RTX 5060 Ti", quantization="IQ4_XS", context=262_144, cache="q4_0")
    >>> gl.plan("31B", hardware={"memory_gib": 48, "bandwidth_gb_s": 900}, context=65_536).longest_context
    """
    shape, machine, program = model_shape(model), find_hardware(hardware), find_runtime(runtime)
    check_runs_on(program, machine.kind)
    weights = _weights(quantization, file_bytes, program)
    context = whole_number("context", context, minimum=1, maximum=shape.context)
    prompt = whole_number("prompt", prompt, minimum=1, maximum=shape.context)
    batch = whole_number("batch", batch, minimum=1, maximum=_MAX_SEQUENCES)
    images = whole_number("images", images, minimum=0, maximum=_MAX_SOFT_TOKENS)
    if depth is not None:
        depth = whole_number("depth", depth, minimum=0, maximum=shape.context)
    _check_date(runtime_date)
    use = drafting(drafter, shape)
    setting = Setting(
        shape=shape,
        weights=weights,
        hardware=machine,
        runtime=program,
        context=context,
        batch=batch,
        cache_bits=cache_bits(cache, program.name),
        images=images,
        drafter_bits=None if use is None else use.bits,
    )
    experts = _expert_cache(setting, expert_hit_rate)
    placement = _placement(setting, offload, experts)
    setting = replace(setting, placement=placement)
    parts = memory_parts(setting)
    fitting = fits(setting)
    spilled = placement.shares
    if fitting is False and not spilled and not machine.unified:
        spilled = _spill(setting, experts_first=program.offload == "experts").shares
    elif fitting is False and not machine.unified:
        spilled = {**spilled, **_spill(setting, experts_first=False).shares}
    return Plan(
        setting=setting,
        parts=parts,
        fits=fitting,
        depth=min(1024, context) if depth is None else depth,
        prompt_tokens=min(prompt, context),
        date=runtime_date,
        drafter=use,
        spilled=spilled,
        expert_cache=experts,
    )


def hardware_width(hardware: Hardware) -> float:
    """Return what intervals are wider by on some hardware, for what no fitted run says of it."""
    wider = WIDER_HARDWARE["kind"] if hardware.kind in ("cpu", "sycl") else 0.0
    if hardware.kind_assumed:
        wider += WIDER_HARDWARE["assumed"]
    if hardware.kind == "cuda" and hardware.tensor_tflops is None:
        wider += WIDER_HARDWARE["rate"]
    if hardware.bandwidth_gb_s and hardware.kind != "cpu":
        least, most = read_facts("constants.json")["bandwidth_gb_s"]
        inside = min(max(hardware.bandwidth_gb_s, least), most)
        wider += WIDER_HARDWARE["bandwidth"] * abs(math.log(hardware.bandwidth_gb_s / inside))
    return wider


def _weights(
    name: str | float | Quantization | None, file_bytes: float | None, runtime: Runtime
) -> Quantization:
    wanted = runtime.default_quantization if name is None else name
    weights = quantization(wanted, runtime=runtime.name, file_bytes=file_bytes)
    if weights.runtimes and runtime.name not in weights.runtimes:
        raise LabError(
            f"{runtime.name} does not read {weights.name}; {', '.join(weights.runtimes)} "
            f"{'does' if len(weights.runtimes) == 1 else 'do'}.",
            hint=f"It reads {', '.join(quantization_names(runtime.name))}.",
        )
    return weights


def _expert_cache(setting: Setting, rate: float | CacheCurve | OffloadCurve | None) -> ExpertCache | None:
    if rate is None:
        return None
    if setting.hardware.unified:
        raise LabError(
            f"{setting.hardware.name} shares its memory with the processor, so no expert crosses a link.",
            hint="Leave out expert_hit_rate.",
        )
    usable, capacity = setting.hardware.usable_bytes, None
    experts = setting.weights.weight_bytes(setting.shape).get("experts", 0.0)
    if usable is not None and experts:
        excess = total_bytes(memory_parts(setting)) - usable
        capacity = min(1.0, max(0.0, 1.0 - excess / experts))
    return expert_cache(rate, setting.shape, capacity=capacity)


def _placement(setting: Setting, offload: str, experts: ExpertCache | None) -> Placement:
    if offload not in _OFFLOADS:
        raise unknown("offload", offload, _OFFLOADS)
    if experts is not None and offload != "none":
        raise LabError(
            f'offload="{offload}" and expert_hit_rate both place the experts.', hint="Leave one of them out."
        )
    if experts is not None:
        held = 1.0 if experts.share is None else experts.share
        return Placement({"experts": 1.0 - held} if held < 1 else {})
    if offload == "none" or setting.hardware.unified:
        return Placement()
    if offload == "experts":
        if not setting.shape.experts:
            raise LabError(f"{setting.shape.name} has no experts to offload.", hint='Use offload="layers".')
        return Placement({"experts": 1.0})
    return _spill(setting, experts_first=offload == "auto" and setting.runtime.offload == "experts")


def _spill(setting: Setting, *, experts_first: bool) -> Placement:
    """Return the least shares on the host with which the rest fits on the device."""
    usable = setting.hardware.usable_bytes
    if usable is None:
        return Placement()
    parts = memory_parts(setting)
    excess = total_bytes(parts) - usable
    if excess <= 0:
        return Placement()
    excess += 1.0  # a byte more, lest rounding leave the device too full
    sizes = {part.key: part.bytes for part in parts if part.place == "device"}
    shares: dict[str, float] = {}
    if experts_first and sizes.get("experts"):
        shares["experts"] = min(1.0, excess / sizes["experts"])
        excess -= shares["experts"] * sizes["experts"]
    rest = {
        key: sizes[key]
        for key in ("attention", "dense", "experts", "other")
        if key in sizes and key not in shares
    }
    if excess > 0 and rest:
        share = min(1.0, excess / sum(rest.values()))
        shares |= dict.fromkeys(rest, share)
    return Placement({key: share for key, share in shares.items() if share > 0})


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


def _estimate(value: float, width: float, unit: str, formula: str) -> Estimate:
    facts = read_facts("constants.json")
    source = f"constants fitted to {facts['fitted_to']}, newest {facts['newest_run']}"
    return Estimate(value, value * math.exp(-width), value * math.exp(width), unit, formula, source)


def _check_date(date: str) -> None:
    if date == "":
        return
    try:
        if not isinstance(date, str) or len(date) not in (4, 7, 10):
            raise ValueError
        dt.date.fromisoformat(date + "2000-01-01"[len(date) :])
    except ValueError as error:
        raise LabError(
            f"runtime_date is an ISO date, not {short_repr(date)}.", hint='E.g. "2026-06" or "2026-06-15".'
        ) from error
