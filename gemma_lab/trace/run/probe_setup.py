"""What of the attention a trace is asked for, made into a probe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import LabError
from ..probes.attention.labels import Labels
from ..probes.attention.probe import AttentionProbe
from ..records.attention import AttentionRequest
from ..records.routing import Precision
from ..tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ...lab import Lab
    from ...models.chat.prompt import Prompt


def attention_probe(
    lab: Lab, prompt: Prompt, asked: bool | AttentionRequest, *, max_new_tokens: int, precision: Precision
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
