"""The server as OpenAI's own client sees it, compared with the same request to the lab in this process."""

from __future__ import annotations

import base64
import io
import json
import threading

import httpx
import numpy as np
import pytest
from support.served import serving

import gemma_lab as gl
from gemma_lab.cli.server.limits import Limits

openai = pytest.importorskip("openai")

ASK = [{"role": "user", "content": "Write 47 in German words."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(client, messages=ASK, **options):
    options = {"temperature": 0, "max_tokens": 24} | options
    return client.chat.completions.create(model="mini-moe", messages=messages, **options)


def png(image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_models(client):
    (model,) = client.models.list().data
    assert model.id == "mini-moe"
    assert client.models.retrieve("mini-moe").id == "mini-moe"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_chat_is_that_of_the_lab(client, mini):
    answer, local = ask(client), mini.chat("Write 47 in German words.", temperature=0, max_new_tokens=24)
    assert answer.choices[0].message.content == local.text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == local.prompt_tokens
    assert answer.usage.completion_tokens == len(local.tokens)
    assert answer.usage.total_tokens == local.prompt_tokens + len(local.tokens)


def test_stream_adds_up_to_the_answer(client):
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [each.choices[0].finish_reason for each in chunks if each.choices]
    assert reasons[-1] == "stop"
    assert set(reasons[:-1]) == {None}
    assert chunks[-1].usage == whole.usage
    assert len({each.id for each in chunks}) == 1


def test_stream_ends_with_done_and_without_usage_unless_asked(address):
    body = {"model": "mini-moe", "messages": ASK, "stream": True, "max_tokens": 2}
    text = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).text
    assert text.endswith("data: [DONE]\n\n")
    assert '"usage":{' not in text


def test_length_stop_and_seed(client, mini):
    assert ask(client, max_tokens=1).choices[0].finish_reason == "length"
    full = ask(client).choices[0].message.content
    letter = full[len(full) // 2]
    cut = ask(client, stop=[letter]).choices[0]
    assert cut.message.content == full[: full.index(letter)]
    assert cut.finish_reason == "stop"
    streamed = "".join(each.choices[0].delta.content or "" for each in ask(client, stop=letter, stream=True))
    assert streamed == cut.message.content
    drawn = [ask(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (5, 5)]
    local = mini.chat("Write 47 in German words.", temperature=1.5, seed=5, max_new_tokens=24)
    assert drawn == [local.text] * 2


def test_logprobs_are_those_of_the_lab(client, mini):
    local = mini.chat("Write 47 in German words.", temperature=0, max_new_tokens=24, top_logprobs=3)
    answer = ask(client, logprobs=True, top_logprobs=3).choices[0]
    shown = [token for token in local.tokens if token.kind == "text"]
    content = answer.logprobs.content
    assert [each.logprob for each in content] == pytest.approx([token.logprob for token in shown])
    assert all(len(each.top_logprobs) == 3 for each in content)
    assert b"".join(bytes(each.bytes) for each in content).decode() == answer.message.content
    pieces = [each.choices[0].logprobs for each in ask(client, stream=True, logprobs=True)]
    assert [one.logprob for piece in pieces if piece for one in piece.content] == pytest.approx(
        [each.logprob for each in content]
    )
    assert ask(client).choices[0].logprobs is None


def test_tools_and_their_results(client, mini):
    question = {"role": "user", "content": "What is the weather in Rome?"}
    answer = ask(client, [question], tools=[WEATHER], max_tokens=64).choices[0]
    local = mini.chat(question["content"], tools=[WEATHER], temperature=0, max_new_tokens=64)
    (call,) = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        local.calls[0].name,
        local.calls[0].arguments,
    )
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"temperature": 21})}
    then = ask(client, [question, answer.message, result], tools=[WEATHER], max_tokens=64).choices[0]
    after = mini.chat(previous=local, tool_results=[{"temperature": 21}], temperature=0, max_new_tokens=64)
    assert then.message.content == after.text
    parts = [
        each.choices[0].delta.tool_calls for each in ask(client, [question], tools=[WEATHER], stream=True)
    ]
    ((streamed,),) = [part for part in parts if part]
    assert streamed.index == 0
    assert streamed.function.model_dump() == call.function.model_dump()


def test_tool_choice(client):
    named = {"type": "function", "function": {"name": "weather"}}
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    for choice in ("required", named):
        message = ask(client, question, tools=[WEATHER], tool_choice=choice, max_tokens=64).choices[0].message
        assert message.tool_calls[0].function.name == "weather"
    assert not ask(client, question, tools=[WEATHER], tool_choice="none").choices[0].message.tool_calls
    one = ask(
        client, question, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=64
    )
    assert len(one.choices[0].message.tool_calls) == 1
    assert one.choices[0].finish_reason == "tool_calls"


