"""Evaluations of loaded models: check-up, comparisons, tool calls, needles, head ablation, translations.

All questions are held out from the training of the mini models and graded by one rule, so mini and released
models are scored alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..trace.lenses.fit import LensCost, lens_cost
    from .ablation.design import StudyDesign
    from .ablation.result import AblationTest
    from .ablation.run import ablate_experts, ablate_heads
    from .ablation.study import AblationStudy
    from .ablation.study_result import StudyResult
    from .acceptance_by_kind import AcceptanceByKind, draft_acceptance
    from .bfcl import ToolCallCase, tool_call_cases
    from .causal.causal_map import CausalMap
    from .causal.grid import CausalEffect, CausalGrid
    from .draft_timing import DraftSpeed, DraftTimes, draft_speed, draft_times
    from .grading import is_correct
    from .head_retrieval import score_retrieval_heads
    from .lens_comparison import LensComparison, compare_lenses
    from .lens_texts import lens_corpus
    from .needle_in_a_haystack import Haystack, Needle, NeedleAnswer, needle, needles
    from .parallel_sentences import Language, languages, sentences, translations
    from .questions import Question, chance_accuracy, load_questions, skill_names
    from .report import Checkup, GradedAnswer
    from .run import checkup
    from .scan.scan import Finding, Scan
    from .score import Score
    from .sparse_autoencoders.fit import SaeFit
    from .statistics import (
        PairedAnswers,
        RankCorrelation,
        holm,
        mcnemar_test,
        paired_difference_interval,
        rank_correlation,
        wilson_interval,
    )
    from .steering import DoseCurve, dose_curve
    from .tool_calls import StructuredAnswer, ToolCallAccuracy, tool_call_accuracy
    from .versus.answers import AnswerPair, TokenDivergence
    from .versus.checkups import CheckupComparison, SkillComparison
    from .versus.comparison import ComparedToken, ComparedTokens
    from .versus.resources import MemoryComparison, SpeedComparison
    from .versus.sides import Variant, without_adapter, without_drafter

__all__ = [
    "AblationStudy",
    "AblationTest",
    "AcceptanceByKind",
    "AnswerPair",
    "CausalEffect",
    "CausalGrid",
    "CausalMap",
    "Checkup",
    "CheckupComparison",
    "ComparedToken",
    "ComparedTokens",
    "DoseCurve",
    "DraftSpeed",
    "DraftTimes",
    "Finding",
    "GradedAnswer",
    "Haystack",
    "Language",
    "LensComparison",
    "LensCost",
    "MemoryComparison",
    "Needle",
    "NeedleAnswer",
    "PairedAnswers",
    "Question",
    "RankCorrelation",
    "SaeFit",
    "Scan",
    "Score",
    "SkillComparison",
    "SpeedComparison",
    "StructuredAnswer",
    "StudyDesign",
    "StudyResult",
    "TokenDivergence",
    "ToolCallAccuracy",
    "ToolCallCase",
    "Variant",
    "ablate_experts",
    "ablate_heads",
    "chance_accuracy",
    "checkup",
    "compare_lenses",
    "dose_curve",
    "draft_acceptance",
    "draft_speed",
    "draft_times",
    "holm",
    "is_correct",
    "languages",
    "lens_corpus",
    "lens_cost",
    "load_questions",
    "mcnemar_test",
    "needle",
    "needles",
    "paired_difference_interval",
    "rank_correlation",
    "score_retrieval_heads",
    "sentences",
    "skill_names",
    "tool_call_accuracy",
    "tool_call_cases",
    "translations",
    "wilson_interval",
    "without_adapter",
    "without_drafter",
]

__getattr__, __dir__ = lazy_names(globals())
