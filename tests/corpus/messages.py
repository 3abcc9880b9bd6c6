"""Messages: what a caller may pass as a prompt, beside a prompt and as earlier turns."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image
from pydantic import BaseModel
from support.conversations import parts
from support.templates import prompt_text

from corpus.row import Row
from gemma_lab.errors import BadMedia, BadPrompt
from gemma_lab.models.chat.messages import conversation

Q = '<|"|>'
RED = Image.new("RGB", (40, 20), "red")
TONE = np.sin(np.arange(8000, dtype=np.float32) / 5)


def png():
    file = io.BytesIO()
    RED.save(file, "PNG")
    return file.getvalue()


def wav():
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes((TONE * 30_000).astype("<i2").tobytes())
    return file.getvalue()


B64, SOUND64 = base64.b64encode(png()).decode(), base64.b64encode(wav()).decode()
SOUND_URI = f"data:audio/wav;base64,{SOUND64}"
SOUND_ROW = {"array": TONE, "sampling_rate": 16_000}
USER = {"role": "user", "content": "Code of Ada?"}


class Role(str, Enum):  # noqa: UP042 - as callers write it
    USER = "user"


@dataclass
class Turn:
    role: str
    content: object


class Function(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    function: Function
    type: str = "function"


class ChatMessage(BaseModel):
    """As OpenAI's SDK has it."""

    role: str
    content: str | None = None
    refusal: str | None = None
    annotations: list | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


def asks(*parts):
    """Return a conversation of one user message with these parts and a text."""
    return conversation([{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}])


def sizes(messages):
    return [image.size for image in parts("image", messages)]


def call(name="find", arguments='{"name": "Ada"}', **other):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **other}


def assistant(*calls, **other):
    return {"role": "assistant", "content": None, **({"tool_calls": list(calls)} if calls else {}), **other}


def result(content="47", **other):
    return {"role": "tool", "content": content, **other}


def text(*messages):
    """Return the model's turn of a prompt, after the user's first message."""
    return prompt_text(conversation([USER, *messages])).split("<|turn>model\n", 1)[1]


FIND = f"<|tool_call>call:find{{name:{Q}Ada{Q}}}<tool_call|>"
BOB = FIND.replace("Ada", "Bob")
FOUND = f"<|tool_response>response:find{{value:{Q}47{Q}}}<tool_response|>"


def response(value, name="find"):
    return f"<|tool_response>response:{name}{{value:{Q}{value}{Q}}}<tool_response|>"


def tool_use(name="find", number="t1", **arguments):
    return {"type": "tool_use", "id": number, "name": name, "input": arguments}


def tool_result(content="47", number="t1", **other):
    return {"type": "tool_result", "tool_use_id": number, "content": content, **other}


def said(*parts):
    return {"role": "assistant", "content": list(parts)}


def heard(*parts):
    return {"role": "user", "content": list(parts)}


def note(words):
    return {"type": "text", "text": words}


def refused(name, run, *holds, error=BadPrompt):
    return Row(name, lambda _: run(), raises=error, holds=holds)


