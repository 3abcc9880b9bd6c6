"""Every figure, and the tables that no single result draws.

A function ending in ``_figure`` returns a `Plot`: a finished matplotlib figure with a text that says what it
shows. Functions ending in ``_html`` return script-free HTML, in ``_text`` plain text. Results call these
themselves (``result.figure()``); call them here to pass options or what no single result holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .views.attention.call_sources import call_sources_figure
    from .views.attention.figures import (
        attention_heads_figure,
        attention_map_figure,
        image_attention_figure,
    )
    from .views.attention.head_summary import head_summary_figure
    from .views.attention.heads import (
        attention_sinks_figure,
        head_types_figure,
        retrieval_figure,
        window_coverage_figure,
    )
    from .views.attention.static import attention_html
    from .views.base.figure import Plot
    from .views.causal.attribution import logit_attribution_figure
    from .views.causal.maps import causal_map_figure, causal_picture_figure
    from .views.chat.cost import cost_figure
    from .views.chat.gallery import gallery_figure
    from .views.chat.mel import mel_spectrogram_figure
    from .views.chat.overruled import overruled_figure
    from .views.chat.reply import reply_figure
    from .views.chat.sampling import sampling_figure, sampling_html, sampling_text
    from .views.evals.ablation import ablation_test_figure
    from .views.evals.ablation_study import random_set_p_values_figure, study_result_figure
    from .views.evals.acceptance_by_kind import draft_acceptance_figure
    from .views.evals.dose_curve import dose_curve_figure
    from .views.evals.failures import failures_figure
    from .views.evals.languages import language_cost_figure
    from .views.evals.needles import haystack_figure
    from .views.evals.paired import paired_figure
    from .views.evals.report import checkup_figure
    from .views.evals.sae_fit import sae_fit_figure
    from .views.evals.scan import scan_figure
    from .views.evals.thinking import thinking_figure
    from .views.evals.token_budgets import BudgetResult, token_budget_figure
    from .views.evals.tool_calls import tool_call_accuracy_figure
    from .views.evals.training import training_figure
    from .views.experts.cache import expert_cache_figure, offload_figure
    from .views.experts.contrast import expert_contrast_figure
    from .views.experts.divergence import routing_divergence_figure
    from .views.experts.load import expert_load_figure
    from .views.experts.overlap import coactivation_figure, routing_overlap_figure, routing_stability_figure
    from .views.experts.patches import expert_patches_figure
    from .views.experts.routing import load_by_layer_figure, routing_figure, routing_html
    from .views.experts.specialisation import label_information_figure, specialisation_figure
    from .views.experts.unions import draft_speedup_figure, expert_unions_figure
    from .views.family.benchmarks import benchmarks_figure
    from .views.family.context import (
        kv_cache_comparison_figure,
        kv_cache_comparison_text,
        run_cost_figure,
        window_savings_figure,
    )
    from .views.family.figures import kv_cache_figure, layer_types_figure, parameters_figure
    from .views.fine_tuning.adapter import adapter_figure, expert_updates_figure
    from .views.fine_tuning.loss_curve import loss_curve_figure
    from .views.lenses.comparison import lens_comparison_figure
    from .views.planning.figures import (
        break_even_figure,
        plan_memory_figure,
        plan_speed_figure,
        speed_report_figure,
    )
    from .views.quantization.qat_grid import qat_grid_figure
    from .views.quantization.weight_bits import weight_bits_figure
    from .views.trace.comparison import comparison_figure, routing_change_figure
    from .views.trace.features import features_figure, features_html
    from .views.trace.logit_lens import logit_lens_figure, logit_lens_html
    from .views.trace.token_summary import token_summary_html
    from .views.trace.trace import trace_figure
    from .views.versus.figures import (
        attention_distance_figure,
        checkup_comparison_figure,
        memory_comparison_figure,
        routing_flips_figure,
        speed_comparison_figure,
        token_divergence_figure,
        versus_figure,
    )

__all__ = [
    "BudgetResult",
    "Plot",
    "ablation_test_figure",
    "adapter_figure",
    "attention_distance_figure",
    "attention_heads_figure",
    "attention_html",
    "attention_map_figure",
    "attention_sinks_figure",
    "benchmarks_figure",
    "break_even_figure",
    "call_sources_figure",
    "causal_map_figure",
    "causal_picture_figure",
    "checkup_comparison_figure",
    "checkup_figure",
    "coactivation_figure",
    "comparison_figure",
    "cost_figure",
    "dose_curve_figure",
    "draft_acceptance_figure",
    "draft_speedup_figure",
    "expert_cache_figure",
    "expert_contrast_figure",
    "expert_load_figure",
    "expert_patches_figure",
    "expert_unions_figure",
    "expert_updates_figure",
    "failures_figure",
    "features_figure",
    "features_html",
    "gallery_figure",
    "haystack_figure",
    "head_summary_figure",
    "head_types_figure",
    "image_attention_figure",
    "kv_cache_comparison_figure",
    "kv_cache_comparison_text",
    "kv_cache_figure",
    "label_information_figure",
    "language_cost_figure",
    "layer_types_figure",
    "lens_comparison_figure",
    "load_by_layer_figure",
    "logit_attribution_figure",
    "logit_lens_figure",
    "logit_lens_html",
    "loss_curve_figure",
    "mel_spectrogram_figure",
    "memory_comparison_figure",
    "offload_figure",
    "overruled_figure",
    "paired_figure",
    "parameters_figure",
    "plan_memory_figure",
    "plan_speed_figure",
    "qat_grid_figure",
    "random_set_p_values_figure",
    "reply_figure",
    "retrieval_figure",
    "routing_change_figure",
    "routing_divergence_figure",
    "routing_figure",
    "routing_flips_figure",
    "routing_html",
    "routing_overlap_figure",
    "routing_stability_figure",
    "run_cost_figure",
    "sae_fit_figure",
    "sampling_figure",
    "sampling_html",
    "sampling_text",
    "scan_figure",
    "specialisation_figure",
    "speed_comparison_figure",
    "speed_report_figure",
    "study_result_figure",
    "thinking_figure",
    "token_budget_figure",
    "token_divergence_figure",
    "token_summary_html",
    "tool_call_accuracy_figure",
    "trace_figure",
    "training_figure",
    "versus_figure",
    "weight_bits_figure",
    "window_coverage_figure",
    "window_savings_figure",
]

__getattr__, __dir__ = lazy_names(globals())
