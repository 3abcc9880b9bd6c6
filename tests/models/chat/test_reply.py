"""Replies: plain values with a stable repr."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from gemma_lab.models.chat.reply import Alternative, Reply, Timings, Token
from gemma_lab.models.chat.sampling import Sampling


def make(seconds: float = 1.0, text: str = "Hi you") -> Reply:
    tokens = (
        Token(5, "Hi", -0.5, 1.0, (Alternative(5, "Hi", -0.5), Alternative(6, "Ho", -1.5))),
        Token(7, " you", -0.1, 0.2),
        Token(1, "", -0.01, 0.1, (), "special"),
    )
    said = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (4, 3))}]}]
    return Reply(text, "", tokens, said, 9, "stop", Sampling(), 7, "m", Timings(seconds, 2 * seconds, 9, 3))


def test_repr_is_one_stable_line_and_str_is_the_text():
    assert repr(make()) == "Reply('Hi you', 3 tokens, finish='stop', model='m')"
    assert str(make()) == "Hi you"
    assert "\n" not in repr(make(text="a\nb" * 100))
    assert len(repr(make(text="a\nb" * 100))) < 200


def test_timings_take_no_part_in_comparing():
    assert make(1.0) == make(2.0)
    assert make().timings.tokens_per_s == pytest.approx(1.0)
    assert Timings(1.0, 0.0, 9, 1).tokens_per_s == 0


def test_logprobs_and_plain_values():
    np.testing.assert_allclose(make().logprobs, [-0.5, -0.1, -0.01])
    plain = json.loads(json.dumps(make().to_dict()))
    assert plain["tokens"][0]["top_logprobs"][1] == {"id": 6, "text": "Ho", "logprob": -1.5}
    assert plain["messages"][0]["content"][0]["image"] == "picture 4×3"
    assert make().tokens[0].probability == pytest.approx(np.exp(-0.5))
