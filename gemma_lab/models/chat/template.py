"""Render a conversation with the checkpoint's chat template, within a time limit."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import BadPrompt
from .template_messages import for_declaration, written

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .request import Request
    from .types import Message

#: Seconds that a template may take: a real one takes milliseconds, also for thousands of turns.
TEMPLATE_SECONDS = 60.0
#: Placeholder of a medium, by its kind.
PLACEHOLDERS = {"image": "<|image|>", "video": "<|video|>", "audio": "<|audio|>"}


class _TimeLimit(BaseException):
    """Raised inside a template that takes too long."""


def render(model: LoadedModel, request: Request) -> str:
    """Return the text of a request with one placeholder per medium: the model's input before tokenising.

    A raw request is its own text; every other one is written by the checkpoint's chat template.

    Raises
    ------
    BadPrompt
        If the checkpoint has no chat template, or its template raises any error.
    """
    if request.raw:
        return "".join(
            part["text"] if part["type"] == "text" else PLACEHOLDERS[part["type"]] for part in request.parts
        )
    holder = model.processor if getattr(model.processor, "chat_template", None) else model.tokenizer
    if not getattr(holder, "chat_template", None):
        raise BadPrompt(
            f"{model.name} has no chat template: pre-trained checkpoints only continue text.",
            hint="lab.complete(text), or raw=True in every verb; or load the instruction-tuned model, …-it.",
        )

    def apply(messages: list[Message]) -> str:
        text: str = holder.apply_chat_template(
            messages,
            tools=for_declaration(request.tools) or None,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=request.thinking,
        )
        return text

    try:
        return _within(TEMPLATE_SECONDS, lambda: written(list(request.messages), apply))
    except _TimeLimit:
        raise BadPrompt(
            f"The chat template of {model.name} took more than {TEMPLATE_SECONDS:g} s.",
            hint="Shorten the conversation; if a short one takes as long, the template loops: replace it.",
        ) from None
    except (KeyboardInterrupt, SystemExit, BadPrompt):
        raise
    except Exception as error:  # templates come with checkpoints, and may raise anything
        raise BadPrompt(
            f"The chat template of {model.name} refuses the messages: {type(error).__name__}: {error}",
            hint="Check roles, their order and the parts of each message; another template may take them.",
        ) from error


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Call `work` and return its result; raise `_TimeLimit` if it takes longer than `seconds`.

    It runs in a separate thread, in which an exception can be raised from here. A template is Python code, so
    the exception is raised at its next bytecode.
    """
    results: list[str] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="gemma_lab template", daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:  # also when the caller is interrupted
        late = thread.is_alive()
        if late:
            identity: Any = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_TimeLimit))
    if late:
        raise _TimeLimit
    if errors:
        raise errors[0]
    return results[0]
