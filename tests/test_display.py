"""Every public result displays itself: one line, script-free HTML, and a figure unless a reason is listed."""

from __future__ import annotations

import importlib
import inspect
import typing

import numpy as np
import pytest
from support.attention_traces import arabic, behind
from support.routing_traces import arabic_trace
from support.studies import made_study

import gemma_lab as gl
from gemma_lab.display import NO_FIGURE, RENDERERS, Displayed, renderer
from gemma_lab.errors import LabError
from gemma_lab.evals.needle_in_a_haystack import Haystack
from gemma_lab.evals.report import Checkup, GradedAnswer
from gemma_lab.evals.statistics import PairedAnswers
from gemma_lab.models.chat.reply import Reply
from gemma_lab.views.base.figure import Plot

#: Values that public functions return besides results: they are shown by their ``repr``.
VALUES = {"AlignedPair", "AnswerSpan", "AttentionKnockout", "KLBound", "Language", "Layer", "Needle"}
VALUES |= {"LensCost", "Question", "RankCorrelation", "ToolCallCase", "TopKeys", "Variant"}


def class_of(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"gemma_lab.{module}"), attribute)


@pytest.mark.parametrize("name", RENDERERS)
def test_every_row_of_the_table_resolves(name):
    kind = class_of(name)
    assert issubclass(kind, Displayed)
    assert all(callable(renderer(kind, form)) for form in RENDERERS[name])
    assert renderer(kind, "html") is not None
    assert kind.__repr__ is not object.__repr__
    assert ("figure" in RENDERERS[name]) != (name in NO_FIGURE)


def test_every_figure_function_of_the_table_is_public():
    for row in RENDERERS.values():
        if "figure" in row:
            assert row["figure"].rpartition(":")[2] in gl.plots.__all__


def returned() -> dict[str, type]:
    """Return the classes of gemma_lab that public functions return."""
    found: dict[str, type] = {}
    for space in (gl.analysis, gl.evals, gl.family, gl):
        for name in space.__all__:
            value = inspect.unwrap(getattr(space, name)) if name != "__version__" else None
            if not inspect.isfunction(value):
                continue
            source = inspect.signature(value).return_annotation
            for word in (
                str(source).replace("[", " ").replace("]", " ").replace("|", " ").replace(",", " ").split()
            ):
                kind = getattr(importlib.import_module(value.__module__), word, None) or getattr(
                    space, word, None
                )
                if inspect.isclass(kind) and kind.__module__.startswith("gemma_lab."):
                    found[word] = kind
    return found


def test_what_public_functions_return_displays_itself():
    kinds = returned()
    assert {"Comparison", "ExpertLoad", "HeadTypes", "Checkup", "KVCache", "Trace"} <= kinds.keys()
    silent = {name for name, kind in kinds.items() if not issubclass(kind, Displayed)} - VALUES
    assert not silent - {"Lab", "Measurement", "Activations", "EditContext"}
    for name, kind in kinds.items():
        if issubclass(kind, Displayed):
            assert renderer(kind, "html") is not None, name
            key = f"{kind.__module__}.{kind.__qualname__}".removeprefix("gemma_lab.")
            inherited = [f"{k.__module__}.{k.__qualname__}".removeprefix("gemma_lab.") for k in kind.__mro__]
            assert renderer(kind, "figure") is not None or set(inherited) & NO_FIGURE.keys(), key


