"""The true models without their weights: transformers' own classes on torch's meta device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ...errors import TooOld
from ...family.architecture import configuration

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def meta_model(size: str) -> PreTrainedModel:
    """Build the model of one size, with every module and no weights.

    Parameters
    ----------
    size
        ``"E2B"``, ``"E4B"``, ``"12B"``, ``"26B-A4B"`` or ``"31B"``.

    Returns
    -------
    PreTrainedModel
        ``Gemma4ForConditionalGeneration`` (12B: ``Gemma4UnifiedForConditionalGeneration``) whose parameters
        have shapes and dtypes but no storage, in bfloat16. About a second, a few MB; nothing is downloaded.

    Raises
    ------
    NotGemma4
        If `size` is none of the five.
    TooOld
        If the installed transformers does not know the model.
    """
    import transformers

    config = configuration(size)
    name = config["architectures"][0]
    if not hasattr(transformers, name):
        raise TooOld(
            f"transformers {transformers.__version__} has no {name}.",
            hint='Upgrade it: pip install -U "transformers>=5.15"',
        )
    model_class = getattr(transformers, name)
    with torch.device("meta"):
        model: Any = model_class(model_class.config_class.from_dict(config))
    model = model.to(torch.bfloat16)
    model.tie_weights()
    whole: PreTrainedModel = model.eval()
    return whole
