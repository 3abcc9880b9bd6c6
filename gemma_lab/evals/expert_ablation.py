"""Expert ablation: what a set of experts causes, against size-matched random sets.

How often an expert is chosen, or for which tokens, does not tell whether the answer needs it
(arXiv:2606.10703). The test is fixed beforehand: the measure is the mean log-probability per token of given
answers, the null are random experts of the same layers, as many per layer (arXiv:2606.25092).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..checks import short_repr, whole_number
from ..display import Displayed
from ..errors import BadEdit, LabError

if TYPE_CHECKING:
    from ..models.fine_tuning.batches import Batch
    from ..models.loading.loaded_model import LoadedModel

Array = np.ndarray[Any, np.dtype[Any]]
Experts = dict[int, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class ExpertAblation(Displayed):
    """Log-probabilities of answers with all experts, without a set of them, and without random sets.

    Attributes
    ----------
    model
        Name of the model.
    experts
        Layer to the ablated experts.
    groups
        What each example belongs to, ``""`` without groups.
    intact, ablated
        Mean log-probability per token of each example's answer, nats, ``[examples]``.
    controls
        The same without each random set, ``[draws, examples]``.
    match
        How random sets were drawn: ``"size"`` or ``"load"``.
    seed
        Of the draws.
    """

    model: str
    experts: Experts
    groups: tuple[str, ...]
    intact: Array
    ablated: Array
    controls: Array
    match: str
    seed: int

    @property
    def count(self) -> int:
        """Number of ablated experts."""
        return sum(map(len, self.experts.values()))

    @property
    def effect(self) -> float:
        """Mean loss of log-probability per answer token by ablating the experts, nats; positive is damage."""
        return float(np.mean(self.intact - self.ablated))

    @property
    def control_effects(self) -> Array:
        """The same for each random set, ``[draws]``."""
        return np.asarray((self.intact - self.controls).mean(axis=1))

    @property
    def p(self) -> float:
        """P value of the effect against the random sets, ``(1 + b) ÷ (1 + draws)``.

        b is the number of random sets that do as much damage or more.
        """
        return _p(self.effect, self.control_effects)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the effect over examples: mean ± 1.96 standard errors."""
        change = self.intact - self.ablated
        error = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change)) if len(change) > 1 else float("nan")
        return self.effect - error, self.effect + error

    def __repr__(self) -> str:
        low, high = np.quantile(self.control_effects, [0.025, 0.975])
        return (
            f"ExpertAblation({self.model}, {self.count} experts, {len(self.intact)} answers: "
            f"{self.effect:+.3f} nats per token, {len(self.controls)} {self.match}-matched random sets "
            f"{low:+.3f} to {high:+.3f}, p = {self.p:.3f})"
        )

    def to_pandas(self) -> Any:
        """Return one row per group, and one for all: group, examples, effect, low, high of controls, p."""
        import pandas as pd

        rows = []
        groups = sorted(set(self.groups))
        for name in [None, *(groups if len(groups) > 1 else [])]:
            of = np.array([name is None or group == name for group in self.groups])
            effect = float(np.mean(self.intact[of] - self.ablated[of]))
            controls = (self.intact[of] - self.controls[:, of]).mean(axis=1)
            low, high = np.quantile(controls, [0.025, 0.975])
            label = "all" if name is None else name
            rows.append((label, int(of.sum()), effect, low, high, _p(effect, controls)))
        columns = ["group", "examples", "effect", "control_low", "control_high", "p"]
        return pd.DataFrame(rows, columns=columns)


def _p(effect: float, controls: Array) -> float:
    return (1 + int((controls >= effect).sum())) / (1 + len(controls))


