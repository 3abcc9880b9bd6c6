"""Arguments of the verbs: of a wrong type, out of range, or larger than the model or the machine."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

import gemma_lab as gl
from corpus.row import Row
from gemma_lab.errors import BadEdit, BadPrompt, ContextFull, DoesNotFit, LabError


def _needles(**options: Any) -> Any:
    return lambda corpus: gl.evals.needles(corpus.lab, progress=False, **options)


def _chat(**options: Any) -> Any:
    return lambda corpus: corpus.lab.chat("Hi", **{"max_new_tokens": 2, "temperature": 0, **options})


def _trace(**options: Any) -> Any:
    return lambda corpus: corpus.lab.trace("Hi", **options)


def _large_images(corpus: Any) -> Any:
    file = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(file, "PNG")  # 243 MB each when it is decoded
    return corpus.lab.cost("Hi", images=(file.getvalue() for _ in range(10_000)))


ROWS = [
    Row("a stop string", lambda corpus: _chat(stop=["\n"])(corpus).finish_reason, check=bool),
    Row(
        "sampling as a dict",
        lambda corpus: _chat(sampling={"temperature": 0.5})(corpus).sampling.top_k,
        equals=64,
    ),
    Row("a seed of numpy", lambda corpus: _chat(seed=np.int64(3), temperature=1.0)(corpus).seed, equals=3),
    Row("images=None", lambda corpus: _chat(images=None)(corpus).prompt_tokens, equals=15),
    Row("thinking as a string", _chat(thinking="off"), raises=LabError, holds=("off",)),
    Row("a temperature below float32", _chat(temperature=1e-38), raises=LabError, holds=("1e-38",)),
    Row(
        "previous as messages",
        _chat(previous=[{"role": "user", "content": "x"}]),
        raises=BadPrompt,
        holds=("list",),
    ),
    Row("a billion top_logprobs", _chat(top_logprobs=10**9), raises=LabError, holds=("4,096",)),
    Row("a million top_logprobs in a trace", _trace(max_new_tokens=1, top_logprobs=10**6), raises=LabError),
    Row("attention as a string", _trace(attention="all"), raises=LabError, holds=("all",)),
    Row("a lens as a number", _trace(logit_lens=5), raises=LabError, holds=("5",)),
    Row("an edit as a dict", lambda corpus: corpus.lab.edit({0: [17]}), raises=BadEdit, holds=("17",)),
    Row("a steer as text", lambda corpus: corpus.lab.edit(steer="happy"), raises=BadEdit, holds=("happy",)),
    Row(
        "one prompt for a direction",
        lambda corpus: corpus.lab.direction("I won!", "I lost."),
        raises=BadEdit,
        holds=("I won!",),
    ),
    Row("no layer before the first", lambda corpus: corpus.lab.expert_direction(0, 0), raises=BadEdit),
    Row(
        "one text for a lens",
        lambda corpus: corpus.lab.fit_lens("It rained."),
        raises=LabError,
        holds=("It rained.",),
    ),
    Row("a lens of no kind", _trace(logit_lens="tuned"), raises=LabError, holds=("tuned",)),
    Row("a model's name in the chat", lambda _: gl.Chat("mini-moe"), raises=LabError, holds=("str",)),
    Row("a path in an explorer", lambda _: gl.RoutingExplorer("x.trace"), raises=LabError, holds=("str",)),
    Row("lengths as a number", _needles(lengths=128), raises=LabError, holds=("128",)),
    Row(
        "a length beyond the context", _needles(lengths=[10**9]), raises=ContextFull, holds=("1,000,000,000",)
    ),
    Row(
        "a text of 100 MB",
        lambda corpus: corpus.lab.chat("x" * 10**8),
        raises=ContextFull,
        holds=("100,000,000",),
    ),
    Row("ten thousand large images", _large_images, raises=DoesNotFit, holds=("image", "GiB")),
]
