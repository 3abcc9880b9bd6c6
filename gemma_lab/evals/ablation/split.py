"""Split examples into those that choose a set and those that test it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError
from .answer_scores import as_example

if TYPE_CHECKING:
    from ...models.fine_tuning.encoding import EncodedExample
    from ...models.loading.loaded_model import LoadedModel


@dataclass(frozen=True)
class Part:
    """One side of a split.

    Attributes
    ----------
    examples
        As they were given.
    groups
        Group of each.
    digests
        SHA-256 of the prompt of each, its media included.
    """

    examples: tuple[Any, ...]
    groups: tuple[str, ...]
    digests: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of examples by group."""
        return dict(Counter(self.groups))

    def first(self, count: int | None) -> Part:
        """Return the first examples of each group; all for None."""
        seen: Counter[str] = Counter()
        kept = []
        for index, group in enumerate(self.groups):
            seen[group] += 1
            if count is None or seen[group] <= count:
                kept.append(index)
        of = (self.examples, self.groups, self.digests)
        return Part(*(tuple(each[index] for index in kept) for each in of))


@dataclass(frozen=True)
class Split:
    """Development and confirmation examples, without a prompt in common.

    Attributes
    ----------
    development, confirmation
        The two sides.
    repeated
        Number of examples that were left out because their prompt was taken already.
    """

    development: Part
    confirmation: Part
    repeated: int


def split_examples(
    lab: LoadedModel,
    examples: Sequence[Any],
    groups: tuple[str, ...],
    *,
    development: int,
    confirmation: int | None,
    seed: int,
) -> Split:
    """Draw development and confirmation examples, as many of each group.

    Parameters
    ----------
    lab
        The model: prompts are compared as it reads them.
    examples, groups
        The examples, and the group of each.
    development, confirmation
        Number of examples per group; None for all that are left.
    seed
        Of the draw.

    Raises
    ------
    LabError
        If a group has too few examples with different prompts.
    """
    random = np.random.default_rng(seed)
    taken: set[str] = set()
    sides: tuple[list[tuple[Any, str, str]], ...] = ([], [])
    repeated = 0
    for group in dict.fromkeys(groups):
        members = [index for index, of in enumerate(groups) if of == group]
        found: list[tuple[Any, str, str]] = []
        wanted = None if confirmation is None else development + confirmation
        for index in random.permutation(members):
            if len(found) == wanted:
                break
            digest = _digest(lab, examples[index])
            if digest in taken:
                repeated += 1
                continue
            taken.add(digest)
            found.append((examples[index], group, digest))
        if len(found) < (development + 1 if wanted is None else wanted):
            of = f" of the group {group!r}" if group else ""
            raise LabError(
                f"{len(found)} examples{of} have different prompts; {development} are to be for development "
                f"and {'at least 1' if confirmation is None else confirmation} for confirmation.",
                hint="Pass more examples, or ask for fewer.",
            )
        sides[0].extend(found[:development])
        sides[1].extend(found[development:])
    if not sides[0]:
        raise LabError("There are no examples.", hint="Pass questions, or pairs of a prompt and its answer.")
    one, two = (Part(*zip(*side, strict=True)) for side in sides)
    return Split(one, two, repeated)


def _digest(lab: LoadedModel, example: Any) -> str:
    from ...models.fine_tuning.encoding import ExampleSet

    encoded: EncodedExample = ExampleSet(lab, [as_example(example)]).get(0)
    found = hashlib.sha256(repr(encoded.ids[: encoded.prompt_tokens]).encode())
    for name, value in sorted(encoded.inputs.items()):
        if name != "mm_token_type_ids":  # as long as prompt and answer
            found.update(name.encode() + value.cpu().float().numpy().tobytes())
    return found.hexdigest()
