"""How many of a drafter's tokens the model accepted. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...display import Displayed


@dataclass(frozen=True)
class Acceptance(Displayed):
    """Outcome of the drafts of one answer.

    A pass of the model verifies up to `draft_tokens` proposed tokens. It accepts those before the first that
    is not its own choice, and adds one token of its own. What was proposed behind a rejected token is not
    examined, and not counted.

    Attributes
    ----------
    drafter
        Name of the drafter.
    draft_tokens
        Tokens proposed per pass, at most.
    tokens
        Tokens of the answer.
    examined
        Tokens where a proposal was compared with the model's choice.
    accepted
        Tokens where they were the same.
    passes
        Passes of the model that generated the answer; the first reads the prompt.
    """

    drafter: str
    draft_tokens: int
    tokens: int
    examined: int
    accepted: int
    passes: int

    @classmethod
    def of(cls, drafted: Sequence[bool | None], *, drafter: str, draft_tokens: int) -> Acceptance:
        """Return the acceptance of an answer.

        Parameters
        ----------
        drafted
            `Token.drafted` of each of its tokens.
        drafter, draft_tokens
            See the attributes.
        """
        accepted = sum(each is True for each in drafted)
        # each pass ends with a token that the model chose itself, unless the answer ended before
        passes = len(drafted) - accepted + (bool(drafted) and drafted[-1] is True)
        examined = sum(each is not None for each in drafted)
        return cls(drafter, draft_tokens, len(drafted), examined, accepted, passes)

    @property
    def rate(self) -> float:
        """Accepted ÷ examined, 0 to 1: that a proposal is accepted, given that those before it were.

        NaN if none was examined.
        """
        return self.accepted / self.examined if self.examined else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        """Tokens per pass of the model; 1 without a drafter, 0 for an empty answer."""
        return self.tokens / self.passes if self.passes else 0.0

    def __repr__(self) -> str:
        rate = f"{self.rate:.0%}" if self.examined else "none examined"
        return (
            f"Acceptance({rate}: {self.accepted} of {self.examined} examined drafts of {self.drafter}; "
            f"{self.tokens} tokens in {self.passes} passes, {self.tokens_per_pass:.2f} per pass)"
        )
