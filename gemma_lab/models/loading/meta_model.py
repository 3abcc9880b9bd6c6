"""Models without weights: transformers' own classes, built from a configuration on torch's meta device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ...errors import BadCheckpoint, TooOld
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
        If the installed transformers does not support the model.
    """
    config = configuration(size)
    model: Any = build_meta_model(config, config["architectures"][0], name=size)
    model = model.to(torch.bfloat16)
    model.tie_weights()
    finished: PreTrainedModel = model.eval()
    return finished


def build_meta_model(config: Mapping[str, Any], class_name: str, *, name: str) -> PreTrainedModel:
    """Build the model of a configuration without weights.

    Parameters
    ----------
    config
        As in ``config.json``; `check_configuration` has passed it.
    class_name
        The class of transformers.
    name
        Of the model, for errors.

    Raises
    ------
    BadCheckpoint
        If transformers cannot build it, with the fields whose values its error mentions.
    TooOld
        If the installed transformers does not have the class.
    """
    import transformers

    if not hasattr(transformers, class_name):
        raise TooOld(
            f"transformers {transformers.__version__} has no {class_name}.",
            hint='Upgrade it: pip install -U "transformers>=5.15"',
        )
    model_class = getattr(transformers, class_name)
    try:
        settings = model_class.config_class.from_dict(dict(config))
        with torch.device("meta"):
            model: PreTrainedModel = model_class(settings)
    except Exception as error:  # transformers checks few fields itself: what comes depends on the field
        reason = f"{type(error).__name__}: {error}".strip()
        fields = [
            f"{field} = {value!r}" for field, value in _leaves(config) if _mentions(reason, field, value)
        ]
        what = f" (config.json sets {', '.join(fields[:4])})" if fields else ""
        raise BadCheckpoint(
            f"No model can be built from the configuration of {name}{what}: {reason[:300]}",
            hint="Compare config.json with that of the original model, or download the checkpoint again.",
        ) from error
    return model


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{field}.")
        else:
            yield f"{prefix}{field}", value


def _mentions(reason: str, field: str, value: Any) -> bool:
    """Return whether an error names a field, or a text that is its value."""
    return field.rpartition(".")[2] in reason.replace("'", " ").split() or (
        isinstance(value, str) and bool(value) and repr(value) in reason
    )
