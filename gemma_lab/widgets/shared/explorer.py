"""Shared parts of the explorers: the trace, the selection that views and Python set, checks of arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...checks import no_loaded_model, type_name
from ...errors import LabError
from ...trace.trace import Trace
from .base import LabWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lab import Lab


class TraceExplorer(LabWidget):
    """Base of a widget that shows a trace, with a selection of its tokens.

    Attributes
    ----------
    selected_tokens : list of int
        The selected tokens.
    """

    selected_tokens = traitlets.List(traitlets.Int()).tag(sync=True)
    #: Id of the view that changed the selection last, and its sequence number: a view ignores older ones.
    _ack = traitlets.Dict().tag(sync=True)
    #: Whether there is a model to run.
    _can_run = traitlets.Bool(default_value=False).tag(sync=True)

    #: Traits that a view selects, by their name in a ``select`` message; the tokens come last.
    _selection: tuple[tuple[str, str], ...] = (("tokens", "selected_tokens"),)

    _trace: Trace
    _lab: Lab | None

    @property
    def trace(self) -> Trace:
        """The trace that is shown."""
        return self._trace

    def _model(self) -> Lab:
        if self._lab is None:
            name = type(self).__name__
            raise LabError(f"This {name} has no model to run.", hint=f"Make it with {name}(trace, lab=lab).")
        return self._lab

    @traitlets.validate("selected_tokens")
    def _check_tokens(self, proposal: dict[str, Any]) -> list[int]:
        return within(proposal["value"], len(self._trace), "token")

    def _on_select(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Set the selection that a view sends."""
        with self.hold_sync():
            try:
                for key, trait in self._selection:
                    if key in content:
                        setattr(self, trait, content[key])
            finally:  # also when it was refused: the view then shows what holds
                self._ack = {"view": str(content.get("view", "")), "seq": content.get("seq", 0)}


def within(values: Sequence[int], count: int, what: str) -> list[int]:
    """Return `values` without repetitions, after checking that each is an index below `count`.

    Raises
    ------
    LabError
        If one is not.
    """
    if wrong := [value for value in values if not 0 <= value < count]:
        raise LabError(
            f"There is no {what} {wrong[0]} in this trace.", hint=f"It has {what}s 0 to {count - 1:,}."
        )
    return [int(value) for value in dict.fromkeys(values)]


def one_of(value: int, known: Sequence[int], what: str) -> int:
    """Return `value`, after checking that it is one of the `known` numbers.

    Raises
    ------
    LabError
        If it is not.
    """
    if value not in known:
        listed = ", ".join(str(each) for each in known)
        raise LabError(f"There is no {what} {value} in this trace.", hint=f"Its {what}s are {listed}.")
    return int(value)


def check_trace(trace: Any, call: str) -> Trace:
    """Return `trace`, after checking that it is a `Trace`.

    Parameters
    ----------
    trace
        The argument.
    call
        The constructor, e.g. ``"gl.Explorer"``, for the hint.

    Raises
    ------
    LabError
        If it is anything else, e.g. the path of a saved trace.
    """
    if isinstance(trace, Trace):
        return trace
    saved = isinstance(trace, str) or hasattr(trace, "__fspath__")
    source = f"gl.open_trace({str(trace)!r})" if saved else "lab.trace(prompt)"
    raise LabError(f"{call} takes a Trace, not {type_name(trace)}.", hint=f"{call}({source})")


def check_lab(lab: Any, call: str, *, verb: str = "trace") -> Lab:
    """Return `lab`, after checking that it is a loaded model.

    Raises
    ------
    LabError
        If it is anything else, e.g. a model's name.
    """
    if callable(getattr(lab, verb, None)):
        loaded: Lab = lab
        return loaded
    raise no_loaded_model(lab, call, before="" if call == "gl.Chat" else "trace, lab=")
