"""Training a mini: one command with a seed, a progress bar, checkpoints and a resume."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .architecture import mini_moe_config, new_model, new_processor
from .batches import SKIP, Batcher
from .tasks import SKILLS, digits, names, numbers, recall
from .tokenizer import build_tokenizer, token_id

_PEAK_RATE = 2e-3
_ROWS = {"digits": 16, "names": 10, "numbers": 10, "recall": 4}  # conversations of each skill in one step
_BALANCE = 0.01  # weight of the load-balancing loss (Switch Transformer, arXiv 2101.03961, eq. 4)


class Trainer:
    """Trains ``mini-moe`` for a number of minutes of computing, over as many sittings as it takes.

    Parameters
    ----------
    run
        Folder of the run: ``state.pt`` (to resume), ``log.jsonl`` (losses), never the shipped weights.
    minutes
        The whole budget. The cosine schedule and the curriculum follow the share of it that is spent.
    seed
        Seeds the weights and every draw; a run that is resumed keeps its own.
    skills
        What to train, of `gemma_lab.minis.tasks.SKILLS`.
    """

    def __init__(
        self, run: Path, *, minutes: float, seed: int = 0, skills: tuple[str, ...] = tuple(SKILLS)
    ) -> None:
        self.run, self.minutes, self.seed, self.skills = run, minutes, seed, skills
        run.mkdir(parents=True, exist_ok=True)
        corpus = [*names.corpus(), *numbers.corpus(), *digits.corpus(), *recall.corpus() * 3]
        self.tokenizer = build_tokenizer(corpus)
        self.model = new_model(mini_moe_config(len(self.tokenizer)), seed=seed)
        self._routed: list[tuple[torch.Tensor, torch.Tensor]] = []
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
            lr=_PEAK_RATE, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step, self.spent, self.trained = 0, 0.0, set(skills)
        for name, module in self.model.named_modules():
            if name.endswith(".router"):
                module.register_forward_hook(lambda _m, _i, out: self._routed.append((out[0], out[2])))
        if (run / "state.pt").exists():
            self._resume()
        self.batcher = Batcher(self.tokenizer, random.Random(f"{self.seed} {self.step}"))

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent / (60 * self.minutes))

    def train(self) -> None:
        """Train until the budget is spent; an interrupt saves the state first."""
        bar = tqdm(total=60 * self.minutes, initial=self.spent, unit="s", desc="mini-moe", mininterval=5)
        saved = self.spent
        try:
            while self.progress < 1:
                start = time.perf_counter()
                losses = self._step()
                took = time.perf_counter() - start
                self.spent += took
                bar.update(took)
                if self.step % 20 == 0:
                    self._log(losses)
                    bar.set_postfix({skill: f"{loss:.2f}" for skill, loss in losses.items()})
                if self.spent - saved > 120:
                    self._save()
                    saved = self.spent
        finally:
            self._save()
            bar.close()

    def _mixture(self) -> dict[str, dict[str, torch.Tensor]]:
        """Draw one batch of each skill; pictures are small at first, later of the processor's own size."""
        draw, rng = self.batcher.draw, self.batcher.rng
        parts = {skill: draw(skill, _ROWS[skill]) for skill in self.skills if skill != "digits"}
        if "digits" in self.skills:
            full = rng.random() < (0.1 if self.progress < 0.6 else 0.6)
            rows, grid = (4, 8) if full else (_ROWS["digits"], rng.choice((2, 3, 3, 4)))
            parts["digits"] = draw("digits", rows, grid=grid)
        if "recall" in self.skills and self.progress < 0.5:
            size = self.model.config.text_config.vocab_size
            parts["repeats"] = self.batcher.repeats(6, rng.randint(8, 48), size)
        return parts

    def _step(self) -> dict[str, float]:
        rate = (
            _PEAK_RATE
            * min(1, (self.step + 1) / 100)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = {}
        for name, batch in self._mixture().items():
            loss = self._loss(batch)
            torch.autograd.backward(loss + _BALANCE * self._balance())
            losses[name] = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return losses

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = batch.pop("labels")[:, 1:]
        self._routed.clear()
        hidden = self.model.model(**batch, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels != SKIP  # the head is the widest layer: only answers go through it
        logits = self.model.lm_head(hidden[wanted])
        cap = self.model.config.text_config.final_logit_softcapping
        logits = torch.tanh(logits / cap) * cap
        return torch.nn.functional.cross_entropy(logits.float(), labels[wanted])

    def _balance(self) -> torch.Tensor:
        terms = []
        for probabilities, chosen in self._routed:
            share = _counts(probabilities, chosen).float() / chosen.numel()
            terms.append(probabilities.shape[-1] * (share * probabilities.mean(0)).sum())
        return torch.stack(terms).mean()

    def _log(self, losses: dict[str, float]) -> None:
        unused = [int((_counts(*routed) == 0).sum()) for routed in self._routed]
        row = {
            "step": self.step,
            "seconds": round(self.spent, 1),
            "loss": losses,
            "unused_experts_last_batch": unused,
        }
        with (self.run / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
            "spent": self.spent, "seed": self.seed, "trained": sorted(self.trained),
        }  # fmt: skip
        torch.save(state, self.run / "state.tmp")
        (self.run / "state.tmp").replace(self.run / "state.pt")

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.run / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.seed = state["step"], state["spent"], state["seed"]
        self.trained |= set(state["trained"])

    def publish(self, folder: Path) -> None:
        """Write the checkpoint as it ships: bf16 safetensors, tokenizer, processor, generation settings."""
        import transformers

        settings: Any = transformers.GenerationConfig

        self.model.to(torch.bfloat16).save_pretrained(folder)
        self.model.float()
        new_processor(self.tokenizer).save_pretrained(folder)
        settings(
            do_sample=True, temperature=1.0, top_p=0.95, top_k=64, bos_token_id=token_id("bos_token"),
            pad_token_id=token_id("pad_token"),
            eos_token_id=[token_id("eos_token"), token_id("eot_token"), token_id("str_token")],
        ).save_pretrained(folder)  # fmt: skip


def _counts(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return how many tokens went to each expert, shape ``(experts,)``."""
    return torch.bincount(chosen.flatten(), minlength=probabilities.shape[-1])
