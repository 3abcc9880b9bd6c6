"""Curriculum: number of facts, text length, image size and drills of each training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .batches import Batcher
from .encoding import Row
from .image_sizes import FULL_GRID, ImageSizes
from .running_loss import record
from .skill_mixture import Mixture
from .tasks import SEEN, SKILLS, recall

ROW = 320
"""Tokens of a packed row; texts to recall from are as long at first."""
_FORMING = {"repeats": 1, "pairs": 1, "retold": 1, "asked": 2}  # drills of a step, until recall has formed
_FACTS = (3, 4, 6, 8, 10)  # most facts of a text to recall from; the next when the last is learned
_ALONE = {
    "shown": {"shown": 8},
    "far": {"asked": 8, "retold": 2, "recall": 6},
    "compare": {"compare": 8},
    "watched": {"watched": 5, "motion": 2},
    "eventful": {"eventful": 2, "pointed": 4},
    "tools": {"called": 5, "tools": 3},
}
"""Phase in which some skills are trained alone -> skills and drills, and rows of each per step."""
_OF_CLIPS = ("watched", "eventful", "pointed")  # drills whose rows are too long with larger frames
_UNSEEN = ("eventful", "pointed")  # what the vision encoder does not learn from
_DRILLED = {"tools": {"called": 2}, "motion": {"watched": 1, "eventful": 2, "pointed": 2}}
"""Skill in focus -> drills of every step, and their rows."""
_TURN, _BETWEEN = 60, 40  # steps of such a turn, and steps of everything after it
_LONGER = {"eventful": 2}  # turns with more steps, which are short
_LEARNED_ALONE = {
    "shown": 0.1,
    "far": 0.1,
    "watched": 0.1,
    "eventful": 0.3,
}  # running loss in nats per token at which no turn is needed
_SURE_ALONE = 0.06  # the same of the others
_TOGETHER = 0.6  # share of the budget from which there are no such turns: the learning rate falls from here
_NEEDS = {
    "shown": "scenes",
    "far": "recall",
    "watched": "motion",
    "eventful": "motion",
}  # skills that these are for; the others are skills themselves
_FOR_FOCUS = {"eventful": "motion"}  # trained alone even when retrieval has formed -> the focus it needs
_FIRST = 1.0  # where that loss begins
_NEAR = 0.5  # share of the other steps with such a window
_NARROW = (24, 48, 96)  # windows of the local layers in some steps with retrieval
_AHEAD = 2  # steps of `_FACTS` that the drills are ahead of the questions
_LEARNED = 0.25  # running loss of recall, in nats per token, at which more facts come
_ALL_FACTS = 0.9  # share of the budget from which texts are as long as they will be asked about
_FILLED = 2  # step of `_FACTS` from which some texts are as long
_LONG = 0.3  # share of steps with such texts
_WORKED = 0.05  # running loss of thinking, in nats per token, at which its steps are not drilled any more
_SURE = 0.25  # running loss of a drill, in nats per token, below which it is left out of more and more steps
_SELDOM = 0.1  # share of steps that even a drill without any loss is part of
_KEEP = 0.9  # share of a drill's running loss that a step keeps
_FULL = 3  # rows per visual skill, at most, where images have the full grid
_ENLARGED = ("digits", "scenes")  # skills with larger images
_ENLARGED_TOKENS = 600  # soft tokens of a step's larger images, at most


@dataclass(frozen=True)
class Practice:
    """Content of one training step.

    Attributes
    ----------
    rows
        Of skills and of drills.
    grid
        Soft tokens per side of their images, mostly the processor's default.
    window
        Sliding window, in tokens, for rows that require retrieval; None: the model's own.
    """

    rows: list[Row]
    grid: int
    window: int | None

    @property
    def shows(self) -> bool:
        """Whether the vision encoder learns from the images: not from large ones, nor from eventful clips."""
        return self.grid <= FULL_GRID and any(row.skill not in _UNSEEN for row in self.rows)


class Curriculum:
    """Draws the rows of training steps; harder ones follow once easier ones are learned.

    Parameters
    ----------
    batcher
        Draws one row.
    mixture
        Running loss of each skill.
    level
        Level that an earlier session reached, an index into the numbers of facts; 0 at first.
    alone
        Running losses of what was trained alone.
    sizes
        Running losses by size of images.
    formed
        Whether heads that retrieve came with the weights: nothing is trained alone or drilled for them then.
    """

    def __init__(
        self,
        batcher: Batcher,
        mixture: Mixture,
        *,
        level: int = 0,
        alone: dict[str, float] | None = None,
        sizes: dict[int, float] | None = None,
        formed: bool = False,
    ) -> None:
        self._formed = formed or bool(mixture.focus)
        self.sizes, self._grid = ImageSizes(sizes), FULL_GRID
        self.batcher, self.mixture, self.level = batcher, mixture, level
        self._drills: dict[str, float] = {}  # running losses
        needed = [one for one in _ALONE if _NEEDS.get(one, one) in mixture.skills]
        if self._formed:
            needed = [one for one in needed if _FOR_FOCUS.get(one) in mixture.focus]
        before = {one: loss for one, loss in (alone or {}).items() if one in needed}
        self.alone = dict.fromkeys(needed, _FIRST) | before
        if mixture.focus:
            self.level = len(_FACTS) - 1  # the mini that such a training starts from has learned them
        self._now: str | None = None  # what is practised alone
        self._left = 0  # steps that are left of what is practised now
        self._since = dict.fromkeys(self.alone, 0)  # turns since it was practised alone

    def draw(self, progress: float) -> Practice:
        """Draw the content of one step.

        Parameters
        ----------
        progress
            Fraction of the budget that is spent, 0 to 1.
        """
        rng, counts = self.batcher.rng, self.mixture.draw(self.batcher.rng)
        self._grid = grid = self.sizes.draw(rng)
        window = rng.choice(_NARROW)
        level = self._level(progress)
        self.batcher.most_facts = _FACTS[level]
        self.batcher.longest = ROW
        self.batcher.drills.most_facts = _FACTS[min(level + _AHEAD, len(_FACTS) - 1)]
        self._now = self._turn(progress)
        near = self._now == "far" or rng.random() < _NEAR
        if self._now:
            # with one size of frames, the frame before is always equally far away
            grid = FULL_GRID if self._now == "eventful" else min(grid, FULL_GRID)
            rows = [self._row(name, grid) for name, count in _ALONE[self._now].items() for _ in range(count)]
            return Practice(rows, grid, window if near else None)
        if grid > FULL_GRID:
            seen = [skill for skill in _ENLARGED if skill in self.mixture.skills]
            counts = {skill: count for skill, count in counts.items() if skill not in SEEN}
            counts |= Counter(rng.choices(seen, k=_ENLARGED_TOKENS // grid**2)) if seen else {}
        elif grid == FULL_GRID:
            counts = {skill: min(_FULL, count) if skill in SEEN else count for skill, count in counts.items()}
        if level >= _FILLED and rng.random() < _LONG:
            self.batcher.longest = recall.LONGEST
        rows = [self.batcher.row(skill, grid=grid) for skill, count in counts.items() for _ in range(count)]
        for skill in self.mixture.focus:
            for drill, count in _DRILLED.get(skill, {}).items():
                if drill not in _OF_CLIPS or grid <= FULL_GRID:  # a clip of larger frames is too long
                    rows += [self._row(drill, grid) for _ in range(count)]
        if "recall" in self.mixture.skills:
            rows += self._drilled(level)
        thinks = "thinking" in self.mixture.skills
        if thinks and self.mixture.loss("thinking") > _WORKED and self._wanted("worked"):
            rows.append(self.batcher.drills.worked())
        return Practice(rows, grid, window if near else None)

    @property
    def alone_now(self) -> bool:
        """Whether the steps of this turn train one thing alone."""
        return self._now is not None

    def saw(self, losses: dict[str, float]) -> None:
        """Record the losses of the last step, of skills and of drills, in nats per token."""
        if self._now is None:
            self.sizes.saw(self._grid, [losses[skill] for skill in _ENLARGED if skill in losses])
            self.mixture.saw(losses)
            for drill in losses.keys() - set(self.mixture.skills):
                record(self._drills, drill, losses[drill], keep=_KEEP)
        else:
            mean = sum(losses.values()) / len(losses)
            record(self.alone, self._now, mean, keep=_KEEP)

    def _turn(self, progress: float) -> str | None:
        """Return what is trained alone at this point, or None for everything together.

        Retrieval of one item among several did not form among other rows: Adam's steps are as small as the
        gradients of all skills together are large.
        """
        wanted = [one for one in self.alone if not self._learned(one)] if progress < _TOGETHER else []
        self._left -= 1
        if self._left < 0 or (self._now and self._now not in wanted):
            alone = self._now is None and wanted
            self._now = max(wanted, key=self._since.__getitem__) if alone else None
            self._left = (_LONGER.get(self._now or "", 1) * _TURN if alone else _BETWEEN) - 1
            for one in self._since:
                self._since[one] = 0 if one == self._now else self._since[one] + 1
        return self._now

    def _learned(self, alone: str) -> bool:
        return self.alone[alone] <= _LEARNED_ALONE.get(alone, _SURE_ALONE)

    def _row(self, name: str, grid: int) -> Row:
        """Return a row of a skill or of a drill."""
        if name in SKILLS:
            return self.batcher.row(name, grid=grid)
        drill: Callable[..., Row] = getattr(self.batcher.drills, name)
        return drill(grid=grid) if name in ("shown", *_OF_CLIPS) else drill()

    def _wanted(self, drill: str) -> bool:
        share = max(_SELDOM, self._drills.get(drill, _SURE) / _SURE)
        return self.batcher.rng.random() < share

    def _drilled(self, level: int) -> list[Row]:
        """Return drills until recall has formed, then only questions about facts."""
        drills = self.batcher.drills
        if level < len(_FACTS) - 1 and not self._formed:
            wanted = {drill: count for drill, count in _FORMING.items() if self._wanted(drill)}
            return [getattr(drills, drill)() for drill, count in wanted.items() for _ in range(count)]
        return [drills.asked()] if self._wanted("asked") else []

    def _level(self, progress: float) -> int:
        """Return the index into `_FACTS`, one step further whenever recall has learned the last level."""
        losses = self.mixture.losses
        if progress >= _ALL_FACTS:
            self.level = len(_FACTS) - 1
        elif self.mixture.loss("recall") < _LEARNED and self.level < len(_FACTS) - 1:
            self.level += 1
            losses["recall"] = 2 * _LEARNED  # judged anew
        return self.level
