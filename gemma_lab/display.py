"""Display of results: one table from a result's class to the functions that draw it.

A result (`Displayed`) does not import views. `_repr_html_` and ``figure()`` look its class up in `RENDERERS`
when they are called, so computing a number loads neither matplotlib nor HTML.
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import LabError

#: Class → functions for ``"html"``, ``"figure"`` and ``"text"`` (``str``), by name in the package and in its
#: views. A result without ``"html"`` is shown as the first rows of its ``to_pandas()``.
RENDERERS: dict[str, dict[str, str]] = {
    "analysis.attention.distance.AttentionDistance": {"figure": "versus.figures:attention_distance_figure"},
    "analysis.attention.head_summary.HeadSummary": {
        "figure": "attention.head_summary:head_summary_figure",
    },
    "analysis.attention.head_types.HeadTypes": {
        "html": "attention.heads:head_types_html",
        "figure": "attention.heads:head_types_figure",
    },
    "analysis.attention.retrieval_heads.RetrievalScores": {"figure": "attention.heads:retrieval_figure"},
    "analysis.attention.sinks.AttentionSinks": {"figure": "attention.heads:attention_sinks_figure"},
    "analysis.attention.window_coverage.WindowCoverage": {"figure": "attention.heads:window_coverage_figure"},
    "analysis.argument_sources.CallSources": {"figure": "attention.call_sources:call_sources_figure"},
    "analysis.comparison.Comparison": {
        "html": "trace.comparison:comparison_html",
        "figure": "trace.comparison:comparison_figure",
    },
    "analysis.comparison.RoutingChange": {"figure": "trace.comparison:routing_change_figure"},
    "analysis.experts.cache.ExpertCacheCurve": {"figure": "experts.cache:expert_cache_figure"},
    "analysis.experts.coactivation.Coactivation": {"figure": "experts.overlap:coactivation_figure"},
    "analysis.experts.contrast.ExpertContrast": {"figure": "experts.contrast:expert_contrast_figure"},
    "analysis.experts.divergence.RoutingDivergence": {
        "figure": "experts.divergence:routing_divergence_figure"
    },
    "analysis.experts.flips.RoutingFlips": {"figure": "versus.figures:routing_flips_figure"},
    "analysis.experts.load.ExpertLoad": {"figure": "experts.load:expert_load_figure"},
    "analysis.experts.offload.Offload": {
        "html": "experts.cache:offload_html",
        "figure": "experts.cache:offload_figure",
    },
    "analysis.experts.overlap.RoutingOverlap": {"figure": "experts.overlap:routing_overlap_figure"},
    "analysis.experts.overlap.RoutingStability": {"figure": "experts.overlap:routing_stability_figure"},
    "analysis.experts.specialisation.Specialisation": {
        "figure": "experts.specialisation:specialisation_figure"
    },
    "analysis.experts.unions.DraftSpeedup": {"figure": "experts.unions:draft_speedup_figure"},
    "analysis.experts.unions.ExpertUnions": {"figure": "experts.unions:expert_unions_figure"},
    "analysis.overruled.OverruledTokens": {
        "html": "chat.overruled:overruled_html",
        "figure": "chat.overruled:overruled_figure",
    },
    "evals.ablation.result.AblationTest": {"figure": "evals.ablation:ablation_test_figure"},
    "evals.ablation.design.StudyDesign": {
        "html": "evals.ablation_study:design_html",
        "text": "evals.ablation_study:design_text",
    },
    "evals.ablation.study_result.StudyResult": {
        "html": "evals.ablation_study:result_html",
        "text": "evals.ablation_study:result_text",
        "figure": "evals.ablation_study:study_result_figure",
    },
    "evals.acceptance_by_kind.AcceptanceByKind": {
        "figure": "evals.acceptance_by_kind:draft_acceptance_figure"
    },
    "evals.causal.causal_map.CausalMap": {
        "html": "causal.html:causal_map_html",
        "figure": "causal.maps:causal_map_figure",
    },
    "evals.steering.DoseCurve": {"figure": "evals.dose_curve:dose_curve_figure"},
    "evals.lens_comparison.LensComparison": {"figure": "lenses.comparison:lens_comparison_figure"},
    "evals.needle_in_a_haystack.Haystack": {
        "html": "evals.needles:haystack_html",
        "figure": "evals.needles:haystack_figure",
    },
    "evals.report.Checkup": {"html": "evals.report:checkup_html", "figure": "evals.report:checkup_figure"},
    "evals.statistics.PairedAnswers": {"figure": "evals.paired:paired_figure"},
    "evals.scan.scan.Scan": {
        "html": "evals.scan:scan_html",
        "text": "evals.scan:scan_text",
        "figure": "evals.scan:scan_figure",
    },
    "evals.sparse_autoencoders.fit.SaeFit": {
        "html": "evals.sae_fit:sae_fit_html",
        "figure": "evals.sae_fit:sae_fit_figure",
    },
    "evals.versus.comparison.ComparedTokens": {
        "html": "versus.html:compared_tokens_html",
        "text": "versus.text:compared_tokens_text",
    },
    "evals.versus.comparison.Versus": {
        "html": "versus.html:versus_html",
        "text": "versus.text:versus_text",
        "figure": "versus.figures:versus_figure",
    },
    "evals.versus.checkups.CheckupComparison": {
        "html": "versus.html:checkup_comparison_html",
        "figure": "versus.figures:checkup_comparison_figure",
    },
    "evals.versus.resources.MemoryComparison": {"figure": "versus.figures:memory_comparison_figure"},
    "evals.versus.resources.SpeedComparison": {"figure": "versus.figures:speed_comparison_figure"},
    "evals.versus.answers.TokenDivergence": {"figure": "versus.figures:token_divergence_figure"},
    "evals.tool_calls.ToolCallAccuracy": {
        "html": "evals.tool_calls:tool_call_accuracy_html",
        "figure": "evals.tool_calls:tool_call_accuracy_figure",
    },
    "family.architecture.Architecture": {
        "html": "family.architecture:architecture_html",
        "figure": "family.figures:layer_types_figure",
    },
    "family.caches.KVCache": {
        "html": "family.architecture:kv_cache_html",
        "figure": "family.context:kv_cache_comparison_figure",
    },
    "family.catalog.Catalog": {"html": "family.catalog:catalog_html", "text": "family.catalog:catalog_text"},
    "family.catalog.Checkpoint": {"html": "family.catalog:checkpoint_html"},
    "family.changes.Changes": {"html": "family.published:changes_html"},
    "family.claims.Claims": {"html": "family.published:claims_html"},
    "family.parameters.Parameters": {
        "html": "family.architecture:parameters_html",
        "figure": "family.figures:parameters_figure",
    },
    "family.published.Published": {
        "html": "family.published:published_html",
        "figure": "family.benchmarks:benchmarks_figure",
    },
    "trace.interventions.direction.Direction": {},
    "trace.lenses.jacobian_lens.JacobianLens": {},
    "trace.interventions.edit.Edit": {"html": "trace.edit:edit_html"},
    "models.chat.cost.Cost": {"html": "chat.cost:cost_html", "figure": "chat.cost:cost_figure"},
    "models.chat.next_token.Distribution": {
        "html": "chat.sampling:sampling_html",
        "figure": "chat.sampling:sampling_figure",
    },
    "models.chat.reply.Reply": {"html": "chat.reply:reply_html", "figure": "chat.reply:reply_figure"},
    "models.fine_tuning.adapter.Adapter": {
        "html": "fine_tuning.adapter:adapter_html",
        "figure": "fine_tuning.adapter:adapter_figure",
    },
    "models.fine_tuning.change_check.AdapterCheck": {"html": "fine_tuning.check:adapter_check_html"},
    "models.fine_tuning.progress.LossCurve": {
        "html": "fine_tuning.loss_curve:loss_curve_html",
        "figure": "fine_tuning.loss_curve:loss_curve_figure",
    },
    "models.loading.loaded_model.LoadedModel": {"html": "family.loaded_model:model_html"},
    "models.quantization.q4_0_grid.QatGrid": {
        "html": "quantization.qat_grid:qat_grid_html",
        "text": "quantization.qat_grid:qat_grid_text",
        "figure": "quantization.qat_grid:qat_grid_figure",
    },
    "models.quantization.weight_bits.WeightBits": {
        "html": "quantization.weight_bits:weight_bits_html",
        "text": "quantization.weight_bits:weight_bits_text",
        "figure": "quantization.weight_bits:weight_bits_figure",
    },
    "models.remote.reply.ServerReply": {"html": "chat.server_reply:server_reply_html"},
    "models.sparse_autoencoders.sae.SparseAutoencoder": {"html": "evals.sae_fit:sae_html"},
    "models.tool_use.runner.ToolRun": {"html": "chat.tool_run:tool_run_html"},
    "remote_lab.RemoteLab": {"html": "family.loaded_model:model_html"},
    "models.media.audio.Audio": {"html": "chat.media:sound_html"},
    "models.media.video.Video": {"html": "chat.media:video_html"},
    "surveys.survey.Survey": {"html": "evals.survey:survey_html"},
    "planning.cost.Costs": {"html": "planning.html:costs_html", "text": "planning.text:costs_text"},
    "planning.licensing.Licences": {
        "html": "planning.html:licences_html",
        "text": "planning.text:licences_text",
    },
    "planning.measurement.SpeedReport": {
        "html": "planning.html:speed_html",
        "text": "planning.text:speed_text",
        "figure": "planning.figures:speed_report_figure",
    },
    "planning.plans.Plan": {
        "html": "planning.html:plan_html",
        "text": "planning.text:plan_text",
        "figure": "planning.figures:plan_memory_figure",
    },
    "system.report.Report": {
        "html": "family.system_report:report_html",
        "text": "family.system_report:report_text",
    },
    "trace.records.attention.Attention": {
        "html": "attention.static:attention_record_html",
        "figure": "attention.figures:attention_heads_figure",
    },
    "trace.records.features.Features": {
        "html": "trace.features:features_html",
        "figure": "trace.features:features_figure",
    },
    "trace.records.logit_attribution.LogitAttribution": {
        "html": "causal.attribution:logit_attribution_html",
        "figure": "causal.attribution:logit_attribution_figure",
        "text": "causal.attribution:logit_attribution_text",
    },
    "trace.records.logit_lens.LogitLens": {
        "html": "trace.logit_lens:logit_lens_html",
        "figure": "trace.logit_lens:logit_lens_figure",
    },
    "trace.records.routing.Routing": {
        "html": "experts.routing:loads_html",
        "figure": "experts.routing:load_by_layer_figure",
    },
    "models.tokens.table.TokenTable": {"html": "trace.tokens:tokens_html"},
    "trace.trace.Trace": {"html": "trace.trace:trace_html", "figure": "trace.trace:trace_figure"},
}

#: Results without a figure, and why.
NO_FIGURE = {
    "analysis.experts.expert_set.ExpertSet": "gl.evals.ablate_experts tests it, and that has a figure.",
    "evals.ablation.design.StudyDesign": "It is a list of decisions; the result of the study has a figure.",
    "evals.ablation.study.AblationStudy": "Its result has one: study.confirm().figure().",
    "evals.draft_timing.DraftTimes": "It is a table of times; gl.plots.draft_speedup_figure uses them.",
    "evals.draft_timing.DraftSpeed": "gl.plots.draft_speedup_figure draws it beside the predicted speed-up.",
    "models.fine_tuning.adapters.Adapters": "Each adapter has one: lab.adapters[name].figure().",
    "models.fine_tuning.change_check.AdapterCheck": "It is a table of differences.",
    "evals.versus.comparison.ComparedTokens": "It is a table of tokens; the comparison has a figure.",
    "evals.scan.against_chance.AnswerDepth": "scan.figure() draws it.",
    "evals.scan.against_chance.LoadAgainstChance": "It is a table; trace.routing has a figure.",
    "evals.scan.knockout.Knockout": "scan.figure() draws it.",
    "evals.sparse_autoencoders.top_tokens.FeatureTokens": "It is a table of tokens.",
    "models.sparse_autoencoders.sae.SparseAutoencoder": "It is a set of weights; lab.sae_fit measures it.",
    "trace.interventions.direction.Direction": "gl.evals.dose_curve measures it, and that has a figure.",
    "trace.lenses.jacobian_lens.JacobianLens": "gl.evals.compare_lenses measures it, and that has a figure.",
    "family.catalog.Catalog": "It is a table of facts.",
    "family.catalog.Checkpoint": "It is a table of facts.",
    "family.changes.Changes": "It is a table of facts.",
    "family.claims.Claims": "It is a table of figures and their sources.",
    "trace.interventions.edit.Edit": "It is a table of changes.",
    "models.loading.loaded_model.LoadedModel": "It is a table of facts.",
    "models.remote.reply.ServerReply": "It has no distributions; reply.logprobs has what the server told.",
    "remote_lab.RemoteLab": "It is a table of facts.",
    "models.media.audio.Audio": "Its HTML shows the waveform; see also gl.plots.mel_spectrogram_figure.",
    "models.tool_use.runner.ToolRun": "Its HTML lists the calls.",
    "surveys.survey.Survey": "Draw its load or co-activation instead: survey.expert_load().figure().",
    "models.media.video.Video": "Its HTML shows the frames.",
    "planning.cost.Costs": "gl.plots.break_even_figure draws the costs of a plan.",
    "planning.licensing.Licences": "It is a table of facts.",
    "system.report.Report": "It is a table of facts.",
    "models.tokens.table.TokenTable": "Its HTML shows the text, token by token.",
}


def renderer(kind: type, form: str) -> Any:
    """Return the function that draws a class, or None.

    Parameters
    ----------
    kind
        Class of the result; a subclass is drawn as its nearest base class in `RENDERERS`.
    form
        ``"html"``, ``"figure"`` or ``"text"``.
    """
    for base in kind.__mro__:
        target = RENDERERS.get(_key(base), {}).get(form)
        if target is not None:
            module, name = target.split(":")
            return getattr(importlib.import_module(f"gemma_lab.views.{module}"), name)
    if form == "html" and hasattr(kind, "to_pandas"):
        return importlib.import_module("gemma_lab.views.base.frame").frame_html
    return None


def _key(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("gemma_lab.")


class Displayed:
    """Mixin of every result that displays itself: ``_repr_html_`` in notebooks, and ``figure()``."""

    def _repr_html_(self) -> str | None:
        draw = renderer(type(self), "html")
        return None if draw is None else str(draw(self))

    def __str__(self) -> str:
        draw = renderer(type(self), "text")
        return repr(self) if draw is None else str(draw(self))

    def figure(self, **options: Any) -> Any:
        """Draw the result.

        Parameters
        ----------
        **options
            Keywords of the function that draws it; `gemma_lab.plots` lists them.

        Returns
        -------
        Plot
            A matplotlib figure with a description (`gemma_lab.plots.Plot`).

        Raises
        ------
        LabError
            If the result has no figure.
        """
        draw = renderer(type(self), "figure")
        if draw is None:
            reasons = (NO_FIGURE.get(_key(base)) for base in type(self).__mro__)
            raise LabError(
                f"A {type(self).__name__} has no figure.",
                hint=next(filter(None, reasons), "Show it as a table, as the last line of a cell."),
            )
        return draw(self, **options)
