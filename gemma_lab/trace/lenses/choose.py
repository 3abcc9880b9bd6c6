"""Find the Jacobian lens of a model: the one set on it, or one that ships for its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...assets import data_root
from ...checks import short_repr
from ...errors import BadLens
from ...models.loading.weights_digest import same_weights, weights_digest
from .jacobian_lens import JacobianLens, read_facts

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel

#: Folder of the shipped lenses in the data.
FOLDER = "lenses"


def lens_of(model: LoadedModel) -> JacobianLens:
    """Return the Jacobian lens of a model: `LoadedModel.jacobian_lens`, else the one shipped for its weights.

    Raises
    ------
    BadLens
        If there is none, it was fitted on other weights, or an adapter is active.
    """
    if model.adapter is not None:
        raise BadLens(
            f"The adapter {model.adapter.get('name', '')!r} changes the model; its lens does not fit.",
            hint="Unload the adapter, or merge it, load the result and fit a lens: lab.fit_lens().",
        )
    digests = weights_digest(model.model)
    lens = model.jacobian_lens
    if lens is not None:
        if not isinstance(lens, JacobianLens):
            raise BadLens(
                f"lab.jacobian_lens is {short_repr(lens)}.", hint="Set it to gl.JacobianLens.open(path)."
            )
        if not same_weights(lens.weights, digests) or lens.width != int(model.text_config.hidden_size):
            raise BadLens(
                f"The Jacobian lens of {lens.model}, fitted on {lens.date}, is of other weights than "
                f"{model.name} has.",
                hint="Fit one on these: lab.fit_lens().",
            )
        return lens
    folder = data_root() / FOLDER
    for path in sorted(folder.glob("*.safetensors")):
        facts = read_facts(path)
        if digests["norms"] and same_weights(facts, digests):
            model.jacobian_lens = JacobianLens.open(path)
            return lens_of(model)
    raise BadLens(
        f"There is no Jacobian lens for the weights of {model.name}.",
        hint="Fit one: lab.fit_lens(); or set one that was fitted: lab.jacobian_lens = "
        "gl.JacobianLens.open(path).",
    )
