"""Programs that run a model, and what each allocates besides the weights. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from ..errors import LabError
from .facts import normalized, read_facts, unknown


@dataclass(frozen=True)
class Runtime:
    """One runtime.

    Attributes
    ----------
    name, family
        E.g. ``"Ollama"``, whose family is ``"llama.cpp"``: the constants of the family apply.
    kinds
        Kinds of hardware that it runs on.
    window_padding
        Step in tokens to which the cache of a sliding window is rounded up; above 1 such a cache also holds
        one piece of the prompt beyond the window. 0: exactly the window.
    piece
        Tokens of a prompt that are processed at once.
    tied_copy_on_host
        Whether a second, mapped copy of a tied embedding lies in the computer's memory.
    ple_on_host
        Whether the per-layer embedding table stays in the computer's memory.
    logits_bytes
        Bytes of a logit while a piece of a prompt is processed.
    overhead_gib
        Kind of hardware → what the runtime takes besides weights, cache and activations.
    default_quantization
        What a plan takes if none is named.
    source
        Where this comes from.
    offload
        What goes to main memory when a model does not fit: ``"experts"`` first, or whole ``"layers"``.
    host_share
        Share of the main memory's bandwidth at which weights there are read. 0.6: three runs with experts
        on the processor (RTX 5080, llama.cpp); 0.3: two runs of Ollama, which moves whole layers.
    """

    name: str
    family: str
    kinds: tuple[str, ...]
    window_padding: int
    piece: int
    ple_on_host: bool
    logits_bytes: int
    tied_copy_on_host: bool
    overhead_gib: Mapping[str, float] = field(hash=False)
    default_quantization: str
    source: str
    offload: str = "experts"
    host_share: float = 0.6

    def window_slack(self, window: int, batch: int) -> float:
        """Return the tokens of one sequence that a window's cache holds beyond the window, on average.

        llama.cpp allocates one cache for all sequences: windows × sequences + one piece, rounded up to 256.
        """
        if not self.window_padding:
            return 0.0
        cells = window * batch + (self.piece if self.family == "llama.cpp" else 0)
        step = self.window_padding
        return -(-cells // step) * step / batch - window


def find_runtime(name: str | Runtime) -> Runtime:
    """Return a runtime by name.

    Raises
    ------
    LabError
        If it is not known.
    """
    if isinstance(name, Runtime):
        return name
    found = _aliases().get(normalized(str(name)))
    if found is None:
        raise unknown("runtime", name, known_runtimes())
    return known_runtimes()[found]


def check_runs_on(runtime: Runtime, kind: str) -> None:
    """Raise a `LabError` if a runtime does not run on a kind of hardware."""
    if kind not in runtime.kinds:
        able = [each.name for each in known_runtimes().values() if kind in each.kinds]
        raise LabError(
            f"{runtime.name} does not run on {kind} hardware.", hint=f"On it run {', '.join(able)}."
        )


@cache
def known_runtimes() -> Mapping[str, Runtime]:
    """Return the runtimes by name."""
    return MappingProxyType(
        {
            row["name"]: Runtime(
                **{
                    key: value
                    for key, value in row.items()
                    if key not in ("aliases", "kinds", "overhead_gib")
                },
                kinds=tuple(row["kinds"]),
                overhead_gib=MappingProxyType(row["overhead_gib"]),
            )
            for row in read_facts("runtimes.json")
        }
    )


@cache
def _aliases() -> Mapping[str, str]:
    rows = read_facts("runtimes.json")
    return MappingProxyType(
        {normalized(alias): row["name"] for row in rows for alias in (row["name"], *row["aliases"])}
    )
