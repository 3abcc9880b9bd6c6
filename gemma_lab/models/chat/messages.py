"""A conversation in one form: what a caller may pass is checked, what the chat template gets is made.

A message is ``{"role": …, "content": …}``. Content is a string, or a list of parts where there are media:
``{"type": "image", "image": <PIL image>}``, ``{"type": "video", "video": <Video>}``,
``{"type": "audio", "audio": <Sound>}`` and ``{"type": "text", "text": …}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import BadPrompt
from ..media import Video, load_audio, load_image, load_video
from .tools import refuse_control, with_results

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..media import Audio
    from .reply import Reply
    from .tools import Call

Message = dict[str, Any]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
}
_THOUGHTS = ("reasoning", "reasoning_content", "thinking")
#: Where a part may carry its medium, besides under its own name.
_SOURCES = ("path", "url")
_EXAMPLE = 'For example [{"role": "user", "content": "Hello"}].'


class Opening(NamedTuple):
    """How media are opened: frames taken of a video, and what is called with each medium."""

    frames: int | None = None
    on_open: Callable[[str, Any], None] | None = None


def conversation(
    prompt: str | list[Message] | None,
    *,
    images: Iterable[Any] = (),
    video: Any = None,
    audio: Any = None,
    system: str | None = None,
    previous: Reply | None = None,
    results: Sequence[Any] | None = None,
    frames: int | None = None,
    on_open: Callable[[str, Any], None] | None = None,
) -> list[Message]:
    """Return the messages that a prompt stands for, checked, with every medium opened.

    Parameters
    ----------
    prompt
        What the user says, or messages that end with one of theirs (or with a tool's).
    images
        Pictures for the last user message; they go before its text.
    video, audio
        A video and a sound for it, or a list of them; they go between the pictures and the text.
    system
        The system prompt, for a conversation that has none yet.
    previous
        A reply to continue from.
    results
        What its calls gave (`gemma_lab.models.chat.tools.with_results`); there is no prompt then.
    frames
        How many frames are taken of a video that is opened here; default as `gemma_lab.load_video`.
    on_open
        Called with the kind of each medium and the medium as soon as it is opened, before the next one is:
        what it raises ends the opening.

    Returns
    -------
    list of dict
        New messages; nothing that was passed is changed.

    Raises
    ------
    BadPrompt
        If the messages are not in the chat format.
    BadMedia
        If a medium cannot be read.
    """
    opening = Opening(frames, on_open)
    messages = [dict(message) for message in previous.messages] if previous is not None else []
    if results is not None:
        messages = with_results(previous, results, prompt)
    else:
        messages += _asked(prompt, opening)
    if system is not None:
        if messages and messages[0]["role"] == "system":
            raise BadPrompt(
                "The conversation already has a system prompt, and another one was passed.",
                hint="Leave `system` out, or start a new conversation (without `previous`).",
            )
        messages.insert(0, {"role": "system", "content": _string(system, "system")})
    _check_order(messages)
    return _illustrated(messages, _parts(images, video, audio, opening))


def answered(messages: list[Message], text: str, thinking: str, calls: Iterable[Call] = ()) -> list[Message]:
    """Return the conversation with the model's answer; its thoughts and calls are kept beside it."""
    answer: Message = {"role": "assistant", "content": text}
    if made := [call.message for call in calls if not call.problem]:
        answer["tool_calls"] = made
    if thinking:
        answer["reasoning"] = thinking
    return [*messages, answer]


def for_template(messages: list[Message]) -> list[Message]:
    """Return the messages as the chat template is to see them: without thoughts of earlier turns.

    The model card asks for that; inside a tool call's turn thoughts stay, since the turn is not over.
    """
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return [
        message
        if place > last and message.get("tool_calls")
        else {key: value for key, value in message.items() if key not in _THOUGHTS}
        for place, message in enumerate(messages)
    ]


def pictures(messages: list[Message]) -> list[Image]:
    """Return the pictures of a conversation, in the order of their placeholders."""
    return _media(messages, "image")


def videos(messages: list[Message]) -> list[Video]:
    """Return the videos of a conversation, in the order of their placeholders."""
    return _media(messages, "video")


def sounds(messages: list[Message]) -> list[Audio]:
    """Return the sounds of a conversation, in the order of their placeholders."""
    return _media(messages, "audio")


def _media(messages: list[Message], kind: str) -> list[Any]:
    return [
        part[kind]
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == kind
    ]


def texts(messages: list[Message]) -> list[str]:
    """Return every piece of text in a conversation, in order."""
    found: list[str] = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [part["text"] for part in parts if part["type"] == "text"]
    return found


def _asked(prompt: str | list[Message] | None, opening: Opening) -> list[Message]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": _string(prompt, "prompt")}]
    if not isinstance(prompt, list | tuple):
        raise BadPrompt(
            f"A prompt is a string or a list of messages, not a {type(prompt).__name__}.", hint=_EXAMPLE
        )
    if not prompt:
        raise BadPrompt("The list of messages is empty.", hint=_EXAMPLE)
    return [_message(message, place, opening) for place, message in enumerate(prompt)]


def _message(message: Any, place: int, opening: Opening) -> Message:
    if not isinstance(message, dict) or "role" not in message:
        raise BadPrompt(f"Message {place} has no role: {_short(message)}.", hint=_EXAMPLE)
    role = _ROLES.get(message["role"]) if isinstance(message["role"], str) else None
    if role is None:
        raise BadPrompt(
            f"Message {place} has the role {_short(message['role'])}.",
            hint="Roles are " + ", ".join(_ROLES) + ".",
        )
    content = message.get("content")
    if content is None and (message.get("tool_calls") or message.get("tool_responses")):
        content = ""
    refuse_control(message.get("tool_responses"), f"The tool's result in message {place}")
    if role == "tool":
        refuse_control(content, f"The tool's result in message {place}")
    return {**message, "role": role, "content": _content(content, place, opening)}


def _content(content: Any, place: int, opening: Opening) -> str | list[Message]:
    if isinstance(content, str):
        return _string(content, f"message {place}")
    if not isinstance(content, list | tuple):
        raise BadPrompt(
            f"The content of message {place} is {_short(content)}, not a string or a list of parts.",
            hint=_EXAMPLE,
        )
    parts = [_part(part, place, opening) for part in content]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)  # templates want strings where there are no media
    return parts


