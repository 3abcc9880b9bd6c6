"""Hostile schemas, names, calls and results: an answer or a `LabError`, nothing run, nothing as markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from support.scripted import token
from transformers import AutoTokenizer

import gemma_lab as gl
from corpus.hostile_calls import CALLS, SCHEMAS, TEXTS
from gemma_lab.errors import LabError
from gemma_lab.models.chat.reply import Reply, Timings
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.models.chat.tools import calls, declared
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import answer_schema
from gemma_lab.models.tool_use.runner import Round, Runner, ToolRun
from gemma_lab.models.tool_use.toolbox import tools_of

pytestmark = pytest.mark.slow
ENDS = (106, 1)


def short(value):
    return ascii(value)[:50]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(gl.data_path("minis/mini-moe"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own, in which nothing may appear."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


class Tags(HTMLParser):
    """The elements of a page, and the attributes that would run something."""

    def __init__(self, page):
        super().__init__()
        self.found, self.running = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.running += [name for name, value in attrs if name.startswith("on") or name in ("src", "href")]


def test_there_are_more_than_three_hundred():
    assert len(SCHEMAS) + len(CALLS) + 5 * len(TEXTS) > 300


def either(work):
    """Return what some work returns, or its `LabError`; anything else is raised."""
    try:
        return work()
    except LabError as error:
        return error


@pytest.mark.parametrize(
    "schema",
    SCHEMAS,
    ids=short,
)
def test_a_schema_is_compiled_or_refused(schema, tokenizer):
    made = either(
        lambda: grammar(tokenizer, size=len(tokenizer), ends=ENDS, schema=answer_schema(schema)).matcher()
    )
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    tool = {"name": "f", "description": "x", "parameters": parameters}
    called = either(
        lambda: grammar(
            tokenizer, size=len(tokenizer), ends=ENDS, tools=declared(tool), tool_choice="required"
        ).matcher()
    )
    for result in (made, called):
        assert isinstance(result, LabError) or not result.is_error()


@pytest.mark.parametrize("text", TEXTS, ids=short)
def test_a_name_is_declared_as_it_is_or_refused(text, tokenizer):
    tool = {"name": text, "description": text, "parameters": {"type": "object", "properties": {}}}
    found = either(lambda: declared(tool))
    if not isinstance(found, LabError):
        assert found[0]["function"]["name"] == text
        assert text.isidentifier()
    chosen = either(
        lambda: grammar(
            tokenizer, size=len(tokenizer), ends=ENDS, tools=declared({"name": "f"}), tool_choice=text
        )
    )
    assert isinstance(chosen, LabError)


@pytest.mark.parametrize("written", CALLS, ids=short)
def test_only_a_valid_call_of_a_tool_runs(written):
    ran = []

    def f(a: str, n: int = 0):
        """A tool."""
        ran.append((a, n))
        return a

    runner = Runner(tools_of([f]))
    found = calls(f"<|tool_call>{written}<tool_call|>", declared(f))
    executions = tuple(runner.execute(call) for call in found)
    for call, execution in zip(found, executions, strict=True):
        valid = not call.problem and not call.faults([f])
        assert (execution.status in ("ran", "failed", "too long")) == valid
        assert call.name == "f" or execution.status in ("unknown", "invalid")
        json.dumps(execution.result, allow_nan=False)
    assert len(ran) <= len(found)
    assert all(type(a) is str and type(n) is int for a, n in ran)
    shown(written, executions)


@pytest.mark.parametrize("text", TEXTS, ids=short)
@pytest.mark.parametrize("shape", ["text", "key", "value", "error"])
def test_a_result_is_data(text, shape):
    def f():
        """A tool."""
        if shape == "error":
            raise ValueError(text)
        return {"text": text, "key": {text: 1}, "value": [{"a": text}]}[shape]

    [call] = calls("<|tool_call>call:f{}<tool_call|>", declared(f))
    execution = Runner(tools_of([f])).execute(call)
    plain = json.dumps(execution.result, allow_nan=False, ensure_ascii=False)
    if execution.status == "ran":
        assert not any(
            control in plain for control in ("<|turn>", "<turn|>", "<tool_call|>", "<eos>", "<|channel>")
        )
    else:
        assert execution.status in ("failed", "too long")
        assert set(execution.result) == {"error"}
    shown(text, (execution,))


def shown(text, executions):
    """The page of a run with these executions, and with the text as the model's own answer."""
    said = (token(text.encode(errors="replace").decode()),)
    reply = Reply(
        text=said[0].text, thinking="", tokens=said, messages=[], prompt_tokens=1, finish_reason="stop",
        sampling=Sampling(), seed=None, model="mini", timings=Timings(0, 0, 1, 1),
    )  # fmt: skip
    page = ToolRun((Round(reply, executions), Round(reply)), "answered")._repr_html_()
    tags = Tags(page)
    assert not tags.found & {
        "script",
        "img",
        "svg",
        "iframe",
        "a",
        "object",
        "embed",
        "form",
        "input",
        "link",
    }
    assert tags.running == []
