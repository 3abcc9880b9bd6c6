"""A request is one value: every verb reads the same ids for it, and running it again gives the same."""

from __future__ import annotations

import io
import json
import threading

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

import gemma_lab as gl
from gemma_lab.errors import BadMedia, BadPrompt, ContextFull, DoesNotFit, LabError
from gemma_lab.models.chat import prompt as prompt_module
from gemma_lab.models.chat import request_builder, template
from gemma_lab.models.chat.logits_processors import chosen_first
from gemma_lab.models.chat.prompt import prepare

RED = Image.new("RGB", (60, 40), "red")
TALL = Image.new("RGB", (20, 90), "blue")
WEATHER = {
    "name": "weather",
    "description": "Weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def now(zone: str) -> str:
    """Return the time in a zone."""


few = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
words = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), max_size=12)


@st.composite
def requests(draw, *, previous=True):
    """Prompt and options, as a caller writes them."""
    options = {
        "system": draw(st.none() | words),
        "thinking": draw(st.booleans()),
        "tools": draw(st.sampled_from([None, [], [WEATHER], [WEATHER, now]])),
        "images": draw(st.sampled_from([(), [RED], RED, [TALL, RED]])),
        "max_soft_tokens": draw(st.sampled_from([None, 70, 140])),
    }
    options = {name: value for name, value in options.items() if draw(st.booleans())}
    if previous and draw(st.booleans()):
        options["previous"] = draw(requests(previous=False))
        options.pop("system", None)
    return draw(words), options


def run(lab, prompt, options):
    """Replace the request under ``previous`` by the reply to it."""
    if "previous" in options:
        earlier, given_then = options["previous"]
        reply = lab.chat(earlier, **given_then, temperature=0, max_new_tokens=2)
        options = {**options, "previous": reply}
    return prompt, options


@pytest.mark.parametrize("size", ["E2B", "26B-A4B", "31B"])
@few
@given(asked=requests())
def test_every_verb_reads_the_same_ids(tiny_lab, size, asked):
    lab = tiny_lab(size)
    prompt, options = run(lab, *asked)
    request = lab.request(prompt, **options, temperature=0, max_new_tokens=1)
    ids = prepare(lab, request).ids
    trace = lab.trace(prompt, **options, max_new_tokens=1)
    assert trace.tokens.ids.tolist() == ids
    assert lab.cost(prompt, **options).prompt_tokens == len(ids)
    assert lab.chat(prompt, **options, temperature=0, max_new_tokens=1).prompt_tokens == len(ids)
    with lab.stream(request) as stream:
        list(stream)
    assert stream.reply.request == request
    assert prepare(lab, stream.reply.request).ids == ids
    assert [token.id for token in stream.reply.tokens] == trace.generation.ids.tolist()


@pytest.mark.parametrize("size", ["E4B", "26B-A4B"])
@few
@given(asked=requests(), seed=st.none() | st.integers(0, 2**63 - 1), top=st.integers(0, 7))
def test_a_trace_of_the_kept_request_is_equal(tiny_lab, size, asked, seed, top):
    lab = tiny_lab(size)
    prompt, options = run(lab, *asked)
    first = lab.trace(
        prompt, **options, temperature=1.3, seed=seed, max_new_tokens=3, top_logprobs=top, stop=["zz"]
    )
    meta = json.loads(json.dumps(first.meta))
    request = gl.Request.from_meta(meta, first.images)
    assert lab.trace(request).equal(first)
    assert request == gl.Request.from_meta(meta["request"], list(reversed(first.images)))
    assert request.to_meta() == meta["request"]
    if "experts" in lab.facts():
        edit = gl.Edit(ablate_experts={0: [1, 2]})
        edited = lab.trace(request, edit=edit)
        assert edited.meta["request"] == meta["request"]
        assert edited.meta["edit"] == edit.to_dict()


@pytest.mark.parametrize("size", ["E2B", "12B"])
def test_videos_and_sounds_are_kept_by_digest(tiny_lab, size):
    lab = tiny_lab(size)
    media = {"images": [RED], "video": ([RED] * 3, 2.0), "audio": (np.sin(np.arange(9000) / 5), 16_000)}
    first = lab.trace("What?", **media, max_new_tokens=2)
    with pytest.raises(LabError, match="2 of 3 media"):
        gl.Request.from_meta(first.meta, first.images)
    passed = [RED, gl.load_video(([RED] * 3, 2.0)), gl.load_audio(media["audio"])]
    assert lab.trace(gl.Request.from_meta(first.meta, passed)).equal(first)
    with pytest.raises(LabError, match="1 of 3 media"):
        gl.Request.from_meta(first.meta, [TALL, *passed[1:]])


