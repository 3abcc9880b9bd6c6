"""`load_sae`: read a published SAE from a folder or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...system.report import offline as offline_by_environment
from .files import find, read_sae
from .layouts import Given
from .sae import MIN_VARIANCE_EXPLAINED, SparseAutoencoder

if TYPE_CHECKING:
    from typing import Literal


def load_sae(
    source: str | Path,
    *,
    subfolder: str | None = None,
    layer: int | None = None,
    activation: Literal["relu", "topk"] | None = None,
    k: int | None = None,
    apply_b_dec_to_input: bool | None = None,
    input_scale: float | None = None,
    min_variance_explained: float = MIN_VARIANCE_EXPLAINED,
    device: Any = "cpu",
    offline: bool | None = None,
) -> SparseAutoencoder:
    """Read a sparse autoencoder (SAE) of the residual stream, as sae_lens, sparsify or others publish it.

    ReLU, TopK, BatchTopK, matryoshka and JumpReLU SAEs as safetensors. Pickles are refused, and so is
    whatever the files leave open: nothing is guessed (`gemma_lab.models.sparse_autoencoders.layouts`). An SAE
    of the base model says little about the instruction-tuned one; measure first: `Lab.sae_fit`.

    Parameters
    ----------
    source
        A folder, a ``*.safetensors`` file, or a repository of the hub: ``"owner/name"``, or
        ``"owner/name/folder"``. Only its JSON and safetensors are downloaded.
    subfolder
        A folder of it, e.g. ``"layers.17"``.
    layer
        The layer after which it reads, where its files do not say.
    activation, k, apply_b_dec_to_input
        Of a file without a configuration.
    input_scale
        Factor of the input, for SAEs of sae_lens that were trained with
        ``normalize_activations="expected_average_only_in"`` and saved without the factor.
    min_variance_explained
        Variance explained on your text below which features are not interpreted.
    device
        Device of torch for its weights, float32.
    offline
        Forbid downloads. Default: whether ``GEMMA_LAB_OFFLINE`` or ``HF_HUB_OFFLINE`` is set.

    Returns
    -------
    SparseAutoencoder

    Raises
    ------
    NotAvailable, UnknownModel
        If there is no SAE of this name, or several.
    BadCheckpoint
        If its files are damaged, a pickle, or contradict each other.
    DoesNotFit
        If it takes more memory than is free.
    LabError
        If it is of a kind that is not read (gated, transcoder, another site than the residual stream), or
        needs an argument that was not passed.

    Examples
    --------
    >>> sae = gl.load_sae("decoderesearch/gemma-4-saes/gemma-4-e2b/btk-mat-layer-28-k-100")
    >>> lab.sae_fit(sae, prompts)
    """
    offline = offline_by_environment() if offline is None else offline
    path = find(source, subfolder=subfolder, offline=offline)
    given = Given(layer, activation, k, apply_b_dec_to_input, input_scale)
    parts = read_sae(path, given)
    name = str(source) if subfolder is None else f"{source}/{subfolder}"
    sae = SparseAutoencoder(name=name, min_variance_explained=min_variance_explained, **parts)
    return sae.to(device)
