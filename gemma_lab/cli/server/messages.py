"""Read the messages of a request. Nothing a client writes is ever opened as a path or fetched as an address.

Of every message and part only known keys are read, and a medium becomes bytes here: it comes as a data URL or
as base64 text. What is passed on to the model's own reader of messages holds no other source.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from ...models.media import Video, load_image
from ...models.media.images import image_size
from ...models.media.video import MAX_FRAMES, MAX_VIDEO_PIXELS
from .errors import invalid
from .fields import Fields

#: Messages of a conversation, parts of a message, calls of a message, at most.
MAX_MESSAGES, MAX_PARTS, MAX_CALLS = 4096, 4096, 256
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
#: Headers of a data URL that holds frames.
_FRAMES = ("data:video/jpeg;base64", "data:video/png;base64")
_REASONING = ("reasoning_content", "reasoning")


def read_messages(fields: Fields) -> list[dict[str, Any]]:
    """Return the messages of a request for `gemma_lab.Lab.request`, media as bytes.

    Raises
    ------
    ApiError
        Status 400, if they are not in OpenAI's format.
    """
    listed = fields.list("messages", most=MAX_MESSAGES)
    if not listed:
        raise fields.fault("messages", "must be a list of messages, and not empty.")
    return [_message(value, f"messages[{index}]") for index, value in enumerate(listed)]


def _message(value: Any, path: str) -> dict[str, Any]:
    fields = Fields(value, path)
    role = fields.text("role")
    if role not in _ROLES:
        raise fields.fault("role", f"must be one of {', '.join(_ROLES)}.")
    fields.skip(("refusal", "annotations", "audio", "function_call"))
    if fields.has("function_call") or fields.has("audio"):
        raise invalid(f"{path}: function_call and audio of messages are not supported; use tool_calls.", path)
    message: dict[str, Any] = {"role": role}
    name = fields.text("name", "")
    if role in ("tool", "function"):
        if name:
            message["name"] = name
        if fields.has("tool_call_id"):
            message["tool_call_id"] = fields.text("tool_call_id")
    content = _content(fields, path)
    if role == "tool":
        content = _tool_result(content)
    if content is not None:
        message["content"] = content
    if role == "assistant":
        message |= _answered(fields, path)
        if content is None and "tool_calls" not in message:
            message["content"] = fields.text("refusal", "")
    elif content is None:
        raise fields.fault("content", "must be a string or a list of parts.")
    fields.finish()
    return message


def _tool_result(content: Any) -> Any:
    """Return a tool's result; OpenAI's API has text only, so JSON text of an object is the object."""
    if isinstance(content, str) and content.lstrip().startswith("{"):
        try:
            decoded = msgspec.json.decode(content)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return content
        return decoded if isinstance(decoded, dict) else content
    return content


def _answered(fields: Fields, path: str) -> dict[str, Any]:
    """Return the calls and the thoughts of an assistant's message."""
    made: dict[str, Any] = {}
    listed = fields.list("tool_calls", most=MAX_CALLS)
    if listed:
        made["tool_calls"] = [_call(each, f"{path}.tool_calls[{index}]") for index, each in enumerate(listed)]
    for key in _REASONING:
        if fields.has(key):
            made["reasoning"] = fields.text(key)
    return made


def _content(fields: Fields, path: str) -> Any:
    content = fields.any("content")
    if content is None or isinstance(content, str):
        return content
    parts = fields.list("content", most=MAX_PARTS)
    return [_part(part, f"{path}.content[{index}]") for index, part in enumerate(parts)]


def _part(value: Any, path: str) -> dict[str, Any]:
    fields = Fields(value, path)
    kind = fields.text("type")
    made: dict[str, Any]
    if kind in ("text", "input_text", "output_text"):
        made = {"type": "text", "text": fields.text("text")}
        fields.skip(("annotations",))
    elif kind == "refusal":
        made = {"type": "text", "text": fields.text("refusal")}
    elif kind in ("image_url", "video_url", "audio_url"):
        medium = kind.removesuffix("_url")
        made = {"type": medium, medium: _medium(fields, kind)}
    elif kind == "input_audio":
        sound = fields.object(kind)
        if sound is None:
            raise fields.fault(kind, "must be an object with data and format.")
        sound.skip(("format",))  # the bytes say what they are
        made = {"type": "audio", "audio": _base64(sound.text("data"), sound.path("data"))}
        sound.finish()
    else:
        raise fields.fault(
            "type", "must be one of text, image_url, input_audio, audio_url, video_url, refusal."
        )
    fields.skip(("cache_control", "uuid"))
    fields.finish()
    return made