@pytest.mark.parametrize("meta", [{}, {"request": 3}, {"messages": []}, None, {"model": "x", "media": []}])
def test_what_is_no_request_is_refused(meta):
    with pytest.raises(BadPrompt):
        gl.Request.from_meta(meta)


def test_a_forged_request_is_checked_like_a_written_one(tiny_lab):
    meta = tiny_lab("E2B").request("Hi", images=[RED], tools=[WEATHER]).to_meta()
    wrong = [
        {"messages": [{"role": "wizard", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "media": 7}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "path": "/etc/passwd"}]}]},
        {"sampling": {"temperature": "hot"}},
        {"sampling": {"heat": 1.0}},
        {"thinking": "off"},
        {"max_new_tokens": -1},
        {"top_logprobs": 10**9},
        {"seed": -1, "max_new_tokens": 1},
        {"stop": [3]},
        {"tools": [{"name": "a b"}]},
    ]
    for change in wrong:
        with pytest.raises(LabError):
            gl.Request.from_meta(meta | change, [RED])


def test_a_sampled_request_can_be_repeated_and_changed(tiny_lab):
    lab = tiny_lab("E2B")
    request = lab.request("Hi", temperature=1.5, max_new_tokens=6)
    assert request.seed is not None
    replies = [lab.chat(request), lab.chat(request), lab.chat(lab.last_reply.request)]
    assert replies[0] == replies[1] == replies[2]
    assert lab.trace(request).generation.ids.tolist() == [token.id for token in replies[0].tokens]
    short = lab.chat(request, max_new_tokens=2)
    assert [token.id for token in short.tokens] == [token.id for token in replies[0].tokens[:2]]
    assert lab.chat(request, temperature=0).seed is None
    with pytest.raises(LabError, match="system"):
        lab.chat(request, system="Be brief.")
    assert lab.request("Hi", temperature=0) == lab.request("Hi", temperature=0)
    assert len({lab.request("Hi", temperature=0), lab.request("Hi", temperature=0)}) == 1
    assert lab.request("Hi", temperature=0) != lab.request("Hi", temperature=0, thinking=True)


