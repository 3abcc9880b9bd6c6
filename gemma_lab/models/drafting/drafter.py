"""A loaded drafter, and its part in a generation."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from ...checks import whole_number
from ...display import Displayed
from ...units import parameters
from ..loading.compat_cache import cache_in

if TYPE_CHECKING:
    from ..loading.restore import RestoreStack
    from .candidates import DraftCandidates

#: Most tokens that a drafter may propose per pass.
MAX_DRAFT_TOKENS = 32
_NOTHING = object()


class Drafter(Displayed):
    """A small model that proposes tokens, which the loaded model verifies together in one pass.

    `gemma_lab.load` makes one: ``gl.load(…, drafter="auto").drafter``. The model accepts a proposed token
    only where it would have chosen it itself, so an answer is the same with and without a drafter.

    Parameters
    ----------
    model
        A ``Gemma4AssistantForCausalLM`` or ``Gemma4UnifiedAssistantForCausalLM`` of transformers.
    name
        Its name.
    tokens
        Tokens proposed per pass.

    Attributes
    ----------
    model, name
        As above.
    """

    def __init__(self, *, model: Any, name: str, tokens: int) -> None:
        self.model, self.name = model, name
        self.tokens = tokens

    @property
    def tokens(self) -> int:
        """Tokens proposed per pass of the model, 1 to 32; it can be set between answers."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: int) -> None:
        self._tokens = whole_number("drafter.tokens", tokens, minimum=1, maximum=MAX_DRAFT_TOKENS)

    @property
    def parameters(self) -> int:
        """Number of its parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def attach(self, base: Any, restore: RestoreStack) -> Proposals:
        """Make ``base.generate(…, assistant_model=drafter.model)`` use this drafter, until `restore` closes.

        Parameters
        ----------
        base
            The model that verifies.
        restore
            Undoes it.
        """
        proposals = Proposals()
        prepare = base.prepare_inputs_for_generation

        def candidates(*_: Any, generation_config: Any, **__: Any) -> DraftCandidates:
            from .candidates import DraftCandidates

            proposals.source = DraftCandidates(
                self.model, base.get_input_embeddings(), generation_config, tokens=self.tokens
            )
            return proposals.source

        @wraps(prepare)  # transformers reads its signature to check arguments
        def unread(input_ids: Any, *args: Any, is_first_iteration: bool = False, **options: Any) -> Any:
            # assisted decoding begins with all ids, also where a cache holds the first chunks of them
            cache = cache_in(options)
            if is_first_iteration and cache is not None and options.get("next_sequence_length") is None:
                options["next_sequence_length"] = input_ids.shape[1] - cache.get_seq_length()
            return prepare(input_ids, *args, is_first_iteration=is_first_iteration, **options)

        _override(restore, base, "_get_candidate_generator", candidates)
        _override(restore, base, "prepare_inputs_for_generation", unread)
        return proposals

    def __repr__(self) -> str:
        return (
            f"Drafter({self.name}: {parameters(self.parameters)} parameters, {self.tokens} tokens per pass)"
        )


class Proposals:
    """What a drafter proposes in the passes of one generation."""

    def __init__(self) -> None:
        self.source: DraftCandidates | None = None

    def outcomes(self, chosen: list[int]) -> list[bool | None]:
        """Return `Token.drafted` of the tokens of one pass, given the ids that the model chose."""
        proposed: list[int | None] = [*(self.source.proposed if self.source else ())]
        proposed += [None] * (len(chosen) - len(proposed))
        return [
            None if draft is None else draft == index for draft, index in zip(proposed, chosen, strict=False)
        ]


def _override(restore: RestoreStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute of an object, and not of its class, until `restore` closes."""
    before = vars(owner).get(name, _NOTHING)
    if before is _NOTHING:
        restore.undo(vars(owner).pop, name, None)
    else:
        restore.undo(setattr, owner, name, before)
    setattr(owner, name, value)
