from __future__ import annotations

import threading
import time

import pytest
from PIL import Image
from support.routing_traces import arabic_trace

from gemma_lab.errors import BadEdit, LabError
from gemma_lab.widgets.routing.widget import RoutingExplorer
from gemma_lab.widgets.shared.wire import unpack


@pytest.fixture
def lab(tiny_lab):
    return tiny_lab("26B-A4B")


@pytest.fixture
def explorer(lab, monkeypatch):
    made = RoutingExplorer(lab.trace("Hello there", max_new_tokens=6), lab=lab)
    made.posted = []
    monkeypatch.setattr(made, "_post", lambda content, buffers=None: made.posted.append((content, buffers)))
    return made


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def hooks(model) -> list[int]:
    return [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]


def test_an_answer_is_followed_and_what_is_shown_is_the_trace_of_a_run_alone(
    lab, explorer, monkeypatch
) -> None:
    monkeypatch.setattr("gemma_lab.widgets.routing.live_routing._INTERVAL", 0)
    before = hooks(lab.model)
    shown = []
    explorer.observe(lambda change: shown.append(change["new"]["epoch"]), "_facts")
    trace = explorer.ask("Write a word", max_new_tokens=7)
    assert trace.equal(lab.trace("Write a word", max_new_tokens=7))
    assert explorer.trace is trace
    assert hooks(lab.model) == before
    assert shown == [2, 3]  # the prompt, and the whole at the end
    grown = [buffers for content, buffers in explorer.posted if content["type"] == "append"]
    assert len(grown) == len(trace) - trace.tokens.generated.argmax()  # token by token
    known = int(trace.tokens.generated.argmax())
    for tokens, layers in grown:
        arrays, meta = unpack(tokens)
        assert meta["start"] <= known  # nothing is missing between two messages
        known = meta["start"] + meta["count"]
        rows, about = unpack(layers)
        assert about == {"start": meta["start"], "count": meta["count"]}
        assert len(arrays["role"]) == meta["count"]
        start = meta["start"]
        assert (rows["expert_ids"] == trace.routing.ids[:, start:known]).all()
    assert known == len(trace)
    assert explorer.busy is False


def test_a_view_that_missed_a_message_gets_the_whole(explorer, monkeypatch) -> None:
    monkeypatch.setattr("gemma_lab.widgets.routing.live_routing._INTERVAL", 0)
    seen = []

    def resume(content, buffers=None):
        if content["type"] == "append" and not seen:
            seen.append(1)
            explorer._receive(explorer, {"type": "resume"}, [])
        elif content["type"] == "append":
            seen.append(unpack(buffers[0])[1])

    monkeypatch.setattr(explorer, "_post", resume)
    explorer.ask("Write a word", max_new_tokens=4)
    assert seen[1]["start"] == 0


def test_pictures_are_followed_too(lab, explorer) -> None:
    trace = explorer.ask("What is it?", images=[Image.new("RGB", (96, 64), "red")], max_new_tokens=3)
    assert (trace.tokens.modalities == "image").sum() > 0
    assert len(explorer._images) == 1


def test_experts_are_switched_off_and_the_answers_stand_side_by_side(lab, explorer) -> None:
    layer = explorer.layer
    expert = int(explorer.routing.layer(layer).ids[0, 3, 0])
    edited = explorer.ablate({layer: [expert]})
    assert expert not in edited.routing.layer(layer).ids
    with lab.edit(ablate_experts={layer: [expert]}):
        alone = lab.trace("Hello there", max_new_tokens=6)
    assert alone.generation == edited.generation
    told = explorer._comparison
    assert (told["state"], told["experts"]) == ("done", [[layer, expert]])
    assert told["edit"] == f"expert {expert} of layer {layer}"
    assert explorer.edit.to_dict() == edited.meta["edit"] == {"ablate_experts": {str(layer): [expert]}}
    second = (expert + 1) % 128
    explorer.ablate({layer: [second]})
    assert explorer.edit.at(layer).ablate == tuple(sorted([expert, second]))

    explorer.selected_experts = [expert]
    explorer._receive(explorer, {"type": "show_edited", "edited": True}, [])
    assert explorer.trace is explorer.edited
    assert explorer.selected_experts == [expert]
    assert explorer._comparison["showing_edited"] is True
    explorer.restore()
    assert explorer.edited is None
    assert explorer.edit is None
    assert expert in explorer.routing.layer(layer).ids


def test_a_wrong_expert_leaves_everything_as_it_was(explorer) -> None:
    with pytest.raises(BadEdit, match="999"):
        explorer.ablate({explorer.layer: [999]})
    assert explorer._comparison == {}
    assert explorer.busy is False


def test_views_ask_and_ablate_in_the_background_and_errors_become_notices(explorer) -> None:
    explorer._receive(explorer, {"type": "ask", "text": "  "}, [])
    assert "empty" in explorer._notice["what"]
    explorer._receive(explorer, {"type": "ask", "text": "Write a word"}, [])
    until(lambda: not explorer.busy and "Write a word" in explorer.trace.meta.get("prompt", ""))
    explorer._receive(explorer, {"type": "ablate", "layer": explorer.layer, "experts": [5]}, [])
    until(lambda: explorer._comparison.get("state") == "done")
    explorer._receive(explorer, {"type": "ablate", "layer": 77, "experts": [5]}, [])
    until(lambda: "77" in explorer._notice["what"])


def test_an_answer_is_stopped_and_what_there_is_of_it_stays(explorer, monkeypatch) -> None:
    monkeypatch.setattr("gemma_lab.widgets.routing.live_routing._INTERVAL", 0)
    show = explorer._show_live
    monkeypatch.setattr(
        explorer, "_show_live", lambda *seen: (show(*seen), explorer.stop() if explorer._sent else None)
    )
    trace = explorer.ask("Write a word", max_new_tokens=500)
    assert trace.generation.finish_reason == "stopped"
    assert len(trace.generation) < 20


def test_one_run_at_a_time(explorer) -> None:
    started, go = threading.Event(), threading.Event()
    show = explorer._show_live

    def report(*seen):
        started.set()
        go.wait(10)
        show(*seen)

    explorer._show_live = report
    explorer._receive(explorer, {"type": "ask", "text": "Write a word"}, [])
    assert started.wait(20)
    with pytest.raises(LabError, match="is running"):
        explorer.ablate({explorer.layer: [1]})
    with pytest.raises(LabError, match="is running"):
        explorer.restore()
    go.set()
    until(lambda: not explorer.busy)


def test_without_a_model_nothing_can_be_run() -> None:
    explorer = RoutingExplorer(arabic_trace())
    assert explorer._can_run is False
    for run in (lambda: explorer.ask("x"), lambda: explorer.ablate({0: [1]})):
        with pytest.raises(LabError, match="no model"):
            run()
