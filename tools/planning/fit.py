"""Fit the constants of the speed model to the measured runs, and measure its errors card by card.

Run from the repository's root::

    python -m tools.planning.fit            # writes data/planning/constants.json and errors.json

Few constants, each with a meaning and a prior; a constant that the runs say little of stays near its prior.
The loss is Huber's on the logarithm of the time, one term per setting; repeated runs of one setting count
once. Settings of one card and runtime share what the model leaves out (clocks, drivers, builds), so each such
group has an offset of its own with a prior around zero, a random effect: twenty settings of one card are not
twenty independent observations. Predictions use the constants alone.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from gemma_lab.assets import data_path
from gemma_lab.planning.speed import decode_seconds, prompt_seconds
from gemma_lab.planning.workload import Prompt

from .runs import Run, runs, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PRIORS: dict[str, tuple[float, float]] = {
    # share of the bandwidth at which weights are read
    "weight_share": (math.log(0.85), 0.08),
    "weight_share.rocm": (0.0, 0.10),
    "weight_share.metal": (0.0, 0.10),
    "weight_share.sycl": (-0.2, 0.15),
    "weight_share.cpu": (-0.77, 0.2),
    "weight_share.cuda-unified": (0.0, 0.10),
    "weight_share.old": (math.log(0.6), 0.3),
    "weight_share.low-bit": (0.0, 0.10),
    "weight_share.vllm-8bit": (0.0, 0.12),
    "weight_share.vllm-4bit-float": (-0.2, 0.2),
    "expert_share": (-0.1, 0.15),
    # milliseconds of a layer beyond reading
    "layer_time": (math.log(0.07), 0.4),
    "layer_time.bandwidth": (-0.2, 0.15),
    "layer_time.edge": (0.0, 0.25),
    "layer_time.moe": (0.5, 0.3),
    "layer_time.linear-moe": (0.5, 0.3),
    "layer_time.Ollama": (0.1, 0.2),
    "layer_time.vLLM": (-1.2, 0.4),
    "layer_time.MLX": (0.0, 0.3),
    "layer_time.LiteRT-LM": (0.5, 0.4),
    "layer_time.transformers": (1.8, 0.4),
    "layer_time.rocm": (0.2, 0.25),
    "layer_time.metal": (0.4, 0.3),
    "layer_time.sycl": (0.4, 0.3),
    "layer_time.cpu": (1.0, 0.4),
    "layer_time.cuda-unified": (0.0, 0.25),
    "layer_time.early": (0.1, 0.15),
    "layer_time.late": (-0.4, 0.3),
    # share of the bandwidth at which the cache is read
    "cache_share": (math.log(0.75), 0.15),
    "cache_share.edge": (-0.5, 0.4),
    "cache_share.moe": (0.0, 0.15),
}
"""Constant → mean and standard deviation of its prior."""

PROMPT_PRIORS: dict[str, tuple[float, float]] = {
    "prompt_share": (math.log(0.7), 0.15),
    "prompt_share.moe": (-0.6, 0.3),
    "prompt_share.edge": (-0.4, 0.3),
    "prompt_share.rocm": (-0.9, 0.4),
    "prompt_share.metal": (0.0, 0.4),
    "prompt_share.sycl": (-0.9, 0.5),
    "prompt_share.cpu": (-0.3, 0.5),
    "prompt_share.cuda-unified": (-0.3, 0.3),
    "prompt_share.vllm-4bit-float": (0.4, 0.3),
    "prompt_share.vllm-8bit": (0.3, 0.3),
}
"""The same for prompts: shares of the dense 16-bit rate."""

SIGMA = 0.08
GROUP_SIGMA = 0.15
"""Standard deviation of the offset of a card and runtime in log units: 0.10 among the residuals of the fit,
0.17 among those of cards left out (method of moments). From 0.1 to 0.15 the errors hardly change."""
PROMPT_SIGMA = 0.15
HUBER = 1.5
LEVEL = 0.80


def fit(measured: Sequence[Run]) -> dict[str, float]:
    """Return the constants that fit some runs: those of decoding, then those of prompts."""
    constants = _solve(
        PRIORS,
        [-math.log(run.tokens_per_second) for run in measured],
        lambda values: [math.log(decode_seconds(run.step, values)) for run in measured],
        SIGMA,
        groups=[f"{run.card}, {run.row['runtime']}" for run in measured],
    )
    timed = timed_prompts(measured)
    return constants | _solve(
        PROMPT_PRIORS,
        [math.log(prompt.tokens / rate) for _, prompt, rate in timed],
        lambda values: [
            math.log(prompt_seconds(prompt, constants | values) or 1.0) for _, prompt, _ in timed
        ],
        PROMPT_SIGMA,
    )


def timed_prompts(measured: Sequence[Run]) -> list[tuple[Run, Prompt, float]]:
    """Return the runs whose prompt was timed, with the prompt and its tokens/s."""
    return [
        (run, run.prompt, run.prompt_tokens_per_second)
        for run in measured
        if run.prompt is not None and run.prompt_tokens_per_second
    ]


def _solve(
    priors: dict[str, tuple[float, float]],
    measured_log: Sequence[float],
    model: Callable[[dict[str, float]], Sequence[float]],
    sigma: float,
    *,
    groups: Sequence[str] = (),
    rounds: int = 40,
) -> dict[str, float]:
    """Minimise the penalised Huber loss by Gauss-Newton steps with numeric slopes.

    With `groups`, one name per measurement, each group has an offset, which is fitted and not returned.
    """
    names, offsets = list(priors), sorted(set(groups))
    mean = np.array([priors[name][0] for name in names] + [0.0] * len(offsets))
    spread = np.array([priors[name][1] for name in names] + [GROUP_SIGMA] * len(offsets))
    target = np.array(measured_log)
    member = np.array([[name == group for name in offsets] for group in groups], dtype=float)
    values = mean.copy()

    def predicted(point: np.ndarray) -> np.ndarray:
        constants = point[: len(names)].tolist()
        now = np.array(model(dict(zip(names, constants, strict=True))))
        return now + member @ point[len(names) :] if offsets else now

    for _ in range(rounds):
        now = predicted(values)
        residual = (target - now) / sigma
        weight = np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-9))
        slope = np.empty((len(target), len(mean)))
        if offsets:
            slope[:, len(names) :] = member / sigma
        for column in range(len(names)):
            moved = values.copy()
            moved[column] += 1e-4
            slope[:, column] = (predicted(moved) - now) / 1e-4 / sigma
        normal = slope.T @ (slope * weight[:, None]) + np.diag(spread**-2)
        right = slope.T @ (weight * residual) + (mean - values) / spread**2
        change = np.linalg.solve(normal, right)
        values = values + np.clip(change, -0.3, 0.3)
        if float(np.abs(change).max()) < 1e-5:
            break
    return dict(zip(names, (round(float(value), 4) for value in values[: len(names)]), strict=True))


def left_out(measured: Sequence[Run]) -> dict[str, tuple[float, float | None]]:
    """Return id → tokens/s of decoding and of the prompt, with constants fitted without that run's card."""
    predictions: dict[str, tuple[float, float | None]] = {}
    for card in dict.fromkeys(run.card for run in measured):
        constants = fit([run for run in measured if run.card != card])
        predictions |= {run.ids[0]: predict(run, constants) for run in measured if run.card == card}
    return predictions


