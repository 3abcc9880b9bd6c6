"""Training of a mini: one command with a seed, a progress bar, checkpoints and resumption."""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..errors import LabError
from .architecture import SHAPES, mini_config, new_model
from .batches import Batcher
from .checkpoint import write_checkpoint
from .curriculum import Curriculum
from .encoding import SKIP, Row
from .forward_pass import ForwardPass
from .optimizer import new_optimizer, set_rates
from .perception import Step, perception
from .rounded_weights import rounded_weights
from .row_groups import by_length, by_window
from .schedule import Stage, stages
from .skill_mixture import Mixture
from .tasks import HEARD, SEEN, SKILLS, corpus, skills_of
from .tokenizer import build_tokenizer
from .watchers import Watchers
from .weight_transfer import carry_over, teacher_of
from .workers import Workers

_ROWS = 12  # packed rows of one step
_BALANCE = 0.01  # weight of the load-balancing loss, as in Switch Transformer (arXiv 2101.03961)
_WATCHES = 0.5  # weight of the losses of probes and of guides


class Trainer:
    """Trains a mini for a number of minutes of computing, in any number of sessions.

    Parameters
    ----------
    run
        Folder of the run: the tokenizer, ``state.pt`` (to resume), ``log.jsonl`` (losses), never the shipped
        weights.
    name
        A key of `gemma_lab.minis.architecture.SHAPES`.
    minutes
        The total budget, of processor time per thread of each worker, so that other processes do not shorten
        the training.
        Stages (`gemma_lab.minis.schedule`), the learning rate and the curriculum follow the fraction that is
        spent.
    seed
        Of the weights and of every draw; a resumed run keeps its own.
    skills
        To train, of `gemma_lab.minis.tasks.SKILLS`. Default: all that the mini has the modalities for.
    start
        A published mini to start from (`gemma_lab.minis.weight_transfer`); its trained encoders need less
        pretraining.
    keep_words
        Keep the vocabulary of that mini instead of the tasks' current one.
    focus
        Skills that get a third of the rows of every step, and their drills, while the others are rehearsed:
        for an earlier mini that has learned everything. Neither are encoders pretrained again then, nor is
        anything trained alone but clips, if motion is in focus. A resumed run keeps its own.
    rate
        Peak learning rate, as a share of that of a new mini. Default: 1, and 0.5 from an earlier mini. A
        resumed run keeps its own.
    qat
        Quantisation-aware training: weights are on the grid of Q4_0 in every pass, and when published.
        A resumed run keeps it.
    """

    def __init__(
        self,
        run: Path,
        *,
        name: str = "mini-moe",
        minutes: float,
        seed: int = 0,
        skills: tuple[str, ...] | None = None,
        start: Path | None = None,
        keep_words: bool = False,
        focus: tuple[str, ...] = (),
        rate: float | None = None,
        qat: bool = False,
    ) -> None:
        self.run, self.name, self.minutes, self.seed = run, name, minutes, seed
        self.skills = skills_of(hears=SHAPES[name]["audio"] is not None) if skills is None else skills
        self.start, self.qat = start, qat
        _check_options(self.skills, focus, rate)
        run.mkdir(parents=True, exist_ok=True)
        self.tokenizer = _tokenizer(run, start if keep_words else None)
        self.model = new_model(mini_config(name, len(self.tokenizer)), seed=seed)
        begun: list[str] = []  # senses that came trained
        self.earlier: dict[str, Any] | None = None  # how the mini that it starts from was trained
        if start is not None and not (run / "state.pt").exists():
            begun = carry_over(self.model, self.tokenizer, start)
            if (start / "card.json").exists():
                self.earlier = _training_of(start, name)
        self.stages = stages(self.skills, focus=focus, rate=rate, again=start is not None)
        self.perception = perception(self.model, self.skills, begun=begun, teacher=self._teacher())
        self.watchers, self.forward = Watchers(self.model), ForwardPass(self.model)
        if not (run / "state.pt").exists():
            self.perception.centre(seed)
        self.probes = torch.nn.ModuleList([*self.perception.probes, *self.watchers.probes])
        self.optimizer = new_optimizer(self.model, self.probes)
        self.step, self.spent, self.trained = 0, 0.0, set(self.skills)
        self.mixture = Mixture(self.skills, rows=_ROWS)
        self._joint = 0
        came: dict[str, Any] = {}
        if (run / "state.pt").exists():
            came = self._resume()
        self.batcher = self._batcher(f"{self.seed} {self.step}")
        self.join(Workers())
        self.stage = self._enter(**came)

    def join(self, workers: Workers) -> None:
        """Train as one of several workers with the first one's weights.

        All draw the same rows, of which each computes its share; perception draws its own in each of them.
        """
        self.workers, self.perception.workers = workers, workers.count
        self._own = self._batcher(f"{self.seed} {self.step} {workers.rank}")
        workers.copy_from_first([*self.model.state_dict().values(), *self.probes.state_dict().values()])

    def _batcher(self, seed: str) -> Batcher:
        return Batcher(self.tokenizer, random.Random(seed), self.perception.media)

    def _teacher(self) -> Any:
        return None if self.start is None else teacher_of(self.model, self.tokenizer, self.start)

    @property
    def progress(self) -> float:
        """Fraction of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent / (60 * self.minutes))

    @property
    def continues(self) -> bool:
        """Whether it goes on from an earlier training of this mini, not of another."""
        return self.earlier is not None and "name" not in self.earlier

    def _now(self) -> Stage:
        return next(stage for stage in reversed(self.stages) if self.progress >= stage.start)

    def _enter(self, **came: Any) -> Stage:
        """Begin the stage of the present progress, or go on with it.

        Parameters
        ----------
        came
            Level and losses of a curriculum that goes on.
        """
        stage = self._now()
        self.mixture.focus = stage.focus
        self.perception.large = "digits" in stage.focus
        formed = self.perception.teacher is not None or self.continues
        self.curriculum = Curriculum(self.batcher, self.mixture, formed=formed, **came)
        return stage

    def train(self) -> None:
        """Train until the budget is spent; an interrupt saves the state first."""
        bar = tqdm(
            total=60 * self.minutes, initial=self.spent, unit="s", desc=self.name, mininterval=5,
            disable=not self.workers.first,
        )  # fmt: skip
        saved = self.spent
        try:
            while self.progress < 1:
                start = time.process_time()
                losses = self._step()
                took = self.workers.most((time.process_time() - start) / torch.get_num_threads())
                self.spent += took
                bar.update(took)
                if self.step % 20 == 0 and self.workers.first:
                    self._log(losses)
                    bar.set_postfix({skill: f"{loss:.2f}" for skill, loss in losses.items()})
                if self.spent - saved > 120:
                    self._save()
                    saved = self.spent
        finally:
            self._save()
            bar.close()

    def _step(self) -> dict[str, float]:
        if self._now() is not self.stage:
            self.stage, self._joint = self._enter(), 0  # which warms the learning rate up again
        sense = self._sense()
        if sense is None and not self._joint and not self.stage.focus:
            self.perception.centre(self.seed)
        self._joint += sense is None
        steps = self._joint if sense is None else self.step  # each kind of step warms up by itself
        perceives = any(skill in self.skills for skill in SEEN + HEARD)  # otherwise nothing is probed
        set_rates(
            self.optimizer, self.stage.learning_rate(self.progress), steps=steps,
            probes_first=self.continues and perceives,
        )  # fmt: skip
        with self._rounded():
            losses = self._practise() if sense is None else self._perceive(sense)
        learned = [*self.model.parameters(), *self.probes.parameters()]
        self.workers.add_up(learned, scale=1.0 if sense is None else 1 / self.workers.count)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return losses

    def _rounded(self) -> contextlib.AbstractContextManager[None]:
        """Have the weights that quantisation-aware training rounds on their grid."""
        return rounded_weights(self.model) if self.qat else contextlib.nullcontext()

    def _sense(self) -> Step | None:
        """Return the step of perception alone that is due at this point of the budget, or None."""
        if self.stage.focus and self.curriculum.alone_now:
            return None
        # with a focus, only what follows pretraining
        fraction = 1.0 if self.stage.focus else self.stage.fraction(self.progress)
        step: Step | None = self.perception.step(fraction, self.step)
        return step

    def _perceive(self, sense: Step) -> dict[str, float]:
        """Have each worker see or hear images or sounds of its own, and return its losses."""
        losses = sense(self._own)
        self.perception.agree(self.workers)
        return losses

    def _practise(self) -> dict[str, float]:
        practice = self.curriculum.draw(self.stage.fraction(self.progress))
        self.perception.settle(self.mixture, shows=practice.shows)
        self.workers.require_same(practice.rows)
        shared = self.workers.share(practice.rows)
        parts = [some for part in by_length(shared) for some in by_window(part, practice.window)]
        tokens = _answer_tokens(practice.rows)
        found: dict[str, float] = dict.fromkeys(tokens, 0.0)
        for some, narrow in parts:
            with self.forward.window(narrow):
                # which soft tokens are compared is drawn, and workers have other rows
                batch = self._own.batch(some, grid=practice.grid)
                shares = {name: count / tokens[name] for name, count in _answer_tokens(some).items()}
                losses = self.forward.losses(batch)
                total = torch.stack([shares[name] * loss for name, loss in losses.items()]).sum()
                beside = _BALANCE * self.forward.balance()
                if self._watches:
                    beside = beside + _WATCHES * self.watchers.loss(batch)
                total = total + beside / self.workers.count
            torch.autograd.backward(total)
            for name, loss in losses.items():
                found[name] += shares[name] * float(loss.detach())
        found = self.workers.sum(found)
        self.curriculum.saw(found)
        return found

    @property
    def _watches(self) -> bool:
        """Whether images are watched, which a training with other skills in focus goes without."""
        return not self.stage.focus or bool(set(self.stage.focus) & set(SEEN))

    def _held_out(self) -> dict[str, float]:
        """Return skill → accuracy of held-out answer tokens, given the answer before them."""
        batcher = Batcher(self.tokenizer, random.Random(self.step), self.perception.media)
        shares = {}
        with self._rounded():
            for skill in self.skills:
                batch = batcher.batch([batcher.row(skill, held_out=True) for _ in range(6)])
                shares[skill] = round(self.forward.share_right(batch), 3)
        return shares

    def _log(self, losses: dict[str, float]) -> None:
        row: dict[str, Any] = {
            "step": self.step, "seconds": round(self.spent, 1), "stage": self.stage.name,
            "level": self.curriculum.level,
            "loss": {name: round(loss, 4) for name, loss in losses.items()},
            "running": {
                skill: round(self.mixture.losses[skill], 4)
                for skill in self.skills if skill in self.mixture.losses
            },
            "alone": {name: round(loss, 4) for name, loss in self.curriculum.alone.items()},
            "probes": {name: round(loss, 4) for name, loss in self.watchers.last.items()},
        }  # fmt: skip
        if unused := self.forward.unused_experts():
            row["unused_experts_last_batch"] = unused
        if self.step % 400 == 0:
            row["held_out_tokens_right"] = self._held_out()
        with (self.run / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self) -> None:
        if not self.workers.first:
            return
        state = {
            "name": self.name, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "probes": self.probes.state_dict(), "step": self.step, "spent": self.spent, "seed": self.seed,
            "trained": sorted(self.trained), "joint": self._joint, "losses": self.mixture.losses,
            "level": self.curriculum.level, "alone": self.curriculum.alone,
            "sizes": self.curriculum.sizes.losses, "begun": self.perception.begun,
            "earlier": self.earlier, "start": str(self.start or ""), "rate": self.stages[0].rate,
            "focus": list(self.stages[0].focus), "again": len(self.stages) == 1,
            "qat": self.qat,
        }  # fmt: skip
        torch.save(state, self.run / "state.tmp")
        (self.run / "state.tmp").replace(self.run / "state.pt")

    def _resume(self) -> dict[str, Any]:
        """Load the run's state and return the level of its curriculum."""
        state: dict[str, Any] = torch.load(self.run / "state.pt", weights_only=True)
        if state["name"] != self.name:
            raise LabError(
                f"The run in {self.run} trains {state['name']}, not {self.name}.",
                hint="Use a separate folder for each mini: --run.",
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.probes.load_state_dict(state["probes"])
        self.step, self.spent, self.seed = state["step"], state["spent"], state["seed"]
        self._joint, self.perception.begun = state["joint"], state["begun"]
        self.earlier, self.qat = state.get("earlier"), state.get("qat", False)
        self.stages = stages(
            tuple(skill for skill in SKILLS if skill in state["trained"]),
            focus=tuple(state.get("focus", ())), rate=state.get("rate"), again=state.get("again", True),
        )  # fmt: skip
        self.mixture.losses |= {k: v for k, v in state["losses"].items() if k in self.mixture.skills}
        self.trained |= set(state["trained"])
        if self.start is None and state.get("start") and Path(state["start"]).exists():
            self.start = Path(state["start"])
            self.perception.teacher = self._teacher()
        return {name: state.get(name) for name in ("level", "alone", "sizes")}

    def publish(self, folder: Path) -> None:
        """Write the checkpoint to ship (`gemma_lab.minis.checkpoint`)."""
        with self._rounded():
            write_checkpoint(self.model, self.tokenizer, folder)


def _training_of(folder: Path, name: str) -> dict[str, Any]:
    """Return how a published mini was trained, with its name unless it is `name`."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    training: dict[str, Any] = card["training"]
    return training if card["name"] == name else {"name": card["name"], **training}


def _check_options(skills: tuple[str, ...], focus: tuple[str, ...], rate: float | None) -> None:
    if unknown := [skill for skill in skills if skill not in SKILLS]:
        raise LabError(
            f"No skill is called {', '.join(map(repr, unknown))}.", hint=f"There are {', '.join(SKILLS)}."
        )
    if other := [skill for skill in focus if skill not in skills]:
        raise LabError(
            f"The focus is on {', '.join(other)}, which is not trained.",
            hint=f"Trained are: {', '.join(skills)}.",
        )
    if rate is not None and not 0 < rate < math.inf:
        raise LabError(f"The learning rate is {rate} times that of a new mini.", hint="Pass 0.3, say.")


def _tokenizer(run: Path, kept: Path | None) -> Any:
    """Return the run's tokenizer: at first that of a mini to keep; later sessions keep the first one's."""
    from transformers import GemmaTokenizer

    folder = run / "tokenizer"
    if not folder.exists() and kept:
        GemmaTokenizer.from_pretrained(kept).save_pretrained(folder)
    elif not folder.exists():
        build_tokenizer(corpus()).save_pretrained(folder)
    return GemmaTokenizer.from_pretrained(folder)


def _answer_tokens(rows: list[Row]) -> Counter[str]:
    """Return skill → number of tokens of its answers."""
    found: Counter[str] = Counter()
    for row in rows:
        found[row.skill] += sum(label != SKIP for label in row.labels)
    return found
