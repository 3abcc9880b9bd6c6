"""Rules of other estimators for decoding speed, as their sources state them, on the measured runs.

- plain bandwidth: bandwidth ÷ bytes of the active parameters.
- FitLLM (fitllm-engine at b7cebcf, engine.js): 0.75 × bandwidth ÷ (active parameters × bits ÷ 8).
- llmfit (1.1 at 3f44fd3, fit.rs), tier 2: 0.55 × bandwidth ÷ active bytes, × 0.40 for mixtures of experts.
- the kit's former constants: 0.70 of the bandwidth and 3.5 ms a token.
"""

from __future__ import annotations

from collections.abc import Callable

from gemma_lab.planning.workload import Step

FORMER_SHARE, FORMER_MS = 0.70, 3.5


def plain(step: Step) -> float:
    """Return tokens/s if every active byte were read at the full bandwidth."""
    return step.bandwidth / _active(step)


def fitllm(step: Step) -> float:
    """Return FitLLM's tokens/s."""
    return 0.75 * step.bandwidth / _active(step)


def llmfit(step: Step) -> float:
    """Return llmfit's tokens/s."""
    return 0.55 * step.bandwidth / _active(step) * (0.40 if step.expert_bytes else 1.0)


def former(step: Step) -> float:
    """Return tokens/s by the kit's constants before they were fitted to the runs."""
    return 1 / (_active(step) / (FORMER_SHARE * step.bandwidth) + FORMER_MS * 1e-3)


def _active(step: Step) -> float:
    return step.shared_bytes + step.expert_bytes * step.expert_share


RIVALS: dict[str, Callable[[Step], float]] = {
    "plain bandwidth": plain,
    "FitLLM (× 0.75)": fitllm,
    "llmfit (× 0.55, mixtures × 0.40)": llmfit,
    "the kit's former constants": former,
}
