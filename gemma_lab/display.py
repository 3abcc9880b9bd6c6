"""How results draw themselves: one table from a result's type to the functions that draw it.

A result (`Displayed`) knows nothing of the views above it. `_repr_html_` and ``figure()`` look its class up in
`RENDERERS` when they are called, so computing a number loads neither matplotlib nor HTML.
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import LabError

RENDERERS: dict[str, dict[str, str]] = {
    "gemma_lab.analysis.attention.head_types.HeadTypes": {
        "html": "gemma_lab.views.attention.heads:head_types_html"
    },
    "gemma_lab.analysis.attention.retrieval_heads.RetrievalScores": {
        "figure": "gemma_lab.views.attention.heads:retrieval_figure"
    },
    "gemma_lab.analysis.attention.sinks.AttentionSinks": {
        "figure": "gemma_lab.views.attention.heads:attention_sinks_figure"
    },
    "gemma_lab.analysis.attention.window_coverage.WindowCoverage": {
        "figure": "gemma_lab.views.attention.heads:window_coverage_figure"
    },
    "gemma_lab.analysis.comparison.Comparison": {
        "html": "gemma_lab.views.trace.comparison:comparison_html",
        "figure": "gemma_lab.views.trace.comparison:comparison_figure",
    },
    "gemma_lab.analysis.experts.offload.Offload": {"html": "gemma_lab.views.experts.cache:offload_html"},
    "gemma_lab.evals.head_ablation.HeadAblation": {
        "figure": "gemma_lab.views.attention.heads:head_ablation_figure"
    },
    "gemma_lab.evals.needle_in_a_haystack.Haystack": {
        "html": "gemma_lab.views.evals.needles:haystack_html",
        "figure": "gemma_lab.views.evals.needles:haystack_figure",
    },
    "gemma_lab.evals.report.Checkup": {
        "html": "gemma_lab.views.evals.report:checkup_html",
        "figure": "gemma_lab.views.evals.report:checkup_figure",
    },
    "gemma_lab.family.catalog.Catalog": {"html": "gemma_lab.views.family.catalog:catalog_html"},
    "gemma_lab.family.catalog.Checkpoint": {"html": "gemma_lab.views.family.catalog:checkpoint_html"},
    "gemma_lab.family.changes.Changes": {"html": "gemma_lab.views.family.published:changes_html"},
    "gemma_lab.family.claims.Claims": {"html": "gemma_lab.views.family.published:claims_html"},
    "gemma_lab.family.published.Published": {"html": "gemma_lab.views.family.published:published_html"},
    "gemma_lab.interventions.edit.Edit": {"html": "gemma_lab.views.trace.edit:edit_html"},
    "gemma_lab.models.chat.cost.Cost": {"html": "gemma_lab.views.chat.cost:cost_html"},
    "gemma_lab.models.chat.next_token.Distribution": {"html": "gemma_lab.views.chat.sampling:sampling_html"},
    "gemma_lab.models.chat.reply.Reply": {"html": "gemma_lab.views.chat.reply:reply_html"},
    "gemma_lab.models.loading.loaded_model.LoadedModel": {
        "html": "gemma_lab.views.family.loaded_model:model_html"
    },
    "gemma_lab.models.media.audio.Audio": {"html": "gemma_lab.views.chat.media:sound_html"},
    "gemma_lab.models.media.video.Video": {"html": "gemma_lab.views.chat.media:video_html"},
    "gemma_lab.planning.cost.Costs": {
        "html": "gemma_lab.views.planning.html:costs_html",
        "text": "gemma_lab.views.planning.text:costs_text",
    },
    "gemma_lab.planning.licensing.Licences": {
        "html": "gemma_lab.views.planning.html:licences_html",
        "text": "gemma_lab.views.planning.text:licences_text",
    },
    "gemma_lab.planning.measurement.SpeedReport": {
        "html": "gemma_lab.views.planning.html:speed_html",
        "text": "gemma_lab.views.planning.text:speed_text",
    },
    "gemma_lab.planning.plans.Plan": {
        "html": "gemma_lab.views.planning.html:plan_html",
        "figure": "gemma_lab.views.planning.figures:plan_memory_figure",
        "text": "gemma_lab.views.planning.text:plan_text",
    },
    "gemma_lab.system.report.Report": {"html": "gemma_lab.views.family.system_report:report_html"},
    "gemma_lab.trace.tokens.table.TokenTable": {"html": "gemma_lab.views.trace.tokens:tokens_html"},
    "gemma_lab.trace.trace.Trace": {"html": "gemma_lab.views.trace.trace:trace_html"},
}
"""Class, by its full name, to its renderers: ``"html"``, ``"figure"`` or ``"text"`` to ``"module:function"``."""


def renderer(kind: type, form: str) -> Any:
    """Return the function that draws a class, or None.

    Parameters
    ----------
    kind
        The class of the result; a subclass is drawn as its nearest base class in `RENDERERS`.
    form
        ``"html"``, ``"figure"`` or ``"text"``.
    """
    for base in kind.__mro__:
        target = RENDERERS.get(f"{base.__module__}.{base.__qualname__}", {}).get(form)
        if target is not None:
            module, name = target.split(":")
            return getattr(importlib.import_module(module), name)
    return None


class Displayed:
    """Mixin of every result that draws itself: ``_repr_html_`` for notebooks, and ``figure()``."""

    def _repr_html_(self) -> str | None:
        draw = renderer(type(self), "html")
        return None if draw is None else str(draw(self))

    def figure(self, **options: Any) -> Any:
        """Return the result as a figure, a `gemma_lab.views.base.figure.Plot`.

        Parameters
        ----------
        **options
            Keywords of the function that draws it (`gemma_lab.plots` lists them).

        Raises
        ------
        LabError
            If the result has no figure.
        """
        draw = renderer(type(self), "figure")
        if draw is None:
            raise LabError(
                f"{type(self).__name__} has no figure.",
                hint="Show it as a table: it is the last line of a cell.",
            )
        return draw(self, **options)
