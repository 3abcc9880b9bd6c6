"""Alignment of a vision encoder with the decoder of an earlier mini.

Training that teaches an encoder to read large images moves what it says of others, and the decoder with it.
Here the decoder stays as it is, bit for bit: the encoder of a later training learns to give, at the usual
size, the soft tokens that the decoder's own encoder gives, and the same in the mean, and roughly at each
place, for large images. Knowledge of a fixed teacher was passed on like this by Romero et al. 2015 (FitNets,
arXiv:1412.6550).
"""

from __future__ import annotations

import copy
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..errors import LabError
from .architecture import mini_config, new_model
from .checkpoint import write_checkpoint
from .image_sizes import FULL_GRID, draw_large_alone
from .vision_pretraining import VisionProbe, drawn
from .weight_transfer import carry_over, published_weights

_RATE = 1e-3
_PICTURES = 12  # of a step
_USUAL = 3.0  # weight of soft tokens at the usual size: most images have it
_PLACES = 0.3  # weight of soft tokens of large images, each by itself
_EYES = ("model.vision_tower.", "model.embed_vision.")


class VisionAlignment:
    """Teaches the vision encoder of one mini to speak to the decoder of another.

    Parameters
    ----------
    name
        A mini with a vision encoder.
    tokenizer
        Of the mini with the decoder.
    decoder
        Folder of that mini.
    encoder
        Folder of the mini with the encoder to start from.
    seed
        Of the draws.
    """

    def __init__(self, name: str, tokenizer: Any, *, decoder: Path, encoder: Path, seed: int = 0) -> None:
        self.model = new_model(mini_config(name, len(tokenizer)), seed=seed)
        if getattr(self.model.model, "vision_tower", None) is None:
            raise LabError(f"{name} has no vision encoder.", hint="mini-moe and mini-edge have one.")
        carry_over(self.model, tokenizer, decoder)
        self.teacher = copy.deepcopy(self.model).requires_grad_(False)
        eyes = {key: weight for key, weight in published_weights(encoder).items() if key.startswith(_EYES)}
        self.model.load_state_dict(eyes, strict=False)
        self.model.requires_grad_(False)
        self._weights = [weight for key, weight in self.model.named_parameters() if key.startswith(_EYES)]
        for weight in self._weights:
            weight.requires_grad_(True)
        self._tokenizer = tokenizer
        self.rng, self.steps, self.spent = random.Random(seed), 0, 0.0
        self._mine, self._theirs = VisionProbe(self.model), VisionProbe(self.teacher)
        self._optimizer = torch.optim.AdamW(self._weights, lr=_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def loss(self, *, grid: int, pictures: int = _PICTURES) -> dict[str, torch.Tensor]:
        """Draw training images and return the weighted errors, relative to the variance of what is expected.

        Parameters
        ----------
        grid
            Soft tokens per side of the large images.
        """
        images, _ = drawn(self.rng, pictures=pictures, grid=grid, every=2)
        usual = self._mine.media.images(images, FULL_GRID)
        with torch.no_grad():
            wanted = self._theirs.soft_tokens(*usual)
        made = self._mine.soft_tokens(*usual)
        kept = self._mine.draw_kept(self.rng, grid)
        large = self._mine.some(*self._mine.media.images(images, grid), kept)
        row, column = ((FULL_GRID * part) // grid for part in (kept // grid, kept % grid))
        there = wanted[:, row * FULL_GRID + column]
        spread, spread_of_means = wanted.var(), wanted.mean(1).var(0).mean()
        return {
            "usual": _USUAL * (made - wanted).square().mean() / spread,
            "large": (large.mean(1) - wanted.mean(1)).square().mean() / spread_of_means,
            "places": _PLACES * (large - there).square().mean() / spread,
        }

    def train(self, minutes: float) -> dict[str, float]:
        """Train for some minutes of processor time per thread and return the last losses."""
        bar = tqdm(total=60 * minutes, unit="s", desc="alignment", mininterval=5)
        found: dict[str, float] = {}
        while self.spent < 60 * minutes:
            start = time.process_time()
            late = self.spent / (60 * minutes)
            for group in self._optimizer.param_groups:
                group["lr"] = _RATE * min(1, (self.steps + 1) / 20) * 0.5 * (1 + math.cos(math.pi * late))
            losses = self.loss(grid=draw_large_alone(self.rng))
            torch.autograd.backward(torch.stack([*losses.values()]).sum())
            torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self.steps += 1
            took = (time.process_time() - start) / torch.get_num_threads()
            self.spent += took
            bar.update(took)
            found = {kind: round(float(loss.detach()), 4) for kind, loss in losses.items()}
            bar.set_postfix(found)
        bar.close()
        return found

    def publish(self, folder: Path, *, log: Path) -> None:
        """Write the checkpoint to ship, and beside it the log of the decoder's training if there is one."""
        write_checkpoint(self.model, self._tokenizer, folder)
        if log.exists() and log.resolve() != (folder / log.name).resolve():
            shutil.copyfile(log, folder / log.name)
