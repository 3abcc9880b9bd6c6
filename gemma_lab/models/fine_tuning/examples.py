"""Read training examples of several forms: a prompt as a request, and the answer that is to be learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import BadPrompt, LabError
from ..chat.messages import conversation
from ..chat.options import PROMPT_OPTIONS
from ..chat.plain_json import as_mapping, refuse_control
from ..chat.reply import Reply
from ..chat.request_builder import build_request, frame_limit

if TYPE_CHECKING:
    from ..chat.request import Request
    from ..chat.types import Message
    from ..loading.loaded_model import LoadedModel

_ANSWERS = ("answer", "completion", "response")
_OPTIONS = tuple(name for name in PROMPT_OPTIONS if name not in ("previous", "tool_results", "thinking"))
_FORMS = (
    'An example is ("What is 7 + 5?", "12"); or {"prompt": …, "answer": …} with images, video, audio, '
    'system, tools, thinking (the thoughts before the answer) as needed; or {"messages": […]} that end with '
    "the model's answer; or a Reply; or a text, which is learned as a whole."
)


@dataclass(frozen=True)
class Answer:
    """What the model is to say to a request.

    Attributes
    ----------
    request
        What the model reads before it, exactly as in `Lab.chat`.
    text
        The answer's text; may be empty before calls.
    thinking
        Thoughts before it; empty for none.
    calls
        Tool calls after the text, as ``{"type": "function", "function": {…}}``.
    """

    request: Request
    text: str
    thinking: str = ""
    calls: tuple[Message, ...] = ()


def read_example(model: LoadedModel, example: Any, where: str) -> list[Answer]:
    """Return the answers that an example holds: one per message of the model, each with what precedes it.

    Parameters
    ----------
    model
        Its processor opens media.
    example
        A pair of texts, a mapping, messages, a `Reply`, or a text that is learned as a whole.
    where
        Names the example in errors: ``"Example 3"``.

    Raises
    ------
    LabError
        If it is of no known form.
    BadPrompt, BadMedia, ContextFull
        As `Lab.chat` raises for its prompt.
    """
    try:
        return list(_answers(model, example, where))
    except LabError as error:
        if error.what.startswith(where):
            raise
        raise type(error)(f"{where}: {error.what}", hint=error.hint) from error


def _answers(model: LoadedModel, example: Any, where: str) -> Iterator[Answer]:
    if isinstance(example, str):
        yield _whole_text(model, example, where)
        return
    if isinstance(example, Reply):
        options = {"tools": example.tools} if example.tools else {}
        yield from _of_messages(model, example.messages, options, where)
        return
    fields = as_mapping(example)
    if fields is None:
        if isinstance(example, Sequence) and len(example) == 2 and all(isinstance(e, str) for e in example):
            fields = {"prompt": example[0], "answer": example[1]}
        elif isinstance(example, Sequence) and example and all(_is_message(each) for each in example):
            fields = {"messages": example}
        else:
            raise LabError(f"{where} is {short_repr(example)}.", hint=_FORMS)
    fields = {name: value for name, value in fields.items() if value is not None}
    options = {name: fields.pop(name) for name in _OPTIONS if name in fields}
    if "messages" in fields:
        messages = _list(fields.pop("messages"), where)
        _refuse_rest(fields, where)
        yield from _of_messages(model, messages, options, where)
        return
    yield from _of_pair(model, fields, options, where)


def _of_pair(
    model: LoadedModel, fields: dict[str, Any], options: dict[str, Any], where: str
) -> Iterator[Answer]:
    """Yield the answer of an example with a prompt and an answer."""
    named = [name for name in _ANSWERS if name in fields]
    if "prompt" not in fields or len(named) != 1:
        raise LabError(f"{where} has {', '.join(fields) or 'nothing'}.", hint=_FORMS)
    prompt, answer = fields.pop("prompt"), fields.pop(named[0])
    thinking = fields.pop("thinking", "")
    calls = fields.pop("calls", ())
    _refuse_rest(fields, where)
    if not isinstance(thinking, str):
        raise LabError(
            f"{where} has thinking={short_repr(thinking)}.",
            hint="Pass the thoughts as text, or leave it out.",
        )
    if isinstance(answer, list | tuple):  # TRL's form: a prompt and its completion as messages
        yield from _of_messages(model, [*_list(prompt, where), *answer], options, where, last_only=True)
        return
    if not isinstance(answer, str):
        raise LabError(f"{where} has the answer {short_repr(answer)}.", hint="An answer is text or messages.")
    spoken: Message = {"role": "assistant", "content": answer}
    if calls:
        spoken["tool_calls"] = [
            {"type": "function", "function": dict(call)} if "function" not in call else call for call in calls
        ]
    raw = bool(options.get("raw"))
    if raw and (thinking or calls):
        raise BadPrompt(f"{where} is raw and has thoughts or calls.", hint="Only the chat format has them.")
    request = _request(model, prompt, options, thinking=bool(thinking))
    if raw:
        yield Answer(request, answer)
        return
    message = _normalised(model, [{"role": "user", "content": "?"}, spoken])
    yield Answer(request, _text(message, where), thinking, tuple(message.get("tool_calls", ())))


def _of_messages(
    model: LoadedModel,
    messages: Sequence[Any],
    options: dict[str, Any],
    where: str,
    *,
    last_only: bool = False,
) -> Iterator[Answer]:
    """Yield one answer per message of the model, each with the conversation before it as its prompt."""
    if options.get("raw"):
        raise BadPrompt(f"{where} is raw and has messages.", hint="Raw examples have a prompt and an answer.")
    roles = [str((as_mapping(message) or {}).get("role")) for message in messages]
    spoken = [index for index, role in enumerate(roles) if role in ("assistant", "model")]
    if not spoken or spoken[-1] != len(roles) - 1:
        raise LabError(f"{where} does not end with a message of the model: {', '.join(roles)}.", hint=_FORMS)
    messages, options = _place_images(messages, options, where)
    for index in spoken[-1:] if last_only else spoken:
        if index == 0 or roles[index - 1] in ("assistant", "model"):
            raise LabError(f"{where}: message {index} of the model has no prompt before it.", hint=_FORMS)
        message = _normalised(model, messages[: index + 1])
        thinking = str(message.get("reasoning", ""))
        request = _request(model, list(messages[:index]), options, thinking=bool(thinking))
        yield Answer(request, _text(message, where), thinking, tuple(message.get("tool_calls", ())))


def _place_images(
    messages: Sequence[Any], options: dict[str, Any], where: str
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return messages whose image parts without a source got the images of the example, in order.

    That is how data sets in TRL's format hold them. Images without such parts stay an option: they belong to
    the only message of the user.
    """
    media = [name for name in ("images", "video", "audio") if options.get(name) is not None]
    if not media:
        return messages, options
    users = sum((as_mapping(message) or {}).get("role") == "user" for message in messages)
    open_parts = [
        (number, place)
        for number, message in enumerate(messages)
        for place, part in enumerate(_parts(message))
        if part.get("type") == "image" and not set(part) - {"type"} - {"text"}
    ]
    images = options.get("images")
    if open_parts and images is not None:
        listed = list(images) if isinstance(images, list | tuple) else [images]
        if len(listed) != len(open_parts):
            raise LabError(
                f"{where} has {len(listed)} images and {len(open_parts)} image parts without a source.",
                hint='One image per {"type": "image"}, in order.',
            )
        placed = [dict(as_mapping(message) or {}) for message in messages]
        for (number, place), image in zip(open_parts, listed, strict=True):
            content = list(placed[number]["content"])
            content[place] = {"type": "image", "image": image}
            placed[number]["content"] = content
        return placed, {name: value for name, value in options.items() if name != "images"}
    if users > 1:
        raise LabError(
            f"{where} has {', '.join(media)} beside {users} messages of the user: of which one?",
            hint='Put them into the content of their message: {"type": "image", "image": …}.',
        )
    return messages, options


