from __future__ import annotations

import os
import subprocess
import sys
import threading

import ipywidgets
import pytest
import traitlets
from IPython.core.formatters import DisplayFormatter

from gemma_lab.errors import LabError
from gemma_lab.widgets.shared.base import BatchSender, LabWidget, sendable

VIEW = "application/vnd.jupyter.widget-view+json"


class Dial(LabWidget):
    _esm = "export default { render() {} };"
    _messages = ("turn", "fail")
    at = traitlets.Int().tag(sync=True)

    def __repr__(self) -> str:
        return f"Dial({self.at})"

    def _static_fallback(self):
        return f"<b>{self.at}</b>", repr(self)

    def _on_turn(self, content, buffers):
        self.at = content["to"]

    def _on_fail(self, content, buffers):
        raise LabError("It is stuck at 3.", hint="Oil it.")


def test_the_mimebundle_holds_the_live_view_and_the_twin() -> None:
    data, metadata = Dial(at=2)._repr_mimebundle_()
    assert data["text/html"] == "<b>2</b>"
    assert data["text/plain"] == "Dial(2)"
    assert data[VIEW]["version_major"] == 2
    assert isinstance(metadata, dict)


def test_ipython_shows_the_bundle_with_the_installed_ipywidgets() -> None:
    """ipywidgets 7 displays by a method of its own, which would drop the twin; 8 does not."""
    dial = Dial(at=4)
    data, _ = DisplayFormatter().format(dial)
    assert data["text/html"] == "<b>4</b>", f"ipywidgets {ipywidgets.__version__}"
    assert data["text/plain"] == "Dial(4)"
    assert VIEW in data


def test_static_mode_opens_no_comm_and_shows_only_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    before = len(_instances())
    dial = Dial(at=1)
    dial.at = 5
    data, _ = dial._repr_mimebundle_()
    assert data == {"text/plain": "Dial(5)", "text/html": "<b>5</b>"}
    assert dial.comm is None
    assert len(_instances()) == before
    monkeypatch.setenv("GEMMA_LAB_STATIC", "0")
    assert VIEW in Dial()._repr_mimebundle_()[0]


def _instances() -> dict:
    found = getattr(ipywidgets.widgets.widget, "_instances", None)
    return found if found is not None else ipywidgets.Widget.widgets


def test_only_known_messages_are_obeyed_and_lab_errors_are_shown() -> None:
    dial = Dial()
    dial._receive(dial, {"type": "turn", "to": 3}, [])
    assert dial.at == 3
    dial._receive(dial, {"type": "close"}, [])
    dial._receive(dial, {"type": "receive"}, [])
    dial._receive(dial, "nonsense", [])
    assert dial._notice == {}
    dial._receive(dial, {"type": "fail"}, [])
    dial._receive(dial, {"type": "fail"}, [])
    assert dial._notice == {"what": "It is stuck at 3.", "hint": "Oil it.", "count": 2}


def test_sendable_survives_lone_surrogates() -> None:
    assert sendable("a\ud800b\u0000") == "a?b\u0000"


def test_items_are_delivered_in_order_and_in_batches() -> None:
    got: list[tuple[int, list[int]]] = []
    first = threading.Event()

    def deliver(at: int, batch: list[int]) -> None:
        got.append((at, batch))
        first.wait(10)  # while the first batch is delivered, the others gather

    sender = BatchSender(deliver, interval=0)
    for number in range(500):
        sender.put([number])
    first.set()
    sender.close()
    sender.close()  # harmless when repeated
    assert [item for _, batch in got for item in batch] == list(range(500))
    assert [at for at, _ in got] == [sum(len(batch) for _, batch in got[:i]) for i in range(len(got))]
    assert len(got) < 500
    assert all(thread.name != "gemma_lab-sender" for thread in threading.enumerate())


class Engine(LabWidget):
    """Runs whatever it is given."""

    def run(self, work) -> None:
        with self._running():
            work()


def in_background(engine: Engine, work) -> threading.Thread:
    """Run `work` in the background; return its thread."""
    threads = []
    engine._in_background(work, prepare=lambda: threads.append(engine._runner))
    return threads[0]


def test_one_run_at_a_time_in_the_caller_or_in_the_background() -> None:
    engine, go, started = Engine(), threading.Event(), threading.Event()
    worker = in_background(engine, lambda: (started.set(), go.wait(10)))
    assert started.wait(10)
    assert engine.busy
    with pytest.raises(LabError):
        engine.run(lambda: None)
    with pytest.raises(LabError):
        engine._in_background(lambda: None)
    assert engine.busy  # the refused runs did not end the one under way
    go.set()
    worker.join(10)
    assert not engine.busy
    ran = []
    engine.run(lambda: ran.append(engine.busy))
    assert (ran, engine.busy) == ([True], False)


def test_errors_in_the_background_are_shown_and_kept() -> None:
    engine = Engine()

    def fail() -> None:
        raise ZeroDivisionError("1/0")

    def refuse() -> None:
        raise LabError("No.", hint="Ask later.")

    in_background(engine, fail).join(10)
    assert isinstance(engine.error, ZeroDivisionError)
    assert "ZeroDivisionError" in engine._notice["what"]
    in_background(engine, refuse).join(10)
    assert engine._notice == {"what": "No.", "hint": "Ask later.", "count": 2}
    assert (engine.error, engine.busy) == (None, False)


def test_what_prepares_a_run_may_fail_and_leaves_the_widget_free() -> None:
    engine = Engine()

    def fail() -> None:
        raise LabError("No.")

    with pytest.raises(LabError):
        engine._in_background(lambda: None, prepare=fail)
    assert not engine.busy
    engine.run(lambda: None)


@pytest.mark.parametrize("where", ["caller", "background"])
def test_an_interrupt_leaves_the_widget_free(where) -> None:
    engine = Engine()

    def interrupted() -> None:
        raise KeyboardInterrupt

    if where == "caller":
        with pytest.raises(KeyboardInterrupt):
            engine.run(interrupted)
    else:
        in_background(engine, interrupted).join(10)
        assert isinstance(engine.error, KeyboardInterrupt)
    assert not engine.busy
    engine.run(lambda: None)


def test_a_run_that_an_interrupt_left_behind_does_not_count() -> None:
    engine = Engine()
    engine._begin_run(threading.current_thread())  # as if the release had been interrupted
    engine.run(lambda: None)
    assert not engine.busy
    ended = threading.Thread(target=lambda: None)
    engine._begin_run(ended)
    ended.start()
    ended.join()
    engine.run(lambda: None)
    assert not engine.busy


def test_a_failed_construction_leaves_no_second_traceback() -> None:
    code = """
import sys
from gemma_lab.errors import LabError
from gemma_lab.widgets.attention.widget import AttentionExplorer
from gemma_lab.widgets.chat.widget import Chat
from gemma_lab.widgets.explorer.widget import Explorer
from gemma_lab.widgets.routing.widget import RoutingExplorer
explorers = Explorer, RoutingExplorer, AttentionExplorer
for kind in (Chat, *explorers):
    call = "gl.load" if kind is Chat else "gl.open_trace"
    try:
        kind("mini-moe")
    except LabError as error:
        assert call in error.hint, error.hint
        assert "str" in error.what, error.what
    else:
        sys.exit(f"{kind} took a string")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_widgets_needs_no_torch() -> None:
    code = (
        "import sys, gemma_lab.widgets.chat.widget; "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
