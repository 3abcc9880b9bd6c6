"""Short sums, answered at once or with thinking, which writes the steps first.

Two or three terms: two-digit numbers are added and subtracted, one-digit numbers multiplied. No intermediate
result is negative or above 297. A step of the thought adds tens, then ones: ``47+38=77+8=85``.

Held out: 15 % of the sums, by hash. All single products are trained: they are the table that the others need.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .question import Question, held_out
from .variation import varies

_ASK = ("What is {sum}?", "Calculate {sum}.", "How much is {sum}?", "Work out {sum}.")
_MORE_ASK = ("Compute {sum}.", "{sum} = ?", "{sum}=?", "{sum} =", "{sum}")
_SIGNS = (
    {"×": "*"},
    {"×": "x"},
    {"×": "times", "+": "plus", "-": "minus"},
)
"""Signs of a sum -> how people write them on a keyboard, or say them."""
_CLOSE = 0.5  # share of the sums that vary without spaces, unless they have words
_TWO_TERMS = 0.3  # share of sums with two terms


def ask(rng: random.Random, held: bool) -> Question:
    """Draw a sum to be answered at once."""
    expression, answer, _, group = _drawn(rng, held)
    return Question("arithmetic", _prompt(rng, expression, held), str(answer), group=group)


def think(rng: random.Random, held: bool, *, fixed: bool = False) -> Question:
    """Draw a sum of the same kind to be answered with thinking; the thought has one step per line.

    Parameters
    ----------
    fixed
        Ask only as the check-up does, for the tokenizer.
    """
    expression, answer, steps, group = _drawn(rng, held)
    prompt = _prompt(rng, expression, held or fixed)
    return Question("thinking", prompt, str(answer), group=group, thinking=True, thought="\n".join(steps))


def _prompt(rng: random.Random, expression: str, fixed: bool) -> str:
    """Return a question about a sum; in training, the sum and the words around it vary."""
    asked: Sequence[str] = _ASK
    if varies(rng, fixed):
        expression = rewritten(rng, expression)
        asked = rng.choice((_ASK, _MORE_ASK))
    return rng.choice(asked).format(sum=expression)


def rewritten(rng: random.Random, expression: str) -> str:
    """Return a sum in other signs, without spaces, or in words, e.g. ``"7x8+30"`` for ``"7 × 8 + 30"``."""
    signs = rng.choice(_SIGNS)
    for sign, other in signs.items():
        expression = expression.replace(f" {sign} ", f" {other} ")
    in_words = len(signs) > 1
    return expression if in_words or rng.random() >= _CLOSE else expression.replace(" ", "")


def steps(rng: random.Random) -> list[str]:
    """Return the steps of a sum that training may ask for, e.g. ``["47+38=77+8=85", "85-20=65"]``."""
    return _drawn(rng, False)[2]


def is_held_out(expression: str) -> bool:
    """Return whether a sum, e.g. ``"7 × 8 + 30"``, is held out from training."""
    return held_out(f"sum {expression}") and not expression.replace(" × ", "").isdecimal()


def step(a: int, sign: str, b: int) -> str:
    """Return ``a ± b`` step by step: first the tens of `b`, then its ones.

    Examples
    --------
    >>> step(47, "+", 38)
    '47+38=77+8=85'
    """
    total = a + b if sign == "+" else a - b
    tens, ones = b - b % 10, b % 10
    if not tens or not ones:
        return f"{a}{sign}{b}={total}"
    return f"{a}{sign}{b}={a + tens if sign == '+' else a - tens}{sign}{ones}={total}"


def _drawn(rng: random.Random, held: bool) -> tuple[str, int, list[str], str]:
    while True:
        terms = 2 if rng.random() < _TWO_TERMS else 3
        expression, answer, steps = rng.choice(_FORMS[terms])(rng)
        if is_held_out(expression) == held:
            return expression, answer, steps, f"{terms} terms"


def _add(rng: random.Random) -> tuple[str, int, list[str]]:
    a, b, sign = rng.randint(10, 99), rng.randint(10, 99), rng.choice("+-")
    if sign == "-" and b > a:
        a, b = b, a
    return f"{a} {sign} {b}", _value(a, sign, b), [step(a, sign, b)]


def _multiply(rng: random.Random) -> tuple[str, int, list[str]]:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return f"{a} × {b}", a * b, [f"{a}×{b}={a * b}"]


def _add_add(rng: random.Random) -> tuple[str, int, list[str]]:
    expression, so_far, steps = _add(rng)
    sign = rng.choice("+-") if so_far >= 10 else "+"
    c = rng.randint(10, min(99, so_far) if sign == "-" else 99)
    return f"{expression} {sign} {c}", _value(so_far, sign, c), [*steps, step(so_far, sign, c)]


def _multiply_add(rng: random.Random) -> tuple[str, int, list[str]]:
    expression, product, steps = _multiply(rng)
    sign = rng.choice("+-") if product >= 10 else "+"
    c = rng.randint(10, product if sign == "-" else 99)
    return f"{expression} {sign} {c}", _value(product, sign, c), [*steps, step(product, sign, c)]


def _add_multiply(rng: random.Random) -> tuple[str, int, list[str]]:
    expression, product, steps = _multiply(rng)
    sign = rng.choice("+-")
    c = rng.randint(max(10, product) if sign == "-" else 10, 99)
    return f"{c} {sign} {expression}", _value(c, sign, product), [*steps, step(c, sign, product)]


def _value(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b


_Form = Callable[[random.Random], tuple[str, int, list[str]]]
_FORMS: dict[int, tuple[_Form, ...]] = {
    2: (_add, _add, _multiply),
    3: (_add_add, _add_add, _multiply_add, _add_multiply),
}


def corpus() -> list[str]:
    """Return questions and thoughts, for the tokenizer."""
    rng = random.Random(0)
    drawn = [think(rng, False, fixed=True) for _ in range(100)]
    return [text for question in drawn for text in (question.prompt, question.thought)]