@pytest.mark.parametrize("verb", ["chat", "stream", "complete", "request", "cost", "trace", "next_token"])
def test_a_misspelt_keyword_names_its_neighbour(tiny_lab, verb):
    with pytest.raises(TypeError, match=r"'imagess'.*'images'"):
        getattr(tiny_lab("E2B"), verb)("Hi", imagess=[])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"thinking": "off"}, "thinking"),
        ({"raw": 1}, "raw"),
        ({"system": 0}, "0"),
        ({"sampling": {"heat": 1}}, "heat"),
        ({"sampling": "greedy"}, "greedy"),
        ({"temperature": 1e-38}, "1e-38"),
        ({"temperature": float("nan")}, "nan"),
        ({"seed": 2**63}, str(2**63)),
        ({"seed": True}, "True"),
        ({"max_new_tokens": 2.0}, "2.0"),
        ({"top_logprobs": 1_000_000}, "1000000"),
        ({"stop": 3}, "3"),
        ({"stop": [""]}, "''"),
        ({"stop": b"x"}, "x"),
        ({"previous": [{"role": "user", "content": "x"}]}, "list"),
    ],
)
def test_wrong_options_are_refused_by_name(tiny_lab, options, named):
    for verb in ("chat", "stream", "trace", "cost"):
        with pytest.raises(LabError, match=named):
            getattr(tiny_lab("E2B"), verb)("Hi", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "all"},
        {"attention": 1},
        {"logit_lens": 5},
        {"logit_lens": "all"},
        {"logit_lens": [1.5]},
        {"logit_lens": [10**6]},
        {"precision": "float16"},
        {"edit": {0: [17]}},
    ],
    ids=str,
)
def test_wrong_options_of_a_trace_are_refused_before_it_runs(tiny_lab, monkeypatch, options):
    lab = tiny_lab("26B-A4B")
    monkeypatch.setattr(lab.model, "forward", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(LabError):
        lab.trace("Hi", **options)


def test_values_of_numpy_are_values(tiny_lab):
    lab = tiny_lab("E2B")
    plain = lab.chat("Hi", seed=3, max_new_tokens=2, top_k=9, top_logprobs=2)
    assert plain == lab.chat(
        "Hi", seed=np.int64(3), max_new_tokens=np.int32(2), top_k=np.int8(9), top_logprobs=np.uint8(2)
    )
    assert lab.cost("Hi", system="").prompt_tokens == lab.cost("Hi").prompt_tokens
    mapping = lab.chat("Hi", sampling={"temperature": 0.5}, seed=1, max_new_tokens=1)
    assert mapping.sampling == gl.Sampling(temperature=0.5)


def test_stop_strings_end_the_answer_with_them(tiny_lab):
    lab = tiny_lab("31B")
    whole = lab.chat("Hi", temperature=0, max_new_tokens=30)
    stop = next(token.text for token in whole.tokens[5:] if token.text.strip().isalnum())
    for given_as in (stop, [stop], [threading.Event(), "never there", stop]):
        cut = lab.chat("Hi", temperature=0, max_new_tokens=30, stop=given_as)
        assert cut.finish_reason == "stop"
        assert stop in cut.text
        assert len(cut.tokens) < len(whole.tokens)
        assert [token.id for token in cut.tokens] == [token.id for token in whole.tokens[: len(cut.tokens)]]
        assert stop not in "".join(token.text for token in cut.tokens[:-1])
    assert lab.trace("Hi", max_new_tokens=30, stop=[stop]).generation.text == cut.text


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_raw_prompts_need_no_template(tiny_lab, monkeypatch, size):
    lab = tiny_lab(size)
    monkeypatch.setattr(lab.processor, "chat_template", None)
    monkeypatch.setattr(lab.tokenizer, "chat_template", None)
    with pytest.raises(BadPrompt, match="complete"):
        lab.chat("One, two,")
    ids = [lab.tokenizer.bos_token_id, *lab.tokenizer("One, two,", add_special_tokens=False)["input_ids"]]
    trace = lab.trace("One, two,", raw=True, max_new_tokens=3)
    assert trace.tokens.ids.tolist()[: len(ids)] == ids
    for prompt in (ids, np.array(ids), torch.tensor([ids]), [{"type": "text", "text": "One, two,"}]):
        other = lab.trace(prompt, raw=True, max_new_tokens=3)
        assert other.generation.ids.tolist() == trace.generation.ids.tolist()
    assert lab.trace(gl.Request.from_meta(other.meta)).equal(other)
    assert lab.cost("One, two,", raw=True).prompt_tokens == len(ids)
    reply = lab.complete("One, two,", temperature=0, max_new_tokens=3)
    assert [token.id for token in reply.tokens] == trace.generation.ids.tolist()
    assert reply.messages == []
    with lab.stream("One, two,", raw=True, max_new_tokens=1) as stream:
        list(stream)
    assert stream.reply.prompt_tokens == len(ids)
    assert lab.next_token(ids, raw=True).top(1) == lab.next_token("One, two,", raw=True).top(1)
    seen = lab.complete("This is", images=[RED], max_new_tokens=1)
    assert seen.prompt_tokens == lab.cost("This is", images=[RED], raw=True).prompt_tokens > 40


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ([], {}),
        ([10**9], {}),
        ([-1], {}),
        ([True], {}),
        ([1.5], {}),
        ("", {}),
        ([5], {"images": [RED]}),
        ("x", {"system": "y"}),
        ("x", {"tools": [WEATHER]}),
        ("x", {"thinking": True}),
        ("a <|image|> b", {}),
    ],
)
def test_raw_prompts_that_cannot_be_read_are_refused(tiny_lab, monkeypatch, prompt, options):
    lab = tiny_lab("E2B")
    monkeypatch.setattr(lab.tokenizer, "add_bos_token", False, raising=False)
    if prompt == "":
        monkeypatch.setattr(prompt_module, "_encoded", lambda *_: {"input_ids": torch.zeros(1, 0, dtype=int)})
    with pytest.raises(LabError):
        lab.complete(prompt, **options)


def test_an_answer_to_a_raw_prompt_has_no_conversation(tiny_lab):
    lab = tiny_lab("E2B")
    reply = lab.complete("One,", max_new_tokens=1)
    with pytest.raises(BadPrompt, match="raw"):
        lab.chat("And?", previous=reply)


