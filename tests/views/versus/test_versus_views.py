"""Views of a comparison: every figure draws, every text is escaped, absent parts are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.analysis.attention.distance import AttentionDistance
from gemma_lab.analysis.experts.flips import RoutingFlips
from gemma_lab.errors import LabError
from gemma_lab.evals.statistics import PairedAnswers
from gemma_lab.evals.versus.answers import AnswerPair, TokenDivergence
from gemma_lab.evals.versus.checkups import compare_checkups
from gemma_lab.evals.versus.comparison import Versus
from gemma_lab.evals.versus.resources import MemoryComparison, SpeedComparison
from gemma_lab.views.versus.html import versus_html
from gemma_lab.views.versus.text import versus_text

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


def made_up(tokens: int = 24, *, layers: int = 3, hostile: bool = False) -> Versus:
    """Return a comparison with invented numbers and without traces."""
    random = np.random.default_rng(0)
    name = HOSTILE if hostile else "plain"
    prompt = np.repeat([0, 1], tokens // 2)
    row = np.tile(np.arange(tokens // 2), 2)
    flipped = random.integers(0, 9, size=(layers, tokens)) / 8
    flips = RoutingFlips(tuple(range(layers)), flipped, flipped * 0.8, np.full(layers, 0.9),
                         np.full(layers, 0.95), 8)  # fmt: skip
    distance = random.random((layers, 4, 6))
    distance[0, 3] = np.nan  # a layer with fewer heads
    attention = AttentionDistance(tuple(range(layers)), distance, np.full(layers, 0.6))
    divergence = TokenDivergence(
        prompt=prompt, row=row, column=np.arange(tokens), ids=np.arange(tokens),
        labels=tuple(f"{name}{index}" for index in range(tokens)), kl=random.exponential(size=tokens) * 0.01,
        top_ids=np.stack([np.arange(tokens), np.arange(tokens) // 2 * 2], axis=1),
        logprobs=-random.random((tokens, 2)), noise=np.full(tokens, 1e-13), noise_agreement=1.0,
        chance_agreement=0.05, uniform_kl=8.0,
    )  # fmt: skip
    return Versus(
        names=(name, "int4"),
        descriptions=(f"Lab({name})", "Lab(int4)"),
        answers=(AnswerPair(name, "a", "b", 3, (4, 5)), AnswerPair("x", name, None, note=name)),
        checkup=compare_checkups(
            {"names": PairedAnswers(10, 9, 0, 1), "recall": PairedAnswers(20, 0, 0, 0)},
            chance={"names": 0.1}, not_compared={name: "no audio"},
        ),
        tokens=divergence,
        routing=flips,
        routing_noise=replace(flips, flipped=flipped * 0),
        attention=attention,
        attention_noise=replace(attention, distance=distance * 0),
        memory=MemoryComparison({"experts": 18_000_000, "attention": 10}, {"experts": 5_000_000, name: 7}),
        speed=SpeedComparison(random.random((3, 2)) + 9, random.random((3, 2)) + 9, True),
        columns=np.stack([prompt, row, row], axis=1),
        traces=((None, None), (None, None)),
        vocabulary={index: f"{name}{index}" for index in range(tokens)},
        absent={"drafter": name},
    )  # fmt: skip


@pytest.mark.parametrize(
    "part", ["tokens", "routing", "attention", "memory", "speed", "checkup", "tokens routing", ""]
)
def test_every_selection_of_parts_is_drawn(part):
    left = dict.fromkeys(part.split())
    found = replace(made_up(), **left)
    assert found.figure().png().startswith(b"\x89PNG")
    for name in left:
        assert versus_html(found)
        assert name not in {row[0] for row in found.to_pandas().to_numpy().tolist()}


def test_a_comparison_of_answers_alone_has_no_figure():
    nothing = dict.fromkeys(("tokens", "routing", "attention", "memory", "speed", "checkup"))
    with pytest.raises(LabError):
        replace(made_up(), **nothing).figure()
    assert "0 of 1" in versus_text(replace(made_up(), **nothing))


def test_every_part_is_drawn_alone():
    found = made_up()
    for part in (found.checkup, found.memory, found.speed, found.tokens, found.routing, found.attention):
        plot = part.figure()
        assert plot.text in repr(part)
        assert all(axes.get_xlabel() for axes in plot.figure.axes if axes.get_title())
        assert part._repr_html_()
    for name in ("checkup_comparison", "memory_comparison", "speed_comparison"):
        draw = getattr(gl.plots, f"{name}_figure")
        assert draw(getattr(found, name.partition("_")[0]), names=("a", "b")).png()


def test_no_side_is_known_by_colour_alone():
    figure = made_up().figure().figure
    checkup = next(axes for axes in figure.axes if axes.get_title(loc="left") == "Check-up")
    markers = {line.get_marker() for line in checkup.lines if line.get_marker() not in ("None", None, "")}
    assert len(markers) == 2
    memory = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith("Memory"))
    assert len({patch.get_hatch() for patch in memory.patches}) == 2


def test_the_same_models_are_drawn():
    found = made_up()
    same = replace(
        found,
        tokens=replace(found.tokens, kl=found.tokens.kl * 0),
        routing=replace(found.routing, flipped=found.routing.flipped * 0, weight=found.routing.weight * 0),
        attention=replace(found.attention, distance=found.attention.distance * 0),
    )
    assert same.figure().png()
    assert "0 %" in str(versus_html(same))


def test_text_of_models_is_data():
    found = made_up(hostile=True)
    page = str(versus_html(found))
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    for text in (versus_text(found), str(found.worst(5))):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_text_states_references_and_what_is_absent():
    text = str(made_up())
    for words in ("rounding", "chance", "drafter: plain", "McNemar", "between rounds"):
        assert words in text
