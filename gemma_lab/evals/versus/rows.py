"""A comparison as rows: one per measured quantity, each with what it is set beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..statistics import clustered_mean_interval, wilson_interval

if TYPE_CHECKING:
    from .compared_parts import ComparedParts

COLUMNS = ("part", "measure", "first", "second", "change", "low", "high", "reference", "reference_is")
"""Columns of a comparison as a table; `low` and `high` bound `change` (95 %), `reference` is for `change`."""

Row = tuple[str, str, float, float, float, float, float, float, str]
_NONE = float("nan")


def rows(versus: ComparedParts) -> list[Row]:
    """Return the rows of a comparison under `COLUMNS`; NaN where a cell has no value."""
    return [*_answers(versus), *_checkup(versus), *_tokens(versus), *_routing(versus),
            *_attention(versus), *_memory(versus), *_speed(versus)]  # fmt: skip


def _answers(versus: ComparedParts) -> Iterator[Row]:
    same, asked = versus.equal_answers
    if asked:
        low, high = wilson_interval(same, asked)
        yield "answers", "same answer", _NONE, _NONE, same / asked, low, high, _NONE, ""
    bounds = versus.reported_kl
    if len(bounds):
        yield ("answers", "KL at least, nats per token, from reported log-probabilities", _NONE, _NONE,
               float(bounds.mean()), _NONE, _NONE, _NONE, "")  # fmt: skip


def _checkup(versus: ComparedParts) -> Iterator[Row]:
    for skill in () if versus.checkup is None else versus.checkup.skills:
        first, second = skill.accuracies
        low, high = skill.difference_interval
        chance = _NONE if skill.chance is None else skill.chance
        yield ("checkup", skill.skill, first, second, second - first, low, high, chance,
               f"accuracy by chance; p = {skill.adjusted:.2g} (McNemar, Holm)")  # fmt: skip


def _tokens(versus: ComparedParts) -> Iterator[Row]:
    tokens = versus.tokens
    if tokens is None:
        return
    low, high = tokens.mean_kl_interval
    yield ("tokens", "KL, nats per token", _NONE, _NONE, tokens.mean_kl, low, high,
           float(tokens.noise.mean()), "rounding")  # fmt: skip
    low, high = tokens.agreement_interval
    yield ("tokens", "same likeliest token", _NONE, _NONE, tokens.agreement, low, high,
           tokens.chance_agreement, "chance")  # fmt: skip
    means = tokens.logprobs.mean(axis=0)
    low, high = clustered_mean_interval(tokens.logprobs[:, 1] - tokens.logprobs[:, 0], tokens.prompt)
    yield ("tokens", "log-probability of the answers, nats per token", float(means[0]), float(means[1]),
           float(means[1] - means[0]), low, high, _NONE, "")  # fmt: skip


def _routing(versus: ComparedParts) -> Iterator[Row]:
    flips, noise = versus.routing, versus.routing_noise
    if flips is None:
        return
    prompts = versus.columns[:, 0]
    for index, layer in enumerate(flips.layers):
        low, high = clustered_mean_interval(flips.flipped[index], prompts)
        yield ("routing", f"slots flipped, layer {layer}", _NONE, _NONE, float(flips.by_layer[index]),
               low, high, float(flips.chance[index]), "chance")  # fmt: skip
    low, high = clustered_mean_interval(flips.flipped.mean(axis=0), prompts)
    yield ("routing", "slots flipped", _NONE, _NONE, flips.mean, low, high,
           _NONE if noise is None else noise.mean, "rounding")  # fmt: skip
    low, high = clustered_mean_interval(flips.weight.mean(axis=0), prompts)
    yield ("routing", "gate weight moved", _NONE, _NONE, float(flips.weight.mean()), low, high,
           _NONE if noise is None else float(noise.weight.mean()), "rounding")  # fmt: skip


def _attention(versus: ComparedParts) -> Iterator[Row]:
    moved, noise = versus.attention, versus.attention_noise
    if moved is None:
        return
    for index, layer in enumerate(moved.layers):
        yield ("attention", f"attention moved, layer {layer}", _NONE, _NONE, float(moved.by_layer[index]),
               _NONE, _NONE, float(moved.between_heads[index]), "between two heads")  # fmt: skip
    yield ("attention", "attention moved", _NONE, _NONE, moved.mean, _NONE, _NONE,
           _NONE if noise is None else noise.mean, "rounding")  # fmt: skip


def _memory(versus: ComparedParts) -> Iterator[Row]:
    memory = versus.memory
    if memory is None:
        return
    for part in memory.parts:
        first, second = float(memory.first.get(part, 0)), float(memory.second.get(part, 0))
        yield "memory", f"{part}, bytes", first, second, second - first, _NONE, _NONE, _NONE, ""


def _speed(versus: ComparedParts) -> Iterator[Row]:
    speed = versus.speed
    if speed is None:
        return
    for name, values in ((speed.unit, speed.decoding), ("prefill, tokens/s", speed.prefill)):
        if not np.isfinite(values).all():
            continue
        first, second = np.median(values, axis=0).tolist()
        ratios = values[:, 1] / values[:, 0]
        spread = float((values.max(axis=0) / values.min(axis=0)).max()) if speed.rounds > 1 else _NONE
        yield ("speed", f"{name} (change: ratio)", first, second, float(np.median(ratios)),
               float(ratios.min()), float(ratios.max()), spread, "same model, between rounds")  # fmt: skip
