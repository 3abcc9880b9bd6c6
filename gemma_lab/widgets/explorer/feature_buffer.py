"""Features of a sparse autoencoder for the browser: the strongest of every token, and their fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.base import sendable
from ..shared.wire import sixteen_bits

if TYPE_CHECKING:
    from ...trace.records.features import Features

#: Bytes that features may take, and the fewest that are sent of a token.
_BYTES, _FEWEST = 3 << 20, 4


def add_features(arrays: dict[str, Any], meta: dict[str, Any], features: Features) -> None:
    """Add the strongest features of every token to a buffer; of an SAE that fits badly, only its fit.

    Arrays: ``feature_ids`` and ``feature_values`` ``[tokens, k]``, strongest first; values in steps of
    1/65535 of the largest, 0 where a token has fewer.
    """
    explained = features.variance_explained
    meta["features"] = {
        "sae": sendable(" ".join(features.sae.split())),
        "layer": int(features.layer),
        "count": int(features.features),
        "explained": explained if np.isfinite(explained) else None,
        "least": float(features.min_variance_explained),
        "fits": features.fits,
        "top": float(features.activations.max(initial=0.0)) or 1.0,
        "kept": 0,
        "recorded": int(features.kept),
    }
    if not features.fits or not len(features):
        return
    kept = min(features.kept, max(_FEWEST, _BYTES // (6 * len(features))))
    meta["features"]["kept"] = kept
    arrays |= {
        "feature_ids": features.ids[:, :kept].clip(0).astype(np.uint32),
        "feature_values": sixteen_bits(features.activations[:, :kept] / meta["features"]["top"]),
    }
