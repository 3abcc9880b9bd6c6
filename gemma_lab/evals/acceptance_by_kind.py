"""How many drafted tokens a model accepts, by kind of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..display import Displayed
from ..errors import LabError
from .statistics import wilson_interval

if TYPE_CHECKING:
    from ..models.chat.reply import Reply
    from .model import DraftedModel


@dataclass(frozen=True)
class AcceptanceByKind(Displayed):
    """Acceptance of drafted tokens in the answers to several kinds of prompts.

    Attributes
    ----------
    model, drafter
        Their names.
    draft_tokens
        Tokens proposed per pass, at most.
    counts
        Kind → tokens examined, tokens accepted, tokens of the answers, passes of the model
        (`gemma_lab.models.drafting.acceptance.Acceptance`).
    """

    model: str
    drafter: str
    draft_tokens: int
    counts: dict[str, tuple[int, int, int, int]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in the order in which they were asked."""
        return tuple(self.counts)

    def rate(self, kind: str) -> float:
        """Accepted ÷ examined tokens of a kind, 0 to 1; NaN if none was examined."""
        examined, accepted, _, _ = self._of(kind)
        return accepted / examined if examined else float("nan")

    def interval(self, kind: str) -> tuple[float, float]:
        """Return the 95 % Wilson interval of `rate`; 0 to 1 if none was examined.

        Tokens of one answer depend on each other, so that it is rather too narrow.
        """
        examined, accepted, _, _ = self._of(kind)
        return wilson_interval(accepted, examined) if examined else (0.0, 1.0)

    def tokens_per_pass(self, kind: str) -> float:
        """Tokens of the answers ÷ passes of the model; 1 without a drafter."""
        _, _, tokens, passes = self._of(kind)
        return tokens / passes if passes else 0.0

    def to_pandas(self) -> Any:
        """Return one row per kind: counts, rate, its interval (low, high), tokens per pass."""
        import pandas as pd

        rows = []
        for kind, (examined, accepted, tokens, passes) in self.counts.items():
            low, high = self.interval(kind)
            rows.append(
                {
                    "kind": kind, "examined": examined, "accepted": accepted, "rate": self.rate(kind),
                    "low": low, "high": high, "tokens": tokens, "passes": passes,
                    "tokens_per_pass": self.tokens_per_pass(kind),
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        parts = ", ".join(f"{kind} {self.rate(kind):.0%}" for kind in self.kinds)
        return f"AcceptanceByKind({self.drafter}, up to {self.draft_tokens} tokens per pass: {parts})"

    def _of(self, kind: str) -> tuple[int, int, int, int]:
        if kind not in self.counts:
            raise LabError(f"There is no kind {kind!r}.", hint=f"There are {', '.join(self.kinds)}.")
        return self.counts[kind]


def draft_acceptance(
    lab: DraftedModel, prompts: Mapping[str, Iterable[Any]], *, temperature: float = 0.0, **options: Any
) -> AcceptanceByKind:
    """Answer prompts with the drafter and count what the model accepts, by kind.

    Parameters
    ----------
    lab
        A model that was loaded with ``drafter=``.
    prompts
        Kind of text → prompts as `Lab.chat` takes them, or mappings of its arguments with ``"prompt"`` among
        them: ``{"prompt": "What is 7 + 5?", "thinking": True}``.
    temperature, **options
        As for `Lab.chat`, for every prompt.

    Raises
    ------
    LabError
        If the model has no drafter, or there is no prompt.
    """
    require_drafter(lab)
    counts: dict[str, tuple[int, int, int, int]] = {}
    for kind, asked in prompts.items():
        total = (0, 0, 0, 0)
        for each in asked:
            reply = answer(lab, each, temperature=temperature, **options)
            found = reply.acceptance
            assert found is not None  # there is a drafter
            numbers = (found.examined, found.accepted, found.tokens, found.passes)
            total = tuple(map(sum, zip(total, numbers, strict=True)))  # type: ignore[assignment]
        counts[kind] = total
    if not any(tokens for _, _, tokens, _ in counts.values()):
        raise LabError("No prompt was given.", hint='For example {"sums": ["What is 7 + 5?"]}.')
    return AcceptanceByKind(lab.name, lab.drafter.name, lab.drafter.tokens, counts)


def require_drafter(lab: DraftedModel) -> None:
    """Raise `LabError` if a model has no drafter."""
    if lab.drafter is None:
        raise LabError(f"{lab.name} has no drafter.", hint='Load it with gl.load(…, drafter="auto").')


def answer(lab: DraftedModel, prompt: Any, **options: Any) -> Reply:
    """Return the answer to a prompt, or to a mapping of `Lab.chat`'s arguments."""
    if isinstance(prompt, Mapping):
        options = {**options, **prompt}
        prompt = options.pop("prompt", None)
    return lab.chat(prompt, **options)