def predict(run: Run, constants: dict[str, float]) -> tuple[float, float | None]:
    """Return tokens/s of decoding, and of the prompt where it was measured."""
    if run.prompt is None:
        return 1 / decode_seconds(run.step, constants), None
    seconds = prompt_seconds(run.prompt, constants)
    return 1 / decode_seconds(run.step, constants), run.prompt.tokens / seconds if seconds else None


def half_width(residuals: Sequence[float], level: float = LEVEL) -> float:
    """Return the half-width in log units that holds a share of the residuals, with one row's correction."""
    ordered = sorted(abs(each) for each in residuals)
    rank = min(len(ordered) - 1, math.ceil(level * (len(ordered) + 1)) - 1)
    return ordered[rank]


def summary(pairs: Sequence[tuple[str, float]]) -> dict[str, float | int]:
    """Return the errors of (card, logarithm of predicted over measured) pairs, and what intervals hold.

    The interval of a run is as wide as the errors of the runs of other cards make it.
    """
    residuals = [value for _, value in pairs]
    errors = np.abs(np.exp(residuals) - 1)
    inside = [
        abs(value) <= half_width([other for name, other in pairs if name != card]) for card, value in pairs
    ]
    return {
        "settings": len(pairs),
        "cards": len({card for card, _ in pairs}),
        "median": round(float(np.median(errors)), 4),
        "p90": round(float(np.quantile(errors, 0.9)), 4),
        "bias": round(float(np.median(residuals)), 4),
        "coverage": round(sum(inside) / len(inside), 4),
        "half_width": round(half_width(residuals), 4),
    }


def main() -> None:
    """Fit, measure the errors, and write both files."""
    measured = settings(runs())
    constants = fit(measured)
    predictions = left_out(measured)
    decode = [(run.card, math.log(predictions[run.ids[0]][0] / run.tokens_per_second)) for run in measured]
    prompt = [
        (run.card, math.log((predictions[run.ids[0]][1] or 1.0) / rate))
        for run, _, rate in timed_prompts(measured)
    ]
    errors = {"decode": summary(decode), "prompt": summary(prompt)}
    many = sum(len(run.ids) for run in measured)
    body = {
        "about": "Logarithms of the factors of the speed model, fitted by tools/planning/fit.py.",
        "fitted_to": f"{many} runs in {len(measured)} settings on {errors['decode']['cards']} kinds of "
        "hardware",
        "newest_run": max(run.row["date"] for run in measured),
        "bandwidth_gb_s": [
            round(pick(run.step.bandwidth for run in measured) / 1e9, 1) for pick in (min, max)
        ],
        "log": constants,
        "interval": {
            "level": LEVEL,
            "decode": errors["decode"]["half_width"],
            "prompt": errors["prompt"]["half_width"],
        },
    }
    _write("constants.json", body)
    _write(
        "errors.json", {**errors, "rows": [_row(run, predictions[run.ids[0]], constants) for run in measured]}
    )
    print(json.dumps(errors, indent=1))


def _row(
    run: Run, without_card: tuple[float, float | None], constants: dict[str, float]
) -> dict[str, object]:
    fitted = predict(run, constants)
    row: dict[str, object] = {
        "ids": list(run.ids),
        "measured": run.tokens_per_second,
        "left_out": round(without_card[0], 2),
        "fitted": round(fitted[0], 2),
    }
    if run.prompt is not None:
        row |= {
            "prompt_measured": run.prompt_tokens_per_second,
            "prompt_left_out": round(without_card[1] or 0, 1),
            "prompt_fitted": round(fitted[1] or 0, 1),
        }
    return row


def _write(name: str, body: object) -> None:
    path = data_path("planning") / name
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
