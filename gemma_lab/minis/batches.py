"""Batches: conversations packed into rows, rows padded into tensors, media as the encoders take them."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import torch

from .attention_guide import Look
from .drills import Drills
from .encoding import SKIP, Encoder, Row, filled
from .media_inputs import ENCODED, MediaInputs
from .picture_probe import CLASSES, SECONDS
from .tasks import HEARD, SEEN, SKILLS, Question, recall
from .tasks.cells import UNKNOWN
from .tasks.typing_style import typed
from .tokenizer import token_id

#: values of ``mm_token_type_ids``
_KINDS = {"image_token": 1, "video_token": 2}
_CHANGED = 0.2  # share of questions about media that are followed by one about something else
_OTHERS = ("names", "numbers", "dates")  # without them it answered with what the media show
_COMPARED = 32  # soft tokens of a question that learn where to attend in the picture before


@dataclass(frozen=True)
class Batch:
    """Rows as tensors: model inputs, labels of shape ``(rows, length)``, and the skill of each row.

    ``news`` and ``seconds``, of the same shape as the labels, hold the change at each soft token (`Row.news`)
    and the whole seconds of the timestamp before its frame, or unknown; each of ``pictures`` the class of an
    image or frame at the token that ends it; ``looks`` what should be attended to (`Row.looks`); ``before``
    some soft tokens, each with that at the same place one image or frame earlier.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    skills: list[str]
    news: torch.Tensor
    seconds: torch.Tensor
    pictures: dict[str, torch.Tensor]
    looks: list[Look]
    before: list[Look]


class Batcher:
    """Draws packed rows of one skill and joins them into batches.

    A row holds complete conversations, each with its own ``<bos>``, until the next would not fit; otherwise
    short questions would leave more padding than text.

    Parameters
    ----------
    tokenizer
        The mini's tokenizer with its chat template.
    rng
        Source of all random draws.
    media
        The inputs that the mini takes for media.
    """

    def __init__(self, tokenizer: Any, rng: random.Random, media: MediaInputs = ENCODED) -> None:
        self.rng = rng
        self.encoder = Encoder(tokenizer, media)
        self.drills = Drills(self.encoder, rng)
        self.most_facts, self.longest = recall.MAX_FACTS, 0  # of a text to recall from, in training

    def row(self, skill: str, *, length: int = 192, grid: int = 4, held_out: bool = False) -> Row:
        """Return one row of at most `length` tokens, or of one conversation that is longer.

        Parameters
        ----------
        grid
            Soft tokens per side of each image and frame.
        held_out
            Draw from the held-out part, which is not trained on.
        """
        return filled(lambda: self.encoder.row(self._ask(skill, held_out), grid=grid), length)

    def _ask(self, skill: str, held_out: bool) -> Question:
        return SKILLS[skill](self.rng, True) if held_out else typed(self.rng, self._trained(skill))

    def _trained(self, skill: str) -> Question:
        if skill == "recall":
            return recall.ask(self.rng, False, most=self.most_facts, longest=self.longest)
        question = SKILLS[skill](self.rng, False)
        if skill in (*SEEN, *HEARD) and self.rng.random() < _CHANGED:
            other = SKILLS[self.rng.choice(_OTHERS)](self.rng, False)
            question = dataclasses.replace(question, more=(*question.more, (other.prompt, other.answer)))
        return question

    def batch(self, rows: list[Row], *, grid: int = 4) -> Batch:
        """Return rows as one batch, padded on the right to the longest."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), token_id("pad_token"))
        labels = torch.full((len(rows), longest), SKIP)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            labels[number, : len(row.ids)] = torch.tensor(row.labels)
        kinds = torch.zeros_like(ids)
        for role, kind in _KINDS.items():
            kinds[ids == token_id(role)] = kind
        inputs = {
            "input_ids": ids, "attention_mask": (ids != token_id("pad_token")).long(),
            "mm_token_type_ids": kinds,
        }  # fmt: skip
        news = torch.full_like(ids, UNKNOWN)
        news[kinds > 0] = torch.tensor([new for row in rows for new in row.news], dtype=ids.dtype)
        seconds = torch.full_like(ids, UNKNOWN)
        seconds[ids == token_id("video_token")] = torch.tensor(_seconds(rows, grid), dtype=ids.dtype)
        return Batch(
            inputs | self._media(rows, grid), labels, [row.skill for row in rows], news, seconds,
            _pictures(rows, ids), [(number, *look) for number, row in enumerate(rows) for look in row.looks],
            self._before(rows, grid),
        )  # fmt: skip

    def _before(self, rows: list[Row], grid: int) -> list[Look]:
        """Return some soft tokens of pictures with those at the same place of the pictures before."""
        found: list[Look] = []
        shown = {token_id(role) for role in _KINDS}
        for number, row in enumerate(rows):
            soft = [at for at, token in enumerate(row.ids) if token in shown]
            for pictures in row.series:
                here, soft = soft[: pictures * grid**2], soft[pictures * grid**2 :]
                pairs = list(zip(here[grid**2 :], here, strict=False))
                some = self.rng.sample(pairs, min(_COMPARED, len(pairs)))
                found += [(number, at, [earlier]) for at, earlier in some]
        return found

    def _media(self, rows: list[Row], grid: int) -> dict[str, torch.Tensor]:
        inputs, media = {}, self.encoder.media
        images = [image for row in rows for image in row.images]
        if images:
            inputs["pixel_values"], inputs["image_position_ids"] = media.images(images, grid)
        clips = [clip for row in rows for clip in row.clips]
        if clips:
            frames = [frame for clip in clips for frame in clip.frames]
            inputs["pixel_values_videos"], inputs["video_position_ids"] = media.images(frames, grid)
            inputs["num_frames_per_video"] = torch.tensor([len(clip.frames) for clip in clips])
        sounds = [sound for row in rows for sound in row.sounds]
        if sounds:
            inputs["input_features"], inputs["input_features_mask"] = media.sounds(sounds)
        return inputs


def _seconds(rows: list[Row], grid: int) -> list[int]:
    """Return the whole seconds of the timestamp of each soft token of a frame, in order."""
    times = [int(at) for row in rows for clip in row.clips for at in clip.times]
    return [at if at < SECONDS else UNKNOWN for at in times for _ in range(grid**2)]


def _pictures(rows: list[Row], ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return kind → class of each image or frame at the token that ends it, ``(rows, length)``."""
    ends = ids == token_id("eoi_token")
    said = [one for row in rows for one in row.pictures]
    found = {}
    for kind, classes in CLASSES.items():
        found[kind] = torch.full_like(ids, UNKNOWN)
        known = [one.get(kind, UNKNOWN) for one in said]
        found[kind][ends] = torch.tensor([at if at < classes else UNKNOWN for at in known], dtype=ids.dtype)
    return found
