"""A comparison of two models as script-free HTML: findings, answers, the most different tokens, memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...evals.versus.rows import rows
from ..base.html import Markup, bdi, details, escape, group, heading, table, tag
from ..base.text import counted, percent, shorten, visible, visible_token

if TYPE_CHECKING:
    from ...evals.versus.answers import AnswerPair
    from ...evals.versus.checkups import CheckupComparison
    from ...evals.versus.comparison import ComparedTokens, Versus
    from ...evals.versus.rows import Row

#: Rows of the tables of answers and tokens.
_MOST_ANSWERS, _MOST_TOKENS = 40, 12
_LONGEST_ANSWER = 200
_BYTES, _NATS, _SHARE, _SPEED = "bytes", "nats", "share", "tokens/s"


def versus_html(versus: Versus) -> Markup:
    """Return a comparison as HTML: findings with chance or rounding beside them, answers, tokens, memory.

    Parameters
    ----------
    versus
        From `gemma_lab.versus`.
    """
    first, second = (visible(name) for name in versus.names)
    descriptions = [tag("div", bdi(visible(text)), style="font-size:.85em;opacity:.8")
                    for text in versus.descriptions]  # fmt: skip
    return group(
        f"Comparison of {first} and {second}",
        heading(bdi(first), " and ", bdi(second)),
        *descriptions,
        _findings(versus),
        "" if versus.checkup is None else checkup_comparison_html(versus.checkup),
        _answers(versus),
        "" if versus.tokens is None else _tokens(versus),
        _layers(versus),
        "" if versus.memory is None else _memory(versus),
    )


def checkup_comparison_html(data: CheckupComparison) -> Markup:
    """Return two check-ups as a table: accuracies, the difference with its interval, McNemar's test.

    Parameters
    ----------
    data
        The ``checkup`` of a comparison.
    """
    listed = []
    for skill in data.skills:
        first, second = skill.accuracies
        low, high = skill.difference_interval
        listed.append(
            (
                visible(skill.skill), f"{skill.asked}", f"{first:.1%}", f"{second:.1%}",
                f"{100 * (second - first):+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}", f"{skill.answers.first} : {skill.answers.second}",
                f"{skill.answers.p_value:.2g}", f"{skill.adjusted:.2g}",
                "" if skill.chance is None else f"{skill.chance:.1%}",
            )
        )  # fmt: skip
    columns = ("skill", "questions", "first", "second", "difference, points", "95 % interval",
               "only first : only second", "p", "p, Holm", "chance")  # fmt: skip
    notes = ["p: McNemar's exact test; p, Holm: adjusted for all skills. Interval: Bonett and Price 2012."]
    notes += [visible(f"{skill}: not compared, {why}") for skill, why in data.not_compared.items()]
    return table(listed, columns=columns, align="lrrrrrrrrr", caption="Check-up", notes=notes)


def compared_tokens_html(tokens: ComparedTokens) -> Markup:
    """Return tokens of a comparison as a table.

    Parameters
    ----------
    tokens
        From ``versus.worst()``.
    """
    texts = range(2, 6)
    listed = [
        [bdi(f"\u2068{cell}\u2069") if column in texts and cell else cell for column, cell in enumerate(row)]
        for row in token_cells(tokens)
    ]
    names = {"kl": "KL of the next token", "flipped": "slots flipped", "weight": "gate weight moved"}
    caption = f"Most different tokens, by {names[tokens.by]}"
    return table(listed, columns=TOKEN_COLUMNS, align="rrllllrrrr", caption=caption)


TOKEN_COLUMNS = ("prompt", "row", "token", "next token", "first's top", "second's top", "KL, nats",
                 "slots flipped", "weight moved", "most in layer")  # fmt: skip
"""Columns of `token_cells`."""


def token_cells(tokens: ComparedTokens) -> list[tuple[str, ...]]:
    """Return tokens of a comparison as formatted cells under `TOKEN_COLUMNS`, every character visible."""
    listed = []
    for token in tokens.tokens:
        following = "" if token.next_token is None else visible_token(token.next_token)
        tops = ("", "") if token.top is None else tuple(visible_token(text) for text in token.top)
        listed.append(
            (
                f"{token.prompt}", f"{token.row}", visible_token(token.token), following, *tops,
                _number(token.kl, _NATS), _number(token.flipped, _SHARE), _number(token.weight, _SHARE),
                "" if token.layer is None else f"{token.layer}",
            )
        )  # fmt: skip
    return listed


def finding_cells(versus: Versus, *, checkup: bool = False) -> list[tuple[str, ...]]:
    """Return the findings as formatted cells, one row each; layers and parts of the memory are left out.

    Parameters
    ----------
    versus
        The comparison.
    checkup
        Whether the skills of the check-up are among them.
    """
    left_out = ("memory",) if checkup else ("memory", "checkup")
    return [_cells(row) for row in rows(versus) if row[0] not in left_out and ", layer " not in row[1]]


def memory_cells(versus: Versus) -> list[tuple[str, ...]]:
    """Return the bytes of all weights as formatted cells; nothing if they are not compared."""
    if versus.memory is None:
        return []
    totals = versus.memory.totals
    ratio = f"× {totals[1] / totals[0]:.2f}" if totals[0] else ""
    return [("memory", "weights", *(_number(float(total), _BYTES) for total in totals), ratio, "", "")]


def _findings(versus: Versus) -> Markup:
    listed = [*finding_cells(versus), *memory_cells(versus)]
    notes = [visible(f"{part}: {reason}") for part, reason in versus.absent.items()]
    columns = ("part", "measure", "first", "second", "difference", "95 % interval", "beside it")
    return table(listed, columns=columns, align="llrrrll", caption="Findings", notes=notes)


def _cells(row: Row) -> tuple[str, ...]:
    part, measure, first, second, change, low, high, reference, what = row
    kind = _SPEED if part == "speed" else _NATS if "nats" in measure else _SHARE
    sides = ["" if math.isnan(value) else _number(value, kind) for value in (first, second)]
    differs = "ratio" if part == "speed" else kind
    interval = "" if math.isnan(low) else f"{_number(low, differs)} to {_number(high, differs)}"
    interval = interval.replace(" ", "\u00a0")  # a line break would part a number from its unit
    beside = "" if math.isnan(reference) else f"{what}: {_number(reference, differs)}"
    shown = measure.replace(" (change: ratio)", "")
    return part, shown, *sides, _number(change, differs), interval, beside


def _number(value: float, kind: str) -> str:
    if math.isnan(value):
        return ""
    if kind == _SHARE:
        return percent(value)
    if kind == _BYTES:
        return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.2f} MB"
    if kind == _SPEED:
        return f"{value:,.1f}"
    if kind == "ratio":
        return f"× {value:.2f}"
    return f"{value:.3g}"


def _answers(versus: Versus) -> Markup:
    listed = [_answer(pair) for pair in versus.answers[:_MOST_ANSWERS]]
    same, asked = versus.equal_answers
    left = len(versus.answers) - len(listed)
    return table(
        listed,
        columns=("prompt", "first", "second", "same", "tokens in common"),
        align="lllcr",
        caption=f"Answers: {same} of {asked} are the same",
        notes=[f"{counted(left, 'more prompt')} not shown."] if left else [],
    )


def _answer(pair: AnswerPair) -> tuple[object, ...]:
    shared = (
        "" if pair.same_tokens is None else f"{pair.same_tokens} of {pair.tokens[0]} and {pair.tokens[1]}"
    )
    texts = [
        tag("i", "no answer", title=visible(pair.note)) if text is None
        else bdi(shorten(visible(text), _LONGEST_ANSWER))
        for text in (pair.first, pair.second)
    ]  # fmt: skip
    same = "" if pair.equal is None else "=" if pair.equal else "≠"
    return bdi(visible(pair.prompt)), *texts, same, shared


def _tokens(versus: Versus) -> Markup:
    found = [compared_tokens_html(versus.worst(_MOST_TOKENS))]
    if versus.routing is not None:
        found.append(compared_tokens_html(versus.worst(_MOST_TOKENS, by="flipped")))
    return details("Most different tokens", *found)


def _layers(versus: Versus) -> Markup:
    listed = [_cells(row) for row in rows(versus) if ", layer " in row[1]]
    if not listed:
        return escape("")
    columns = ("part", "measure", "first", "second", "difference", "95 % interval", "beside it")
    return details("By layer", table(listed, columns=columns, align="llrrrll"))


def _memory(versus: Versus) -> Markup:
    assert versus.memory is not None
    listed = []
    for part in versus.memory.parts:
        first, second = versus.memory.first.get(part, 0), versus.memory.second.get(part, 0)
        ratio = f"× {second / first:.2f}" if first else ""
        listed.append((visible(part), _number(float(first), _BYTES), _number(float(second), _BYTES), ratio))
    content = table(listed, columns=("part", "first", "second", "second ÷ first"), align="lrrr")
    return details("Memory by part", content)
