"""The bits in which a model would be held, before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...family.architecture import configuration
from ...system.report import offline as offline_by_environment
from ..quantization.methods import load_method
from ..quantization.weight_bits import WeightBits, bits_of_shapes
from .checkpoint_files import read_config
from .configuration import check_configuration
from .meta_model import build_meta_model
from .model_classes import require_gemma4
from .placement import parse_dtype
from .resolve import fetch_config, locate


def predicted_bits(
    name: str | Path | None = None,
    *,
    quantization: Any = None,
    dtype: Any = "bfloat16",
    offline: bool | None = None,
) -> WeightBits:
    """Return the bits in which each part of a model would be held, without loading or downloading weights.

    Parameters
    ----------
    name
        As for `gemma_lab.load`.
    quantization
        As for `gemma_lab.load`; its library need not be installed.
    dtype
        The dtype of what is not packed.
    offline
        As for `gemma_lab.load`: the configuration of a hub model that is not in the catalog is downloaded.

    Returns
    -------
    WeightBits
        As ``lab.bits()`` counts them after loading, from the shapes of the weights.

    Raises
    ------
    UnknownModel, NotGemma4, BadCheckpoint
        As `gemma_lab.load` does.
    LabError
        If the quantisation does not exist.

    Examples
    --------
    >>> gl.predicted_bits("26b-a4b-it", quantization="nf4").summary
    '15.3 bits a weight'
    """
    method = load_method(quantization)
    item = (parse_dtype(dtype) or parse_dtype("bfloat16")).itemsize  # type: ignore[union-attr]
    location = locate(name)
    checkpoint = location.checkpoint
    if location.folder is not None:
        config, folder = read_config(location.folder), location.folder
    elif checkpoint is not None and checkpoint.standalone:
        config, folder = dict(configuration(checkpoint.size)), Path(checkpoint.size)
    else:
        folder = fetch_config(location, offline=offline_by_environment() if offline is None else offline)
        config = read_config(folder)
    class_name = require_gemma4(config, name=location.name, checkpoint=checkpoint, method=method)
    check_configuration(config, folder)
    model = build_meta_model(config, class_name, name=location.name)
    shapes = ((path, tuple(weight.shape)) for path, weight in model.named_parameters())
    return bits_of_shapes(shapes, method, name=location.name, item=item)
