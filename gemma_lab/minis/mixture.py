"""Which skill a training step practises how much: rows follow the losses."""

from __future__ import annotations

_SMOOTH = 0.97  # share of the running loss that a step keeps
_LEAST, _MOST = 0.05, 2.0  # bounds of a skill's running loss as a weight


class Mixture:
    """Shares a step's rows among skills in proportion to their running losses.

    What is learned keeps a small share, so that it is not forgotten; what is hard gets the rest.

    Parameters
    ----------
    skills
        What is trained.
    rows
        Rows of one step.
    """

    def __init__(self, skills: tuple[str, ...], *, rows: int) -> None:
        self.rows = rows
        self.losses = dict.fromkeys(skills, _MOST)

    def shares(self) -> dict[str, int]:
        """Return skill -> rows of the next step, at least one each."""
        weights = {skill: min(_MOST, max(_LEAST, loss)) for skill, loss in self.losses.items()}
        whole = sum(weights.values())
        return {skill: max(1, round(self.rows * weight / whole)) for skill, weight in weights.items()}

    def saw(self, losses: dict[str, float]) -> None:
        """Take in one step's loss of each skill, in nats a token."""
        for skill, loss in losses.items():
            if skill in self.losses:
                self.losses[skill] = _SMOOTH * self.losses[skill] + (1 - _SMOOTH) * loss