def _medium(fields: Fields, kind: str) -> Any:
    """Return what a data URL holds, ``{"url": …}`` or the URL itself: bytes, or the frames of a video."""
    value = fields.any(kind)
    times: list[Any] | None = None
    if isinstance(value, Mapping):
        inner = Fields(value, fields.path(kind))
        url, path = inner.text("url"), inner.path("url")
        inner.skip(("detail",))  # how much of an image is read is fixed by the model's processor
        if kind == "video_url" and inner.has("times"):
            times = inner.list("times", most=MAX_FRAMES)
        inner.finish()
    else:
        url, path = fields.text(kind), fields.path(kind)
    if url[:5].lower() != "data:":
        raise invalid(
            f"{path} is no data URL. This server opens no addresses and no files: send the medium itself, "
            "as data:image/png;base64,….",
            path,
            "unsupported_url",
        )
    header, comma, payload = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise invalid(f"{path} must be data:TYPE;base64,BYTES.", path, "invalid_url")
    if kind == "video_url" and header.lower() in _FRAMES:
        return _frames(payload.split(","), times, path)
    return _base64(payload, path)


class Frames(NamedTuple):
    """The frames of a video, not decoded yet, and the time of each in seconds."""

    data: tuple[bytes, ...]
    times: tuple[float, ...]
    path: str

    def opened(self) -> Video:
        """Return the video, decoded; raise `ApiError` or `BadMedia` if it is none."""
        pixels = sum(width * height for width, height in map(image_size, self.data))
        if pixels > MAX_VIDEO_PIXELS:
            raise invalid(f"{self.path} has {pixels:,} pixels; at most {MAX_VIDEO_PIXELS:,}.", self.path)
        images = tuple(load_image(each) for each in self.data)
        if len({image.size for image in images}) > 1:
            raise invalid(f"{self.path}: the frames of a video have one size.", self.path)
        return Video(images, self.times, len(images))


def with_videos(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in which the videos that came as frames are decoded: one request's at a time."""
    return [
        {**message, "content": [_with_video(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _with_video(part: dict[str, Any]) -> dict[str, Any]:
    video = part.get("video")
    return {**part, "video": video.opened()} if isinstance(video, Frames) else part


def _frames(listed: list[str], times: list[Any] | None, path: str) -> Frames:
    """Return the video of frames that come one by one, as vLLM takes them, with their times."""
    if times is None or len(times) != len(listed):
        raise invalid(
            f"{path} holds {len(listed)} frames and {0 if times is None else len(times)} times: this server "
            "needs the time of each, in seconds, as video_url.times; or send a video file.",
            path,
        )
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in times):
        raise invalid(f"{path}: times are numbers.", path)
    if any(not 0 <= each < 1e6 for each in times) or any(a >= b for a, b in pairwise(times)):
        raise invalid(f"{path}: times begin at 0 or later, and each is later than the one before.", path)
    return Frames(tuple(_base64(each, path) for each in listed), tuple(map(float, times)), path)


def _base64(text: str, path: str) -> bytes:
    """Return the bytes of base64 text; whatever follows is told by these bytes, not by a declared type."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{path} is not valid base64.", path, "invalid_base64") from None
    if not data:
        raise invalid(f"{path} is empty.", path)
    return data


def _call(value: Any, path: str) -> dict[str, Any]:
    fields = Fields(value, path)
    if fields.text("type", "function") != "function":
        raise fields.fault("type", 'must be "function".')
    function = fields.object("function")
    if function is None:
        raise fields.fault("function", "must be an object with name and arguments.")
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": function.text("name"), "arguments": function.text("arguments", "{}")},
    }
    function.finish()
    if fields.has("id"):
        call["id"] = fields.text("id")
    fields.skip(("index",))
    fields.finish()
    return call
