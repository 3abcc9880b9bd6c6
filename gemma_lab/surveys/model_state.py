"""What a survey's model is, beyond its name: its partitions must not be of different ones."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from ..lab import Lab

MODEL = "model.json"


def claim_model(folder: Path, lab: Lab) -> None:
    """Note the model of a survey beside its manifest, or compare it with the one that is noted.

    Parameters
    ----------
    folder
        Of the survey.
    lab
        The model that will trace.

    Raises
    ------
    LabError
        If it has other weights, another dtype, quantisation or edit than the survey's.
    """
    from ..models.loading.weights_digest import same_weights

    path, mine = folder / MODEL, model_state(lab)
    if not path.is_file():
        draft = folder / f".draft-{MODEL}-{uuid.uuid4().hex}"
        draft.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    try:  # read also after writing: another worker may have written, too
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in ("dtype", "quantization", "edit") if known[name] != mine[name]]
        if not same_weights(known["weights"], mine["weights"]):
            differing.insert(0, "weights")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LabError(f"{path} is damaged.", hint="Choose another folder for out=.") from None
    if differing:
        raise LabError(
            f"{folder} holds a survey of a model with other {', '.join(differing)}.",
            hint="Load the model as it was then, or choose another folder for out=.",
        )


def model_state(lab: Lab) -> dict[str, Any]:
    """Return what decides a model's numbers, as JSON: digests of its weights, dtype, quantisation, edit."""
    from ..models.loading.weights_digest import weights_digest
    from ..trace.interventions.apply import active_edit

    packing = getattr(lab.model.config, "quantization_config", None)
    return {
        "weights": weights_digest(lab.model),
        "dtype": str(lab.model.dtype),
        "quantization": None if packing is None else str(packing),
        "edit": repr(active_edit(lab.model)),
    }
