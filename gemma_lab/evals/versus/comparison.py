"""`Versus`: the result of a comparison of two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import short_repr, whole_number
from ...display import Displayed
from ...errors import LabError, NotTraced
from .compared_parts import ComparedParts
from .rows import COLUMNS, rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What tokens can be ranked by.
Measure = Literal["kl", "flipped", "weight"]
_MEASURES = ("kl", "flipped", "weight")


@dataclass(frozen=True)
class ComparedToken:
    """One token of a comparison.

    Attributes
    ----------
    prompt, row
        Index of its prompt, and its row in the traces of that prompt.
    token
        Its text.
    next_token
        The token of the answer that is predicted from here; None inside the prompt.
    kl
        KL(first ‖ second) of the next token, nats; NaN inside the prompt.
    top
        The likeliest next token of each model; None inside the prompt.
    flipped, weight
        Fraction of its slots, and of its gate weight, on other experts, mean over the layers; NaN without
        experts.
    layer
        The layer in which most of its slots are flipped; None without experts.
    """

    prompt: int
    row: int
    token: str
    next_token: str | None
    kl: float
    top: tuple[str, str] | None
    flipped: float
    weight: float
    layer: int | None


@dataclass(frozen=True)
class ComparedTokens(Displayed):
    """Tokens of a comparison, the most different first.

    Attributes
    ----------
    tokens
        The tokens.
    by
        What they are ranked by.
    """

    tokens: tuple[ComparedToken, ...]
    by: Measure

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> ComparedToken:
        return self.tokens[index]

    def to_pandas(self) -> Any:
        """Return one row per token, with its attributes."""
        import pandas as pd

        return pd.DataFrame([vars(token) for token in self.tokens])

    def __repr__(self) -> str:
        shown = ", ".join(f"{token.token!r} {getattr(token, self.by):.3g}" for token in self.tokens[:5])
        return f"ComparedTokens({len(self)} by {self.by}: {shown}{', …' if len(self) > 5 else ''})"


@dataclass(frozen=True, eq=False, repr=False)
class Versus(ComparedParts, Displayed):
    """Two models compared; made by `gemma_lab.versus`.

    A part that cannot be compared is None, and `absent` says why.

    Attributes
    ----------
    names, descriptions
        Title of each side, and one line about each model.
    answers
        The greedy answers of both to each prompt.
    checkup
        The check-ups, question by question.
    tokens
        Divergence of the next-token distributions.
    routing, routing_noise
        Routing flips of every token that both read, ``[layers, M]``; and those of the first model with
        itself, reading in two passes.
    attention, attention_noise
        Distance of attention rows, and that of the first model with itself.
    memory
        Bytes of the weights by part.
    speed
        Tokens per second.
    columns
        Prompt, row in the first trace and row in the second of each of the M tokens, ``[M, 3]``.
    traces
        Of each prompt the reading of the first and of the second model; None where one has none.
    vocabulary
        Id → text of the tokens that the comparison names.
    absent
        Part → why it is None, or what it leaves out.
    """

    def findings(self) -> list[str]:
        """Return the findings as short statements, each with its value by chance or by rounding."""
        same, asked = self.equal_answers
        found = [f"{same} of {asked} answers are the same"] if asked else []
        if len(bounds := self.reported_kl):
            found.append(f"mean KL ≥ {bounds.mean():.3g} nats over {len(bounds)} tokens that both report")
        for part in (self.checkup, self.tokens, self.routing, self.attention, self.memory, self.speed):
            if part is not None:
                text = repr(part)
                found.append(text[text.index("(") + 1 : -1])
        if self.routing is not None and self.routing_noise is not None:
            found.append(f"routing by rounding alone: {self.routing_noise.mean:.2%} of slots flipped")
        return found

    def worst(self, n: int = 10, *, by: Measure = "kl") -> ComparedTokens:
        """Return the tokens at which the models differ most.

        Parameters
        ----------
        n
            Number of tokens.
        by
            ``"kl"`` (of the next token), ``"flipped"`` or ``"weight"`` (mean over the layers).

        Raises
        ------
        NotTraced
            If that part is absent.
        LabError
            If `n` or `by` is something else.
        """
        count = whole_number("n", n, minimum=1)
        if by not in _MEASURES:
            raise LabError(
                f"by={short_repr(by)} is no measure of tokens.",
                hint="One of " + ", ".join(f'"{name}"' for name in _MEASURES) + ".",
            )
        values = self.by_token(by)
        order = [index for index in np.argsort(-values, kind="stable") if np.isfinite(values[index])][:count]
        return ComparedTokens(tuple(self.token(int(index)) for index in order), by)

    def by_token(self, by: Measure) -> NDArray[np.float64]:
        """Return a measure of every token that both read, ``[M]``; `kl` is NaN inside prompts.

        Raises
        ------
        NotTraced
            If that part is absent.
        """
        if by == "kl":
            if self.tokens is None:
                raise self._missing("tokens")
            values = np.full(len(self.columns), np.nan)
            values[self.tokens.column] = self.tokens.kl
            return values
        if self.routing is None:
            raise self._missing("routing")
        return np.asarray(getattr(self.routing, by).mean(axis=0))

    def token(self, index: int) -> ComparedToken:
        """Return one of the M tokens.

        Raises
        ------
        LabError
            If there are fewer.
        """
        index = whole_number("index", index, minimum=0, maximum=max(0, len(self.columns) - 1))
        prompt, row, _ = (int(each) for each in self.columns[index])
        trace = self.traces[prompt][0]
        table = None if trace is None else trace.tokens
        text = "" if table is None else str(table.texts[row]) or str(table.pieces[row])
        tokens, scored = self.tokens, np.empty(0, dtype=int)
        if tokens is not None:
            scored = np.flatnonzero(tokens.column == index)
        kl, tops, following = float("nan"), None, None
        if tokens is not None and len(scored):
            place = int(scored[0])
            first, second = (self._likeliest(int(each)) for each in tokens.top_ids[place])
            kl, tops, following = float(tokens.kl[place]), (first, second), tokens.labels[place]
        routing = self.routing
        return ComparedToken(
            prompt=prompt,
            row=row,
            token=text,
            next_token=following,
            kl=kl,
            top=tops,
            flipped=float("nan") if routing is None else float(routing.flipped[:, index].mean()),
            weight=float("nan") if routing is None else float(routing.weight[:, index].mean()),
            layer=None if routing is None else routing.layers[int(routing.flipped[:, index].argmax())],
        )

    def to_pandas(self) -> Any:
        """Return one row per finding: part, measure, first, second, change, low, high, reference."""
        import pandas as pd

        return pd.DataFrame(rows(self), columns=list(COLUMNS))

    def to_dict(self) -> dict[str, Any]:
        """Return names, findings, the rows of `to_pandas` and what is absent as JSON values."""
        return {
            "first": {"name": self.names[0], "model": self.descriptions[0]},
            "second": {"name": self.names[1], "model": self.descriptions[1]},
            "findings": self.findings(),
            "rows": [
                {
                    name: None if isinstance(value, float) and np.isnan(value) else value
                    for name, value in zip(COLUMNS, row, strict=True)
                }
                for row in rows(self)
            ],
            "absent": dict(self.absent),
        }

    def __repr__(self) -> str:
        same, asked = self.equal_answers
        facts = [f"{same} of {asked} answers the same"] if asked else []
        if len(self.reported_kl):
            facts.append(f"mean KL ≥ {self.reported_kl.mean():.3g} nats")
        if self.checkup is not None:
            facts.append("check-up {:.1%} and {:.1%}".format(*self.checkup.means))
        if self.tokens is not None:
            facts += [
                f"mean KL {self.tokens.mean_kl:.3g} nats",
                f"same top token {self.tokens.agreement:.1%}",
            ]
        if self.routing is not None:
            facts.append(f"{self.routing.mean:.1%} of slots flipped")
        if self.attention is not None:
            facts.append(f"{self.attention.mean:.1%} of attention moved")
        if self.memory is not None and self.memory.totals[0]:
            facts.append(f"memory × {self.memory.totals[1] / self.memory.totals[0]:.2f}")
        if self.speed is not None:
            facts.append(f"speed × {np.median(self.speed.ratios):.2f}")
        return f"Versus({self.names[0]} and {self.names[1]}: {', '.join(facts) or 'nothing to compare'})"

    def _likeliest(self, index: int) -> str:
        return self.vocabulary.get(index, f"<id {index}>")

    def _missing(self, part: str) -> NotTraced:
        return NotTraced(
            f"{self.names[0]} and {self.names[1]} have no {part} to compare: "
            f"{self.absent.get(part, 'not measured')}.",
            hint="print(versus.absent) lists what is missing, and why.",
        )
