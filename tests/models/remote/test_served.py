"""`gl.connect` against a real local server: the same answers as from the lab behind it."""

from __future__ import annotations

import threading

import httpx
import numpy as np
import pytest
from support.served import serving

import gemma_lab as gl
from gemma_lab.cli.server.limits import Limits
from gemma_lab.errors import BadMedia, ContextFull, LabError, NotTraced, ServerError

ASK = "Write 47 in German words."


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def address(mini):
    with serving(mini) as address:
        yield address


@pytest.fixture(scope="module")
def served(address):
    return gl.connect(address)


def test_what_the_server_says_of_the_model(served, mini):
    assert served.name == "mini-moe"
    assert served.modalities == mini.modalities
    assert served.context == mini.context
    assert "128" in repr(served)
    assert "mini-moe" in served._repr_html_()


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"seed": 4, "temperature": 1.2, "top_k": 20}], ids=str
)
def test_chat_stream_and_complete_are_those_of_the_lab(served, mini, options):
    local = mini.chat(ASK, max_new_tokens=20, top_logprobs=2, **options)
    reply = served.chat(ASK, max_new_tokens=20, top_logprobs=2, **options)
    assert (reply.text, reply.finish_reason, reply.messages) == (
        local.text,
        local.finish_reason,
        local.messages,
    )
    assert (reply.prompt_tokens, reply.new_tokens) == (local.prompt_tokens, len(local.tokens))
    shown = [token.logprob for token in local.tokens if token.kind == "text"]
    assert reply.logprobs == pytest.approx(shown)
    stream = served.stream(ASK, max_new_tokens=20, **options)
    assert "".join(chunk.text for chunk in stream) == local.text
    assert stream.reply.new_tokens == len(local.tokens)
    raw = "<|turn>user\nWrite 12 in French words.<turn|>\n<|turn>model\n"
    assert (
        served.complete(raw, max_new_tokens=8, **options).text
        == mini.complete(raw, max_new_tokens=8, **options).text
    )


def test_conversations_media_and_thoughts(served, mini):
    question = gl.evals.load_questions(skills=["scenes"])[0]
    options = {"temperature": 0, "max_new_tokens": 16}
    first = [lab.chat(question.prompt, images=question.opened_images, **options) for lab in (served, mini)]
    then = [
        lab.chat(ASK, previous=reply, **options) for lab, reply in zip((served, mini), first, strict=True)
    ]
    assert [reply.text for reply in first] == [first[1].text] * 2
    assert [reply.text for reply in then] == [then[1].text] * 2
    hard = gl.evals.load_questions(skills=["thinking"])[0].prompt
    thoughts = [lab.chat(hard, thinking=True, temperature=0, max_new_tokens=256) for lab in (served, mini)]
    assert thoughts[0].thinking == thoughts[1].thinking != ""
    request = served.request(ASK, **options)
    assert served.chat(request).text == mini.chat(mini.request(ASK, **options)).text


def test_the_experts_are_those_of_a_trace(served, mini):
    local = mini.trace(ASK, max_new_tokens=12)
    remote = served.trace(ASK, max_new_tokens=12)
    assert np.array_equal(remote.routing.ids, local.routing.ids)
    assert remote.ids == tuple(int(each) for each in local.tokens.ids)
    assert remote.generated == tuple(bool(each) for each in local.tokens.generated)
    for name in ("attention", "logit_lens", "tokens"):
        with pytest.raises(NotTraced):
            getattr(remote, name)
    assert (
        gl.analysis.routing_overlap(remote.routing, served.trace(ASK).routing).layers == local.routing.layers
    )


def test_tools_run_here_with_schemas_bound_there(served):
    def weather(city: str) -> dict:
        """Weather in a city."""
        return {"temperature": 21}

    run = served.run("What is the weather in Rome?", tools=[weather], temperature=0)
    assert [execution.status for execution in run.executions] == ["ran"]
    assert run.ended == "answered"
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert served.chat(ASK, schema=schema, temperature=0, max_new_tokens=64).data["a"] in (1, 2)


def test_refusals_are_the_errors_of_a_lab(mini, served):
    with serving(mini, limits=Limits(max_prompt_tokens=30), token="a-token-of-enough-length") as address:
        with pytest.raises(ServerError) as caught:
            gl.connect(address)
        assert caught.value.status == 401
        with pytest.raises(ContextFull):
            gl.connect(address, token="a-token-of-enough-length").chat("word " * 100)
    with pytest.raises(BadMedia):
        served.chat("?", audio=(np.zeros(16_000, np.float32), 16_000))
    with pytest.raises(LabError):
        served.chat("?", max_new_tokens=10**9)


@pytest.mark.parametrize("how", ["leave", "event"])
def test_leaving_a_stream_frees_the_model(served, address, mini, how):
    schema = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 100_000}
    event = threading.Event()
    stream = served.stream(ASK, schema=schema, temperature=0, max_new_tokens=4000, stop=event)
    for chunk in stream:
        if chunk.text and how == "leave":
            break
        event.set()
    assert stream.reply.finish_reason == "stopped"
    for _ in range(1200):
        if not httpx.get(f"{address}/health").json()["busy"]:
            break
        threading.Event().wait(0.05)
    assert not httpx.get(f"{address}/health").json()["busy"]
    assert len(mini.last_reply.tokens) < 3900


def test_versus_compares_a_lab_with_a_server(served, mini):
    compared = gl.versus(mini, served, [ASK], max_new_tokens=8, rounds=0, progress=False)
    assert "mini-moe" in repr(compared)
