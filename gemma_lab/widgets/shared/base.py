"""What every widget of the package shares: inlined JavaScript and CSS, a static twin, a stable text.

A widget is one Python file and one ES module in ``static/``. The module imports its neighbours as
``import { h } from "./base.js";``; `module` inlines those imports, so the front end needs neither a CDN nor a
bundler. The front end never changes a trait: it posts *intents* (custom messages), Python decides, and the
traits that change are what every view draws. So two views, a reload and Python itself always agree.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ...errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STATIC = Path(__file__).parents[1] / "static"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<name>[a-z_]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)
_VIEW_MIME = "application/vnd.jupyter.widget-view+json"


def is_static() -> bool:
    """Return whether ``GEMMA_LAB_STATIC`` asks for static twins instead of live widgets."""
    return os.environ.get("GEMMA_LAB_STATIC", "") not in ("", "0")


def module(name: str) -> str:
    """Return one ES module of ``static/`` with its neighbours inlined, each once, before their first user.

    Parameters
    ----------
    name
        File name, e.g. ``"chat.js"``. Only this file keeps its exports.
    """
    parts: dict[str, str] = {}

    def visit(file: str) -> None:
        if file in parts:
            return
        source = (_STATIC / file).read_text(encoding="utf-8")
        for match in _IMPORT.finditer(source):
            visit(match["name"])
        source = _IMPORT.sub("", source)
        parts[file] = source if file == name else _EXPORT.sub("", source)

    visit(name)
    return "\n".join(parts.values())


def stylesheet(*names: str) -> str:
    """Return the named CSS files of ``static/`` as one text."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


def sendable(text: str) -> str:
    """Return `text` without lone surrogates, which JSON messages cannot carry (they become ``?``)."""
    return text.encode("utf-8", "replace").decode("utf-8")


class LabWidget(anywidget.AnyWidget):
    """Base of the package's widgets.

    A subclass sets ``_esm = module("name.js")`` and ``_css = stylesheet("base.css", "name.css")``, answers
    `_twin`, and handles an intent ``{"type": "stop"}`` in a method named ``_on_stop(content, buffers)``.

    Notes
    -----
    Under ``GEMMA_LAB_STATIC=1`` a widget opens no comm and shows only its twin, so a notebook that was
    executed that way holds no widget state.
    """

    #: Intents of the front end that this widget understands.
    _intents: tuple[str, ...] = ()

    # ipywidgets 7 displays through this method, which would hide the twin; IPython then takes the mimebundle.
    _ipython_display_ = None

    #: The last LabError that an intent met: what, hint, count.
    shown_notice = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)

    def open(self) -> None:
        """Open the comm to the front end (ipywidgets calls this), unless only the twin is wanted."""
        if not is_static():
            super().open()

    def _twin(self) -> tuple[str, str]:
        """Return the static form: script-free HTML, and text that is the same on every run."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        html, text = self._twin()
        twin = {"text/plain": text, "text/html": html}
        if is_static() or self.comm is None:
            return twin, {}
        bundle = super()._repr_mimebundle_()
        if bundle is None:  # a subclass without a view
            return twin, {}
        data, metadata = bundle  # the metadata tells Colab where its widget manager is
        return {**twin, _VIEW_MIME: data[_VIEW_MIME]}, metadata

    def _post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send one message, with bytes beside it, to every view of this widget; safe from any thread."""
        super().send(content, buffers)

    def _notify(self, error: LabError) -> None:
        """Show `error` in every view as a calm message."""
        count = self.shown_notice.get("count", 0) + 1
        self.shown_notice = {"what": sendable(error.what), "hint": sendable(error.hint), "count": count}

    def _receive(self, _widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Hand one intent of the front end to its method; a LabError is shown, never a traceback."""
        kind = content.get("type") if isinstance(content, dict) else None
        if kind not in self._intents:
            return
        handler: Callable[[dict[str, Any], Sequence[Any]], None] = getattr(self, f"_on_{kind}")
        try:
            handler(content, buffers)
        except LabError as error:
            self._notify(error)


class BatchSender:
    """Gather items and hand them on in batches, at most one batch an interval, none later than an interval.

    Parameters
    ----------
    deliver
        Called with the index of the batch's first item and the batch, always from one thread.
    interval
        Seconds between two batches. The default is two animation frames.
    """

    def __init__(self, deliver: Callable[[int, list[Any]], None], *, interval: float = 1 / 30) -> None:
        self._deliver = deliver
        self._interval = interval
        self._items: list[Any] = []
        self._sent = 0
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gemma_lab-pump", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Any]) -> None:
        """Add items; returns at once."""
        self._items.extend(items)
        self._wake.set()

    def items(self) -> list[Any]:
        """Return everything put so far, delivered or not."""
        return list(self._items)

    def close(self) -> None:
        """Deliver what is left and end the thread."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closed.is_set()
            batch = self._items[self._sent :]
            if batch:
                self._deliver(self._sent, batch)
                self._sent += len(batch)
            if closing:
                return
            self._closed.wait(self._interval)
