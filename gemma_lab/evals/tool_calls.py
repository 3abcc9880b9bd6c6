"""Tool calls and JSON with and without a grammar: accuracy on a slice of BFCL v4 and on the check-up.

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
from ..display import Displayed
from ..errors import BadSchema, ContextFull, LabError
from ..models.grammar.schema import first_fault
from .grading import strip_fence
from .questions import Question
from .report import Score
from .statistics import PairedAnswers, mcnemar_test

if TYPE_CHECKING:
    import pandas as pd

    from ..models.chat.reply import Reply
    from ..models.chat.tools import Call
    from .model import EvaluatedModel

_FILE = "bfcl/cases.json"
_MAX_TOKENS = 256
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


@dataclass(frozen=True)
class StructuredAnswer:
    """A graded answer.

    Attributes
    ----------
    number
        Position of the case among those that were asked.
    case, kind
        Id of the case (of a question of the check-up its prompt) and its kind (its skill).
    grammar
        Whether a grammar bound the answer.
    reply
        Its text, then its calls.
    fault
        Why it is wrong; ``""`` if it is right, ``"cut off"`` if it reached `max_new_tokens`: a grammar cannot
        end a string that the model goes on with.
    valid
        Whether its calls fit their declarations, or its JSON its schema, right or wrong.
    overruled
        Number of tokens where the grammar forbade the model's first choice.
    """

    number: int
    case: str
    kind: str
    grammar: bool
    reply: str
    fault: str
    valid: bool
    overruled: int = 0

    @property
    def right(self) -> bool:
        """Whether the answer is correct."""
        return not self.fault


@dataclass(frozen=True, eq=False)
class ToolCallAccuracy(Displayed):
    """Graded tool calls and JSON of one model, with a grammar, without, or both.

    Attributes
    ----------
    model
        Name of the model.
    answers
        Every graded answer.
    not_asked
        Case → why it was not asked, e.g. because its tools fill the context.
    """

    model: str
    answers: tuple[StructuredAnswer, ...] = field(repr=False)
    not_asked: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def conditions(self) -> tuple[bool, ...]:
        """The conditions of the test: False (without a grammar), True (with one), or both."""
        return tuple(sorted({answer.grammar for answer in self.answers}))

    def scores(self, *, grammar: bool) -> list[Score]:
        """Return one score per kind, and their total last if there are several."""
        graded: dict[str, list[bool]] = {}
        for answer in self.answers:
            if answer.grammar == grammar:
                graded.setdefault(answer.kind, []).append(answer.right)
        if len(graded) > 1:
            graded["all"] = [right for each in list(graded.values()) for right in each]
        return [Score(kind, len(right), sum(right)) for kind, right in graded.items()]

    @property
    def paired(self) -> PairedAnswers:
        """Contingency table of the same cases without (first) and with (second) a grammar.

        ``paired.second`` answers are right only with the grammar, ``paired.first`` only without.

        Raises
        ------
        LabError
            If only one of the two was asked.
        """
        if self.conditions != (False, True):
            raise LabError("The cases were not asked both ways.", hint="Pass grammar=None.")
        free, bound = (
            {each.number: each.right for each in self.answers if each.grammar is grammar}
            for grammar in (False, True)
        )
        common = sorted(free.keys() & bound.keys())
        return mcnemar_test([free[number] for number in common], [bound[number] for number in common])

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per answer: kind, case, grammar, right, fault, valid, overruled, reply."""
        import pandas as pd

        names = ("kind", "case", "grammar", "right", "fault", "valid", "overruled", "reply")
        return pd.DataFrame(
            [{name: getattr(answer, name) for name in names} for answer in self.answers], columns=list(names)
        )

    def __repr__(self) -> str:
        parts = []
        for grammar in self.conditions:
            total = self.scores(grammar=grammar)[-1]
            parts.append(f"{total.right}/{total.asked} {'with' if grammar else 'without'} grammar")
        return f"ToolCallAccuracy({' '.join(self.model.split())}: {', '.join(parts) or 'no answers'})"


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


