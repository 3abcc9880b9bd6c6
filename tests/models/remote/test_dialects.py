"""What servers of different makers send, read as the same reply; and what none should send, refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from support.served import scripted

import gemma_lab as gl
from gemma_lab.errors import BadAnswer, BadMedia, ContextFull, LabError, NotTraced, ServerError, UnknownModel

DONE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def models(path, owner="vllm", **card):
    return 200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner, **card}]}


def whole(message, finish="stop", usage=DONE, **choice):
    body = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
        ]
    }
    return body if usage is None else body | {"usage": usage}


def events(*chunks, done=True):
    made = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks]
    return [*made, b"data: [DONE]\n\n"] if done else made


def delta(finish=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


@pytest.fixture
def lab_of():
    """Return a function that connects to a server with the given answer to every question."""
    opened = []

    def connect(answer, *, owner="vllm", card=None, **options):
        def respond(path, body):
            if path.endswith("/models"):
                return models(path, owner, **(card or {}))
            found = answer(body) if callable(answer) else answer
            return found if isinstance(found, tuple) else (200, found)

        context = scripted(respond)
        address, record = context.__enter__()
        opened.append(context)
        return gl.connect(address, **options), record

    yield connect
    for context in opened:
        context.__exit__(None, None, None)


CALL = {"name": "weather", "arguments": '{"city": "Rome"}'}


def weather(city: str) -> dict:
    """Weather in a city.

    Parameters
    ----------
    city
        The city.
    """
    return {"temperature": 21}


CALLS = {
    "OpenAI": {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}]},
    "arguments as an object": {
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    },
    "ids as numbers": {"content": "", "tool_calls": [{"id": 7, "type": "function", "function": CALL}]},
    "function_call": {"content": None, "function_call": CALL},
    "left in the text": {"content": '<|tool_call>call:weather{city:<|"|>Rome<|"|>}<tool_call|>'},
}


@pytest.mark.parametrize("name", CALLS)
def test_tool_calls_in_every_form(lab_of, name):
    lab, _ = lab_of(whole(CALLS[name], "tool_calls"))
    reply = lab.chat("Weather in Rome?", tools=[weather])
    (call,) = reply.calls
    assert (call.name, call.arguments, call.problem) == ("weather", {"city": "Rome"}, "")
    assert reply.text == ""
    assert reply.finish_reason == "stop"


STREAMS = {
    "in parts": [
        delta(
            role="assistant",
            tool_calls=[{"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}],
        ),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "Rome"}'}}]),
        delta(
            tool_calls=[
                {"index": 1, "id": "b", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ]
        ),
    ],
    "all numbered 0": [
        delta(tool_calls=[{"index": 0, "id": "a", "function": CALL}]),
        delta(
            tool_calls=[
                {"index": 0, "id": "b", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ]
        ),
    ],
    "without numbers": [
        delta(tool_calls=[{"id": "a", "function": CALL}]),
        delta(tool_calls=[{"id": "b", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]),
    ],
}


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_calls_in_every_form(lab_of, name):
    lab, _ = lab_of(events(*STREAMS[name], delta(finish="tool_calls")))
    stream = lab.stream("Weather?", tools=[weather])
    assert [chunk.text for chunk in stream] == []
    assert [call.arguments["city"] for call in stream.reply.calls] == ["Rome", "Oslo"]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_under_every_name(lab_of, key):
    lab, _ = lab_of(whole({"content": "12", key: "5 and 7"}))
    reply = lab.chat("7 + 5?")
    assert (reply.thinking, reply.text) == ("5 and 7", "12")
    lab, _ = lab_of(
        events(delta(**{key: "5 "}), delta(**{key: "and 7"}), delta(content="12"), delta(finish="stop"))
    )
    stream = lab.stream("7 + 5?")
    assert [(chunk.kind, chunk.text) for chunk in stream] == [
        ("thought", "5 "),
        ("thought", "and 7"),
        ("text", "12"),
    ]
    assert stream.reply.thinking == "5 and 7"


@pytest.mark.parametrize("text", ["<|channel>thought\n5 and 7<channel|>12", "<think>5 and 7</think>\n\n12"])
def test_thoughts_that_were_left_in_the_text(lab_of, text):
    reply = lab_of(whole({"content": text}))[0].chat("7 + 5?")
    assert (reply.thinking, reply.text) == ("5 and 7", "12")


def test_content_in_parts_and_strange_finish_reasons(lab_of):
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]
    assert lab_of(whole({"content": parts}))[0].chat("?").text == "12"
    for word, kit in (("length", "length"), ("eos", "stop"), (None, "stop"), ("content_filter", "stopped")):
        assert lab_of(whole({"content": "x"}, word))[0].chat("?").finish_reason == kit


def test_what_a_server_leaves_out_is_not_invented(lab_of):
    lab, _ = lab_of(whole({"content": "12"}, usage=None))
    reply = lab.chat("7 + 5?", top_logprobs=3)
    assert (reply.prompt_tokens, reply.new_tokens) == (None, None)
    with pytest.raises(NotTraced):
        reply.tokens  # noqa: B018
    with pytest.raises(NotTraced):
        lab.context  # noqa: B018
    with pytest.raises(NotTraced):
        lab.trace("7 + 5?")
    for use in (
        lab.next_token,
        lab.activations,
        lab.attention_rows,
        lab.causal_map,
        lab.attribute_logit,
        lab.edit,
    ):
        with pytest.raises(NotTraced):
            use("x")
    for option in ({"attention": True}, {"logit_lens": True}, {"edit": gl.Edit()}):
        with pytest.raises(NotTraced):
            lab.trace("x", **option)


def test_logprobs(lab_of):
    token = {
        "token": "12",
        "logprob": -0.5,
        "bytes": [49, 50],
        "top_logprobs": [{"token": "13", "logprob": -1.0}],
    }
    reply = lab_of(whole({"content": "12"}, logprobs={"content": [token]}))[0].chat("?", top_logprobs=1)
    assert reply.tokens[0].alternatives == (("13", -1.0),)
    assert reply.logprobs.tolist() == [-0.5]
    for broken in (
        [{"token": "x", "logprob": "low"}],
        [{"token": 5, "logprob": -1}],
        [None],
        [{"token": "x", "logprob": 3}],
    ):
        with pytest.raises(NotTraced):
            lab_of(whole({"content": "12"}, logprobs={"content": broken}))[0].chat("?").tokens  # noqa: B018


EMPTY = {
    "no choices": {"choices": []},
    "an empty message": whole({}),
    "null": whole({"content": None}, usage={"prompt_tokens": 9, "completion_tokens": 0}),
    "spent on hidden thoughts": whole({"content": ""}, "length", usage={"completion_tokens": 512}),
    "many tokens, no text": whole({"content": ""}, usage={"completion_tokens": 40}),
    "filtered": whole({"content": None}, "content_filter"),
    "an object": {},
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_answers_are_errors(lab_of, name):
    lab, _ = lab_of(EMPTY[name])
    with pytest.raises(ServerError) as caught:
        lab.chat("7 + 5?")
    assert (caught.value.status, caught.value.code) == (200, "empty_answer")


def test_a_model_may_say_nothing(lab_of):
    reply = lab_of(whole({"content": ""}, usage={"prompt_tokens": 9, "completion_tokens": 1}))[0].chat("?")
    assert (reply.text, reply.new_tokens) == ("", 1)


MALFORMED = [
    [1, 2],
    "text",
    None,
    {"choices": "x"},
    {"choices": [5]},
    {"choices": [{"message": "x"}]},
    whole({"content": 5}),
    whole({"content": [1]}),
    whole({"content": "x", "tool_calls": "y"}),
    whole({"content": "x", "tool_calls": [{}]}),
    b"<html>",
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    {"error": {"message": "out of memory", "code": 5}},
    {"error": "no"},
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_answers_are_errors(lab_of, body):
    lab, _ = lab_of((200, body))
    with pytest.raises(ServerError):
        lab.chat("7 + 5?")


HOSTILE_CALLS = [
    {"name": "weather", "arguments": "{"},
    {"name": "weather", "arguments": "[1]"},
    {"name": "a b", "arguments": "{}"},
    {"name": 5, "arguments": "{}"},
    {"name": "weather", "arguments": '{"city": NaN}'},
    {"name": "weather", "arguments": '{"city": "<turn|>"}'},
    {"name": "x" * 100_000, "arguments": "{}"},
    {"name": "weather", "arguments": "[" * 50_000},
    {"name": "weather", "arguments": 7},
]


@pytest.mark.parametrize("function", HOSTILE_CALLS, ids=range(len(HOSTILE_CALLS)))
def test_calls_that_are_none_never_run(lab_of, function):
    ran = []

    def weather(city: str) -> str:
        """Weather in a city."""
        ran.append(city)
        return city

    def answer(body):
        if body["messages"][-1]["role"] == "tool":
            return whole({"content": "done"})
        return whole({"content": None, "tool_calls": [{"id": "a", "function": function}]}, "tool_calls")

    lab, _ = lab_of(answer)
    reply = lab.chat("Weather?", tools=[weather])
    run = None
    with contextlib.suppress(LabError):  # an unreadable call cannot be answered
        run = lab.run("Weather?", tools=[weather], max_rounds=2)
    assert not ran
    assert reply.calls[0].problem or reply.calls[0].name != "weather"
    assert run is None or run.executions[0].status in ("invalid", "unknown")


def test_a_tool_loop_sends_calls_and_results_with_matching_ids(lab_of):
    def answer(body):
        if body["messages"][-1]["role"] == "tool":
            return whole({"content": "21 degrees"})
        return whole(CALLS["OpenAI"], "tool_calls")

    lab, record = lab_of(answer)
    run = lab.run("Weather in Rome?", tools=[weather])
    assert run.text == "21 degrees"
    assert run.ended == "answered"
    assert lab.last_run is run
    sent = record.requests[-1][1]["messages"]
    assert [each["role"] for each in sent] == ["user", "assistant", "tool"]
    assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}
    assert json.loads(sent[2]["content"]) == {"temperature": 21}
    assert "21 degrees" in run._repr_html_()


def test_streams_that_break_off_or_lack_a_part(lab_of):
    lab, _ = lab_of(events(delta(content="1"), delta(content="2"), done=False))
    stream = lab.stream("?")
    assert "".join(chunk.text for chunk in stream) == "12"
    assert stream.reply.finish_reason == "stopped"
    lab, _ = lab_of(events(delta(content="1"), {"error": {"message": "lost a GPU"}}))
    with pytest.raises(ServerError, match="lost a GPU"):
        list(lab.stream("?"))
    lab, _ = lab_of(
        [b": keep-alive\r\n\r\n", b"event: x\r\n", *events(delta(content="12"), delta(finish="stop"))]
    )
    assert [chunk.text for chunk in lab.stream("?")] == ["12"]
    lab, _ = lab_of(whole({"content": "12"}))  # a server that does not stream
    assert [chunk.text for chunk in lab.stream("?")] == ["12"]
    with pytest.raises(ServerError):
        list(lab_of(events(delta(finish="stop")))[0].stream("?"))
    lines = events(delta(content="a\u2028b\x85c"), delta(finish="stop"))
    assert [chunk.text for chunk in lab_of(lines)[0].stream("?")] == ["a\u2028b\x85c"]


def test_a_stream_shows_the_value_so_far_and_a_cut_one_says_so(lab_of):
    pieces = [delta(content=each) for each in ('{"a": "x', 'y", "b"', ": 1")]
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    lab, _ = lab_of(events(delta(reasoning_content="Hm"), *pieces, delta(finish="length")))
    stream = lab.stream("?", schema=schema)
    assert [chunk.partial for chunk in stream] == [None, {"a": "x"}, {"a": "xy"}, {"a": "xy"}]
    with pytest.raises(BadAnswer, match="was cut") as caught:
        _ = stream.reply.data
    assert caught.value.partial == {"a": "xy"}
    lab, _ = lab_of(events(*pieces, delta(content="}"), delta(finish="stop")))
    assert all(chunk.partial is None for chunk in lab.stream("?"))


def test_leaving_a_stream_keeps_what_was_read(lab_of):
    lab, _ = lab_of(events(*[delta(content="x")] * 50, delta(finish="stop")))
    for chunk in lab.stream("?"):
        assert chunk.text == "x"
        break
    assert (lab.last_reply.text, lab.last_reply.finish_reason) == ("x", "stopped")
    stream = lab.stream("?")
    stream.stop()
    assert stream.reply.text == ""
    assert list(stream) == []


def test_busy_servers_are_asked_again(lab_of):
    answers = [(503, {"error": {"message": "loading"}}), (429, {}), (200, whole({"content": "12"}))]
    lab, record = lab_of(lambda _: answers.pop(0))
    assert lab.chat("?").text == "12"
    assert len(record.requests) == 4
    lab, record = lab_of((500, {"error": {"message": "bug"}}))
    with pytest.raises(ServerError, match="bug"):
        lab.chat("?")
    assert len(record.requests) == 2


def test_fields_that_a_server_refuses_are_spared_if_nobody_asked_for_them(lab_of):
    def picky(body):
        for name in ("stream_options", "max_tokens", "top_k"):
            if name in body:
                said = f"Unsupported parameter: '{name}'" + (
                    ", use max_completion_tokens" * (name == "max_tokens")
                )
                return 400, {"error": {"message": said}}
        return events(delta(content="12"), delta(finish="stop"))

    lab, record = lab_of(picky, owner="openai")
    assert "".join(chunk.text for chunk in lab.stream("?")) == "12"
    assert record.requests[-1][1]["max_completion_tokens"] == 512
    with pytest.raises(ServerError, match="top_k"):
        list(lab.stream("?", top_k=5))


def test_refusals_become_the_errors_of_a_lab(lab_of):
    long = (400, {"error": {"message": "This model's maximum context length is 10 tokens.", "code": None}})
    with pytest.raises(ContextFull):
        lab_of(long)[0].chat("?")
    deaf = (500, {"error": {"message": "image input is not supported - you may need the mmproj"}})
    with pytest.raises(BadMedia):
        lab_of(deaf)[0].chat("?", images=gl.evals.load_questions(skills=["digits"])[0].opened_images)
    with pytest.raises(ServerError) as caught:
        lab_of((401, {"error": {"message": "no key\x1b[31m", "code": "invalid_api_key"}}))[0].chat("?")
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert "\x1b" not in str(caught.value)


def test_modalities_as_the_server_tells_them():
    pages = {
        "/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}]},
        "/props": {"modalities": {"vision": True, "audio": False}},
    }
    with scripted(lambda path, _: (200, pages[path])) as (address, _):
        lab = gl.connect(address)
    assert lab.modalities == {"text", "image"}
    assert lab.context == 4096
    with pytest.raises(BadMedia):
        lab.chat("?", audio=b"x")
    pages = {
        "/v1/models": {"data": [{"id": "gemma4:e4b", "owned_by": "library"}]},
        "/api/show": {"capabilities": ["completion", "vision", "audio", "tools"]},
    }
    with scripted(lambda path, _: (200, pages[path])) as (address, _):
        assert gl.connect(address).modalities == {"text", "image", "audio"}
        assert gl.connect(address, modalities=["text"]).modalities == {"text"}
    with scripted(lambda path, _: (200, pages[path]) if path == "/v1/models" else (404, {})) as (address, _):
        assert gl.connect(address).modalities == {"text", "image", "video", "audio"}


@pytest.mark.parametrize(
    "listed", [None, [], 5, {"data": 5}, {"data": [5, None]}, {"data": [{"id": 5}]}, b"["]
)
def test_a_list_of_models_that_is_none_is_refused(listed):
    with scripted(lambda *_: (200, listed)) as (address, _), pytest.raises(LabError):
        gl.connect(address)


def test_names_of_models():
    cards = {"data": [{"id": "a"}, {"id": "b:latest"}]}
    with scripted(lambda *_: (200, cards)) as (address, _):
        assert gl.connect(address, "b").name == "b"
        for wrong in (None, "c", ""):
            with pytest.raises(UnknownModel, match="a, b:latest"):
                gl.connect(address, wrong)
    for listed in ({"data": "x"}, {"data": [5, {"id": 7}]}, [], {"data": []}):
        with scripted(lambda *_, listed=listed: (200, listed)) as (address, _), pytest.raises(UnknownModel):
            gl.connect(address)
    with scripted(lambda *_: (404, {})) as (address, _):
        assert gl.connect(address, "m").name == "m"
        with pytest.raises(ServerError):
            gl.connect(address)


def test_what_is_sent(lab_of):
    lab, record = lab_of(whole({"content": '{"a": 1}'}), extra={"min_p": 0.05}, token="secret-token")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    reply = lab.chat("?", system="Be brief.", temperature=0, stop=["\n"], schema=schema, max_new_tokens=9)
    body = record.requests[-1][1]
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert (body["temperature"], body["stop"], body["max_tokens"], body["min_p"]) == (0, ["\n"], 9, 0.05)
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "seed" not in body
    assert record.headers[-1]["authorization"] == "Bearer secret-token"
    assert reply.data == {"a": 1}
    lab.chat("and?", previous=reply, temperature=0.5, seed=3, top_logprobs=4)
    body = record.requests[-1][1]
    assert [each["content"] for each in body["messages"]] == ["Be brief.", "?", '{"a": 1}', "and?"]
    assert (body["seed"], body["logprobs"], body["top_logprobs"]) == (3, True, 4)
    bad = lab_of(whole({"content": "no JSON"}))[0].chat("?", schema=schema)
    with pytest.raises(gl.LabError):
        bad.data  # noqa: B018


def test_wrong_arguments(lab_of):
    for url in (
        "",
        None,
        5,
        "ftp://x",
        "http://",
        "http://a:b@c",
        "http://x?y=1",
        "http://[",
        "x" * 10_000 + "://",
    ):
        with pytest.raises(LabError):
            gl.connect(url)
    lab, record = lab_of(whole({"content": "x"}))
    before = len(record.requests)
    for wrong in (
        {"temperature": -1},
        {"seed": -1},
        {"stop": 5},
        {"schema": 5},
        {"tool_choice": "x"},
        {"max_soft_tokens": 70},
        {"max_new_tokens": "x"},
        {"previous": 5},
        {"images": ["/none.png"]},
    ):
        with pytest.raises(LabError):
            lab.chat("?", **wrong)
    with pytest.raises(TypeError, match="temperature"):
        lab.chat("?", temperatur=1)
    assert len(record.requests) == before
    for wrong in (
        {"timeout": 0},
        {"timeout": "x"},
        {"token": "a\nb"},
        {"modalities": ["smell"]},
        {"extra": 5},
    ):
        with pytest.raises(LabError):
            gl.connect("http://localhost:1", "m", **wrong)
    with pytest.raises(ServerError):
        gl.connect("http://127.0.0.1:1", "m")


def test_addresses():
    from gemma_lab.models.remote.http import base_url

    for given, wanted in {
        "localhost:8000": "http://localhost:8000/v1",
        "http://host": "http://host/v1",
        "http://host/v1/": "http://host/v1",
        "https://api.example/openai/v2": "https://api.example/openai/v2",
        "http://host/v1/chat/completions": "http://host/v1",
        "http://[::1]:80": "http://[::1]:80/v1",
    }.items():
        assert base_url(given) == wanted
        assert base_url(wanted) == wanted


def test_a_checkup_counts_an_empty_answer_as_wrong_and_ends_with_the_server(lab_of):
    count = []

    def answer(body):
        count.append(body)
        return (
            whole({"content": ""}, usage={"completion_tokens": 90})
            if len(count) == 2
            else whole({"content": "x"})
        )

    lab, _ = lab_of(answer)
    found = lab.checkup(skills=["numbers"], progress=False)
    assert len(found.answers) == 20
    assert found.answers[1].reply.startswith("[no answer")
    assert all("temperature" in body and body["temperature"] == 0 for body in count)
    lab, _ = lab_of((500, {"error": {"message": "gone"}}))
    with pytest.raises(ServerError):
        lab.checkup(skills=["numbers"], progress=False)
    assert lab.last_checkup.answers == ()


def test_a_lab_is_shown_and_sent_to_workers(lab_of):
    import pickle

    lab, _ = lab_of(whole({"content": "<b>12</b>"}), card={"max_model_len": 9}, token="secret-token")
    again = pickle.loads(pickle.dumps(lab))
    assert again.chat("?").text == "<b>12</b>"
    assert repr(again) == repr(lab)
    assert "secret" not in repr(lab) + lab._repr_html_()
    assert "<b>12" not in lab.chat("?")._repr_html_()
    assert "&lt;b&gt;12" in lab.chat("?")._repr_html_()