def test_media_are_counted_as_they_are_opened(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")
    opened = []

    def many():
        while True:
            opened.append(1)
            yield Image.new("RGB", (400, 400))

    monkeypatch.setattr(lab.processor, "__call__", lambda *_, **__: pytest.fail("encoded"), raising=False)
    with pytest.raises((ContextFull, BadMedia)):
        lab.chat("What?", images=many())
    parts = [{"type": "image", "image": Image.new("RGB", (400, 400))}] * 5000
    with pytest.raises(ContextFull, match=f"{lab.context:,}"):
        lab.chat([{"role": "user", "content": parts}])


def test_ten_thousand_images_are_refused_by_their_headers(tiny_lab, monkeypatch):
    lab, file = tiny_lab("E2B"), io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(file, "PNG")  # 108 MB when decoded
    data, memory = file.getvalue(), []

    def many():
        for _ in range(10_000):
            memory.append(psutil.Process().memory_info().rss)
            yield data

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises((ContextFull, BadMedia, DoesNotFit)):
        lab.chat("What?", images=many(), max_soft_tokens=70)
    parts = [{"type": "image", "image": data}] * 10_000
    with pytest.raises((ContextFull, BadMedia, DoesNotFit)):
        lab.trace([{"role": "user", "content": parts}], max_soft_tokens=70)
    assert max(memory) - memory[0] < 100_000_000


def test_media_larger_than_the_free_memory_are_refused_before_they_are_decoded(tiny_lab, monkeypatch):
    lab, file = tiny_lab("E2B"), io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(file, "PNG")
    images = [file.getvalue()] * 9
    with monkeypatch.context() as patch:
        patch.setattr(request_builder, "free_ram", lambda: 20_000_000)
        patch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
        for verb in (lab.chat, lab.cost):
            with pytest.raises(DoesNotFit, match=r"[3-6] image"):
                verb("What?", images=images, max_soft_tokens=70)
    assert lab.cost("What?", images=images, max_soft_tokens=70).tokens["image"] > 0


def test_texts_too_long_by_their_length_are_not_tokenised(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")
    monkeypatch.setattr(template, "_within", lambda *_: pytest.fail("rendered"))
    with pytest.raises(ContextFull, match="5,000,000"):
        lab.chat("x" * 5_000_000)
    turns = [{"role": role, "content": "x"} for _ in range(lab.context) for role in ("user", "assistant")]
    with pytest.raises(ContextFull):
        lab.trace([*turns, {"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    "broken",
    [
        "{{ 1 / 0 }}",
        "{{ messages.role.name }}",
        "{{ (10.0 ** 308) ** 10 }}",
        "{{ 'x' * (10 ** 12) }}",
        "{{ raise_exception('no') }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
)
def test_templates_fail_as_a_bad_prompt_within_a_limit(tiny_lab, monkeypatch, broken):
    lab = tiny_lab("E2B")
    monkeypatch.setattr(template, "TEMPLATE_SECONDS", 1.0)
    monkeypatch.setattr(lab.processor, "chat_template", broken)
    threads = threading.active_count()
    with pytest.raises(BadPrompt, match="chat template"):
        lab.chat("Hi")
    for thread in threading.enumerate():
        if thread.name == "gemma_lab template":
            thread.join(30)
    assert threading.active_count() <= threads


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_with_their_position(tiny_lab, value):
    lab = tiny_lab("31B")
    last = lab.cost("Hi").prompt_tokens - 1
    head = lab.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _m, _a, out: torch.full_like(out, value))
    try:
        for run_verb in (
            lambda: lab.chat("Hi", seed=1),
            lambda: lab.chat("Hi", temperature=0),
            lambda: lab.trace("Hi"),
            lambda: lab.next_token("Hi"),
        ):
            if value == float("inf"):  # the soft cap makes it finite
                run_verb()
                continue
            with pytest.raises(LabError, match=f"token {last}"):
                run_verb()
    finally:
        handle.remove()
    assert not lab.lock.locked()


def test_the_chosen_token_is_first_among_equals():
    assert chosen_first(7, -1.0, [3, 5, 7, 9], [-0.5, -1.0, -1.0, -2.0]) == [3, 7, 5, 9]
    assert chosen_first(8, -1.0, [3, 5], [-0.5, -1.0]) == [3, 8]  # cut off by topk
    assert chosen_first(8, -3.0, [3, 5], [-0.5, -1.0]) == [3, 5]
    assert chosen_first(8, -3.0, [], []) == []


def test_ties_of_bfloat16_name_the_generated_token_first(tiny_folder):
    lab = gl.load(tiny_folder("E2B"), device="cpu", dtype="bfloat16")
    reply = lab.chat("What is it?", temperature=0, max_new_tokens=20, top_logprobs=3)
    for token in reply.tokens:
        assert token.top_logprobs[0].id == token.id


def test_rows_and_lenses_larger_than_memory_are_refused(tiny_lab, monkeypatch):
    from gemma_lab.trace.run import probe_setup

    lab = tiny_lab("26B-A4B")
    trace = lab.trace("Hello there, what is it?")
    monkeypatch.setattr(probe_setup, "free_ram", lambda: 100)
    for go in (
        lambda: lab.trace("Hello there", attention=gl.AttentionRequest(rows=(5, 6))),
        lambda: lab.trace("Hello there", logit_lens=range(9)),
        lambda: lab.attention_rows(trace, [5, 6]),
    ):
        with pytest.raises(DoesNotFit):
            go()
    for queries in (3, "3", [1.5], [-1], [len(trace)]):
        with pytest.raises(LabError):
            lab.attention_rows(trace, queries)
