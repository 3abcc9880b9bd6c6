"""The interface that evaluations need of a model; `gemma_lab.Lab` implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..models.chat.reply import Reply
    from ..trace.interventions.apply import EditContext
    from ..trace.trace import Trace


class EvaluatedModel(Protocol):
    """A model that can answer, be traced and be edited, with the methods of `gemma_lab.Lab`."""

    name: str
    modalities: frozenset[str]
    tokenizer: Any
    context: int
    last_checkup: Any

    @property
    def chat(self) -> Callable[..., Reply]:
        """Generate an answer."""

    @property
    def trace(self) -> Callable[..., Trace]:
        """Run the model with probes."""

    @property
    def edit(self) -> Callable[..., EditContext]:
        """Return a context in which the model is changed."""


class DraftedModel(EvaluatedModel, Protocol):
    """A model with a drafter, or None in its place."""

    drafter: Any
    model: Any
    lock: Any
    vocabulary: int

    @property
    def device(self) -> Any:
        """The device of its input."""
