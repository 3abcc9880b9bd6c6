"""Numbers from traces, computed with numpy alone: experts, attention heads, and comparisons of two runs.

Every function takes a trace, or the routing or attention of one, and returns a result with a one-line
``repr``, a table (``_repr_html_``, ``to_pandas()``) and, where a figure makes sense, ``figure()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..trace.records.logit_attribution import LogitAttribution, LogitComponent
    from .alignment import AlignedPair, align
    from .argument_sources import ArgumentSource, CallSources, call_routing, call_sources
    from .attention.distance import AttentionDistance, attention_distance
    from .attention.head_summary import HeadSummary, head_summary
    from .attention.head_types import HEAD_THRESHOLDS, HeadTypes, classify_heads
    from .attention.prefix_matching import prefix_matching, repeated_text
    from .attention.retrieval_heads import (
        RETRIEVAL_THRESHOLD,
        AnswerSpan,
        RetrievalScores,
        locate_answer,
        retrieval_scores,
    )
    from .attention.sinks import SINK_THRESHOLD, AttentionSinks, attention_sinks
    from .attention.top_keys import TopKeys, top_keys
    from .attention.window_coverage import WindowCoverage, window_coverage
    from .comparison import Comparison, RoutingChange, compare
    from .experts.cache import CACHE_POLICIES, ExpertCacheCurve, expert_cache_curve
    from .experts.coactivation import Coactivation, coactivation
    from .experts.contrast import ExpertContrast, expert_contrast
    from .experts.divergence import RoutingDivergence, jensen_shannon, routing_divergence
    from .experts.expert_set import ExpertSet
    from .experts.flips import RoutingFlips, routing_flips
    from .experts.load import ExpertLoad, expert_load
    from .experts.offload import Offload, OffloadAssumptions, offload_speed
    from .experts.overlap import RoutingOverlap, RoutingStability, routing_overlap, routing_stability
    from .experts.roofline import GPU, GPUS
    from .experts.specialisation import Specialisation, mutual_information, specialisation
    from .experts.unions import DraftSpeedup, ExpertUnions, expert_unions
    from .kl_divergence import KLBound, kl_bound
    from .overruled import OverruledTokens, overruled_tokens

__all__ = [
    "CACHE_POLICIES",
    "GPU",
    "GPUS",
    "HEAD_THRESHOLDS",
    "RETRIEVAL_THRESHOLD",
    "SINK_THRESHOLD",
    "AlignedPair",
    "AnswerSpan",
    "ArgumentSource",
    "AttentionDistance",
    "AttentionSinks",
    "CallSources",
    "Coactivation",
    "Comparison",
    "DraftSpeedup",
    "ExpertCacheCurve",
    "ExpertContrast",
    "ExpertLoad",
    "ExpertSet",
    "ExpertUnions",
    "HeadSummary",
    "HeadTypes",
    "KLBound",
    "LogitAttribution",
    "LogitComponent",
    "Offload",
    "OffloadAssumptions",
    "OverruledTokens",
    "RetrievalScores",
    "RoutingChange",
    "RoutingDivergence",
    "RoutingFlips",
    "RoutingOverlap",
    "RoutingStability",
    "Specialisation",
    "TopKeys",
    "WindowCoverage",
    "align",
    "attention_distance",
    "attention_sinks",
    "call_routing",
    "call_sources",
    "classify_heads",
    "coactivation",
    "compare",
    "expert_cache_curve",
    "expert_contrast",
    "expert_load",
    "expert_unions",
    "head_summary",
    "jensen_shannon",
    "kl_bound",
    "locate_answer",
    "mutual_information",
    "offload_speed",
    "overruled_tokens",
    "prefix_matching",
    "repeated_text",
    "retrieval_scores",
    "routing_divergence",
    "routing_flips",
    "routing_overlap",
    "routing_stability",
    "specialisation",
    "top_keys",
    "window_coverage",
]

__getattr__, __dir__ = lazy_names(globals())
