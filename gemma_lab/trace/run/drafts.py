"""What a drafter proposed for the tokens of a traced answer.

A trace runs token by token, without the drafter: probes would see rejected proposals, too. The answer is
therefore generated a second time with the drafter, which gives the same tokens, and its outcomes are noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models.chat.generation import Generation

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ...models.chat.prompt import Prompt
    from ...models.chat.reply import Reply
    from ...models.loading.loaded_model import LoadedModel


def drafts(
    model: LoadedModel, prompt: Prompt, reply: Reply | None, *, stop: Sequence[threading.Event] = ()
) -> dict[str, Any] | None:
    """Generate a traced answer again with the model's drafter; return the outcomes as JSON values.

    Parameters
    ----------
    model, prompt
        As in the trace, and under the same edit.
    reply
        The answer of the trace; None if only the prompt was read.
    stop
        Events that stop the second generation.

    Returns
    -------
    dict or None
        ``name`` and ``tokens`` (per pass) of the drafter, and ``drafted``: for each token of the answer True
        if it was proposed and accepted, False if another proposal was rejected there, None if nothing was
        proposed. None without a drafter, for a sampled answer without a seed, and if either was stopped.
    """
    if model.drafter is None or reply is None or reply.finish_reason == "stopped":
        return None
    sampling = reply.sampling
    if sampling.temperature > 0 and reply.seed is None:
        return None
    generation = Generation(model, prompt, stop=stop)
    generation.run()
    again = generation.reply()
    model.last_reply = reply
    if [token.id for token in again.tokens] != [token.id for token in reply.tokens]:
        return None  # stopped, or rounding of another pass length decided between two equal tokens
    return {
        "name": model.drafter.name,
        "tokens": int(model.drafter.tokens),
        "drafted": [token.drafted for token in again.tokens],
    }
