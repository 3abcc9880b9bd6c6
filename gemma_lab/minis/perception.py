"""Pretraining of what perceives, before a decoder can learn from questions.

With encoders, each learns alone: the vision encoder first, then the audio encoder. Without them, the lower
layers of the decoder learn both in turn, and to leave text as it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .batches import Batcher
from .dense_from_experts import DenseFromExperts
from .encoding import SKIP, Row
from .image_sizes import FULL_GRID, ImageSizes, draw_large_alone
from .lower_layers import LowerLayers
from .media_inputs import ENCODED, RAW
from .running_loss import record
from .skill_mixture import Mixture
from .tasks import HEARD, SEEN
from .tasks.cells import UNKNOWN
from .tokenizer import token_id
from .vision_pretraining import VisionProbe, drawn, mean_loss
from .workers import Workers

_SENSES = {"sight": 0.2, "hearing": 0.06}  # share of the first stage in which each encoder learns alone
_AGAIN = 0.25  # how much of that when an earlier mini's weights are the start
_GLANCE = 8  # number of steps between images with a larger limit of soft tokens
_GLANCE_FOCUS = 4  # the same where digits are in focus
_LARGE = 12  # images of one such step
_PICTURES = 18, 9  # maximum number of images in a step of perception alone, and with the full grid
_SOUNDS = 24  # the same of sounds
_HEARS = (
    0.7  # running loss of speech, in nats per token, from which the audio encoder learns with the decoder
)
_SEES = 0.3  # the same of scenes for the vision encoder
_EXPERTS, _PERCEPTION = 0.06, 0.3  # shares of the first stage without encoders
_REFRESHED = 3  # steps to one of perception alone, where an earlier mini's lower layers are the start
_TURN = 140  # steps of one sense alone
_BETWEEN = 20  # steps of all else between such turns, where trained lower layers perceive too little
_PERCEIVES = 0.35  # running loss of a probe's worst kind, in nats, below which they perceive enough
_KEEP = 0.95  # share of that loss that a step keeps
_LISTENS = 2  # steps with sounds to a step with images, which takes four times as long
_TEXTS = 2  # rows of text beside images, which the lower layers learn to leave as they are

Step = Callable[[Batcher], dict[str, float]]
"""A step of pretraining: it leaves gradients and returns losses by name."""


def perception(model: Any, skills: Sequence[str], *, begun: Sequence[str], teacher: Any) -> Any:
    """Return the pretraining that a new model needs.

    Parameters
    ----------
    skills
        The trained skills.
    begun
        Senses whose encoder, or lower layers, come trained: ``"sight"``, ``"hearing"``.
    teacher
        A mini with a vision encoder, whose soft tokens a decoder without one is to reproduce, or None.
    """
    if getattr(model.model, "vision_tower", None) is not None:
        return EncoderPretraining(model, skills, begun=begun)
    return LowerLayerPretraining(model, skills, begun=begun, teacher=teacher)


class EncoderPretraining:
    """Each encoder learns alone, by a probe; the vision encoder sees large images now and then later.

    Parameters
    ----------
    model, skills, begun
        As for `perception`.

    Attributes
    ----------
    probes
        Modules with weights of their own.
    media
        The inputs that the model takes for media.
    large
        Whether more steps are with large images.
    workers
        Number of processes that share the images and sounds of a step.
    """

    media, teacher, large, workers = ENCODED, None, False, 1

    def __init__(self, model: Any, skills: Sequence[str], *, begun: Sequence[str]) -> None:
        self.model, self.skills, self.begun = model, skills, list(begun)
        self.sight = VisionProbe(model)
        self.hearing = None
        if model.model.audio_tower is not None:
            from .audio_pretraining import AudioProbe

            self.hearing = AudioProbe(model)
        self.probes = [self.sight.probe, *([self.hearing.probe] if self.hearing else [])]

    def step(self, fraction: float, number: int) -> Step | None:
        """Return the step of pretraining that is due, or None.

        Parameters
        ----------
        fraction
            How much of the first stage is over, 0 to 1.
        number
            Number of the step.
        """
        start = 0.0
        for skill, sense, step in (("digits", "sight", self.look), ("speech", "hearing", self.listen)):
            if skill in self.skills:
                share = _SENSES[sense] * (_AGAIN if sense in self.begun else 1)
                if start <= fraction < start + share:
                    return step
                start += share
        every = _GLANCE_FOCUS if self.large else _GLANCE
        return self._glance if "digits" in self.skills and number % every == 0 else None

    def agree(self, workers: Workers) -> None:
        """Do nothing: the budget decides on steps."""

    def centre(self, seed: int) -> None:
        """Before and after pretraining of the audio encoder, remove the mean of its outputs."""
        if self.hearing and "speech" in self.skills and "hearing" not in self.begun:
            self.hearing.centre(random.Random(seed), sounds=48)

    def settle(self, mixture: Mixture, *, shows: bool) -> None:
        """Let encoders learn with the decoder, or not.

        A decoder that does not listen or look yet sends an encoder only noise, which undoes what it learned.
        Of large images the vision encoder learns by its probe alone, from some soft tokens at a time, which
        takes a tenth of the time.

        Parameters
        ----------
        mixture
            Running loss of each skill.
        shows
            Whether the next step's images are any for the vision encoder to learn from.
        """
        towers = (("vision_tower", "scenes", _SEES), ("audio_tower", "speech", _HEARS))
        for tower, skill, most in towers:
            if skill in self.skills:
                learns = mixture.loss(skill) < most and (shows or skill != "scenes")
                getattr(self.model.model, tower).requires_grad_(learns)

    def look(self, batcher: Batcher, grid: int | None = None) -> dict[str, float]:
        """Pretrain the vision encoder on images, of a drawn size unless it is given."""
        grid = grid or ImageSizes().draw(batcher.rng)
        if grid > FULL_GRID:
            loss = self.sight.large_loss(batcher.rng, pictures=_each(_LARGE, self.workers), grid=grid)
        else:
            loss = self.sight.loss(batcher.rng, pictures=_pictures(grid, self.workers), grid=grid)
        return _backward("large" if grid > FULL_GRID else "sight", loss)

    def _glance(self, batcher: Batcher) -> dict[str, float]:
        """Pretrain the vision encoder on larger images, which few steps with questions have."""
        self.model.model.vision_tower.requires_grad_(True)
        return self.look(batcher, draw_large_alone(batcher.rng))

    def listen(self, batcher: Batcher) -> dict[str, float]:
        """Pretrain the audio encoder."""
        assert self.hearing is not None  # only minis with audio input have the skill
        return _backward("hearing", self.hearing.loss(batcher.rng, sounds=_each(_SOUNDS, self.workers)))


class LowerLayerPretraining:
    """The lower layers of a decoder without encoders learn to see and to hear in turn.

    They learn by probes, as encoders do. With a teacher they also learn to turn raw patches into the soft
    tokens of its vision encoder, and the upper layers first learn the work of its experts. Imitation alone
    was not enough: a linear probe of the mean soft token then told 59 % of held-out digits, of the teacher's
    99 %.

    Parameters
    ----------
    model, skills, begun, teacher
        As for `perception`.
    """

    media, large, workers = RAW, False, 1

    def __init__(self, model: Any, skills: Sequence[str], *, begun: Sequence[str], teacher: Any) -> None:
        from .audio_pretraining import AudioProbe

        self.model, self.skills, self.teacher, self.begun = model, skills, teacher, list(begun)
        self.lower = LowerLayers(model)
        self.sight = VisionProbe(model, see=self.lower.see, media=RAW)
        self.hearing = AudioProbe(model, hear=self.lower.hear, media=RAW)
        self.probes = [self.sight.probe, self.hearing.probe]
        self._taught: Batcher | None = None  # makes the teacher's batches
        self.losses: dict[str, float] = {}  # running losses of "sight", its worst kind, and "hearing"
        self._texts = [skill for skill in skills if skill not in SEEN + HEARD]

    def step(self, fraction: float, number: int) -> Step | None:
        """Return the step of pretraining that is due, or None."""
        looks: list[Step] = [self.look] if self.teacher is None else [self.imitate, self.look]
        turns: dict[str, list[Step]] = {"digits": looks, "speech": [self.listen] * _LISTENS}
        senses = [step for skill, steps in turns.items() if skill in self.skills for step in steps]
        if self.begun:  # what is built on them must not be lost
            return self._refresh(senses, number)
        experts = _EXPERTS if self.teacher is not None else 0.0
        if fraction < experts:
            return self.work
        if senses and fraction < experts + _PERCEPTION:
            return senses[number // _TURN % len(senses)]
        if "digits" in self.skills and number % _GLANCE == 0:
            return self._glance
        return self.listen if "speech" in self.skills and number % _GLANCE == _GLANCE // 2 else None

    def _refresh(self, senses: list[Step], number: int) -> Step | None:
        """Return the step of perception that is due beside those of everything else, or None.

        What is perceived too little is trained in turns: Adam's steps are as small as the gradients of all
        else together are large. After 11 minutes in which eight of nine steps were of perception, of images
        and of sounds by turns, a probe told 55 % of the shapes; after two minutes of images alone, 88 %.
        """
        named = {"sight": self.look, "hearing": self.listen}
        weak = [
            step for name, step in named.items() if step in senses and self.losses.get(name, 0.0) > _PERCEIVES
        ]
        if weak:
            turn, place = divmod(number, _TURN + _BETWEEN)
            return weak[turn % len(weak)] if place < _TURN else None
        alone, turn = divmod(number, _REFRESHED)
        return None if turn or not senses else senses[alone % len(senses)]

    def agree(self, workers: Workers) -> None:
        """Give all workers the same losses, which decide on the next steps."""
        self.losses = workers.mean(self.losses, ("sight", "hearing"))

    def centre(self, seed: int) -> None:
        """Do nothing: there is no audio encoder."""

    def settle(self, mixture: Mixture, *, shows: bool) -> None:
        """Do nothing: there are no encoders."""

    def work(self, batcher: Batcher) -> dict[str, float]:
        """Teach the upper layers the feed-forward blocks of the teacher."""
        skills = [skill for skill in self.skills if skill not in HEARD]
        grid = FULL_GRID
        rows = [batcher.row(skill, grid=grid) for skill in batcher.rng.sample(skills, min(4, len(skills)))]
        inputs = self._teachers(batcher, rows, grid)
        return _backward("experts", DenseFromExperts(self.model, self.teacher).loss(inputs))

    def _teachers(self, batcher: Batcher, rows: list[Row], grid: int) -> dict[str, torch.Tensor]:
        """Return rows as the teacher takes them."""
        if self._taught is None:
            self._taught = Batcher(batcher.encoder.tokenizer, batcher.rng)
        return self._taught.batch(rows, grid=grid).inputs

    def look(self, batcher: Batcher, grid: int | None = None) -> dict[str, float]:
        """Pretrain the lower layers on images by the probe; they have a drawn size unless it is given."""
        grid = grid or ImageSizes().draw(batcher.rng)
        kinds = self.sight.losses(batcher.rng, pictures=_pictures(grid, self.workers), grid=grid)
        if grid == FULL_GRID:
            worst = max(float(loss.detach()) for loss in kinds.values())
            record(self.losses, "sight", worst, keep=_KEEP)
        return _backward("sight", mean_loss(kinds))

    def imitate(self, batcher: Batcher, grid: int | None = None) -> dict[str, float]:
        """Teach the lower layers the teacher's soft tokens of images, and to leave text as it is."""
        grid = grid or ImageSizes().draw(batcher.rng)
        rows = _image_rows(batcher.rng, pictures=_pictures(grid, self.workers), grid=grid)
        if grid <= FULL_GRID and "motion" in self.skills and batcher.rng.random() < 0.5:
            rows.append(batcher.row("motion", grid=grid, length=1))
        losses = self._alike(batcher, rows, grid)
        if self._texts:
            texts = [batcher.row(batcher.rng.choice(self._texts)) for _ in range(_TEXTS)]
            losses |= self._alike(batcher, texts, grid)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _alike(self, batcher: Batcher, rows: list[Row], grid: int) -> dict[str, torch.Tensor]:
        """Return the error of the lower layers against what the teacher's decoder is given, by kind of token.

        It is relative to the variance of the given.
        """
        batch = batcher.batch(rows, grid=grid)
        given = _given(self.teacher, self._teachers(batcher, rows, grid))
        made = self.lower.hidden(batch.inputs)
        real, soft = batch.inputs["attention_mask"].bool(), batch.inputs["mm_token_type_ids"] > 0
        parts = {"imitation": real & soft, "text": real & ~soft}
        return {
            name: (made[part] - given[part]).square().mean() / given[part].var()
            for name, part in parts.items() if part.any()
        }  # fmt: skip

    def _glance(self, batcher: Batcher) -> dict[str, float]:
        look = self.look if self.teacher is None else self.imitate
        return look(batcher, ImageSizes().draw_large(batcher.rng))

    def listen(self, batcher: Batcher) -> dict[str, float]:
        """Pretrain the lower layers on sounds."""
        losses = _backward("hearing", self.hearing.loss(batcher.rng, sounds=_each(_SOUNDS, self.workers)))
        record(self.losses, "hearing", losses["hearing"], keep=_KEEP)
        return losses


