"""Controls of causal maps: runs that know nothing of the answer, to patch from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadPrompt, LabError

if TYPE_CHECKING:
    import torch

    from ...models.chat.prompt import Prompt
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from .pair import PromptPair


@dataclass(eq=False)
class ControlPrompts:
    """Draws controls: the clean prompt with other tokens where the two prompts differ.

    A text token becomes another of its kind (`token_kind`), soft tokens of media change places among
    themselves.

    Parameters
    ----------
    model, pair
        The model and its prompts.
    random
        The source of random numbers.

    Raises
    ------
    LabError
        If no token can be another one: the controls would be the clean prompt itself.
    """

    model: LoadedModel
    pair: PromptPair
    random: np.random.Generator

    def __post_init__(self) -> None:
        kinds = self.pair.clean.inputs.get("mm_token_type_ids")
        places = self.pair.differing
        self._soft = [] if kinds is None else [place for place in places if int(kinds[0, place])]
        by_kind = _by_kind(self.model)
        self._others: dict[int, list[int]] = {}
        for place in set(places) - set(self._soft):
            known = {self.pair.clean.ids[place], self.pair.corrupted.ids[place]}
            kind = token_kind(str(self.model.tokenizer.convert_ids_to_tokens(self.pair.clean.ids[place])))
            self._others[place] = [each for each in by_kind.get(kind, ()) if each not in known]
        if not self._soft and not any(self._others.values()):
            raise LabError(
                f"No token is of the kind of those at which the prompts differ, {sorted(self._others)}.",
                hint="Pass prompts to take as controls, controls=[…], or controls=0.",
            )

    def draw(self) -> tuple[Prompt, Callable[[torch.Tensor], torch.Tensor] | None]:
        """Return a prompt, and what changes its input embeddings; None without media."""
        clean = self.pair.clean
        ids = list(clean.ids)
        for place in sorted(self._others):
            if self._others[place]:
                ids[place] = int(self.random.choice(self._others[place]))
        given: Any = clean.inputs["input_ids"]
        prompt = replace(clean, ids=ids, inputs=clean.inputs | {"input_ids": given.new_tensor([ids])})
        if not self._soft:
            return prompt, None
        soft = self._soft
        order = [soft[index] for index in self.random.permutation(len(soft))]

        def change_embeds(embeds: torch.Tensor) -> torch.Tensor:
            changed = embeds.clone()
            changed[:, soft] = embeds[:, order]
            return changed

        return prompt, change_embeds


def given_control(model: LoadedModel, pair: PromptPair, request: Request, number: int) -> Prompt:
    """Return a given control as a prompt of the pair's length, with the answer's tokens after it.

    Raises
    ------
    BadPrompt
        If it is not as long as the pair.
    """
    from ...models.chat.prompt import prepare
    from ...trace.run.assembly import with_answer

    prompt = prepare(model, request)
    if len(prompt.ids) != pair.prompt_tokens:
        raise BadPrompt(
            f"Control {number} has {len(prompt.ids):,} tokens, the prompts have {pair.prompt_tokens:,}.",
            hint="Write controls of as many tokens, or pass their number to have them drawn.",
        )
    return with_answer(prompt, [*prompt.ids, *pair.answer[:-1]])


def token_kind(piece: str) -> tuple[bool, str]:
    """Return what a control keeps of a token: whether a space precedes it, and its kind of characters.

    Kinds are ``"digit"``, ``"word"``, ``"upper"`` (a word that begins with a capital) and ``"other"``.
    """
    word = piece.removeprefix("▁")
    if word.isdigit():
        kind = "digit"
    elif word.isalpha():
        kind = "upper" if word[0].isupper() else "word"
    else:
        kind = "other"
    return piece.startswith("▁"), kind


def _by_kind(model: LoadedModel) -> dict[tuple[bool, str], list[int]]:
    """Return the ordinary tokens of the vocabulary by kind, ascending."""
    found: dict[tuple[bool, str], list[int]] = {}
    for piece, index in sorted(_ordinary(model), key=lambda each: each[1]):
        found.setdefault(token_kind(piece), []).append(index)
    return found


def _ordinary(model: LoadedModel) -> Sequence[tuple[str, int]]:
    special = set(model.tokenizer.all_special_ids) | set(getattr(model.tokenizer, "added_tokens_decoder", {}))
    return [
        (piece, index)
        for piece, index in model.tokenizer.get_vocab().items()
        if index not in special and index < model.vocabulary and not piece.startswith("<")
    ]
