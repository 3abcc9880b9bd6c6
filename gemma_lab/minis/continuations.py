"""Texts that a mini wrote itself, for the training of its drafter: drafts are of its text, right or wrong."""

from __future__ import annotations

import itertools
import random
from typing import Any

import torch

from .batches import Batcher
from .encoding import SKIP, Row
from .tasks import HEARD, SEEN
from .tokenizer import token_id

_LENGTH = 40  # tokens that are generated
_CONTEXT = 144  # tokens of the prompt, at most
_REPEATED = 0.5  # share of prompts that repeat a phrase; a mini goes on with it, or with another loop
_MEDIA = ("boi_token", "eoi_token", "boa_token", "eoa_token", "image_token", "video_token", "audio_token")
_PHRASE, _TIMES = (1, 10), (3, 8)  # tokens of a phrase, and how often it is repeated


@torch.no_grad()
def continued(base: Any, batcher: Batcher, *, skills: tuple[str, ...], count: int) -> list[Row]:
    """Return rows whose last tokens the mini generated greedily, also beyond the end of an answer.

    Parameters
    ----------
    base
        The mini.
    batcher
        Draws the prompts.
    skills
        Skills whose questions are among them; those that need media are left out.
    count
        Number of rows.
    """
    rng, textual = batcher.rng, [skill for skill in skills if skill not in (*SEEN, *HEARD)]
    prompts = [
        _repeated(batcher) if rng.random() < _REPEATED else _asked(batcher, rng.choice(textual))
        for _ in range(count)
    ]
    longest, pad = max(map(len, prompts)), token_id("pad_token")
    ids = torch.tensor([[pad] * (longest - len(each)) + each for each in prompts])
    settings = {"do_sample": False, "max_new_tokens": _LENGTH, "min_new_tokens": _LENGTH}
    written = base.generate(input_ids=ids, attention_mask=(ids != pad).long(), **settings)[
        :, longest:
    ].tolist()
    return [
        Row("continued", prompt + more, [SKIP] * len(prompt) + more)
        for prompt, more in zip(prompts, map(_text, written), strict=True)
    ]


def _text(written: list[int]) -> list[int]:
    """Return what precedes the first token of media: a picture that a mini only writes is not there."""
    media = {token_id(role) for role in _MEDIA}
    return list(itertools.takewhile(lambda token: token not in media, written))


def _asked(batcher: Batcher, skill: str) -> list[int]:
    """Return a conversation up to the beginning of an answer, or to a place in it."""
    row = batcher.row(skill, length=_CONTEXT)
    places = [place for place, label in enumerate(row.labels) if label != SKIP]
    return row.ids[: batcher.rng.choice(places)][-_CONTEXT:]


def _repeated(batcher: Batcher) -> list[int]:
    """Return a phrase of some task's text, repeated."""
    rng: random.Random = batcher.rng
    row = batcher.drills.retold()
    start, length = rng.randrange(max(1, len(row.ids) - _PHRASE[1])), rng.randint(*_PHRASE)
    phrase = [each for each in row.ids[start : start + length] if each != token_id("bos_token")]
    return [token_id("bos_token"), *(phrase or row.ids[1:3]) * rng.randint(*_TIMES)][:_CONTEXT]
