from __future__ import annotations

from pathlib import Path

import pytest
import traitlets
from support.attention_traces import arabic
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.widgets.shared.explorer import check_lab, check_trace, one_of, within


def test_indices_are_checked_and_keep_their_order() -> None:
    assert within([7, 1, 7], 8, "token") == [7, 1]
    for wrong in (8, -1):
        with pytest.raises(LabError, match=rf"token {wrong}\b"):
            within([0, wrong], 8, "token")


def test_numbers_are_checked_against_the_known_ones() -> None:
    assert one_of(9, (4, 9), "layer") == 9
    with pytest.raises(LabError, match=r"layer 5(.|\n)*4, 9"):
        one_of(5, (4, 9), "layer")


@pytest.mark.parametrize(
    ("trace", "hint"),
    [
        ("x.trace", "gl.RoutingExplorer(gl.open_trace('x.trace'))"),
        (Path("x.trace"), "gl.RoutingExplorer(gl.open_trace('x.trace'))"),
        (3, "gl.RoutingExplorer(lab.trace(prompt))"),
    ],
)
def test_what_is_no_trace_is_refused_with_the_call_that_works(trace, hint) -> None:
    with pytest.raises(LabError) as caught:
        check_trace(trace, "gl.RoutingExplorer")
    assert caught.value.hint == hint
    assert type(trace).__name__ in caught.value.what


def test_what_is_no_model_is_refused_with_the_call_that_works() -> None:
    with pytest.raises(LabError) as caught:
        check_lab("mini-moe", "gl.Explorer")
    assert caught.value.hint == "gl.Explorer(trace, lab=gl.load('mini-moe'))"


@pytest.mark.parametrize("kind", ["RoutingExplorer", "AttentionExplorer", "Explorer"])
def test_every_explorer_checks_its_trace_and_its_model(kind: str) -> None:
    trace = arabic() if kind == "AttentionExplorer" else arabic_trace()
    with pytest.raises(LabError, match="Trace"):
        getattr(gl, kind)("x.trace")
    with pytest.raises(LabError, match="model"):
        getattr(gl, kind)(trace, lab="mini-moe")


def test_a_refused_selection_is_acknowledged_and_leaves_what_holds() -> None:
    explorer = gl.Explorer(arabic_trace())
    explorer._receive(explorer, {"type": "select", "view": "a", "seq": 1, "tokens": [3]}, [])
    explorer._receive(explorer, {"type": "select", "view": "a", "seq": 2, "tokens": [999]}, [])
    assert explorer.selected_tokens == [3]
    assert explorer._ack == {"view": "a", "seq": 2}
    assert "999" in explorer._notice["what"]


def test_selections_of_two_explorers_can_be_linked() -> None:
    one, other = gl.Explorer(arabic_trace()), gl.RoutingExplorer(arabic_trace())
    link = traitlets.link((one, "selected_tokens"), (other, "selected_tokens"))
    one.selected_tokens = [5, 2]
    assert other.selected_tokens == [5, 2]
    link.unlink()
