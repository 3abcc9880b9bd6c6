"""`Scan`: what a model did with one prompt, on one page, each number beside its null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.head_types import HEAD_THRESHOLDS
from ...display import Displayed
from ...errors import LabError
from .candidates import rows_behind_answer

if TYPE_CHECKING:
    from ...analysis.attention.head_types import HeadTypes
    from ...analysis.attention.sinks import AttentionSinks
    from ...trace.trace import Trace
    from .against_chance import AnswerDepth, LoadAgainstChance
    from .knockout import Knockout

#: Probability below which a generated token is uncertain: another continuation is likelier than it.
UNCERTAIN = 0.5
#: Family-wise error of the tests of a scan.
ALPHA = 0.05
_LISTED = 5


@dataclass(frozen=True)
class UncertainToken:
    """A generated token that was less likely than all others together.

    Attributes
    ----------
    row
        Its row in the trace; −1 for the last token, which was not read.
    text
        Its text.
    probability, entropy
        Its probability, and the entropy of the distribution that it was drawn from, nats.
    instead
        The likeliest other tokens, with their probabilities.
    """

    row: int
    text: str
    probability: float
    entropy: float
    instead: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Finding:
    """One line of a scan.

    Attributes
    ----------
    name
        Of the finding, e.g. ``"sinks"``.
    title
        The same as a heading.
    result
        What was found, with its numbers.
    null
        What chance or a control gives, and how many tests were corrected for.
    tokens
        Rows of the trace that show it in an explorer.
    tested
        False where the prompt or the model does not allow the test; `result` then says why.
    """

    name: str
    title: str
    result: str
    null: str = ""
    tokens: tuple[int, ...] = ()
    tested: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Displayed):
    """What a model did with one prompt: its answer, and findings beside their nulls.

    ``gl.ScanExplorer(scan)`` shows it with the trace, in which every finding selects its tokens.

    Attributes
    ----------
    trace
        The trace of prompt and answer, with attention and logit lens.
    uncertain
        Generated tokens with a probability below 0.5.
    sinks
        Attention sinks; None for a text that is too short.
    heads
        Kinds of heads.
    load
        Load of the experts against chance; None without experts.
    depth
        In which layers the logit lens has the answer first; None if nothing of it was recorded.
    knockouts
        What the answer loses without the best heads and experts, against random ones.
    skipped
        Name of a finding that was not tested → why.
    vocabulary
        Size of the vocabulary.
    draws, seed
        Random sets per knock-out that were asked for, and the seed of all random numbers.
    """

    trace: Trace
    uncertain: tuple[UncertainToken, ...] = field(repr=False)
    sinks: AttentionSinks | None
    heads: HeadTypes
    load: LoadAgainstChance | None
    depth: AnswerDepth | None
    knockouts: tuple[Knockout, ...]
    skipped: Mapping[str, str]
    vocabulary: int
    draws: int
    seed: int

    @property
    def answer(self) -> str:
        """The answer's text."""
        return "" if self.trace.generation is None else self.trace.generation.text

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding, in the order of the page."""
        return (
            self._answer(),
            self._uncertain(),
            self._sinks(),
            self._heads(),
            self._load(),
            self._depth(),
            self._knockout("heads"),
            self._knockout("experts"),
        )

    def finding(self, name: str) -> Finding:
        """Return a finding by its name.

        Raises
        ------
        LabError
            If there is none of this name.
        """
        names = [one.name for one in self.findings]
        if name not in names:
            raise LabError(f"A scan has no finding {name!r}.", hint=f"It has {', '.join(names)}.")
        return self.findings[names.index(name)]

    def to_pandas(self) -> Any:
        """Return one row per finding: name, result, null, tokens, tested (needs pandas)."""
        import pandas as pd

        columns = ["name", "result", "null", "tokens", "tested"]
        return pd.DataFrame(
            [[getattr(one, name) for name in columns] for one in self.findings], columns=columns
        )

    def __repr__(self) -> str:
        model = " ".join(str(self.trace.meta.get("model", "model")).split())
        answer = " ".join(self.answer.split())
        shown = answer if len(answer) <= 40 else answer[:39] + "…"
        above = sum(one.adjusted < ALPHA for one in self.knockouts)
        return (
            f"Scan({model}: {len(self.trace):,} tokens, answer {shown!r}; "
            f"{len(self.uncertain)} uncertain tokens; "
            f"{above} of {len(self.knockouts)} knock-outs beyond random sets)"
        )

    def _answer(self) -> Finding:
        generation = self.trace.generation
        count = 0 if generation is None else len(generation)
        mean = math.exp(float(generation.logprobs.mean())) if generation is not None and count else math.nan
        return Finding(
            "answer",
            "Answer",
            f"{self.answer.strip() or '(no visible text)'}",
            f"{count} tokens of probability {_percent(mean)} each (geometric mean); a uniform guess among "
            f"{self.vocabulary:,} tokens has {_percent(1 / self.vocabulary)}.",
            tuple(np.flatnonzero(self.trace.tokens.generated).tolist()),
        )

    def _uncertain(self) -> Finding:
        count = 0 if self.trace.generation is None else len(self.trace.generation)
        most = f"The entropy is at most ln {self.vocabulary:,} = {math.log(self.vocabulary):.1f} nats."
        if not self.uncertain:
            return Finding(
                "uncertain",
                "Uncertain tokens",
                f"None of {count} tokens is below {_percent(UNCERTAIN)}.",
                most,
            )
        listed = ", ".join(
            f"{_quoted(one.text)} {_percent(one.probability)} ({one.entropy:.1f} nats)"
            + "".join(f", else {_quoted(text)} {_percent(other)}" for text, other in one.instead[:1])
            for one in self.uncertain[:_LISTED]
        )
        more = f" and {len(self.uncertain) - _LISTED} more" if len(self.uncertain) > _LISTED else ""
        return Finding(
            "uncertain",
            "Uncertain tokens",
            f"{len(self.uncertain)} of {count} tokens {'is' if len(self.uncertain) == 1 else 'are'} below "
            f"{_percent(UNCERTAIN)}: {listed}{more}.",
            f"Below {_percent(UNCERTAIN)}, the other tokens together are likelier. {most}",
            tuple(one.row for one in self.uncertain if one.row >= 0),
        )

    def _sinks(self) -> Finding:
        sinks = self.sinks
        if sinks is None:
            return self._untested("sinks", "Attention sinks")
        length = sinks.length
        uniform = float((1 / np.arange(2, length + 1)).mean())
        listed = ", ".join(
            f"{_quoted(piece.replace('▁', ' '))} in {_percent(share)}"
            for piece, share in zip(sinks.pieces[:_LISTED], sinks.share[:_LISTED].tolist(), strict=True)
        )
        return Finding(
            "sinks",
            "Attention sinks",
            f"{len(sinks.tokens)} of {length:,} tokens "
            f"{'is a sink' if len(sinks.tokens) == 1 else 'are sinks'} of {_percent(sinks.heads_with_sink)} "
            f"of {len(sinks.heads)} heads{': ' + listed if listed else ''}. The first token receives "
            f"{sinks.first.mean():.2f} on average.",
            f"A sink receives a mean weight of 0.3 or more; uniform attention gives the first token "
            f"{uniform:.2f}. {len(sinks.heads):,} × {length:,} pairs were looked at: the threshold is on the "
            "size, no test of significance.",
            sinks.tokens[:_LISTED],
        )

    def _heads(self) -> Finding:
        heads = self.heads
        tested = [kind for kind in HEAD_THRESHOLDS if kind not in heads.untested]
        if not tested:
            return Finding("head kinds", "Kinds of heads", _reasons(heads.untested), tested=False)
        counts = [(kind, int(heads.passed[kind].sum()), heads.chance[kind]) for kind in tested]
        total = len(heads.heads)
        listed = ", ".join(f"{kind} {count}" for kind, count, _ in counts)
        chance = ", ".join(
            f"{kind} {HEAD_THRESHOLDS[kind]:g} ({np.nanmean(values):.2f} by chance)"
            for kind, _, values in counts
        )
        left = f" Not tested: {_reasons(heads.untested)}" if heads.untested else ""
        return Finding(
            "head kinds",
            "Kinds of heads",
            f"Of {total} heads: {listed}; {sum(name == 'other' for name in heads.names)} of no kind.{left}",
            f"{total} heads × {len(tested)} tests. A head passes above a threshold and above chance: "
            f"{chance}. "
            + (f"Induction is corrected for {total} heads; the" if "induction" in tested else "The")
            + " thresholds are on the mean weight, no tests of significance.",
        )

    def _load(self) -> Finding:
        load = self.load
        if load is None:
            return self._untested("expert load", "Experts against chance")
        return Finding(
            "expert load",
            "Experts against chance",
            f"In {len(load.above)} of {len(load.layers)} layers the load is less even than chance: the "
            f"busiest expert has {load.peak.min():.1f} to {load.peak.max():.1f} × the mean.",
            f"Tokens that choose evenly and independently give at most {load.null:.1f} × in 95 of 100 texts; "
            f"{len(load.layers)} layers tested, corrected (Holm). A low bar: equal words choose equal "
            "experts.",
        )

    def _depth(self) -> Finding:
        depth = self.depth
        if depth is None:
            return self._untested("lens", "Logit lens")
        layers = len(depth.layers)
        half = layers // 2
        control = "" if np.isnan(depth.control[half]) else f"{_percent(float(depth.control[half]))}"
        null = (
            f"At rows that decide another word, these words are first in {control} of the cases in layer "
            f"{depth.layers[half]}. No test; {layers} layers × {len(depth.rows)} tokens were looked at."
            if control
            else "There is no row that decides another word to compare with."
        )
        return Finding(
            "lens",
            "Logit lens",
            f"{self._which(depth.rows[0])} is first in layer {int(depth.first[0])} and "
            "stays so from layer "
            f"{int(depth.stable[0])} on, of layers {depth.layers[0]} to {depth.layers[-1]}; in layer "
            f"{depth.layers[half]}, {_percent(float(depth.share[half]))} of {len(depth.rows)} tokens are so "
            "already.",
            null + self._left_out(len(depth.rows)),
            tuple(row + 1 for row in depth.rows if row + 1 < len(self.trace))[:1] or depth.rows[:1],
        )

    def _which(self, row: int) -> str:
        """Return in words which token of the answer a row decides."""
        number = row - int(rows_behind_answer(self.trace)[0]) + 1
        return "The first token of the answer" if number == 1 else f"Token {number} of the answer"

    def _left_out(self, rows: int) -> str:
        count = 0 if self.trace.generation is None else len(self.trace.generation)
        left = max(0, count - rows)
        return (
            f" {left} of {count} tokens are not the last layer's first choice and left out." if left else ""
        )

    def _knockout(self, kind: str) -> Finding:
        name, title = f"{kind[:-1]} knock-out", f"Without the best {kind}"
        found = next((one for one in self.knockouts if one.kind == kind), None)
        if found is None:
            return self._untested(name, title)
        listed = ", ".join(f"{layer}.{number}" for layer, number in found.chosen)
        low, high = np.quantile(found.controls, (0.025, 0.975))
        least = min(1.0, len(self.knockouts) / (1 + len(found.controls)))
        beyond = "more than random sets do" if found.adjusted < ALPHA else "not more than random sets may"
        if least >= ALPHA:
            beyond = "and there are too few random sets to tell"
        short = len(found.controls) < self.draws
        return Finding(
            name,
            title,
            f"Without {len(found.chosen)} {kind} (layer.number {listed}) the answer loses "
            f"{found.effect:+.2f} nats per token, {beyond} (p = {found.adjusted:.3f}).",
            f"{len(found.controls)} random sets, {found.match}, lose {low:+.2f} to {high:+.2f} (95 %)"
            f"{', all that there are' if short else ''}; p is corrected for {len(self.knockouts)} knock-outs "
            f"(Holm) and cannot be below {least:.3f}. "
            f"Picked by: {found.statistic}.",
            tuple(np.flatnonzero(self.trace.tokens.generated).tolist()[:1]),
        )

    def _untested(self, name: str, title: str) -> Finding:
        return Finding(name, title, f"Not tested: {self.skipped.get(name, 'not recorded')}.", tested=False)


def _quoted(text: str) -> str:
    return f"“{text.strip()}”" if text.strip() else repr(text)


def _percent(value: float) -> str:
    share = 100 * value
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.1:
        return f"{share:.1e} %" if share < 0.001 else f"{share:.3f} %"
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


def _reasons(untested: Mapping[str, str]) -> str:
    return "; ".join(f"{kind}: {why}" for kind, why in untested.items()) + "."
