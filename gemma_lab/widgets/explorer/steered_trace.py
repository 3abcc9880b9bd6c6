"""Run the prompt of a trace again under a steering: what to ask, what to record, and what to say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import BadEdit, LabError
from ...models.chat.request import Request
from ...trace.interventions.direction import Direction
from ...trace.interventions.edit import Edit
from ...trace.interventions.steering import HOW, Steering
from ...trace.records.logit_lens import LogitLensRequest
from ...views.base.html import Markup, bdi, tag
from ...views.base.text import visible
from ..shared.base import sendable

if TYPE_CHECKING:
    from ...lab import Lab
    from ...trace.trace import Trace

#: The slider goes at least to this strength on both sides, in this many steps a side.
_LEAST, _STEPS = 4.0, 16


class SteeredTrace:
    """The steering that an explorer's slider sets.

    Parameters
    ----------
    trace
        The trace that is shown first; its other edits stay.
    steer
        A direction, or a steering whose tokens are kept and whose strength widens the slider.
    lab
        The model.

    Raises
    ------
    LabError
        If there is no model.
    BadEdit
        If it is no direction, or does not fit the model.
    """

    def __init__(self, trace: Trace, steer: Steering | Direction, *, lab: Lab | None) -> None:
        if not isinstance(steer, Steering | Direction):
            raise BadEdit("steer takes a direction.", hint=HOW)
        if lab is None:
            raise LabError("A slider needs the model.", hint="gl.Explorer(trace, lab=lab, steer=direction)")
        one = steer if isinstance(steer, Steering) else Steering(steer, 0)
        self._direction, self._tokens = one.direction, one.tokens
        lab.edit(self.at(1.0))  # checks that it fits
        self._most = max(_LEAST, 2 * abs(one.strength), abs(self.strength_of(trace)))

    def slider(self) -> dict[str, Any]:
        """Return what the front end needs of the slider."""
        name = sendable(visible(self._direction.name))
        return {"name": name, "max": self._most, "step": self._most / _STEPS}

    def at(self, strength: float) -> Edit:
        """Return the edit of this direction with a strength."""
        return Edit(steer=Steering(self._direction, strength, tokens=self._tokens))

    def strength_of(self, trace: Trace) -> float:
        """Return the strength of this direction in a trace; 0 without it."""
        for one in _edit_of(trace).steer:
            if self._is_mine(one):
                return one.strength
        return 0.0

    def _is_mine(self, one: Steering) -> bool:
        return (one.direction, one.tokens) == (self._direction, self._tokens)

    def edit(self, trace: Trace, strength: float) -> Edit:
        """Return the edit of a trace with another strength of this direction."""
        kept, added = _edit_of(trace), self.at(strength)
        others = [one.to_dict() for one in kept.steer if not self._is_mine(one)]
        rest = Edit.from_dict({**kept.to_dict(), "steer": others})
        return rest | added if added else rest

    def request(self, trace: Trace) -> Request:
        """Return the request of a trace.

        Raises
        ------
        LabError
            If the trace cannot be run again, e.g. because its media are not kept.
        """
        return Request.from_meta(trace.meta, trace.images)

    def text(self, strength: float) -> str:
        """Describe the steering in a few words."""
        return f"steered along {visible(self._direction.name)!r}, strength {strength:g}"

    def note(self, strength: float) -> Markup:
        """Return the same as script-free HTML."""
        return tag("div", "Steered along ", bdi(visible(self._direction.name)), f", strength {strength:g}.")


def recorded(trace: Trace) -> dict[str, Any]:
    """Return the arguments of `Lab.trace` that record again what a trace holds, at its default places."""
    lens = trace.logit_lens
    return {
        "attention": trace.attention is not None,
        "logit_lens": False if lens is None else LogitLensRequest(top=lens.top, kind=lens.kind),
    }


def _edit_of(trace: Trace) -> Edit:
    kept = trace.meta.get("edit")
    return Edit.from_dict(kept) if isinstance(kept, dict) else Edit()