def tool_call_accuracy(
    lab: EvaluatedModel,
    cases: Sequence[ToolCallCase | Question] | None = None,
    *,
    grammar: bool | None = None,
    max_new_tokens: int = _MAX_TOKENS,
    progress: bool = True,
) -> ToolCallAccuracy:
    """Ask for tool calls or JSON with greedy decoding, with and without a grammar, and grade the answers.

    Parameters
    ----------
    lab
        The model.
    cases
        Of `tool_call_cases`, and questions of the check-up with tools or a schema
        (``load_questions(skills=["tools", "records"])``). Default: all cases of BFCL.
    grammar
        True passes ``tool_choice="auto"`` or ``schema=…``: calls fit their declarations, and answering
        without a call stays possible. False passes neither, None asks every case both ways.
    max_new_tokens
        Longest answer.
    progress
        Show a progress bar.

    Returns
    -------
    ToolCallAccuracy

    Raises
    ------
    LabError
        If a question has neither tools nor a schema.
    """
    from tqdm.auto import tqdm

    asked = tool_call_cases() if cases is None else list(cases)
    for case in asked:
        if isinstance(case, Question) and not case.tools and case.schema is None:
            raise LabError(
                f"A question of {case.skill} has neither tools nor a schema.",
                hint='load_questions(skills=["tools", "records"]) returns those that have.',
            )
    conditions = (False, True) if grammar is None else (grammar,)
    todo = [(number, case, bound) for number, case in enumerate(asked) for bound in conditions]
    answers, not_asked = [], {}
    for number, case, bound in tqdm(
        todo, desc=f"tool calls of {lab.name}", disable=not progress, leave=False
    ):
        try:
            answers.append(_answer(lab, number, case, grammar=bound, max_new_tokens=max_new_tokens))
        except (ContextFull, BadSchema) as error:
            not_asked[_name(case)] = error.what
    return ToolCallAccuracy(lab.name, tuple(answers), not_asked)


def _answer(
    lab: EvaluatedModel,
    number: int,
    case: ToolCallCase | Question,
    *,
    grammar: bool,
    max_new_tokens: int,
) -> StructuredAnswer:
    schema = case.schema if isinstance(case, Question) else None
    options: dict[str, Any] = {"tools": case.tools} if case.tools else {}
    if grammar:
        options |= {"tool_choice": "auto"} if case.tools else {"schema": schema}
    prompt = case.messages if isinstance(case, Question) and case.history else case.prompt
    reply = lab.chat(prompt, **options, temperature=0, max_new_tokens=max_new_tokens, top_logprobs=0)
    fault = case.fault(reply.calls) if isinstance(case, ToolCallCase) else _fault(case, reply)
    return StructuredAnswer(
        number=number,
        case=_name(case),
        kind=case.skill if isinstance(case, Question) else case.kind,
        grammar=grammar,
        reply=" ".join(filter(None, (reply.text, *(call.text for call in reply.calls)))),
        fault="cut off" if fault and reply.finish_reason == "length" else fault,
        valid=not any(call.faults(case.tools) for call in reply.calls)
        and (schema is None or _fits(reply.text, schema)),
        overruled=sum(each.overruled is not None and each.overruled.changed for each in reply.tokens),
    )


def _name(case: ToolCallCase | Question) -> str:
    return case.prompt if isinstance(case, Question) else case.id


def _fault(question: Question, reply: Reply) -> str:
    """Return why an answer to a question of the check-up is wrong."""
    calls = reply.calls
    if question.is_correct(reply.text, calls):
        return ""
    if question.schema is not None:
        return "wrong value" if _fits(reply.text, question.schema) else "JSON against its schema"
    if question.call is None:
        return "a call" if calls else "wrong answer"
    if not calls:
        return "no call"
    faults = [call.faults(question.tools) for call in calls]
    return "call against its declaration" if any(faults) else "wrong call"


def _fits(text: str, schema: dict[str, Any]) -> bool:
    """Return whether a text is JSON, alone or in one fenced block, that fits a schema."""
    try:
        return first_fault(json.loads(strip_fence(text)), schema) is None
    except (ValueError, RecursionError):
        return False


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
