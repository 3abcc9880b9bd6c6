"""Pretraining of the audio encoder: a probe teaches it to classify spoken digits.

A digit is a different word in each language, so the probe has 80 classes, not 10. In a new encoder, what all
sounds have in common is far larger than their differences; the encoder's bias and the probe's norm remove it.
(With the norm 95 % of the words were right after 250 steps, without it 22 %.)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from .media_inputs import ENCODED, MediaInputs
from .tasks import speech
from .tasks.variation import varies

_LANGUAGES = list(speech.LANGUAGES)
_WORDS = 10 * len(_LANGUAGES)


class AudioProbe:
    """Probe on the soft tokens of a model's sounds.

    Parameters
    ----------
    model
        A Gemma 4 model with audio input.
    hear
        ``(features, mask) -> (soft tokens, mask)``, the first ``(sounds, tokens, width)``. Default: the audio
        encoder and its projection.
    media
        The inputs that the model takes for sounds.
    """

    def __init__(
        self,
        model: Any,
        *,
        hear: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
        media: MediaInputs = ENCODED,
    ) -> None:
        self.model, self.media = model, media
        self._hear = self._encoded if hear is None else hear
        width = model.config.text_config.hidden_size
        self.probe = torch.nn.Sequential(
            torch.nn.BatchNorm1d(width, affine=False), torch.nn.Linear(width, _WORDS)
        )

    @torch.no_grad()
    def centre(self, rng: random.Random, *, sounds: int) -> None:
        """Set the bias of the encoder's last layer so that its mean output over training sounds is zero."""
        last = self.model.model.audio_tower.output_proj
        made: list[torch.Tensor] = []
        hook = last.register_forward_hook(lambda _module, _inputs, out: made.append(out))
        try:
            self.model.model.get_audio_features(*self.media.sounds(drawn(rng, sounds=sounds)[0]))
        finally:
            hook.remove()
        last.bias -= made[0].flatten(0, -2).mean(0)

    def logits(self, features: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return the probe's logits of each word, shape ``(sounds, 80)``, languages in order."""
        soft, kept = self._hear(features, real)
        weights = kept.to(soft.dtype)[..., None]
        logits: torch.Tensor = self.probe((soft * weights).sum(1) / weights.sum(1))
        return logits

    def _encoded(self, features: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.model.model.get_audio_features(features, real)
        return outputs.pooler_output, outputs.attention_mask

    def loss(self, rng: random.Random, *, sounds: int) -> torch.Tensor:
        """Draw training sounds of one digit each and return the probe's cross-entropy."""
        clips, truth = drawn(rng, sounds=sounds)
        return torch.nn.functional.cross_entropy(self.logits(*self.media.sounds(clips)), truth)


def drawn(rng: random.Random, *, sounds: int) -> tuple[list[Any], torch.Tensor]:
    """Return training sounds of one digit each, and their words, ``10 * language + digit``, ``(sounds,)``."""
    clips, words = [], []
    for _ in range(sounds):
        language, digit = rng.randrange(len(_LANGUAGES)), rng.randrange(10)
        voice = rng.choice(speech.voices(False))
        varied = varies(rng, False)
        clips.append(speech.utter(rng, [digit], language=_LANGUAGES[language], voice=voice, varied=varied))
        words.append(10 * language + digit)
    return clips, torch.tensor(words)