def ablate_experts(
    lab: LoadedModel,
    experts: Mapping[int, Sequence[int]],
    examples: Sequence[Any],
    *,
    groups: Sequence[str] | None = None,
    draws: int = 199,
    match: Literal["size", "load"] = "load",
    batch_size: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> ExpertAblation:
    """Measure what a set of experts causes: ablate it, and ablate random sets of the same size.

    The measure is the mean log-probability per token of the examples' answers, read after their prompts in
    one pass (teacher forcing).

    Parameters
    ----------
    lab
        A mixture-of-experts model.
    experts
        Layer to experts. Do not choose them by these examples: a set chosen and tested on the same ones looks
        better than it is.
    examples
        Questions of the check-up with a written answer (`gemma_lab.evals.load_questions`), pairs of prompt
        and answer, or any form that `gemma_lab.Lab.fine_tune` takes.
    groups
        One name per example, by which `ExpertAblation.to_pandas` breaks the result down. Default: the groups
        of questions.
    draws
        Number of random sets. The smallest p value is ``1 / (draws + 1)``.
    match
        ``"load"``: each expert is replaced by one of its layer that is chosen about as often on these
        examples; a busy expert is missed more than an idle one whatever it does. ``"size"``: by any other.
    batch_size
        Examples per forward pass.
    seed
        Of the draws.
    progress
        Show a progress bar.

    Returns
    -------
    ExpertAblation

    Raises
    ------
    BadEdit
        If the model has no such experts, or a layer has too few others.
    LabError
        If there are no examples, or one cannot be used.
    """
    from tqdm.auto import tqdm

    from ..trace.interventions.apply import editing
    from ..trace.interventions.edit import Edit

    draws = whole_number("draws", draws, minimum=1)
    if match not in ("size", "load"):
        raise LabError(f"match={match!r} is no way to draw.", hint='match="load" or match="size".')
    chosen = _checked(lab, experts)
    questions = [_as_example(one) for one in examples]
    named = _groups(groups, examples)
    batches = list(_batches(lab, questions, whole_number("batch_size", batch_size, minimum=1)))
    intact, load = _read_with_load(lab, batches)
    sets = _control_sets(chosen, load, draws=draws, match=match, seed=seed)
    results = []
    for one in tqdm([chosen, *sets], desc=f"ablations of {lab.name}", disable=not progress, leave=False):
        with editing(lab, Edit(ablate_experts=one)):
            results.append(_read(lab, batches))
    return ExpertAblation(
        lab.name, chosen, named, intact, results[0], np.stack(results[1:]), match=match, seed=seed
    )


def _checked(lab: LoadedModel, experts: Any) -> Experts:
    shape = lab.architecture
    if not shape.experts:
        raise BadEdit(
            f"{lab.name} has no experts.", hint="Load a mixture-of-experts model: gl.load('mini-moe')."
        )
    if not isinstance(experts, Mapping) or not experts:
        raise BadEdit(f"experts is {short_repr(experts)}.", hint="Pass layers and experts: {0: [17, 5]}.")
    found: Experts = {}
    for layer, listed in experts.items():
        numbers = tuple(sorted({whole_number("expert", one, minimum=0) for one in listed}))
        if whole_number("layer", layer, minimum=0) >= len(shape.layers):
            raise BadEdit(f"There is no layer {layer}.", hint=f"Layers are 0 to {len(shape.layers) - 1}.")
        if numbers and numbers[-1] >= shape.experts:
            raise BadEdit(f"Layer {layer} has no expert {numbers[-1]}.", hint=f"0 to {shape.experts - 1}.")
        if 2 * len(numbers) > shape.experts:
            raise BadEdit(
                f"{len(numbers)} of {shape.experts} experts of layer {layer} leave too few for a random set.",
                hint="Ablate at most half of a layer's experts.",
            )
        if numbers:
            found[int(layer)] = numbers
    if not found:
        raise BadEdit("There are no experts to ablate.", hint="Pass layers and experts: {0: [17, 5]}.")
    return found


def _as_example(example: Any) -> Any:
    """Return a question as a training example; other forms are read by `fine_tuning.examples`."""
    if not hasattr(example, "prompt") or not hasattr(example, "answer"):
        return example
    options = {
        "images": list(example.images) or None,
        "video": example.video() if getattr(example, "frames", ()) else None,
        "system": example.system,
    }
    fields = {"prompt": example.prompt, "answer": example.answer}
    return fields | {name: value for name, value in options.items() if value is not None}


def _groups(groups: Sequence[str] | None, examples: Sequence[Any]) -> tuple[str, ...]:
    if groups is None:
        return tuple(str(getattr(one, "group", "")) for one in examples)
    if len(groups) != len(examples):
        raise LabError(f"{len(groups)} groups for {len(examples)} examples.", hint="Pass one per example.")
    return tuple(map(str, groups))


def _batches(lab: LoadedModel, examples: Sequence[Any], size: int) -> Iterator[Batch]:
    from ..models.fine_tuning.batches import make_batch, padding_id
    from ..models.fine_tuning.encoding import ExampleSet

    encoded = ExampleSet(lab, examples)
    if len(encoded) != len(examples):
        raise LabError(
            f"{len(examples)} examples have {len(encoded)} answers.", hint="Pass one answer per example."
        )
    padding = padding_id(lab)
    for first in range(0, len(encoded), size):
        last = min(first + size, len(encoded))
        yield make_batch([encoded.get(index) for index in range(first, last)], padding=padding)


def _read(lab: LoadedModel, batches: Sequence[Batch]) -> Array:
    """Return the mean log-probability per token of every answer, ``[examples]``."""
    import torch

    from ..models.fine_tuning.encoding import SKIP

    means = []
    with lab.lock, torch.no_grad():
        for batch in batches:
            moved = batch.to(lab.device, lab.dtype)
            logits = lab.model(**moved.inputs, use_cache=False).logits[:, :-1]
            wanted = moved.labels[:, 1:]
            for row, labels in enumerate(wanted):
                at = labels != SKIP
                chosen = torch.log_softmax(logits[row, at].float(), -1).gather(1, labels[at][:, None])
                means.append(float(chosen.mean()))
    return np.asarray(means)


def _read_with_load(lab: LoadedModel, batches: Sequence[Batch]) -> tuple[Array, dict[int, Array]]:
    """Return `_read`, and how often each expert of each layer was chosen on the way."""
    from ..trace.probes.recorder import Recorder
    from ..trace.probes.routing import RoutingProbe

    results: list[Array] = []
    load: dict[int, Array] = {}
    for batch in batches:
        probe = RoutingProbe()
        with Recorder(lab.model, [probe]):
            results.append(_read(lab, [batch]))
        for row in range(len(batch.labels)):
            routing = probe.result(row)
            if routing is None:
                raise BadEdit(f"{lab.name} has no routers.", hint="Load a mixture-of-experts model.")
            for layer, ids in zip(routing.layers, routing.ids, strict=True):
                counts = np.bincount(np.asarray(ids).ravel(), minlength=routing.experts)
                load[layer] = load.get(layer, 0) + counts
    return np.concatenate(results), load


def _control_sets(
    chosen: Experts, load: Mapping[int, Array], *, draws: int, match: str, seed: int
) -> list[Experts]:
    """Draw sets of other experts, as many per layer."""
    random = np.random.default_rng(seed)
    return [
        {
            layer: _other_experts(experts, load[layer], match=match, random=random)
            for layer, experts in chosen.items()
        }
        for _ in range(draws)
    ]


def _other_experts(
    experts: Sequence[int], load: Array, *, match: str, random: np.random.Generator
) -> tuple[int, ...]:
    """Draw other experts of a layer: any, or each one of the nearest in load that is still free."""
    others = [expert for expert in range(len(load)) if expert not in set(experts)]
    if match == "size":
        return tuple(sorted(int(one) for one in random.choice(others, len(experts), replace=False)))
    drawn: list[int] = []
    nearest = max(8, len(experts))  # candidates per expert: near in load, and enough to differ between draws
    for expert in random.permutation(experts):
        free = sorted(
            (one for one in others if one not in drawn), key=lambda one: abs(load[one] - load[expert])
        )
        drawn.append(int(random.choice(free[:nearest])))
    return tuple(sorted(drawn))
