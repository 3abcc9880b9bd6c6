"""Methods of a lab that edit its model while it runs, and find directions to steer along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...models.chat.options import PromptOptions, spelled_out
from ...models.loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    from ...models.chat.request_builder import PromptLike
    from ..interventions.apply import EditContext
    from ..interventions.attention_knockout import AttentionKnockout
    from ..interventions.direction import Direction
    from ..interventions.edit import Edit
    from ..interventions.parsing import Boosts, Experts, Heads
    from ..interventions.patch import Patch
    from ..interventions.steering import Steering
    from ..records.activations import Activations


class EditMethods(LoadedModel):
    """Edit the model while it runs."""

    def edit(
        self,
        edit: Edit | None = None,
        *,
        ablate_experts: Experts = (),
        boost_experts: Boosts | None = None,
        force_experts: Experts = (),
        ablate_heads: Heads = (),
        knock_out_attention: AttentionKnockout | Iterable[AttentionKnockout] = (),
        patch: Patch | Activations | Iterable[Patch] = (),
        steer: Steering | Direction | Iterable[Steering | Direction] = (),
    ) -> EditContext:
        """Return a context manager that applies an edit: ``with lab.edit(ablate_experts={4: [17]}):``.

        Inside the block `chat`, `stream`, `trace` and the model itself run under the edit; leaving it
        restores the model exactly. Blocks may be nested: their edits are merged.

        Parameters
        ----------
        edit
            An `Edit`; the other arguments are merged into it.
        ablate_experts
            Experts that are never selected: layer → ids, or ids for every layer.
        boost_experts
            Nats added to the router's logits: layer → expert → nats, or expert → nats for every layer.
        force_experts
            Experts that are always selected: layer → ids, or ids for every layer.
        ablate_heads
            Query heads whose output is zero: layer → heads, or heads for every layer.
        knock_out_attention
            Queries whose attention to keys is blocked: a `gemma_lab.AttentionKnockout` or several.
        patch
            Activations of another run that replace the outputs of layers: a `gemma_lab.Patch` or several,
            made from the result of `activations`.
        steer
            Directions that are added to the outputs of layers: a `gemma_lab.Steering` with its strength, a
            `gemma_lab.Direction` (strength 1), or several; `direction` computes them.

        Raises
        ------
        BadEdit
            If a layer, an expert or a head does not exist; while the model runs, if a knockout leaves a
            token without any key.
        """
        from ..interventions.apply import editing

        return editing(
            self,
            edit,
            ablate_experts=ablate_experts,
            boost_experts=boost_experts,
            force_experts=force_experts,
            ablate_heads=ablate_heads,
            knock_out_attention=knock_out_attention,
            patch=patch,
            steer=steer,
        )

    @spelled_out(PromptOptions)
    def direction(
        self,
        positive: Sequence[PromptLike],
        negative: Sequence[PromptLike],
        *,
        layers: Iterable[int] | None = None,
        positions: Iterable[int] | None = (-1,),
        name: str = "",
        **options: Unpack[PromptOptions],
    ) -> Direction:
        """Compute a direction from contrasting prompts: the difference of their mean residual streams.

        Parameters
        ----------
        positive, negative
            Prompts that differ in what the direction is to stand for, as `chat` takes them. As many of each,
            in pairs that differ in nothing else, cancel out what they share.
        layers
            Layers of the decoder; all by default.
        positions
            Tokens of each prompt whose residual streams are averaged, negative ones from its end; None for
            all. Default: the last token, which decides what the answer begins with.
        name
            What the direction stands for.
        **options
            As for `chat`, for every prompt: ``raw=True``, ``system=…``.

        Returns
        -------
        Direction
            Its vectors are positive − negative; `edit` adds it with a strength.

        Raises
        ------
        BadEdit
            If a list is empty, a layer or position does not exist, or both lists are read alike: they
            differ by rounding alone.
        LabError, TypeError
            As `chat` does.

        Examples
        --------
        >>> happy = lab.direction(["I feel great.", "I won!"], ["I feel awful.", "I lost."], raw=True)
        >>> with lab.edit(steer=gl.Steering(happy, 2, layers=[3])):
        ...     lab.chat("How was your day?")
        """
        from .directions import direction

        return direction(self, positive, negative, layers=layers, positions=positions, name=name, **options)

    def expert_direction(self, layer: int, expert: int) -> Direction:
        """Compute the direction that raises the router logit of one expert above those of the others.

        It is the expert's row of the router's matrix, times the router's scale, minus the mean of all rows,
        with length 1. The router of a layer reads the residual stream that the layer before it returns, plus
        its own layer's attention, so the direction belongs after the layer before.

        Parameters
        ----------
        layer
            Layer of the expert, from 1 on.
        expert
            Its number.

        Returns
        -------
        Direction
            One vector, after ``layer - 1``.

        Raises
        ------
        BadEdit
            If the model has no such expert, or no layer comes before its layer.
        """
        from .directions import expert_direction

        return expert_direction(self, layer, expert)
