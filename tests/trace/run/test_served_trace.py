"""Experts that a server reported: one row per token read, published shapes, shifted rows refused."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest

from gemma_lab.errors import BadTrace, LabError, NotTraced
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.models.remote.reply import ServerReply
from gemma_lab.trace.run.served_trace import served_trace

PROMPT, NEW = 5, 3  # the last token of an answer is never read


def reported(layers: int, k: int, tokens: int = PROMPT + NEW - 1) -> str:
    draw = np.random.default_rng(0)
    ids = np.array([[draw.permutation(64)[:k] for _ in range(layers)] for _ in range(tokens)], dtype=np.uint8)
    file = io.BytesIO()
    np.save(file, ids)
    return base64.b64encode(file.getvalue()).decode()


def reply(routed: str | None, model: str = "mine", **changes: Any) -> ServerReply:
    fields: dict[str, Any] = {
        "text": "x", "thinking": "", "calls": (), "messages": [], "finish_reason": "stop",
        "prompt_tokens": PROMPT, "new_tokens": NEW, "sampling": Sampling(), "seed": None, "model": model,
        "seconds": 0.0, "routed_experts": routed,
    }  # fmt: skip
    return ServerReply(**fields | changes)


def test_tokens_of_prompt_and_answer_are_told_apart():
    ids = {"prompt_ids": tuple(range(10, 10 + PROMPT)), "new_ids": (90, 91, 92)}
    made = served_trace(reply(reported(3, 2), **ids), experts=64, layers=3, top_k=2)
    assert made.routing is not None
    assert len(made.routing) == PROMPT + NEW - 1
    assert made.ids == (10, 11, 12, 13, 14, 90, 91)
    assert made.generated == (False,) * PROMPT + (True, True)
    with pytest.raises(NotTraced):
        _ = made.attention


def test_a_published_name_fills_in_its_shape():
    made = served_trace(reply(reported(30, 8), "google/gemma-4-26B-A4B-it"), experts=None)
    assert made.routing is not None
    assert (made.routing.experts, len(made.routing.layers)) == (128, 30)
    with pytest.raises(LabError, match="experts"):
        served_trace(reply(reported(30, 8)), experts=None)


def test_positions_that_do_not_add_up_are_refused():
    with pytest.raises(BadTrace, match="7"):
        served_trace(reply(reported(3, 2, tokens=6)), experts=64, layers=3, top_k=2)


def test_nothing_reported_is_no_routing():
    assert served_trace(reply(None), experts=64).routing is None
