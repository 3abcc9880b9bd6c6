"""What two answers say of each other when one side is a server: reported log-probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...analysis.kl_divergence import kl_bound
from ...errors import NotTraced
from ...models.chat.reply import Reply

if TYPE_CHECKING:
    from ...models.remote.reply import ServerReply

#: Text of a token → its log-probability, of the tokens that are reported at a position.
Reported = dict[str, float]


def reported_bounds(first: Reply | ServerReply, second: Reply | ServerReply) -> tuple[float, ...]:
    """Return lower bounds of KL(first ‖ second) at the tokens that both answers were generated from alike.

    These are the tokens with the same texts from the start, and the one after them. Texts stand for tokens,
    since servers report no ids; of several alternatives with the same text none is used.

    Parameters
    ----------
    first, second
        Greedy answers to the same prompt, with ``top_logprobs``.

    Returns
    -------
    tuple of float
        Nats; empty if a side reports no log-probabilities.
    """
    bounds = []
    for (text, left), (other, right) in zip(_positions(first), _positions(second), strict=False):
        ids = {name: number for number, name in enumerate(sorted(left.keys() | right.keys()))}
        bounds.append(
            kl_bound(
                {ids[name]: value for name, value in left.items()},
                {ids[name]: value for name, value in right.items()},
            ).nats
        )
        if text != other:
            break
    return tuple(bounds)


def _positions(reply: Reply | ServerReply) -> Iterator[tuple[str, Reported]]:
    """Yield the text of each token of the answer's text, and what is reported at its position."""
    if isinstance(reply, Reply):
        for token in reply.tokens:
            if token.kind != "text":  # control tokens have no text that a server would report alike
                return
            listed = [(other.text, other.logprob) for other in token.top_logprobs]
            yield token.text, _unique([*listed, *_chosen(token.text, token.logprob, listed)])
        return
    try:
        scored = reply.tokens
    except NotTraced:
        return
    for each in scored:
        listed = list(each.alternatives)
        yield each.text, _unique([*listed, *_chosen(each.text, each.logprob, listed)])


def _chosen(text: str, logprob: float, listed: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [] if any(name == text for name, _ in listed) else [(text, logprob)]


def _unique(listed: list[tuple[str, float]]) -> Reported:
    counts = Counter(text for text, _ in listed)
    return {text: min(0.0, value) for text, value in listed if text and counts[text] == 1}
