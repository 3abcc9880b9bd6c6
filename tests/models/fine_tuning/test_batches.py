"""Batches: padding changes nothing, and every epoch has every example once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gemma_lab.models.fine_tuning.batches import batch_indices, make_batch
from gemma_lab.models.fine_tuning.encoding import SKIP, ExampleSet
from gemma_lab.models.fine_tuning.loss import answer_logits, answer_loss

_COLOURS = ("red", "blue", "green")


def _examples(lab: Any) -> list[dict[str, Any]]:
    pictures = [Image.effect_noise((96, 64 + 32 * n), 80).convert("RGB") for n in range(3)]
    found: list[dict[str, Any]] = [{"prompt": "a" * n, "answer": "b" * (2 + n)} for n in (3, 30)]
    found.append({"prompt": "one", "answer": "x", "images": pictures[:1], "max_soft_tokens": 140})
    found.append({"prompt": "two", "answer": "yy", "images": pictures[1:]})
    found.append({"prompt": "three", "answer": "zzz", "video": (pictures[:1] * 3, 1.0)})
    if "audio" in lab.modalities:
        for seconds in (0.3, 1.1):
            sound = np.random.default_rng(0).standard_normal(int(16_000 * seconds)).astype(np.float32) / 10
            found.append({"prompt": "sound", "answer": "w", "audio": (sound, 16_000)})
    return found


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B"])
def test_logits_in_a_batch_are_those_of_each_example_alone(tiny_lab: Any, size: str) -> None:
    lab = tiny_lab(size)
    data = ExampleSet(lab, _examples(lab))
    with torch.no_grad():
        together, tokens = answer_logits(lab.model, make_batch([*data.first(99)], padding=0))
        alone = [answer_logits(lab.model, make_batch([one], padding=0)) for one in data.first(99)]
    torch.testing.assert_close(together, torch.cat([logits for logits, _ in alone]), atol=2e-4, rtol=0)
    assert torch.equal(tokens, torch.cat([each for _, each in alone]))


def test_logits_of_answers_are_those_of_transformers_own_forward(tiny_lab: Any) -> None:
    for size in ("E2B", "26B-A4B", "31B"):
        lab = tiny_lab(size)
        data = ExampleSet(lab, _examples(lab)[:4])
        batch = make_batch([*data.first(4)], padding=0)
        with torch.no_grad():
            logits, _ = answer_logits(lab.model, batch)
            whole = lab.model(**batch.inputs, labels=batch.labels)
        wanted = batch.labels[:, 1:] != SKIP
        torch.testing.assert_close(logits, whole.logits[:, :-1][wanted].float(), atol=1e-4, rtol=0)
        torch.testing.assert_close(answer_loss(lab.model, batch), whole.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(7, 3), (5, 8), (1, 1), (12, 4)])
def test_every_epoch_has_every_example_once_in_another_order(count: int, size: int) -> None:
    drawn = [i for step in range(3 * count) for i in batch_indices(step, size=size, count=count, seed=3)]
    epochs = [drawn[at : at + count] for at in range(0, 3 * count * size - count + 1, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 4:
        assert len({tuple(epoch) for epoch in epochs[:3]}) == 3
        assert (
            drawn[:count]
            != [i for step in range(count) for i in batch_indices(step, size=size, count=count, seed=4)][
                :count
            ]
        )
    assert batch_indices(2, size=size, count=count, seed=3) == drawn[2 * size : 3 * size]
