"""What a server tells of a run: the answer and the experts of its tokens. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadTrace, LabError, NotTraced
from ..records.served_routing import ServedRouting, read_routed_experts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...models.remote.reply import ServerReply

LOAD_HINT = "Load the model itself for that: gl.load(…)."


@dataclass(frozen=True)
class ServedTrace:
    """What a server tells of a run: the answer, the experts of its tokens, and token ids.

    Attributes
    ----------
    reply
        The answer.
    routing
        Expert ids, without weights; None if the server reported none.
    ids
        Token ids of the tokens that `routing` has; None if the server did not report them.
    generated
        Which of them belong to the answer, bool ``[T]``; None without numbers of tokens.
    """

    reply: ServerReply
    routing: ServedRouting | None
    ids: tuple[int, ...] | None = field(repr=False)
    generated: tuple[bool, ...] | None = field(repr=False)

    @property
    def attention(self) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server does not report attention.", hint=LOAD_HINT)

    @property
    def logit_lens(self) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server does not report the residual stream.", hint=LOAD_HINT)

    @property
    def tokens(self) -> Any:
        """Not served: raises `NotTraced`; `ids` has what the server reports."""
        raise NotTraced(
            "A server reports token ids at most: .ids.",
            hint="Texts, roles and media need the tokenizer. " + LOAD_HINT,
        )


def served_trace(
    reply: ServerReply,
    *,
    experts: int | None,
    layers: int | Sequence[int] | None = None,
    top_k: int | None = None,
) -> ServedTrace:
    """Return the experts that a server reported with an answer, checked against the numbers of tokens.

    Parameters
    ----------
    reply
        The answer; its `model` names the published architecture that fills in what is not known.
    experts, layers, top_k
        Of the model, as for `gemma_lab.RemoteLab.trace`; None if the server does not say.

    Raises
    ------
    BadTrace
        If what was reported contradicts itself or the numbers of tokens.
    LabError
        If nothing says how many experts the model has.
    """
    if reply.routed_experts is None:
        return ServedTrace(reply, None, None, None)
    if experts is None or (layers is None and top_k is None):
        shape = _published_shape(reply.model)
        if shape is not None:
            experts = shape[0] if experts is None else experts
            layers = shape[1] if layers is None and experts == shape[0] else layers
            top_k = shape[2] if top_k is None and experts == shape[0] else top_k
    if experts is None:
        raise LabError(
            f"The number of experts of {reply.model} is not known.",
            hint="Pass experts=…, e.g. 128 for 26B-A4B.",
        )
    routing = read_routed_experts(reply.routed_experts, experts=experts, layers=layers, top_k=top_k)
    _check_length(reply, routing)
    ids, generated = None, None
    begin, end = routing.start, routing.start + len(routing)
    if reply.prompt_ids is not None and reply.new_ids is not None:
        ids = (*reply.prompt_ids, *reply.new_ids)[begin:end]
    if reply.prompt_tokens is not None:
        generated = tuple(place >= reply.prompt_tokens for place in range(begin, end))
    return ServedTrace(reply, routing, ids, generated)


def _check_length(reply: ServerReply, routing: ServedRouting) -> None:
    """Raise `BadTrace` unless there is a row for every token that was read: all but the answer's last."""
    if reply.prompt_tokens is None or reply.new_tokens is None:
        return
    read, end = reply.prompt_tokens + max(0, reply.new_tokens - 1), routing.start + len(routing)
    if end != read:
        raise BadTrace(
            f"The server reports experts up to token {end:,}; it read {read:,}.",
            hint="Positions would be shifted. Does the server leave out cached or speculative tokens?",
        )


def _published_shape(name: str) -> tuple[int, int, int] | None:
    """Return experts, layers and experts per token of a published checkpoint; None for another name."""
    from ...family.architecture import get_architecture
    from ...family.catalog import catalog

    wanted = name.rpartition("/")[2].lower()
    for row in catalog():
        if row.hub_id is not None and row.hub_id.rpartition("/")[2].lower() == wanted:
            shape = get_architecture(row.size)
            if shape.experts:
                return shape.experts, len(shape.layers), shape.top_k
    return None
