"""What the routing explorer asks of the model: a question, followed live, and experts switched off."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import LabError
from ..shared.base import LabWidget, sendable
from ..shared.wire import layer_buffer, token_buffer
from .rerun import ablated, changes, named, request_of, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ...interventions.edit import Edit
    from ...lab import Lab
    from ...trace.records.routing import Routing
    from ...trace.tokens.table import TokenTable
    from ...trace.trace import Trace

#: Tokens that are sent again with the next ones: a character under way may still change what they show.
_UNSETTLED = 8
#: Longest answer to a question asked in the widget, in tokens.
_ANSWER = 64


class ModelRuns(LabWidget):
    """Base of a widget that shows a trace and can run the model for another one."""

    #: The experiment with experts switched off: its state, and the answers side by side.
    comparison = traitlets.Dict().tag(sync=True)
    #: Whether the model is running for this widget, and whether there is one.
    busy = traitlets.Bool(default_value=False).tag(sync=True)
    can_run = traitlets.Bool(default_value=False).tag(sync=True)

    _lab: Lab | None
    _trace: Trace
    _original: Trace
    _edited: Trace | None = None
    _live: tuple[TokenTable, Routing] | None = None
    _sent = 0

    def __init__(self, **traits: Any) -> None:
        self._gate = threading.Lock()
        self._halt = threading.Event()
        #: The exception of the last run in the background that failed unexpectedly, or None.
        self.error: BaseException | None = None
        super().__init__(**traits)

    def _show(self, trace: Trace, *, keep: bool = False) -> None:
        """Draw another trace; `keep` keeps the selection."""
        raise NotImplementedError

    def _post_buffers(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        raise NotImplementedError

    @property
    def edit(self) -> Edit | None:
        """The edit of the comparison, or None."""
        from ...interventions.edit import Edit

        pairs = self.comparison.get("experts") or ()
        return Edit(ablate_experts=ablated(pairs)) if pairs else None

    @property
    def edited(self) -> Trace | None:
        """The trace with experts switched off, or None; compare them by ``gl.compare(original, edited)``."""
        return self._edited

    def ask(
        self,
        prompt: str | list[dict[str, Any]],
        *,
        max_new_tokens: int = _ANSWER,
        images: Sequence[Any] = (),
        **options: Any,
    ) -> Trace:
        """Ask the model, follow its routing token by token in every view, and show the trace.

        Parameters
        ----------
        prompt, images, **options
            As `Lab.trace` takes them.
        max_new_tokens
            Longest answer, in tokens.

        Returns
        -------
        Trace

        Raises
        ------
        LabError
            If the explorer has no model, or one is running for it.
        """
        lab = self._model()
        with self._running():
            return self._ask(
                lab, {"prompt": prompt, "max_new_tokens": max_new_tokens, "images": list(images), **options}
            )

    def ablate(self, experts: Mapping[int, Sequence[int]]) -> Trace:
        """Run the request again without some experts, and show both answers side by side.

        Experts that were switched off before stay off until `restore`.

        Parameters
        ----------
        experts
            The model's layers and their experts, e.g. ``{4: [17, 90]}``.

        Returns
        -------
        Trace
            With the edit in its ``meta["edit"]``.

        Raises
        ------
        LabError
            If the explorer has no model, one is running for it, or the request cannot be made again.
        BadEdit
            If the model has no such experts.
        """
        lab = self._model()
        with self._running():
            return self._ablate(lab, experts)

    def restore(self) -> None:
        """Put every expert back, and show the trace without the edit."""
        self._refuse_while_busy()
        self.comparison = {}
        self._edited = None
        if self._trace is not self._original:
            self._show(self._original, keep=True)

    def stop(self) -> None:
        """Stop an answer that is being followed; what is there of it stays."""
        self._halt.set()

    # ── running ────────────────────────────────────────────────────────────────────────────────────────

    def _model(self) -> Lab:
        if self._lab is None:
            raise LabError(
                "This explorer has no model to run.", hint="Make it with RoutingExplorer(trace, lab=lab)."
            )
        return self._lab

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise LabError("The model is running for this explorer.", hint="Wait for it, or explorer.stop().")

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._gate:
            self._refuse_while_busy()
            self.busy = True
        self._halt.clear()
        try:
            yield
        finally:
            self._live = None
            self.busy = False

    def _ask(self, lab: Lab, request: dict[str, Any]) -> Trace:
        from ...models.media import load_image
        from ...trace.probes.recorder import Recorder
        from .live_routing import Follow

        images = [load_image(image) for image in request["images"]]
        self._live, self._sent = None, 0
        follow = Follow(lab, self._hear, halt=self._halt, images=images)
        with Recorder(lab.model, [follow]):
            trace = lab.trace(**{**request, "images": images})
        self._original, self._edited, self.comparison = trace, None, {}
        self._show(trace)
        return trace

    def _ablate(self, lab: Lab, experts: Mapping[int, Sequence[int]]) -> Trace:
        from ...interventions.edit import Edit

        before = self._original
        pairs = [
            *self.comparison.get("experts", ()),
            *([layer, e] for layer, of in experts.items() for e in of),
        ]
        off = ablated(pairs)
        edit = Edit.from_dict(before.meta.get("edit") or {}) | Edit(ablate_experts=off)
        told = {
            "edit": named(off),
            "experts": [[layer, e] for layer, of in off.items() for e in of],
            "looking": False,
        }
        was = self.comparison
        self.comparison = {"state": "running", **told, "before": side_by_side(before, before)[0], "after": []}
        try:
            after = lab.trace(**request_of(before), edit=edit)
        except BaseException:
            self.comparison = was
            raise
        one, other = side_by_side(before, after)
        self._edited = after
        if self._trace is not before:
            self._show(before, keep=True)
        self.comparison = {
            "state": "done",
            **told,
            "before": one,
            "after": other,
            "note": sendable(changes(before, after)),
        }
        return after

    def _hear(self, table: TokenTable, routing: Routing) -> None:
        """Show what the model has read so far: first the prompt, then what grows."""
        from ...trace.trace import Trace

        if self._live is None:
            name = self._model().name
            self._show(Trace(tokens=table, routing=routing, meta={"model": name}))
        else:
            self._grow(table, routing, start=max(0, self._sent - _UNSETTLED))
        self._live, self._sent = (table, routing), len(table)

    def _grow(self, table: TokenTable, routing: Routing, *, start: int) -> None:
        layers = layer_buffer(routing, range(len(routing.layers)), start=start)
        self._post_buffers({"type": "grow"}, [token_buffer(table, start=start), layers])

    # ── intents of the front end ───────────────────────────────────────────────────────────────────────

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text = str(content.get("text", ""))
        if not text.strip():
            raise LabError("There is nothing to ask.", hint="Write a question.")
        self._refuse_while_busy()
        self._in_background(lambda: self.ask(text, max_new_tokens=_ANSWER))

    def _on_ablate(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        layer, experts = int(content.get("layer", -1)), [int(one) for one in content.get("experts", ())]
        self._refuse_while_busy()
        self._in_background(lambda: self.ablate({layer: experts}))

    def _on_restore(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.restore()

    def _on_stop(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.stop()

    def _on_look(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Show the routing with or without the edit."""
        self._refuse_while_busy()
        if self._edited is None:
            return
        looking = bool(content.get("edited"))
        self._show(self._edited if looking else self._original, keep=True)
        self.comparison = {**self.comparison, "looking": looking}

    def _on_resume(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the whole of what grows, for a view that missed a part of it."""
        if self._live is not None:
            self._grow(*self._live, start=0)

    def _in_background(self, work: Any) -> None:
        """Run the model in a thread of its own, so that the kernel can hear Stop meanwhile."""

        def run() -> None:
            self.error = None
            try:
                work()
            except LabError as error:
                self._notify(error)
            except Exception as error:
                self.error = error
                self._notify(
                    LabError(
                        f"{type(error).__name__}: {error}",
                        hint="This is not an error gemma_lab expects; explorer.error holds it.",
                    )
                )

        threading.Thread(target=run, name="gemma_lab-routing", daemon=True).start()