def _part(part: Any, place: int, opening: Opening) -> Message:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": _string(part.get("text"), f"message {place}")}
    if kind in ("image", "video", "audio"):
        source = next((part[name] for name in (kind, *_SOURCES) if part.get(name) is not None), None)
        if source is not None:
            return {"type": kind, kind: _opened(kind, source, part, opening)}
    raise BadPrompt(
        f"A part of message {place} is {_short(part)}.",
        hint='Parts are {"type": "text", "text": …}, {"type": "image", "image": …}, {"type": "video", '
        '"video": …, "fps": …} and {"type": "audio", "audio": …, "rate": …}.',
    )


def _opened(kind: str, source: Any, part: Message, opening: Opening) -> Any:
    """Open the medium of one part; video and audio take the keywords of `gemma_lab.load_video` and `load_audio`."""
    medium = _loaded(kind, source, part, opening.frames)
    if opening.on_open is not None:
        opening.on_open(kind, medium)
    return medium


def _loaded(kind: str, source: Any, part: Message, frames: int | None) -> Any:
    if kind == "image":
        return load_image(source)
    span = {name: part[name] for name in ("start", "stop") if name in part}
    if kind == "audio":
        return load_audio(source, rate=part.get("rate"), **span)
    taken = part.get("frames", None if isinstance(source, Video) or "fps" in part else frames)
    return load_video(source, fps=part.get("fps"), frames=taken, **span)


def _check_order(messages: list[Message]) -> None:
    for place, message in enumerate(messages):
        if message["role"] == "system" and place:
            raise BadPrompt(f"Message {place} is a system prompt; only the first one can be.")
    if messages[-1]["role"] not in ("user", "tool") and not messages[-1].get("tool_responses"):
        raise BadPrompt(
            f"The last message is the {messages[-1]['role']}'s, so there is nothing to answer.",
            hint="End with a user message.",
        )


def _parts(images: Iterable[Any], clips: Any, recordings: Any, opening: Opening) -> list[Message]:
    """Return the parts of the media that were passed beside the prompt, opened, in their order."""
    one = isinstance(images, str | bytes | bytearray) or not isinstance(images, Iterable)
    if one or getattr(images, "ndim", 0) in (2, 3):  # an array would iterate over its rows
        images = [images]
    parts = [{"type": "image", "image": _opened("image", image, {}, opening)} for image in images]
    for kind, sources in (("video", clips), ("audio", recordings)):
        # only a list is several: a tuple is a medium with its rate
        several = sources if isinstance(sources, list) else [] if sources is None else [sources]
        parts += [{"type": kind, kind: _opened(kind, source, {}, opening)} for source in several]
    return parts


def _illustrated(messages: list[Message], parts: list[Message]) -> list[Message]:
    if not parts:
        return messages
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        raise BadPrompt("There are media but no user message to put them in.", hint=_EXAMPLE)
    content = messages[last]["content"]
    text = [{"type": "text", "text": content}] if isinstance(content, str) else content
    messages[last] = {**messages[last], "content": [*parts, *text]}
    return messages


def _string(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise BadPrompt(f"The text of {where} is {_short(text)}, not a string.", hint=_EXAMPLE)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadPrompt(
            f"The text of {where} holds half a surrogate pair at position {error.start}.",
            hint='Repair it with text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").',
        ) from error
    return text


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"
