"""Cases of BFCL v4: prompts with tools, and the calls that are right.

The Berkeley Function Calling Leaderboard (Patil et al. 2025, ICML, *The Berkeley Function Calling
Leaderboard*) lists the right values of every argument. Its files are in ``data/bfcl``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..assets import data_path
from ..errors import LabError

if TYPE_CHECKING:
    from ..models.chat.tools import Call

_FILE = "bfcl/cases.json"
#: What BFCL leaves out when it compares strings (``standardize_string`` of its ``ast_checker.py``).
_IGNORED = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True)
class ToolCallCase:
    """A prompt with tools, and the calls that are right.

    Attributes
    ----------
    id
        In BFCL, e.g. ``"parallel_101"``.
    kind
        ``"single"`` (one tool, one call), ``"multiple"`` (several tools, one call), ``"parallel"`` (several
        calls), ``"irrelevance"`` (no tool fits: no call).
    prompt, tools
        The question, and declarations in OpenAI's format.
    calls
        One mapping per call: function → argument → right values; ``""`` among them lets it be left out.
    """

    id: str
    kind: str
    prompt: str
    tools: tuple[dict[str, Any], ...] = field(repr=False)
    calls: tuple[dict[str, dict[str, list[Any]]], ...] = field(repr=False)

    def fault(self, calls: Sequence[Call]) -> str:
        """Return why the calls of a reply are wrong; ``""`` if they are right.

        Graded as by BFCL's ``ast_checker.py``: calls in any order, each of the right function, with arguments
        that fit the declaration and have one of the listed values. Strings are compared without case, spaces
        and ``,./-_*^``; an integer may be written as a float where the declaration allows it. One rule is
        stricter: a call that cannot be read counts as a call, also where none is right.
        """
        if not calls:
            return "no call" if self.calls else ""
        if not self.calls:
            return "a call"
        if any(call.problem for call in calls):
            return "unreadable call"
        if any(call.faults(self.tools) for call in calls):
            return "call against its declaration"
        if len(calls) != len(self.calls):
            return "wrong number of calls"
        if sorted(call.name for call in calls) != sorted(name for right in self.calls for name in right):
            return "wrong function"
        return "" if _matched(list(calls), list(self.calls)) else "wrong arguments"


@functools.cache
def _all() -> tuple[ToolCallCase, ...]:
    rows = json.loads(data_path(_FILE).read_text(encoding="utf-8"))
    return tuple(
        ToolCallCase(row["id"], row["kind"], row["prompt"], tuple(row["tools"]), tuple(row["calls"]))
        for row in rows
    )


def tool_call_cases(*, kinds: Iterable[str] | None = None, per_kind: int | None = None) -> list[ToolCallCase]:
    """Return cases of BFCL v4, by kind.

    Parameters
    ----------
    kinds
        Of ``"single"``, ``"multiple"``, ``"parallel"`` and ``"irrelevance"``. Default: all.
    per_kind
        Number of cases per kind. Default: all 10.

    Raises
    ------
    LabError
        If there is no such kind.
    """
    known = list(dict.fromkeys(case.kind for case in _all()))
    chosen = known if kinds is None else list(kinds)
    if unknown := sorted(set(chosen) - set(known)):
        raise LabError(
            f"There are no cases of kind {', '.join(unknown)}.", hint=f"Kinds: {', '.join(known)}."
        )
    return [
        case
        for kind in known
        if kind in chosen
        for case in [case for case in _all() if case.kind == kind][:per_kind]
    ]


def _matched(calls: list[Call], right: list[dict[str, dict[str, list[Any]]]]) -> bool:
    """Return whether calls and right calls can be paired, in any order."""
    if not right:
        return not calls
    [(name, allowed)] = right[0].items()
    return any(
        call.name == name
        and _arguments_match(call.arguments, allowed)
        and _matched(calls[:place] + calls[place + 1 :], right[1:])
        for place, call in enumerate(calls)
    )


def _arguments_match(arguments: Mapping[str, Any], allowed: Mapping[str, list[Any]]) -> bool:
    return arguments.keys() <= allowed.keys() and all(
        any(_same(arguments[name], value) for value in values) if name in arguments else "" in values
        for name, values in allowed.items()
    )


def _same(value: Any, allowed: Any) -> bool:
    """Return whether a value is an allowed one; allowed mappings list the allowed values of each key."""
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(value, str) and isinstance(allowed, str):
        return _standard(value) == _standard(allowed)
    if isinstance(value, list) and isinstance(allowed, list):
        return len(value) == len(allowed) and all(map(_same, value, allowed))
    if isinstance(value, Mapping) and isinstance(allowed, Mapping):
        return _arguments_match(value, allowed)
    return bool(value == allowed)


def _standard(text: str) -> str:
    return _IGNORED.sub("", text).lower().replace("'", '"')
