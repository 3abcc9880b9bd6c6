from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import ipywidgets
import pytest
import traitlets
from IPython.core.formatters import DisplayFormatter, format_display_data

from gemma_lab.errors import LabError
from gemma_lab.widgets.shared.base import BatchSender, LabWidget, sendable
from gemma_lab.widgets.shared.bundle import bundle, stylesheet

VIEW = "application/vnd.jupyter.widget-view+json"


class Dial(LabWidget):
    _esm = "export default { render() {} };"
    _messages = ("turn", "fail")
    at = traitlets.Int().tag(sync=True)

    def __repr__(self) -> str:
        return f"Dial({self.at})"

    def _twin(self):
        return f"<b>{self.at}</b>", repr(self)

    def _on_turn(self, content, buffers):
        self.at = content["to"]

    def _on_fail(self, content, buffers):
        raise LabError("It is stuck at 3.", hint="Oil it.")


def test_modules_are_inlined_once_and_export_only_what_the_front_end_needs() -> None:
    source = bundle("chat/chat.js")
    assert "import " not in source.replace("import { ", "import{") or 'from "./' not in source
    assert source.count("export ") == 1
    assert source.count("export default { render };") == 1
    for name in ("function h(", "class Readout", "class Composer", "class Settings", "function followTheme("):
        assert source.count(name) == 1, name
    assert source.index("function h(") < source.index("class Readout") < source.index("class Conversation")


@pytest.mark.parametrize(
    "banned",
    ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "eval("],
)
def test_no_module_parses_markup_or_reaches_the_network(banned: str) -> None:
    source = bundle("chat/chat.js").replace('"http://www.w3.org/2000/svg"', "")
    assert banned not in source
    assert banned not in stylesheet("shared/base.css", "chat/tokens.css", "chat/chat.css")


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
    assert format_display_data is not None


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


def test_the_pump_delivers_everything_in_order_and_in_few_batches() -> None:
    got: list[tuple[int, list[int]]] = []
    pump = BatchSender(lambda at, batch: got.append((at, batch)), interval=0.02)
    for number in range(500):
        pump.put([number])
        if number % 100 == 0:
            time.sleep(0.03)
    pump.close()
    assert [item for _, batch in got for item in batch] == list(range(500))
    assert [at for at, _ in got] == [sum(len(b) for _, b in got[:i]) for i in range(len(got))]
    assert 2 <= len(got) < 100
    assert all(thread.name != "gemma_lab-sender" for thread in threading.enumerate())


def test_importing_widgets_needs_no_torch() -> None:
    code = "import sys, gemma_lab.widgets.chat.widget; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
