"""What can go wrong, in words for the person who meets it.

Every message says what happened, with the numbers, and what to do next. There is one base class, so
``except LabError`` catches whatever this package raises on purpose.
"""

from __future__ import annotations


class LabError(RuntimeError):
    """Base of every error that `gemma_lab` raises on purpose.

    Parameters
    ----------
    what
        What happened, with the numbers that matter.
    hint
        What to do next. Printed on its own line below `what`.
    """

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}\n→ {hint}" if hint else what)
        self.what = what
        self.hint = hint


class UnknownModel(LabError):
    """A name that is neither an alias, a hub id, a mini nor a folder."""


class NotGemma4(LabError):
    """A checkpoint of some other architecture."""


class BadCheckpoint(LabError):
    """Files that are corrupt, incomplete, unsafe, or do not fill the model's weights."""


class DoesNotFit(LabError):
    """Too little memory, said before anything is loaded."""


class NotAvailable(LabError):
    """Weights that would have to be downloaded while the hub cannot be reached or must not be."""


class TooOld(LabError):
    """An installed library that is older than the checkpoint needs."""


class MissingExtra(LabError):
    """A feature whose optional dependency is not installed."""


class ContextFull(LabError):
    """A prompt, or a prompt and its answer, longer than the model's context."""


class BadMedia(LabError):
    """A picture (or sound, or video) that cannot be read, or that this model has no tower for."""


class BadPrompt(LabError):
    """Messages that the chat format cannot hold."""


class BadTrace(LabError):
    """A trace file that is truncated, altered or hostile, or a captured quantity that contradicts itself."""


class NotTraced(LabError):
    """A quantity that a trace does not hold because it was not recorded; the hint says how to record it."""


class BadEdit(LabError):
    """An edit of experts or heads that this model does not have."""


class BadSchema(LabError):
    """A schema that is none, or that cannot be enforced as a whole."""


class BadAnswer(LabError):
    """An answer that does not satisfy its schema.

    Attributes
    ----------
    text : str
        The answer as far as it came.
    """

    def __init__(self, message: str, *, hint: str, text: str) -> None:
        super().__init__(message, hint=hint)
        self.text = text
