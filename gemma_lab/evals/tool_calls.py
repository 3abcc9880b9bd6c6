"""Tool calls and JSON with and without a grammar: accuracy on a slice of BFCL v4 and on the check-up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..display import Displayed
from ..errors import BadSchema, ContextFull, LabError
from ..models.grammar.schema import first_fault
from .bfcl import ToolCallCase, tool_call_cases
from .grading import strip_fence
from .questions import Question
from .score import Score
from .statistics import PairedAnswers, mcnemar_test

if TYPE_CHECKING:
    import pandas as pd

    from ..models.chat.reply import Reply
    from .model import EvaluatedModel

_MAX_TOKENS = 256


@dataclass(frozen=True)
class StructuredAnswer:
    """A graded answer in JSON or with tool calls: what is wrong in it, and whether a grammar bound it.

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

    @property
    def changed(self) -> int:
        """Number of answers in which the grammar overruled the model's first choice at least once."""
        return sum(answer.overruled > 0 for answer in self.answers)

    def summary(self) -> str:
        """Return in one line how often the grammar made an answer right, made one wrong, and changed one."""
        if self.conditions != (False, True):
            return repr(self)
        paired, bound = self.paired, sum(answer.grammar for answer in self.answers)
        return (
            f"right only with the grammar {paired.second}, only without {paired.first} (McNemar p = "
            f"{paired.p_value:.2g}); it overruled the first choice in {self.changed} of {bound} answers"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the scores, the paired test and the answers as plain values."""
        conditions = {"with grammar" if bound else "without grammar": bound for bound in self.conditions}
        paired = self.paired if self.conditions == (False, True) else None
        return {
            "scores": {
                name: [
                    {"kind": each.name, "questions": each.asked, "right": each.right,
                     "interval_95": [round(bound, 4) for bound in each.interval]}
                    for each in self.scores(grammar=bound)
                ]
                for name, bound in conditions.items()
            },
            "paired": None if paired is None else {
                "both": paired.both, "without": paired.first, "with": paired.second,
                "neither": paired.neither, "p": paired.p_value,
            },
            "changed": self.changed,
            "not_asked": dict(self.not_asked),
            "answers": [asdict(answer) for answer in self.answers],
        }  # fmt: skip

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
