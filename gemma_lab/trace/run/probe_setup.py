"""What of the attention a trace is asked for, made into a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import LabError
from ..probes.attention.labels import Labels
from ..probes.attention.probe import AttentionProbe
from ..probes.logit_lens import LogitLensProbe
from ..records.attention import AttentionRequest
from ..records.logit_lens import LogitLensRequest
from ..records.routing import Precision
from ..tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.loading.loaded_model import LoadedModel

#: Tokens at the end of the prompt that logit_lens=True covers.
_LAST = 64


def attention_probe(
    lab: LoadedModel, prompt: Prompt, asked: bool | AttentionRequest, *, max_new_tokens: int, precision: Precision
) -> AttentionProbe | None:
    """Return the probe for a prompt and an answer of up to `max_new_tokens` tokens; None if none is asked for.

    Raises
    ------
    LabError
        If a row is asked for that the prompt and its answer cannot have.
    """
    if asked is False:
        return None
    request = AttentionRequest() if asked is True else asked
    count = len(prompt.ids)
    for row in request.rows:
        if not -count <= row < count + max_new_tokens:
            raise LabError(
                f"rows={row} is none of the prompt's {count:,} tokens"
                + (f" and {max_new_tokens:,} generated ones." if max_new_tokens else "."),
                hint="Queries count from 0; negative ones from the end of the prompt.",
            )
    rows = tuple(sorted({row % count if row < 0 else row for row in request.rows}))
    tokenizer = getattr(lab.processor, "tokenizer", None) or lab.processor
    labels = []
    if request.statistics:
        labels = [Labels(prompt.ids, tokenizer=tokenizer, pieces=Vocabulary(tokenizer))]
    return AttentionProbe(
        replace(request, rows=rows),
        # bins are for the prompt; a long answer joins them two by two
        expected=count + min(max_new_tokens, count // 4),
        labels=labels,
        precision=precision,
    )


def lens_probe(
    lab: LoadedModel, prompt: Prompt, asked: bool | Sequence[int] | LogitLensRequest, *, max_new_tokens: int
) -> LogitLensProbe | None:
    """Return the probe for a prompt and an answer of up to `max_new_tokens` tokens; None if none is asked for.

    Raises
    ------
    LabError
        If a position is none of theirs, or a target is not one token.
    """
    if asked is False or asked is None:
        return None
    request = (
        asked if isinstance(asked, LogitLensRequest) else LogitLensRequest(None if asked is True else asked)
    )
    count = len(prompt.ids)
    for place in request.positions or ():
        if not -count <= place < count + max_new_tokens:
            raise LabError(
                f"The lens is to look at token {place:,}; the prompt has {count:,}"
                + (f" and its answer up to {max_new_tokens:,}." if max_new_tokens else "."),
                hint="Positions count from 0; negative ones from the end of the prompt.",
            )
    pieces = Vocabulary(lab.tokenizer)
    places = range(max(0, count - _LAST), count) if request.positions is None else request.positions
    return LogitLensProbe(
        {place + count if place < 0 else place for place in places},
        onward=count if request.positions is None else None,
        top=request.top,
        targets=[_target(lab, pieces, target) for target in request.targets],
        name=pieces.name,
    )


def _target(lab: LoadedModel, pieces: Vocabulary, target: int | str) -> int:
    """Return the id of a target."""
    if isinstance(target, str):
        ids = lab.tokenizer(target, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            parts = ", ".join(f"{pieces.name(index)!r} ({index})" for index in ids)
            raise LabError(
                f"{target!r} is {len(ids)} tokens: {parts or 'none'}.",
                hint="Follow one of them by its id, or a text of one token; a leading space may matter.",
            )
        return int(ids[0])
    if isinstance(target, bool) or not 0 <= target < lab.vocabulary:
        raise LabError(
            f"The target {target!r} is no id of the vocabulary's {lab.vocabulary:,}.",
            hint="Ids count from 0.",
        )
    return int(target)
