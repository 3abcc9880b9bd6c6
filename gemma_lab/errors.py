"""Errors that the package raises; all of them derive from `LabError`.

Every message states what happened, with the numbers, and what to do next.
"""

from __future__ import annotations


class LabError(RuntimeError):
    """Base class of every error that `gemma_lab` raises.

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
    """A checkpoint of another architecture."""


class BadCheckpoint(LabError):
    """Files that are corrupt, incomplete, unsafe, or do not fill the model's weights."""


class BadDrafter(LabError):
    """A drafter for another model: of another vocabulary or shape, or a checkpoint that is no drafter."""


class DoesNotFit(LabError):
    """A model or a run that needs more memory than there is; raised before it starts where possible."""


class NotAvailable(LabError):
    """Weights that are not on this machine, while downloads are impossible or forbidden."""


class TooOld(LabError):
    """An installed library that is older than the checkpoint needs."""


class MissingExtra(LabError):
    """A feature whose optional dependency is not installed."""


class ContextFull(LabError):
    """A prompt, or a prompt and its answer, longer than the model's context."""


class BadMedia(LabError):
    """An image, sound or video that cannot be read, or that the model has no tower for."""


class BadPrompt(LabError):
    """Messages that the chat format cannot hold."""


class BadTrace(LabError):
    """A trace file that is truncated, altered or hostile, or a captured quantity that contradicts itself."""


class NotTraced(LabError):
    """A quantity that a trace does not have because it was not recorded; the hint names the option for it."""


class BadEdit(LabError):
    """An edit that is not valid, or that names layers, experts or heads which the model does not have."""


class BadLens(LabError):
    """A Jacobian lens that does not fit the model's weights, cannot be read, or was never fitted."""


class BadSchema(LabError):
    """A schema that is not valid, or that cannot be enforced completely."""


class BadAnswer(LabError):
    """An answer that does not satisfy its schema.

    Attributes
    ----------
    text : str
        The answer as far as it was generated.
    partial : object
        The value of that text as far as it can be read, as plain JSON; None if it has none.
    """

    def __init__(self, message: str, *, hint: str = "", text: str = "", partial: object = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.partial = partial


class ServerError(LabError):
    """A server that cannot be reached, refuses a request, or answers what its protocol does not allow.

    Attributes
    ----------
    status : int
        HTTP status of the answer; 0 if there was none.
    code : str
        The server's own name of the error, ``""`` without one.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
