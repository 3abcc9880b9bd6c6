"""Explore Google's Gemma 4 from a notebook: load, chat, trace, edit, compare, evaluate.

Public names are imported on first use, so ``import gemma_lab`` loads neither torch nor matplotlib.

Namespaces: `analysis` (numbers from traces), `plots` (figures), `evals` (check-up, needles, head ablation),
`family` (architectures, parameters, memory),
`planning` (hardware, prices, licences, measured runs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__
from .lazy import lazy_names

if TYPE_CHECKING:
    from . import analysis, evals, family, planning, plots
    from .analysis.comparison import compare
    from .assets import data_path
    from .errors import LabError
    from .evals.causal.causal_map import open_causal_map
    from .evals.versus.comparison import Versus
    from .evals.versus.run import versus
    from .family.catalog import Checkpoint, catalog
    from .family.published import published
    from .lab import Lab, load
    from .models.chat.cost import Cost
    from .models.chat.reply import Reply
    from .models.chat.request import Request
    from .models.chat.sampling import Sampling
    from .models.drafting.drafter import Drafter
    from .models.fine_tuning.adapter import Adapter
    from .models.fine_tuning.change_check import AdapterCheck
    from .models.loading.meta_model import meta_model
    from .models.loading.predicted_bits import predicted_bits
    from .models.media import load_audio, load_image, load_video
    from .models.quantization.q4_0_grid import qat_grid, to_q4_0_grid
    from .models.sparse_autoencoders.load import load_sae
    from .models.sparse_autoencoders.sae import SparseAutoencoder
    from .models.tool_use.mcp import McpServer
    from .planning.cost import Ownership
    from .planning.planner import plan
    from .planning.plans import Plan
    from .remote_lab import RemoteLab, connect
    from .surveys.run import survey
    from .surveys.survey import Survey, open_survey
    from .system.measure import measure
    from .system.report import doctor
    from .trace.interventions.attention_knockout import AttentionKnockout
    from .trace.interventions.direction import Direction
    from .trace.interventions.edit import Edit
    from .trace.interventions.patch import Patch
    from .trace.interventions.steering import Steering
    from .trace.lenses.jacobian_lens import JacobianLens
    from .trace.records.activations import Activations
    from .trace.records.attention import AttentionRequest
    from .trace.records.logit_lens import LogitLensRequest
    from .trace.trace import Trace, open_trace
    from .widgets.attention.widget import AttentionExplorer
    from .widgets.causal.widget import CausalExplorer
    from .widgets.chat.widget import Chat
    from .widgets.explorer.widget import Explorer
    from .widgets.planner.widget import Planner
    from .widgets.routing.widget import RoutingExplorer
    from .widgets.scan.widget import ScanExplorer
    from .widgets.versus.widget import VersusExplorer

__all__ = [
    "Activations",
    "Adapter",
    "AdapterCheck",
    "AttentionExplorer",
    "AttentionKnockout",
    "AttentionRequest",
    "CausalExplorer",
    "Chat",
    "Checkpoint",
    "Cost",
    "Direction",
    "Drafter",
    "Edit",
    "Explorer",
    "JacobianLens",
    "Lab",
    "LabError",
    "LogitLensRequest",
    "McpServer",
    "Ownership",
    "Patch",
    "Plan",
    "Planner",
    "RemoteLab",
    "Reply",
    "Request",
    "RoutingExplorer",
    "Sampling",
    "ScanExplorer",
    "SparseAutoencoder",
    "Steering",
    "Survey",
    "Trace",
    "Versus",
    "VersusExplorer",
    "__version__",
    "analysis",
    "catalog",
    "compare",
    "connect",
    "data_path",
    "doctor",
    "evals",
    "family",
    "load",
    "load_audio",
    "load_image",
    "load_sae",
    "load_video",
    "measure",
    "meta_model",
    "open_causal_map",
    "open_survey",
    "open_trace",
    "plan",
    "planning",
    "plots",
    "predicted_bits",
    "published",
    "qat_grid",
    "survey",
    "to_q4_0_grid",
    "versus",
]

__getattr__, __dir__ = lazy_names(globals())
