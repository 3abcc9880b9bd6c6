"""Base class of the widgets: static fallback, messages, errors shown in the views.

A widget is a folder of Python modules and a folder of ES modules in ``widgets/js``. The front end never
changes a trait: it sends messages, Python decides, and every view draws the traits that change. So two views,
a reloaded page and Python itself always agree.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ...errors import LabError
from ...models.loading.restore import RestoreStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_VIEW_MIME = "application/vnd.jupyter.widget-view+json"


def is_static() -> bool:
    """Return whether ``GEMMA_LAB_STATIC`` asks for static fallbacks instead of live widgets."""
    return os.environ.get("GEMMA_LAB_STATIC", "") not in ("", "0")


def sendable(text: str) -> str:
    """Return `text` without lone surrogates, which JSON messages cannot carry (they become ``?``)."""
    return text.encode("utf-8", "replace").decode("utf-8")


class LabWidget(anywidget.AnyWidget):
    """Base of the package's widgets.

    A subclass sets ``_esm = bundle("chat/chat.js")`` and ``_css = stylesheet("shared/base.css", …)``,
    implements `_static_fallback`, lists the messages it understands in `_messages`, and handles a message
    ``{"type": "stop"}`` in a method named ``_on_stop(content, buffers)``.

    Attributes
    ----------
    busy : bool
        Whether the model is running for this widget.
    error : BaseException or None
        The exception of the last run that failed unexpectedly.

    Notes
    -----
    Under ``GEMMA_LAB_STATIC=1`` a widget opens no comm and shows only its static fallback, so a notebook that
    was executed that way holds no widget state.
    """

    #: Types of the messages that this widget understands.
    _messages: tuple[str, ...] = ()
    #: Error and hint for a second run while one is in progress.
    _busy_error: tuple[str, str] = ("The model is running for this widget.", "Wait until it has finished.")

    # ipywidgets 7 displays through this method, which would hide the fallback; IPython then takes the bundle.
    _ipython_display_ = None

    busy = traitlets.Bool(default_value=False).tag(sync=True)
    #: The last LabError that a message caused: what, hint, count.
    _notice = traitlets.Dict().tag(sync=True)

    error: BaseException | None = None

    def __init__(self, **traits: Any) -> None:
        self._gate = threading.Lock()
        self._runner: threading.Thread | None = None
        super().__init__(**traits)
        self.on_msg(self._receive)

    def __del__(self) -> None:
        """Close the comm; a widget whose construction failed has none."""
        if "_gate" in self.__dict__:
            super().__del__()

    def open(self) -> None:
        """Open the comm to the front end (ipywidgets calls this), unless only the fallback is wanted."""
        if not is_static():
            super().open()

    def _static_fallback(self) -> tuple[str, str]:
        """Return the static fallback: script-free HTML, and text that is the same on every run."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        html, text = self._static_fallback()
        fallback = {"text/plain": text, "text/html": html}
        if is_static() or self.comm is None:
            return fallback, {}
        bundle = super()._repr_mimebundle_()
        if bundle is None:  # a subclass without a view
            return fallback, {}
        data, metadata = bundle  # the metadata tells Colab where its widget manager is
        return {**fallback, _VIEW_MIME: data[_VIEW_MIME]}, metadata

    def _post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send one message, with binary buffers, to every view of this widget; safe from any thread."""
        super().send(content, buffers)

    def _notify(self, error: LabError) -> None:
        """Show `error` in every view."""
        count = self._notice.get("count", 0) + 1
        self._notice = {"what": sendable(error.what), "hint": sendable(error.hint), "count": count}

    def _receive(self, _widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Call the method that handles a message of the front end; a LabError is shown in the views."""
        kind = content.get("type") if isinstance(content, dict) else None
        if kind not in self._messages:
            return
        handler: Callable[[dict[str, Any], Sequence[Any]], None] = getattr(self, f"_on_{kind}")
        try:
            handler(content, buffers)
        except LabError as error:
            self._notify(error)

    # ── one run of the model at a time ─────────────────────────────────────────────────────────────────

    def _refuse_while_busy(self) -> None:
        """Raise `LabError` while another thread runs the model for this widget.

        A run whose thread has ended, or that an interrupt left behind in this thread, does not count.
        """
        runner = self._runner
        if runner is None or runner is threading.current_thread():
            return
        if runner.is_alive() or runner.ident is None:
            what, hint = self._busy_error
            raise LabError(what, hint=hint)

    def _begin_run(self, runner: threading.Thread) -> None:
        """Reserve the widget for a run in `runner`."""
        with self._gate:
            self._refuse_while_busy()
            self._runner = runner
        self.error = None
        self.busy = True

    def _end_run(self, runner: threading.Thread) -> None:
        """Release the widget after a run in `runner`; harmless when repeated, or if it holds no run."""
        if self._runner is runner:
            self.busy = False
            self._runner = None

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Reserve the widget for a run in the calling thread, which may have reserved it already."""
        thread = threading.current_thread()
        with RestoreStack() as restore:
            restore.undo(self._end_run, thread)
            if self._runner is not thread:
                self._begin_run(thread)
            yield

    def _in_background(
        self, work: Callable[[], object], *, prepare: Callable[[], object] = lambda: None
    ) -> None:
        """Run the model in a separate thread, so that the kernel can receive messages meanwhile.

        Parameters
        ----------
        work
            What the thread calls. Its errors are shown in the views.
        prepare
            Called first, in the calling thread, once the widget is reserved.
        """

        def run() -> None:
            try:
                work()
            except LabError as error:
                self._notify(error)
            except BaseException as error:  # a thread has no caller: the views and `error` tell of it
                self.error = error
                hint = f"This error was not expected; {type(self).__name__}.error holds the exception."
                self._notify(LabError(f"{type(error).__name__}: {error}", hint=hint))

        def run_and_release() -> None:
            with RestoreStack() as restore:
                restore.undo(self._end_run, thread)
                run()

        thread = threading.Thread(target=run_and_release, name="gemma_lab-widget", daemon=True)
        self._begin_run(thread)
        try:
            prepare()
            thread.start()
        except BaseException:
            self._end_run(thread)
            raise


class BatchSender:
    """Deliver items in batches, at most one batch per interval and no item later than an interval.

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
        self._thread = threading.Thread(target=self._run, name="gemma_lab-sender", daemon=True)

    def put(self, items: Sequence[Any]) -> None:
        """Add items and return at once."""
        self._items.extend(items)
        if self._thread.ident is None:
            self._thread.start()
        self._wake.set()

    def items(self) -> list[Any]:
        """Return all items so far, delivered or not."""
        return list(self._items)

    def close(self) -> None:
        """Deliver the remaining items and end the thread."""
        self._closed.set()
        self._wake.set()
        if self._thread.ident is not None:
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
