"""Which lens predicts the model's own next token better, layer by layer, on text that neither was fitted on.

The measures are fixed beforehand: how often a layer's first choice is the last layer's (top-1 agreement), and
the KL divergence of the layer's distribution from the last layer's, as in Belrose et al. 2023 (tuned lens,
arXiv:2303.08112). Intervals resample whole texts, since the tokens of a text resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import whole_number
from ..display import Displayed
from ..errors import LabError
from .lens_texts import lens_corpus
from .statistics import clustered_mean_interval

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from ..models.loading.loaded_model import LoadedModel
    from ..trace.probes.readout import Readout

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = ("logit", "jacobian")


@dataclass(frozen=True, eq=False)
class LensComparison(Displayed):
    """Agreement of the logit lens and of the Jacobian lens with the model, by layer and token.

    L layers, N tokens of all texts; the first index of the arrays is the lens: 0 logit, 1 Jacobian.

    Attributes
    ----------
    model
        Name of the model.
    fitted_on
        What the Jacobian lens was fitted on.
    layers
        The L layers.
    agrees
        Whether the layer's first choice is the last layer's, bool ``[2, L, N]``.
    divergence
        KL divergence of the layer's distribution from the last layer's, nats, float32 ``[2, L, N]``.
    texts
        The text of each token, int ``[N]``.
    """

    model: str
    fitted_on: str
    layers: tuple[int, ...]
    agrees: Array
    divergence: Array
    texts: Array

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per layer and measure, with 95 % intervals over texts.

        Columns: layer, measure (``"agreement"``, a fraction, or ``"divergence"``, nats), ``logit`` and
        ``jacobian`` with ``_low`` and ``_high``, ``difference`` (Jacobian − logit) with its interval, and
        ``better``: the lens that is closer to the model by an interval that leaves out 0, or ``""``.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                self._row(index, name, values, more)
                for name, values, more in (("agreement", self.agrees, 1), ("divergence", self.divergence, -1))
                for index in range(len(self.layers))
            ]
        )

    def _row(self, index: int, name: str, values: Array, more: int) -> dict[str, Any]:
        first, second = (values[kind, index].astype(np.float64) for kind in (0, 1))
        row: dict[str, Any] = {"layer": self.layers[index], "measure": name}
        for label, each in (("logit", first), ("jacobian", second), ("difference", second - first)):
            low, high = clustered_mean_interval(each, self.texts)
            row |= {label: float(each.mean()), f"{label}_low": low, f"{label}_high": high}
        sign = 1 if row["difference_low"] > 0 else -1 if row["difference_high"] < 0 else 0
        return row | {"better": {0: "", 1: "jacobian", -1: "logit"}[sign * more]}

    def better(self, measure: str = "agreement") -> dict[str, list[int]]:
        """Return the layers where each lens is better by an interval that leaves out 0.

        Parameters
        ----------
        measure
            ``"agreement"`` or ``"divergence"``.

        Raises
        ------
        LabError
            If there is no such measure.
        """
        table = self.to_pandas()
        rows = table[table["measure"] == measure]
        if not len(rows):
            raise LabError(f"There is no measure {measure!r}.", hint="It is agreement or divergence.")
        return {kind: rows["layer"][rows["better"] == kind].tolist() for kind in KINDS}

    def __repr__(self) -> str:
        parts = []
        for measure in ("agreement", "divergence"):
            found = self.better(measure)
            parts.append(
                f"by {measure} the Jacobian lens is better at {len(found['jacobian'])}, the logit lens at "
                f"{len(found['logit'])}"
            )
        return (
            f"LensComparison({self.model}: {len(self.layers)} layers, {self.agrees.shape[2]:,} tokens of "
            f"{len(np.unique(self.texts)):,} texts; {'; '.join(parts)})"
        )


def compare_lenses(
    lab: LoadedModel,
    texts: Sequence[Any] | None = None,
    *,
    skip: int = 4,
    max_tokens: int = 128,
    progress: bool = True,
) -> LensComparison:
    """Measure how well the logit lens and the Jacobian lens predict the model's own next token.

    Parameters
    ----------
    lab
        A model with a Jacobian lens: ``lab.jacobian_lens``, or one that ships for its weights.
    texts
        Texts that the lens was not fitted on, as `gemma_lab.Lab.fine_tune` takes examples, without media.
        Default: `lens_corpus` (``"held-out"``).
    skip
        Positions left out at the start of each text.
    max_tokens
        Length that texts are cut to.
    progress
        Show a progress bar.

    Returns
    -------
    LensComparison
        A table, a figure, and where each lens is better.

    Raises
    ------
    BadLens
        If there is no Jacobian lens for the weights of the model.
    LabError
        If no text is long enough, or one has media.
    """
    from tqdm.auto import tqdm

    from ..models.fine_tuning.encoding import ExampleSet
    from ..trace.lenses.choose import lens_of
    from ..trace.lenses.fit import listed
    from ..trace.probes.readout import Readout

    lens = lens_of(lab)
    readout = Readout(lab.model, jacobians=dict(zip(lens.layers, lens.jacobians, strict=True)))
    skip = whole_number("skip", skip, minimum=0)
    max_tokens = whole_number("max_tokens", max_tokens, minimum=1)
    encoded = ExampleSet(lab, lens_corpus("held-out") if texts is None else listed(texts))
    if encoded.kinds:
        raise LabError("A text has media.", hint="Leave it out: lenses are compared on text alone.")
    long = [example.ids[:max_tokens] for example in encoded.examples if len(example.ids[:max_tokens]) > skip]
    if not long:
        raise LabError(f"No text has more than {skip} tokens.", hint="Pass longer texts, or a smaller skip.")
    agrees, divergence = [], []
    for ids in tqdm(long, desc=f"lenses of {lab.name}", disable=not progress, leave=False):
        found = _read(lab, readout, ids, skip)
        agrees.append(found[0])
        divergence.append(found[1])
    counts = [len(ids) - skip for ids in long]
    return LensComparison(
        model=lab.name,
        fitted_on=lens.corpus,
        layers=lens.layers,
        agrees=np.concatenate(agrees, axis=2),
        divergence=np.concatenate(divergence, axis=2),
        texts=np.repeat(np.arange(len(long)), counts),
    )


def _read(lab: LoadedModel, readout: Readout, ids: Sequence[int], skip: int) -> tuple[Array, Array]:
    """Return agreement and divergence of both lenses, ``[2, layers, tokens]``, for one text."""
    import torch

    from ..models.loading.restore import RestoreStack

    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        outputs.append((output[0] if isinstance(output, tuple) else output)[0, skip:].detach())

    with RestoreStack() as restore, torch.no_grad():
        restore.hold(lab.lock)
        for layer in readout.layers:
            restore.hook(layer, keep)
        decoder: Any = lab.model.get_decoder()
        decoder(
            input_ids=torch.tensor([list(ids)], device=decoder.embed_tokens.weight.device), use_cache=False
        )
    with torch.no_grad():
        final = torch.log_softmax(readout.logits(outputs[-1]).float(), -1)
        agrees = np.zeros((2, len(outputs), len(final)), dtype=bool)
        divergence = np.zeros(agrees.shape, dtype=np.float32)
        for layer, hidden in enumerate(outputs):
            for kind, read in enumerate((hidden, readout.transport(hidden, layer))):
                said = torch.log_softmax(readout.logits(read).float(), -1)
                agrees[kind, layer] = (said.argmax(-1) == final.argmax(-1)).cpu().numpy()
                gap = (final.exp() * (final - said)).sum(-1).clamp_min(0)
                divergence[kind, layer] = gap.cpu().numpy()
    return agrees, divergence
