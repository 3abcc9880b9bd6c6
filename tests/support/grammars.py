"""Answers drawn at random from what a grammar allows."""

from __future__ import annotations

import numpy as np

END = 106
CONTROL = {'<|"|>': 52, "<|tool_call>": 48, "<tool_call|>": 49, "<|channel>": 100, "<channel|>": 101}


def sample(made, tokenizer, rng, *, most=120):
    """An answer of allowed tokens drawn at random; None if it did not end."""
    from llguidance import numpy as engine

    matcher, ids = made.matcher(), []
    mask = engine.allocate_token_bitmask(1, made.size)
    for step in range(most):
        engine.fill_next_token_bitmask(matcher, mask, 0)
        allowed = np.flatnonzero(np.unpackbits(mask[0].view(np.uint8), bitorder="little")[: made.size])
        assert len(allowed), matcher.get_error()
        closing = [token for token in allowed if token in (END, 1, *CONTROL.values())]
        token = int(rng.choice(closing if closing and rng.random() < 0.3 + step / most else allowed))
        if token in (END, 1):
            return tokenizer.decode(ids)
        matcher.consume_token(token)
        ids.append(token)
    return None