def test_schemas_bind_the_answer(client):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "size": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["kind", "size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    value = json.loads(ask(client, response_format=form, max_tokens=64).choices[0].message.content)
    assert value["kind"] in ("a", "b")
    assert 0 <= value["size"] <= 9
    with pytest.raises(openai.BadRequestError):
        ask(client, response_format=form | {"json_schema": {"name": "x", "schema": {"type": "nothing"}}})


def test_thoughts_come_apart(client, mini):
    question = next(each for each in gl.evals.load_questions(skills=["thinking"]))
    answer = ask(
        client, [{"role": "user", "content": question.prompt}], reasoning_effort="low", max_tokens=512
    )
    local = mini.chat(question.prompt, thinking=True, temperature=0, max_new_tokens=512)
    message = answer.choices[0].message
    assert message.reasoning_content == local.thinking
    assert message.content == local.text
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def test_images(client, mini):
    question = next(each for each in gl.evals.load_questions(skills=["scenes"]))
    parts = [
        {"type": "image_url", "image_url": {"url": png(question.image), "detail": "high"}},
        {"type": "text", "text": question.prompt},
    ]
    answer = ask(client, [{"role": "user", "content": parts}]).choices[0].message.content
    local = mini.chat(question.prompt, images=question.opened_images, temperature=0, max_new_tokens=24)
    assert answer == local.text


def test_audio():
    lab = gl.load("mini-edge", device="cpu", dtype="float32")
    question = next(each for each in gl.evals.load_questions(skills=["tones"]))
    sound = base64.b64encode(question.audio.wav()).decode()
    parts = [
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
        {"type": "text", "text": question.prompt},
    ]
    with serving(lab) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model="mini-edge", messages=[{"role": "user", "content": parts}], temperature=0, max_tokens=24
        )
    local = lab.chat(question.prompt, audio=question.audio.wav(), temperature=0, max_new_tokens=24)
    assert answer.choices[0].message.content == local.text


def test_routed_experts_are_those_of_a_trace(client, mini):
    traced = mini.trace("Write 47 in German words.", max_new_tokens=24)
    for start, streamed in ((0, False), (5, False), (0, True)):
        extra = {"routed_experts_prompt_start": start, "return_token_ids": True}
        answer = ask(client, stream=streamed, extra_body=extra)
        if streamed:
            chunks = list(answer)
            choice = chunks[-1].choices[0]
            ids = [each for chunk in chunks for each in chunk.choices[0].token_ids]
            prompt = chunks[0].prompt_token_ids
        else:
            choice = answer.choices[0]
            ids, prompt = choice.token_ids, answer.prompt_token_ids
        experts = np.load(io.BytesIO(base64.b64decode(choice.routed_experts)), allow_pickle=False)
        assert experts.dtype == np.uint8
        assert np.array_equal(experts, np.moveaxis(traced.routing.ids, 0, 1)[start:])
        assert len(experts) == len(prompt) + len(ids) - 1 - start
    assert not hasattr(ask(client).choices[0], "routed_experts")


def test_text_completions(client, mini):
    prompt = "<|turn>user\nWrite 47 in German words.<turn|>\n<|turn>model\n"
    answer = client.completions.create(
        model="mini-moe", prompt=prompt, max_tokens=6, temperature=0, logprobs=2
    )
    local = mini.complete(prompt, max_new_tokens=6, temperature=0)
    assert local.text
    assert answer.choices[0].text == local.text
    shown = [token.logprob for token in local.tokens if token.kind == "text"]
    assert answer.choices[0].logprobs.token_logprobs == pytest.approx(shown)
    assert "".join(answer.choices[0].logprobs.tokens) == local.text


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": 2}, "n"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"stop": [""]}, "stop"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"routed_experts_prompt_start": 10_000}}, "routed_experts_prompt_start"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **wrong)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_an_unknown_model_and_page(client, address):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert httpx.get(f"{address}/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{address}/v1/chat/completions").status_code == 405


def test_long_prompts(mini):
    with serving(mini, limits=Limits(max_prompt_tokens=20)) as address:
        body = {"model": "mini-moe", "messages": [{"role": "user", "content": "word " * 100}]}
        answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_token_is_needed(mini):
    token = "a-token-of-enough-length"
    with serving(mini, token=token) as address:
        for key in ("wrong", token[:-1], f"{token}x"):
            with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
                with pytest.raises(openai.AuthenticationError) as caught:
                    client.models.list()
                assert caught.value.code == "invalid_api_key"
        with openai.OpenAI(base_url=f"{address}/v1", api_key=token) as client:
            assert client.models.list().data[0].id == "mini-moe"
        assert httpx.get(f"{address}/health").json()["status"] == "ok"


def test_a_client_that_goes_stops_the_model(mini, address):
    """A long answer is left after its first piece; the model is free long before it would have ended."""
    body = {
        "model": "mini-moe", "messages": ASK, "stream": True, "max_tokens": 4000, "temperature": 100.0,
        "seed": 1, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
            "type": "array", "items": {"type": "integer"}, "minItems": 100_000}}},
    }  # fmt: skip
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        while '"content":"[' not in next(lines):
            pass
        assert httpx.get(f"{address}/health").json()["busy"] is True
    free = threading.Event()
    for _ in range(600):
        if not httpx.get(f"{address}/health").json()["busy"]:
            free.set()
            break
        free.wait(0.05)
    assert free.is_set()
    assert mini.last_reply.finish_reason == "stopped"
    assert len(mini.last_reply.tokens) < 3900