FORMS = [
    Row("a string", lambda _: conversation("Hi"), equals=[{"role": "user", "content": "Hi"}]),
    Row(
        "a role that is an enum",
        lambda _: conversation([{"role": Role.USER, "content": "Hi"}])[0]["role"],
        equals="user",
    ),
    Row(
        "a dataclass",
        lambda _: conversation([Turn("user", "Hi")]),
        equals=[{"role": "user", "content": "Hi"}],
    ),
    Row(
        "a pydantic model",
        lambda _: conversation([ChatMessage(role="user", content="Hi")]),
        equals=[{"role": "user", "content": "Hi"}],
    ),
    Row(
        "an object with messages",
        lambda _: conversation(type("Chat", (), {"messages": [USER]})()),
        equals=[USER],
    ),
    Row("a tuple of messages", lambda _: conversation((USER,)), equals=[USER]),
    Row("a subclass of str", lambda _: type(conversation(np.str_("Hi"))[0]["content"]), equals=str),
    Row(
        "parts of OpenAI's Responses",
        lambda _: asks({"type": "input_text", "text": "a"})[0]["content"],
        equals="aWhat?",
    ),
    Row(
        "a refusal of OpenAI's",
        lambda _: text({"role": "assistant", "content": None, "refusal": "No."}, USER)[:11],
        equals="No.<turn|>\n",
    ),
    Row("an empty system prompt", lambda _: conversation("Hi", system=""), equals=conversation("Hi")),
    Row("a blank system prompt", lambda _: conversation("Hi", system=" \n"), equals=conversation("Hi")),
    Row(
        "an empty system message",
        lambda _: conversation([{"role": "system", "content": ""}, USER]),
        equals=[USER],
    ),
    Row(
        "control characters of Unicode",
        lambda _: prompt_text(conversation("a\U0010fffe\U0010ffffb")),
        check=lambda prompt: "a\U0010fffe\U0010ffffb" in prompt,
    ),
    refused("an int", lambda: conversation(7), "int"),
    refused("None", lambda: conversation(None), "not None"),
    refused("no messages", lambda: conversation([])),
    refused("one message outside a list", lambda: conversation(USER), "dict"),
    refused("a list of strings", lambda: conversation(["Hi"]), "Message 0"),
    refused("a list of conversations", lambda: conversation([[USER]]), "Message 0"),
    refused(
        "a role that does not exist",
        lambda: conversation([{"role": "wizard", "content": "Hi"}]),
        "Message 0",
        "wizard",
    ),
    refused(
        "a role that is a list", lambda: conversation([{"role": ["user"], "content": "Hi"}]), "Message 0"
    ),
    refused("no role", lambda: conversation([USER, {"content": "Hi"}]), "Message 1"),
    refused("no content", lambda: conversation([{"role": "user"}]), "Message 0"),
    refused(
        "content that is a number", lambda: conversation([{"role": "user", "content": 5}]), "Message 0", "5"
    ),
    refused(
        "parts of Gemini's API", lambda: conversation([{"role": "user", "parts": [{"text": "x"}]}]), "parts"
    ),
    refused("a part that is a string", lambda: conversation([{"role": "user", "content": ["Hi"]}]), "Part 0"),
    refused("a part of an unknown type", lambda: asks({"type": "smell"}), "smell", "Part 0 of Message 0"),
    refused("a part whose text is a number", lambda: asks(note(5)), "5"),
    refused("half a surrogate pair", lambda: conversation("half \ud83d"), "5"),
    refused("the model's message at the end", lambda: conversation([USER, said(note("x"))]), "Message 1"),
    refused(
        "a system prompt in the middle",
        lambda: conversation([USER, {"role": "system", "content": "x"}, USER]),
        "Message 1",
    ),
    refused(
        "two system prompts", lambda: conversation([{"role": "system", "content": "x"}, USER], system="y")
    ),
    refused("a system prompt that is a list", lambda: conversation("Hi", system=["x"])),
    refused("previous is a list of messages", lambda: conversation("Hi", previous=[USER]), "list"),
    refused(
        "a control token in a thought",
        lambda: text({"role": "assistant", "content": "x", "reasoning": "a <|image|>"}, USER),
        "<|image|>",
        "Message 1",
    ),
]