def _backward(name: str, loss: torch.Tensor) -> dict[str, float]:
    torch.autograd.backward(loss)
    return {name: float(loss.detach())}


def _each(count: int, workers: int) -> int:
    """Return how many of the images or sounds of a step one of some workers has."""
    return math.ceil(count / workers)


def _pictures(grid: int, workers: int) -> int:
    """Return the number of images of one of some workers in a step."""
    most, full = _PICTURES
    return max(1, round(min(most, full * FULL_GRID**2 / grid**2) / workers))


def _image_rows(rng: random.Random, *, pictures: int, grid: int) -> list[Row]:
    """Return rows of one image each."""
    soft = [token_id("image_token")] * grid**2
    ids = [token_id("bos_token"), token_id("boi_token"), *soft, token_id("eoi_token")]
    images, _ = drawn(rng, pictures=pictures, grid=grid)
    return [
        Row("sight", list(ids), [SKIP] * len(ids), [image], news=[UNKNOWN] * grid**2, pictures=[{}])
        for image in images
    ]


@torch.no_grad()
def _given(teacher: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what a teacher's decoder is given for a batch: embeddings of text, soft tokens of images."""
    ids = inputs["input_ids"]
    given: torch.Tensor = teacher.model.language_model.embed_tokens(ids)
    for role, pixels, positions in (
        ("image_token", "pixel_values", "image_position_ids"),
        ("video_token", "pixel_values_videos", "video_position_ids"),
    ):
        if pixels in inputs:
            seen = teacher.model.get_image_features(inputs[pixels], inputs[positions]).pooler_output
            given[ids == token_id(role)] = torch.cat(list(seen)).flatten(0, -2)
    return given
