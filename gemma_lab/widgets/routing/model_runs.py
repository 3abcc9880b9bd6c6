"""Runs of the model for the routing explorer: a prompt with live routing, and ablations of experts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadPrompt
from ..shared.base import sendable
from ..shared.explorer import TraceExplorer
from ..shared.wire import layer_buffer, token_buffer
from .rerun import ablated, changes, named, side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...lab import Lab
    from ...models.tokens.table import TokenTable
    from ...trace.interventions.edit import Edit
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Tokens that are sent again with the next ones: an incomplete character may still change their text.
_RESENT = 8
#: Longest answer to a prompt sent from the widget, in tokens.
_MAX_NEW_TOKENS = 64


class ModelRuns(TraceExplorer):
    """Base of a widget that shows a trace and can run the model for another one."""

    #: The ablation of experts: its state, and the answers before and after.
    _comparison = traitlets.Dict().tag(sync=True)

    _busy_error = ("The model is running for this explorer.", "Wait for it, or explorer.stop().")

    _original: Trace
    _edited: Trace | None = None
    _live: tuple[TokenTable, Routing] | None = None
    _sent = 0

    def __init__(self, **traits: Any) -> None:
        self._halt = threading.Event()
        super().__init__(**traits)

    def _show(self, trace: Trace, *, keep: bool = False) -> None:
        """Show another trace; `keep` keeps the selection."""
        raise NotImplementedError

    def _post_buffers(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        raise NotImplementedError

    @property
    def edit(self) -> Edit | None:
        """The edit that ablates the experts, or None."""
        from ...trace.interventions.edit import Edit

        pairs = self._comparison.get("experts") or ()
        return Edit(ablate_experts=ablated(pairs)) if pairs else None

    @property
    def edited(self) -> Trace | None:
        """The trace with experts ablated, or None; compare them by ``gl.compare(original, edited)``."""
        return self._edited

    def ask(
        self,
        prompt: str | list[dict[str, Any]],
        *,
        max_new_tokens: int = _MAX_NEW_TOKENS,
        images: Sequence[Any] = (),
        **options: Any,
    ) -> Trace:
        """Send a prompt to the model, show its routing while it runs, and then the trace.

        Parameters
        ----------
        prompt, images, **options
            As for `Lab.trace`.
        max_new_tokens
            Longest answer, in tokens.

        Returns
        -------
        Trace

        Raises
        ------
        LabError
            If the explorer has no model, or it is running for it already.
        """
        lab = self._model()
        with self._running():
            return self._ask(
                lab, {"prompt": prompt, "max_new_tokens": max_new_tokens, "images": list(images), **options}
            )

    def ablate(self, experts: Mapping[int, Sequence[int]]) -> Trace:
        """Run the request again with some experts ablated, and show both answers side by side.

        Experts that were ablated before stay ablated until `restore`.

        Parameters
        ----------
        experts
            Experts by layer, as the model numbers them, e.g. ``{4: [17, 90]}``.

        Returns
        -------
        Trace
            Of the edited run; its edit is in ``meta["edit"]``.

        Raises
        ------
        LabError
            If the explorer has no model, it is running for it already, or the request cannot be repeated.
        BadEdit
            If the model has no such experts.
        """
        lab = self._model()
        with self._running():
            return self._ablate(lab, experts)

    def restore(self) -> None:
        """Remove the ablation, and show the trace without it."""
        self._refuse_while_busy()
        self._comparison = {}
        self._edited = None
        if self._trace is not self._original:
            self._show(self._original, keep=True)

    def stop(self) -> None:
        """Stop the answer that is being generated; its tokens so far stay."""
        self._halt.set()

    # ── running ────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, lab: Lab, request: dict[str, Any]) -> Trace:
        from ...models.media import load_image
        from ...trace.probes.recorder import Recorder
        from .live_routing import LiveRouting

        images = [load_image(image) for image in request["images"]]
        self._live, self._sent = None, 0
        self._halt.clear()
        live = LiveRouting(lab, self._show_live, halt=self._halt, images=images)
        try:
            with Recorder(lab.model, [live]):
                trace = lab.trace(**{**request, "images": images})
        finally:
            self._live = None
        self._original, self._edited, self._comparison = trace, None, {}
        self._show(trace)
        return trace

    def _ablate(self, lab: Lab, experts: Mapping[int, Sequence[int]]) -> Trace:
        from ...models.chat.request import Request
        from ...trace.interventions.edit import Edit

        before = self._original
        pairs = [
            *self._comparison.get("experts", ()),
            *([layer, e] for layer, of in experts.items() for e in of),
        ]
        off = ablated(pairs)
        edit = Edit.from_dict(before.meta.get("edit") or {}) | Edit(ablate_experts=off)
        shown = {
            "edit": named(off),
            "experts": [[layer, e] for layer, of in off.items() for e in of],
            "showing_edited": False,
        }
        previous = self._comparison
        self._comparison = {
            "state": "running",
            **shown,
            "before": side_by_side(before, before)[0],
            "after": [],
        }
        try:
            after = lab.trace(Request.from_meta(before.meta, before.images), edit=edit)
        except BaseException:
            self._comparison = previous
            raise
        one, other = side_by_side(before, after)
        self._edited = after
        if self._trace is not before:
            self._show(before, keep=True)
        self._comparison = {
            "state": "done",
            **shown,
            "before": one,
            "after": other,
            "note": sendable(changes(before, after)),
        }
        return after

    def _show_live(self, table: TokenTable, routing: Routing) -> None:
        """Show the tokens and the routing so far: the prompt as a new trace, then what is appended to it."""
        from ...trace.trace import Trace

        if self._live is None:
            name = self._model().name
            self._show(Trace(tokens=table, routing=routing, meta={"model": name}))
        else:
            self._append(table, routing, start=max(0, self._sent - _RESENT))
        self._live, self._sent = (table, routing), len(table)

    def _append(self, table: TokenTable, routing: Routing, *, start: int) -> None:
        layers = layer_buffer(routing, range(len(routing.layers)), start=start)
        self._post_buffers({"type": "append"}, [token_buffer(table, start=start), layers])

    # ── messages of the views ───────────────────────────────────────────────────────────────────────

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text = str(content.get("text", ""))
        if not text.strip():
            raise BadPrompt("The prompt is empty.", hint="Write a question.")
        self._in_background(lambda: self.ask(text, max_new_tokens=_MAX_NEW_TOKENS))

    def _on_ablate(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        layer, experts = int(content.get("layer", -1)), [int(one) for one in content.get("experts", ())]
        self._in_background(lambda: self.ablate({layer: experts}))

    def _on_restore(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.restore()

    def _on_stop(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.stop()

    def _on_show_edited(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Show the routing with or without the edit."""
        self._refuse_while_busy()
        if self._edited is None:
            return
        edited = bool(content.get("edited"))
        self._show(self._edited if edited else self._original, keep=True)
        self._comparison = {**self._comparison, "showing_edited": edited}

    def _on_resume(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send all tokens so far, for a view that missed some."""
        if self._live is not None:
            self._append(*self._live, start=0)