MEDIA = [
    *(
        Row(f"an image as {name}", lambda _, part=part: sizes(asks(part)), equals=[(40, 20)])
        for name, part in {
            "image": {"type": "image", "image": RED},
            "image, bytes": {"type": "image", "image": png()},
            "image_url": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
            "image_url, a string": {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
            "url, a data URI": {"type": "image", "url": f"data:image/png;base64,{B64}"},
            "base64": {"type": "image", "base64": B64},
            "base64 in lines": {"type": "image", "base64": base64.encodebytes(png()).decode()},
            "base64 under image": {"type": "image", "image": B64},
            "Responses' input_image": {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
            "Anthropic's source": {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": B64},
            },
            "MCP's data": {"type": "image", "data": B64, "mimeType": "image/png"},
            "a row of datasets": {"type": "image", "image": {"bytes": png(), "path": None}},
        }.items()
    ),
    Row(
        "an image as path and as file://",
        lambda c: sizes(
            asks(
                {"type": "image", "path": c.media / "digits" / "7.png"},
                {"type": "image", "url": f"file://{c.media}/digits/7.png"},
            )
        ),
        check=lambda found: len(set(found)) == 1 and len(found) == 2,
    ),
    Row(
        "images of Ollama's messages",
        lambda _: sizes(conversation([{"role": "user", "content": "What?", "images": [B64, png()]}])),
        equals=[(40, 20)] * 2,
    ),
    Row(
        "a sound as input_audio",
        lambda _: (
            parts("audio", asks({"type": "input_audio", "input_audio": {"data": SOUND64, "format": "wav"}}))[
                0
            ].seconds
        ),
        equals=0.5,
    ),
    Row(
        "a sound as audio_url",
        lambda _: len(
            parts(
                "audio", asks({"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{SOUND64}"}})
            )
        ),
        equals=1,
    ),
    Row(
        "a sound of datasets",
        lambda _: (
            parts("audio", conversation("Hi", audio={"array": TONE, "sampling_rate": 16_000}))[0].seconds
        ),
        equals=0.5,
    ),
    *(
        Row(
            f"images={name}",
            lambda _, make=make: sizes(conversation("What?", images=make())),
            equals=[(40, 20)] * count,
        )
        for name, make, count in (
            ("None", lambda: None, 0),
            ("[]", list, 0),
            ("a PIL image", lambda: RED, 1),
            ("bytes", png, 1),
            ("a bytearray", lambda: bytearray(png()), 1),
            ("a memoryview", lambda: memoryview(png()), 1),
            ("an open file", lambda: io.BytesIO(png()), 1),
            ("an array", lambda: np.zeros((20, 40, 3), np.uint8), 1),
            ("a gray array", lambda: np.zeros((20, 40), np.uint8), 1),
            ("a tuple", lambda: (RED, RED), 2),
            ("an array of images", lambda: np.zeros((3, 20, 40, 3), np.uint8), 3),
            ("a generator", lambda: (RED for _ in range(2)), 2),
            ("base64", lambda: B64, 1),
        )
    ),
    Row(
        "a video with a numpy rate",
        lambda _: parts("video", conversation("Hi", video=([RED] * 3, np.int64(2))))[0].frames,
        check=lambda f: len(f) == 3,
    ),
    refused(
        "an endless generator of images",
        lambda: conversation("Hi", images=iter(lambda: RED, None)),
        "4,096",
        error=BadMedia,
    ),
    refused("a number as an image", lambda: conversation("Hi", images=7), error=BadMedia),
    refused("an image part without an image", lambda: asks({"type": "image"}), "Part 0 of Message 0"),
    refused(
        "an image part with two images",
        lambda: asks({"type": "image", "image": RED, "base64": B64}),
        "Part 0",
    ),
    refused(
        "an image by the id of a file",
        lambda: asks({"type": "input_image", "image_url": {"file_id": "f1"}}),
        "Part 0",
    ),
    refused("base64 that is none", lambda: asks({"type": "image", "base64": "§§"}), "Part 0"),
    refused(
        "an address",
        lambda: asks({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}),
        "https://x.org",
        error=BadMedia,
    ),
    refused(
        "media without a user message",
        lambda: conversation(
            [{"role": "assistant", "content": "", "tool_calls": [call()]}, result()], images=RED
        ),
    ),
]

TOOLS = [
    Row(
        "arguments as JSON text",
        lambda _: text(assistant(call(id="c1")), result(tool_call_id="c1")),
        equals=FIND + FOUND,
    ),
    Row(
        "arguments as a mapping",
        lambda _: text(assistant(call(arguments={"name": "Ada"})), result()),
        equals=FIND + FOUND,
    ),
    *(
        Row(
            f"arguments {arguments!r}",
            lambda _, a=arguments: text(assistant(call(arguments=a)), result()),
            equals=f"<|tool_call>call:find{{}}<tool_call|>{FOUND}",
        )
        for arguments in ("{}", "", "null", None, {})
    ),
    Row(
        "OpenAI's own classes",
        lambda _: text(
            ChatMessage(
                role="assistant",
                tool_calls=[ToolCall(id="c1", function=Function(name="find", arguments='{"name": "Ada"}'))],
            ),
            ChatMessage(role="tool", tool_call_id="c1", content="47"),
        ),
        equals=FIND + FOUND,
    ),
    Row(
        "results in another order",
        lambda _: text(
            assistant(call(id="c1"), call(arguments={"name": "Bob"}, id="c2")),
            result("2", tool_call_id="c2"),
            result("1", tool_call_id="c1"),
        ),
        equals=FIND + BOB + response("1") + response("2"),
    ),
    Row(
        "results by name",
        lambda _: text(assistant(call("a", {}), call("b", {})), result("B", name="b"), result("A", name="a")),
        check=lambda t: t.endswith(response("A", "a") + response("B", "b")),
    ),
    Row(
        "results without id or name",
        lambda _: text(assistant(call("a", {}), call("b", {})), result("A"), result("B")),
        check=lambda t: t.endswith(response("A", "a") + response("B", "b")),
    ),
    Row(
        "a result without an id for a call with one",
        lambda _: text(assistant(call(id="c1")), result()),
        equals=FIND + FOUND,
    ),
    Row(
        "text before the call",
        lambda _: text(assistant(call(), content="Let me look."), result()),
        equals=f"Let me look.{FIND}{FOUND}",
    ),
    Row(
        "text before the call, and after the result",
        lambda _: text(assistant(call(), content="Look."), result(), assistant(content="It is 47."), USER),
        check=lambda t: t.startswith(f"Look.{FIND}{FOUND}It is 47.<turn|>\n<|turn>user\n"),
    ),
    Row(
        "text in a message before the call",
        lambda _: text(assistant(content="Look."), assistant(call()), result()),
        equals=f"Look.{FIND}{FOUND}",
    ),
    Row(
        "two messages of the model",
        lambda _: text(said(note("A")), said(note("B")), USER),
        check=lambda t: t.startswith("A\nB<turn|>\n"),
    ),
    Row(
        "a thought, then text, then the call",
        lambda _: prompt_text(
            conversation([USER, assistant(call(), content="Look.", reasoning="Hm"), result()]), thinking=True
        ).split("<|turn>model\n")[1],
        equals=f"<|channel>thought\nHm\n<channel|>Look.{FIND}{FOUND}",
    ),
    Row(
        "a chain of calls",
        lambda _: text(
            assistant(call()),
            result(),
            assistant(call(arguments={"name": "Bob"}), content="And."),
            result("48"),
        ),
        equals=f"{FIND}{FOUND}And.{BOB}{response('48')}",
    ),
    Row(
        "a question right after a result",
        lambda _: text(assistant(call()), result(), USER),
        equals=f"{FIND}{FOUND}<turn|>\n<|turn>user\nCode of Ada?<turn|>\n<|turn>model\n",
    ),
    Row(
        "a result in parts",
        lambda _: text(assistant(call()), result([note("4"), note("7")])),
        equals=FIND + FOUND,
    ),
    Row(
        "a result that is data",
        lambda _: text(assistant(call()), result({"b": [1, None], "a": True})),
        equals=f"{FIND}<|tool_response>response:find{{a:true,b:[1,null]}}<tool_response|>",
    ),
    Row(
        "a result that is None",
        lambda _: text(assistant(call()), {"role": "tool"}),
        equals=f"{FIND}<|tool_response>response:find{{value:null}}<tool_response|>",
    ),
    Row(
        "a function call of OpenAI's first form",
        lambda _: text(
            {"role": "assistant", "content": None, "function_call": call()["function"]},
            {"role": "function", "name": "find", "content": "47"},
        ),
        equals=FIND + FOUND,
    ),
    Row(
        "Google's tool_responses",
        lambda _: text(assistant(call(), tool_responses=[{"name": "find", "response": "47"}])),
        equals=FIND + FOUND,
    ),
    Row(
        "Anthropic's tool_use and tool_result",
        lambda _: text(
            said(
                {"type": "thinking", "thinking": "Hm", "signature": "s"},
                note("Look."),
                tool_use(name_="Ada") | {"input": {"name": "Ada"}},
                tool_use(number="t2") | {"input": {"name": "Bob"}},
            ),
            heard(tool_result("2", "t2"), tool_result([note("1")]), note("And?")),
        ),
        check=lambda t: t.startswith(
            f"Look.{FIND}{BOB}{response('1')}{response('2')}<turn|>\n<|turn>user\nAnd?"
        ),
    ),
    Row(
        "Anthropic's result alone",
        lambda _: text(said(tool_use() | {"input": {"name": "Ada"}}), heard(tool_result())),
        equals=FIND + FOUND,
    ),
    Row(
        "Anthropic's failed result",
        lambda _: text(
            said(tool_use() | {"input": {"name": "Ada"}}), heard(tool_result("no", is_error=True))
        ),
        check=lambda t: t.endswith(f"response:find{{error:{Q}no{Q}}}<tool_response|>"),
    ),
    Row(
        "MCP's result",
        lambda _: text(assistant(call()), result({"content": [note("47")], "isError": False})),
        equals=FIND + FOUND,
    ),
    Row(
        "MCP's structured result",
        lambda _: text(assistant(call()), result({"content": [note("x")], "structuredContent": {"n": 4}})),
        check=lambda t: t.endswith("response:find{n:4}<tool_response|>"),
    ),
    Row(
        "what was read is read again unchanged",
        lambda _: [
            conversation(made) == made
            for made in (
                conversation([USER, assistant(call(), content="x", reasoning="y"), result({"a": [1]}), USER]),
            )
        ],
        equals=[True],
    ),
    refused("a result without a call", lambda: text(result(tool_call_id="c1")), "Message 1"),
    refused(
        "a result of another id",
        lambda: text(assistant(call(id="c1")), result(tool_call_id="c9")),
        "Message 2",
        "c9",
        "c1",
    ),
    refused(
        "a result by id of a call without one",
        lambda: text(assistant(call()), result(tool_call_id="c1")),
        "Message 2",
    ),
    refused(
        "a result of another function",
        lambda: text(assistant(call()), result(name="open")),
        "Message 2",
        "open",
    ),
    refused(
        "a second result",
        lambda: text(assistant(call(id="c1")), *[result(tool_call_id="c1")] * 2),
        "Message 3",
    ),
    refused(
        "one result for two calls", lambda: text(assistant(call(), call()), result()), "Message 1", "call 1"
    ),
    refused(
        "a result after another question",
        lambda: text(assistant(call(id="c1")), USER, result(tool_call_id="c1")),
        "Message 3",
    ),
    refused(
        "two calls of one id",
        lambda: text(assistant(call(id="c"), call(id="c")), result(), result()),
        "Message 1",
    ),
    refused(
        "a flat call",
        lambda: text(assistant({"name": "find", "arguments": {}}), result()),
        "function",
        "Message 1",
    ),
    refused(
        "arguments that are no JSON",
        lambda: text(assistant(call(arguments="{a")), result()),
        "Message 1",
        "{a",
    ),
    refused("arguments with NaN", lambda: text(assistant(call(arguments='{"a": NaN}')), result()), "NaN"),
    refused(
        "arguments that are a list",
        lambda: text(assistant(call(arguments="[1]")), result()),
        "Message 1",
        "[1]",
    ),
    refused(
        "arguments nested too deep",
        lambda: text(assistant(call(arguments='{"a":' * 9000)), result()),
        "Message 1",
    ),
    refused(
        "a control token in arguments",
        lambda: text(assistant(call(arguments={"a": ["<|image|>"]})), result()),
        "<|image|>",
        "Message 1",
    ),
    refused(
        "a control token in the key of an argument",
        lambda: text(assistant(call(arguments={"<turn|>": 1})), result()),
        "<turn|>",
    ),
    refused(
        "a control token in a function's name",
        lambda: text(assistant(call("f<|turn>")), result()),
        "f<|turn>",
    ),
    refused(
        "a control token in a result",
        lambda: text(assistant(call()), result({"a": [note("<tool_response|>")]})),
        "<tool_response|>",
        "Message 2",
    ),
    refused(
        "a control token in a part of a result",
        lambda: text(assistant(call()), result([note("<turn|>")])),
        "<turn|>",
    ),
    refused(
        "an image in a result",
        lambda: text(assistant(call()), result([{"type": "image", "image": RED}])),
        "image",
        "Message 2",
    ),
    refused(
        "an image in MCP's result",
        lambda: text(
            assistant(call()), result({"content": [{"type": "image", "data": B64}], "isError": False})
        ),
        "image",
    ),
    refused(
        "text after Anthropic's tool_use",
        lambda: text(said(tool_use(), note("x")), heard(tool_result())),
        "Message 1",
    ),
    refused(
        "text before Anthropic's tool_result",
        lambda: text(said(tool_use()), heard(note("x"), tool_result())),
        "Message 2",
    ),
    refused("a tool_result without a tool_use", lambda: text(heard(tool_result())), "Message 1"),
    refused(
        "calls that are a number", lambda: text({"role": "assistant", "content": "", "tool_calls": 5}), "5"
    ),
]

ROWS = [*FORMS, *MEDIA, *TOOLS]