@pytest.fixture(scope="module")
def results() -> dict[str, typing.Any]:
    trace, other = arabic_trace(), arabic_trace(seed=1)
    routing, both = trace.routing, [trace.routing, other.routing]
    tokens = len(routing)
    labels = ["a", "b"] * tokens
    explained = behind(arabic_trace(), top_k=39)
    heads = arabic()
    curve = gl.analysis.expert_cache_curve(routing, policies=("lru",))
    question = gl.evals.load_questions(skills=["names"], per_skill=1)[0]
    shape = gl.family.get_architecture("26B-A4B")
    study = made_study({"busiest experts": 1.0, "others": 0.0})
    return {
        "load": gl.analysis.expert_load(both),
        "curve": curve,
        "offload": gl.analysis.offload_speed(curve, gpu="L4", link=12),
        "specialisation": gl.analysis.specialisation(both, labels, permutations=20),
        "divergence": gl.analysis.routing_divergence({"a": both[0], "b": both[1]}, permutations=20),
        "coactivation": gl.analysis.coactivation(routing),
        "overlap": gl.analysis.routing_overlap(*both),
        "stability": gl.analysis.routing_stability([both, both[:1]], permutations=20),
        "comparison": gl.compare(trace, other),
        "change": gl.compare(trace, other).routing,
        "types": gl.analysis.classify_heads(heads),
        "heads": gl.analysis.head_summary(heads),
        "sinks": gl.analysis.attention_sinks(heads),
        "coverage": gl.analysis.window_coverage(heads),
        "retrieval": gl.analysis.RetrievalScores(((0, 0), (0, 1)), np.asarray([[0.1, 0.6]]), np.zeros(2)),
        "ablation": study.tests[0],
        "study": study,
        "design": study.design,
        "contrast": gl.analysis.expert_contrast(both, both[::-1], alpha=0.5, permutations=20),
        "expert set": gl.analysis.ExpertSet({0: [1, 2]}, "busiest experts"),
        "haystack": Haystack("m", (100,), (0.5,), np.asarray([[3]]), np.asarray([[4]])),
        "checkup": Checkup("m", [GradedAnswer(question, "<script>", False)], not_asked={}),
        "paired": PairedAnswers(3, 1, 2, 0),
        "architecture": shape,
        "parameters": gl.family.count_parameters(shape),
        "cache": gl.family.kv_caches()[0],
        "claims": gl.family.memory_claims(),
        "changes": gl.family.changes_since_gemma3(),
        "published": gl.published(),
        "catalog": gl.catalog(),
        "trace": trace,
        "tokens": trace.tokens,
        "routing": routing,
        "attention": heads.attention,
        "lens": explained.logit_lens,
        "edit": gl.Edit(ablate_experts={1: [2]}),
        "direction": gl.Direction("a", "random", (1, 2), np.ones((2, 3))),
        "fitted lens": gl.JacobianLens(
            "m", {}, (0, 1), np.stack([2 * np.eye(3), np.eye(3)]), "texts", 1, 9, 0, 8, "2026-01-01"
        ),
        "lenses": gl.evals.LensComparison(
            "m", "texts", (0, 1), np.ones((2, 2, 9), bool), np.zeros((2, 2, 9)), np.arange(9) // 3
        ),
        "dose": gl.evals.DoseCurve(
            "m", "a", (0.0, 1.0), np.zeros((2, 3)), np.ones((2, 3), bool), np.zeros((4, 2, 3)), np.ones(2),
            np.ones(2), 9, ("names",),
        ),
    }  # fmt: skip


def test_each_is_one_line_script_free_html_and_a_figure(results):
    for name, result in results.items():
        assert "\n" not in repr(result), name
        assert type(result).__name__ in repr(result), name
        html = result._repr_html_()
        assert html, name
        assert type(html) is str, name
        assert "<script" not in html, name
        key = f"{type(result).__module__}.{type(result).__qualname__}".removeprefix("gemma_lab.")
        if key in NO_FIGURE:
            with pytest.raises(LabError):
                result.figure()
        else:
            plot = result.figure()
            assert isinstance(plot, Plot), name
            assert plot.text, name
            assert plot.png()[:4] == b"\x89PNG", name


def test_options_reach_the_figure(results):
    assert results["specialisation"].figure(label="b").text.startswith("b: ")
    assert "from b" in results["divergence"].figure(reference="b").text
    assert len(results["trace"].figure(layers=[1, 4]).figure.axes) == 2
    position = int(results["lens"].positions[0])
    assert f"Token {position:,}" in results["lens"].figure(position=position).text


def test_a_table_is_the_fallback(results):
    html = results["load"]._repr_html_()
    assert html.count("<tr") == 11  # ten rows and the header
    assert "more rows" in html


def test_a_result_names_the_reason_when_it_has_no_figure(results):
    with pytest.raises(LabError) as error:
        results["catalog"].figure()
    assert NO_FIGURE["family.catalog.Catalog"] in str(error.value)


def test_a_reply_and_a_cost_draw_their_tokens(tiny_lab):
    lab = tiny_lab("31B")
    reply = lab.chat("Hi", max_new_tokens=3)
    assert isinstance(reply, Reply)
    plot = reply.figure()
    assert [round(bar.get_height(), 6) for bar in plot.figure.axes[0].patches] == [
        round(token.probability, 6) for token in reply.tokens
    ]
    cost = lab.cost("Hi", max_new_tokens=5)
    widths = [bar.get_width() for bar in cost.figure().figure.axes[0].patches]
    assert widths == [cost.prompt_tokens, 5]
