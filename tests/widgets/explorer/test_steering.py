"""The slider of an explorer runs the prompt again under a strength, and says so without scripts."""

from __future__ import annotations

import time

import pytest
from support import shapes

import gemma_lab as gl
from gemma_lab import Edit, Steering
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.lab import Lab


@pytest.fixture(scope="module")
def lab():
    return Lab(model=shapes.tiny_model("26B-A4B"), processor=shapes.tiny_processor("26B-A4B"), name="tiny")


@pytest.fixture(scope="module")
def direction(lab):
    return lab.direction(["I won!"], ["I lost."], layers=[2], name="good <b> bad")


@pytest.fixture
def trace(lab):
    return lab.trace("Hello", max_new_tokens=3, logit_lens=True, edit=Edit(ablate_heads={0: [1]}))


def test_a_strength_runs_the_prompt_again(lab, direction, trace):
    explorer = gl.Explorer(trace, lab=lab, steer=direction)
    assert (explorer.strength, explorer._steering["max"]) == (0, 4)
    steered = explorer.steer(30)
    assert explorer.strength == 30
    assert explorer.trace is steered
    assert Edit.from_dict(steered.meta["edit"]) == Edit(ablate_heads={0: [1]}, steer=Steering(direction, 30))
    assert steered.generation.logprobs.tolist() != trace.generation.logprobs.tolist()
    assert steered.attention is None
    assert steered.logit_lens is not None
    asked = explorer.ask("Other words", max_new_tokens=2)
    assert Edit.from_dict(asked.meta["edit"]) == Edit(steer=Steering(direction, 30))
    back = explorer.steer(0)
    assert (back.meta["edit"], explorer.strength) == (None, 0)
    explorer._show(trace)
    again = explorer.steer(0)
    assert again.equal(trace)


def test_a_slider_sends_it_and_a_page_keeps_it(lab, direction, trace, tmp_path):
    explorer = gl.Explorer(trace, lab=lab, steer=Steering(direction, 8, tokens=(4, None)))
    assert explorer._steering["max"] == 16
    explorer._receive(explorer, {"type": "steer", "strength": "much"}, [])
    assert "no number" in explorer._notice["what"]
    explorer._receive(explorer, {"type": "steer", "strength": 6}, [])
    for _ in range(1000):
        if explorer.strength == 6:
            break
        time.sleep(0.02)
    assert Edit.from_dict(explorer.trace.meta["edit"]).steer[0].tokens == (4, None)
    html, text = explorer._static_fallback()
    assert text.endswith("steered along 'good <b> bad', strength 6")
    assert "good &lt;b&gt; bad" in html
    assert "<b>" not in html.split("strength")[0]
    page = explorer.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "strength 6" in page


def test_what_cannot_be_steered_is_refused(lab, direction, trace):
    with pytest.raises(LabError, match="needs the model"):
        gl.Explorer(trace, steer=direction)
    with pytest.raises(BadEdit, match="takes a direction"):
        gl.Explorer(trace, lab=lab, steer=3)
    with pytest.raises(LabError, match="no direction"):
        gl.Explorer(trace, lab=lab).steer(1)
    other = Lab(model=shapes.tiny_model("31B"), processor=shapes.tiny_processor("31B"), name="other")
    with pytest.raises(BadEdit, match="other weights"):
        gl.Explorer(trace, lab=other, steer=direction)
    explorer = gl.Explorer(trace, lab=lab, steer=direction)
    with pytest.raises(BadEdit, match="strength"):
        explorer.steer(float("nan"))
    plain = gl.Explorer(trace, lab=lab)
    assert plain._steering == {}
    assert "steered" not in plain._static_fallback()[1]
