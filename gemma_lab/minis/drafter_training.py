"""Training of a mini's drafter: distilled from the mini's hidden states and distributions."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..assets import data_path
from ..errors import LabError
from .batches import Batcher
from .continuations import continued
from .drafter_architecture import BASES, new_drafter
from .drafter_batches import Drafts, drafts
from .encoding import Row
from .tasks import SEEN, skills_of

STEPS = 6
"""Tokens drafted from each position in training."""
_PEAK_RATE = 2e-3
_RATE_AGAIN = 0.5  # how much of that when a published drafter is the start
_ROWS = 7  # packed rows of one batch
_MOST = 480  # positions of a batch to draft from
_GRID = 8  # soft tokens per side of an image: what the processor makes of a square one
_SEEN_SHARE = 0.15  # rows with images; the answers are one word
_CONTINUED = 0.4  # share of steps with texts that the mini wrote itself
_REPEATS_SHARE = 0.1  # rows of repeated tokens, which no skill asks for
_REPEATS = ("repeats", "pairs", "retold")
_FEATURES = 0.1  # weight of the hidden states' loss
_FADING = 0.9  # weight of a step's loss, relative to the step before
_WARM = 50  # steps to the full learning rate
_HELD_OUT = 100  # steps between two measurements on held-out questions
_SAVED = 60  # seconds between two checkpoints


class DrafterTrainer:
    """Trains a drafter for a number of minutes of processor time, in any number of sessions.

    Parameters
    ----------
    run
        Folder of the run: ``state.pt`` (to resume) and ``log.jsonl`` (losses, held-out agreement).
    name
        ``"mini-moe-assistant"``.
    minutes
        The total budget; the learning rate follows the fraction that is spent.
    seed
        Of the weights and of every draw; a resumed run keeps its own.
    base
        Folder of the mini that it drafts for. Default: the published one.
    start
        A published drafter whose weights are the start.

    Raises
    ------
    LabError
        If the run is of another drafter, or drafts for other weights of the mini.
    """

    def __init__(
        self,
        run: Path,
        *,
        name: str = "mini-moe-assistant",
        minutes: float,
        seed: int = 0,
        base: Path | None = None,
        start: Path | None = None,
    ) -> None:
        from transformers import Gemma4AssistantForCausalLM, Gemma4ForConditionalGeneration, GemmaTokenizer

        self.run, self.name, self.minutes, self.seed = run, name, minutes, seed
        self.folder = data_path(f"minis/{BASES[name]}") if base is None else base
        run.mkdir(parents=True, exist_ok=True)
        self.base: Any = Gemma4ForConditionalGeneration.from_pretrained(
            self.folder, dtype=torch.float32, local_files_only=True
        ).requires_grad_(False)
        self.tokenizer = GemmaTokenizer.from_pretrained(self.folder)
        self.digest = weights_digest(self.folder)
        self.earlier: Any = None  # how the drafter that it starts from was trained
        if start is not None:
            self.earlier = json.loads((start / "card.json").read_text(encoding="utf-8"))["training"]
        self.model: Any = (
            new_drafter(self.base, seed=seed)
            if start is None
            else Gemma4AssistantForCausalLM.from_pretrained(start, dtype=torch.float32)
        )
        weights = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for p in weights if p.ndim > 1], "weight_decay": 0.01},
             {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0}],
            lr=_PEAK_RATE, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step, self.spent = 0, 0.0
        if (run / "state.pt").exists():
            self._resume()
        self.skills = skills_of(hears=self.base.config.audio_config is not None)

    @property
    def progress(self) -> float:
        """Fraction of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent / (60 * self.minutes))

    def train(self) -> None:
        """Train until the budget is spent; an interrupt saves the state first."""
        bar = tqdm(total=60 * self.minutes, initial=self.spent, unit="s", desc=self.name, mininterval=5)
        saved = self.spent
        try:
            while self.progress < 1:
                start = time.process_time()  # of this process: beside others a run takes longer, not less
                losses = self._step()
                took = time.process_time() - start
                self.spent += took
                bar.update(took)
                if self.step % 20 == 0:
                    self._log(losses)
                    bar.set_postfix(loss=f"{losses[0]:.3f}")
                if self.spent - saved > _SAVED:
                    self._save()
                    saved = self.spent
        finally:
            self._save()
            bar.close()

    def _step(self) -> list[float]:
        rng = random.Random(f"{self.seed} {self.step}")
        peak = _PEAK_RATE * (_RATE_AGAIN if self.earlier else 1)
        rate = peak * min(1, (self.step + 1) / _WARM) * self._decay()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        given = self._drafts(rng)
        losses = self.losses(given)
        weights = [_FADING**step for step in range(len(losses))]
        loss = sum(weight * each for weight, each in zip(weights, losses, strict=True)) / sum(weights)
        torch.autograd.backward(loss)  # type: ignore[arg-type]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return [float(each.detach()) for each in losses]

    def _decay(self) -> float:
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress))

    def _drafts(self, rng: random.Random, *, held_out: bool = False) -> Drafts:
        batcher = Batcher(self.tokenizer, rng)
        if not held_out and rng.random() < _CONTINUED:
            rows = continued(self.base, batcher, skills=self.skills, count=_ROWS)
        else:
            rows = [self._row(batcher, held_out) for _ in range(_ROWS)]
        batch = batcher.batch(rows, grid=_GRID)
        return drafts(self.base, batch, steps=STEPS, most=_MOST, rng=rng)

    def _row(self, batcher: Batcher, held_out: bool) -> Row:
        share = batcher.rng.random()
        if share < _REPEATS_SHARE:
            row: Row = getattr(batcher.drills, batcher.rng.choice(_REPEATS))()
            return row
        seen = share < _REPEATS_SHARE + _SEEN_SHARE
        skills = [skill for skill in self.skills if (skill in SEEN) == seen]
        return batcher.row(batcher.rng.choice(skills), grid=_GRID, held_out=held_out)

    def losses(self, given: Drafts) -> list[torch.Tensor]:
        """Return the loss of each drafted token, in nats per token, with its share for the hidden state.

        Each step reads the row's own token, as in a draft whose tokens so far are accepted.
        """
        losses = []
        for step, logits, hidden in self._unrolled(given):
            valid = given.valid[step - 1]
            states = given.states(step - 1)[valid]
            loss = torch.nn.functional.cross_entropy(logits, torch.softmax(self._head(states), -1))
            features = torch.nn.functional.smooth_l1_loss(hidden[valid], states)
            losses.append(loss + _FEATURES * features)
        return losses

    @torch.no_grad()
    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """Return the base's logits at hidden states, only those that are needed."""
        logits: torch.Tensor = self.base.get_output_embeddings()(states)
        cap = self.base.config.get_text_config().final_logit_softcapping
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _unrolled(self, given: Drafts) -> Any:
        """Yield each step with the drafter's logits where the step counts, and its hidden states."""
        embed = self.base.get_input_embeddings()
        masks = given.masks(self.base.config.get_text_config().sliding_window)
        hidden = given.states(-1)  # of the token before the last known one
        for step in range(1, STEPS + 1):
            if not bool(given.valid[step - 1].any()):
                return
            inputs = torch.cat([embed(given.tokens(step - 1)), hidden], dim=-1)
            last = self.model.model(
                inputs_embeds=self.model.pre_projection(inputs),
                attention_mask=masks,
                position_ids=given.positions,
                shared_kv_states=given.shared,
                use_cache=False,
                output_hidden_states=True,  # or transformers 5.24 slices embeddings that a drafter has not
            ).last_hidden_state
            hidden = self.model.post_projection(last)
            yield step, self.model.lm_head(last[given.valid[step - 1]]), hidden

    @torch.no_grad()
    def agreement(self, *, batches: int = 4) -> list[float]:
        """Return the share of held-out positions at which the i-th draft is the base's likeliest token.

        Rates are of positions where the row goes on so far; the row's own tokens are the drafts before.
        """
        right, count = [0] * STEPS, [0] * STEPS
        for number in range(batches):
            given = self._drafts(random.Random(f"held out {number}"), held_out=True)
            for step, logits, _ in self._unrolled(given):
                states = given.states(step - 1)[given.valid[step - 1]]
                same = logits.argmax(-1) == self._head(states).argmax(-1)
                right[step - 1] += int(same.sum())
                count[step - 1] += same.numel()
        return [round(hits / max(1, total), 4) for hits, total in zip(right, count, strict=True)]

    def _log(self, losses: list[float]) -> None:
        row: dict[str, Any] = {
            "step": self.step, "seconds": round(self.spent, 1), "loss": [round(each, 4) for each in losses],
        }  # fmt: skip
        if self.step % _HELD_OUT == 0:
            row["held_out_agreement"] = self.agreement()
        with (self.run / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self) -> None:
        state = {
            "name": self.name, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "spent": self.spent, "seed": self.seed, "base": self.digest,
            "earlier": self.earlier,
        }  # fmt: skip
        torch.save(state, self.run / "state.tmp")
        (self.run / "state.tmp").replace(self.run / "state.pt")

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.run / "state.pt", weights_only=True)
        if (state["name"], state["base"]) != (self.name, self.digest):
            raise LabError(
                f"The run in {self.run} trains {state['name']} for other weights ({state['base'][:12]}) than "
                f"those of {self.folder} ({self.digest[:12]}).",
                hint="Choose another folder for the run, or the mini that it was begun with.",
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.seed = state["step"], state["spent"], state["seed"]
        self.earlier = state.get("earlier")

    def publish(self, folder: Path) -> None:
        """Write the checkpoint to ship, in bfloat16, with a card that names the mini's weights."""
        self.model.to(torch.bfloat16).save_pretrained(folder)
        self.model.float()
        card = {
            "name": self.name,
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "drafts_for": {"name": BASES[self.name], "weights_sha256": self.digest},
            "training": {
                "steps": self.step,
                "minutes": round(self.spent / 60, 1),
                "seed": self.seed,
                "loss": "cross-entropy with the mini's distribution, and smooth L1 of its hidden states",
            }
            | ({"started_from": self.earlier} if self.earlier else {}),
            "held_out_agreement": self.agreement(),
        }
        text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
        (folder / "card.json").write_text(text, encoding="utf-8")


def weights_digest(folder: Path) -> str:
    """Return the sha256 of a checkpoint's weights, so that a drafter can name what it drafts for."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
