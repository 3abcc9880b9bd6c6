"""Effect of a grammar on an answer: forbidden probability and first choice of every token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import type_name
from ..display import Displayed
from ..errors import LabError
from ..models.chat.reply import Reply
from ..trace.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..models.chat.reply import Token


@dataclass(frozen=True, eq=False)
class OverruledTokens(Displayed):
    """The tokens that a grammar bound, in order; n of them.

    Attributes
    ----------
    model
        Name of the model.
    positions
        Position of each among the generated tokens, int64 ``[n]``: a thought before the answer is free.
    chosen, first_choices
        The token that was generated, and the model's own likeliest one, as text.
    probabilities
        Of the generated token in the model's own distribution, 0 to 1, float64 ``[n]``.
    forbidden
        The model's probability of the tokens that the grammar forbids, 0 to 1, float64 ``[n]``.
    overruled
        Whether the grammar forbids the model's likeliest token, bool ``[n]``.
    """

    model: str
    positions: NDArray[np.int64] = field(repr=False)
    chosen: tuple[str, ...] = field(repr=False)
    first_choices: tuple[str, ...] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)
    forbidden: NDArray[np.float64] = field(repr=False)
    overruled: NDArray[np.bool] = field(repr=False)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def first(self) -> int | None:
        """Position of the first overruled token; the model's own answer would differ from there on.

        None if there is none: greedy decoding without the grammar would have given the same answer.
        """
        places = np.flatnonzero(self.overruled)
        return int(self.positions[places[0]]) if len(places) else None

    def to_pandas(self) -> Any:
        """Return one row per token: position, chosen, probability, forbidden, first_choice, overruled."""
        import pandas as pd

        return pd.DataFrame(
            {
                "position": self.positions,
                "chosen": self.chosen,
                "probability": self.probabilities,
                "forbidden": self.forbidden,
                "first_choice": self.first_choices,
                "overruled": self.overruled,
            }
        )

    def __repr__(self) -> str:
        name = " ".join(self.model.split())
        if not len(self):
            return f"OverruledTokens({name}: no token was bound by a grammar)"
        return (
            f"OverruledTokens({name}: {int(self.overruled.sum())} of {len(self)} tokens overruled, forbidden "
            f"probability {self.forbidden.mean():.3f} on average, at most {self.forbidden.max():.3f})"
        )


def overruled_tokens(answer: Reply | Trace) -> OverruledTokens:
    """Return what a grammar overruled in an answer.

    Parameters
    ----------
    answer
        A reply, or a trace with a generated answer, made with ``schema=`` or ``tool_choice=``. A trace knows
        the text of a token only if its id is among its own tokens; others are written ``<id 123>``.

    Returns
    -------
    OverruledTokens

    Raises
    ------
    LabError
        If it is neither, or nothing was generated.
    """
    if isinstance(answer, Reply):
        return _of_reply(answer)
    if not isinstance(answer, Trace):
        raise LabError(f"This is {type_name(answer)}.", hint="Pass a reply or a trace.")
    generation = answer.generation
    if generation is None:
        raise LabError("The trace has no generated answer.", hint="Trace with max_new_tokens=64.")
    known = zip(answer.tokens.ids.tolist(), answer.tokens.pieces.tolist(), strict=True)
    names = {index: str(piece).replace("▁", " ") for index, piece in known}
    bound = np.flatnonzero(~np.isnan(generation.forbidden))
    return OverruledTokens(
        model=str(answer.meta.get("model", "model")),
        positions=bound,
        chosen=_names(generation.ids[bound], names),
        first_choices=_names(generation.first_choice_ids[bound], names),
        probabilities=np.minimum(np.exp(generation.logprobs[bound].astype(np.float64)), 1.0),
        forbidden=generation.forbidden[bound].astype(np.float64),
        overruled=generation.overruled[bound],
    )


def _of_reply(reply: Reply) -> OverruledTokens:
    bound = [(n, token, token.overruled) for n, token in enumerate(reply.tokens) if token.overruled]
    return OverruledTokens(
        model=reply.model,
        positions=np.asarray([n for n, _, _ in bound], dtype=np.int64),
        chosen=tuple(_name(token) for _, token, _ in bound),
        first_choices=tuple(effect.first_choice for _, _, effect in bound),
        probabilities=np.minimum([token.probability for _, token, _ in bound], 1.0),
        forbidden=np.asarray([effect.forbidden for _, _, effect in bound], dtype=np.float64),
        overruled=np.asarray([effect.changed for _, _, effect in bound], dtype=np.bool_),
    )


def _name(token: Token) -> str:
    """Return a token's text; of one that adds no text, its name if it was recorded."""
    if token.overruled is not None and token.overruled.first_choice_id == token.id:
        return token.overruled.first_choice
    names = {other.id: other.text for other in token.top_logprobs}
    return names.get(token.id) or token.text or f"<id {token.id}>"


def _names(ids: NDArray[Any], names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names.get(index, f"<id {index}>") for index in ids.tolist())
