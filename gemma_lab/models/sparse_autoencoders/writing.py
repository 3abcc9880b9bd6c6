"""Write an SAE in sae_lens' layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..._version import __version__
from ...checks import as_path
from ...errors import LabError

CONFIG, SAE_LENS = "cfg.json", "sae_weights.safetensors"
#: The oldest version of sae_lens that reads the layout that is written here.
_SAE_LENS_VERSION = "6.0.0"


def write_sae(
    folder: str | Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    *,
    layer: int,
    trained_on: str,
    own: Mapping[str, Any],
) -> Path:
    """Write the two files and return the folder.

    Parameters
    ----------
    folder
        Created if it does not exist.
    tensors
        By their names in the layout.
    config
        Architecture, k, normalisation and flags, by their names in ``cfg.json``.
    layer, trained_on
        The layer after which the SAE reads, and the name of its model.
    own
        What this package notes of the training, as JSON values.

    Raises
    ------
    LabError
        If no folder is named, or they cannot be written.
    """
    from safetensors.torch import save_file

    target = as_path("folder", folder, example='sae.save("my-sae")')
    width, features = tensors["W_enc"].shape
    values = {
        **config,
        "d_in": int(width),
        "d_sae": int(features),
        "dtype": "float32",
        "device": "cpu",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": _SAE_LENS_VERSION,
            "model_name": trained_on,
            "hook_name": f"blocks.{layer}.hook_resid_post",
            "hook_head_index": None,
            "prepend_bos": True,
            "gemma_lab": {"version": __version__, **own},
        },
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        stored = {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}
        save_file(stored, target / SAE_LENS)
    except (OSError, TypeError, ValueError) as error:
        raise LabError(
            f"The SAE cannot be written to {target}: {error}.", hint="Name another folder."
        ) from error
    return target