def _whole_text(model: LoadedModel, text: str, where: str) -> Answer:
    """Return a text as a raw answer to its first token, ``<bos>``."""
    if not text:
        raise LabError(f"{where} is an empty text.", hint=_FORMS)
    begin = model.tokenizer.bos_token_id
    if begin is None:
        raise LabError(f"{where} is a text, and {model.name} has no <bos> to begin with.", hint=_FORMS)
    return Answer(build_request(model, [begin], {"raw": True, "temperature": 0}), text)


def _request(model: LoadedModel, prompt: Any, options: dict[str, Any], *, thinking: bool) -> Request:
    return build_request(model, prompt, {**options, "thinking": thinking, "temperature": 0})


def _normalised(model: LoadedModel, messages: Sequence[Any]) -> Message:
    """Return the last message, one of the model, as conversations hold it."""
    following = {"role": "user", "content": "?"}  # a conversation ends with a message that can be answered
    return conversation(
        [*map(_without_media, messages[:-1]), messages[-1], following], frames=frame_limit(model)
    )[-2]


def _without_media(message: Any) -> Any:
    """Return a message with text in place of its media, which need not be opened to read a later one."""
    fields = as_mapping(message)
    if fields is None or not isinstance(fields.get("content"), list | tuple):
        return message
    kept = [
        part if str(part.get("type")) in _READ_PARTS else {"type": "text", "text": "?"}
        for part in _parts(message)
    ]
    return {**{key: value for key, value in fields.items() if key != "images"}, "content": kept}


_READ_PARTS = ("text", "input_text", "output_text", "refusal", "thinking", "tool_use", "tool_result")


def _parts(message: Any) -> list[dict[str, Any]]:
    content = (as_mapping(message) or {}).get("content")
    return [as_mapping(part) or {} for part in content] if isinstance(content, list | tuple) else []


def _text(message: Message, where: str) -> str:
    content = message["content"]
    if not isinstance(content, str):
        raise BadPrompt(f"{where}: an answer of the model has media.", hint="Gemma 4 answers with text.")
    refuse_control(content, f"{where}: the answer")
    if not content.strip() and not message.get("tool_calls"):
        raise LabError(f"{where} has an empty answer.", hint=_FORMS)
    return content


def _is_message(value: Any) -> bool:
    return "role" in (as_mapping(value) or {})


def _list(messages: Any, where: str) -> list[Any]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Iterable) or isinstance(messages, Mapping):
        raise LabError(f"{where} has messages={short_repr(messages)}.", hint=_FORMS)
    return list(messages)


def _refuse_rest(fields: Mapping[str, Any], where: str) -> None:
    if fields:
        raise LabError(f"{where} has {', '.join(map(short_repr, fields))}, which is not read.", hint=_FORMS)
