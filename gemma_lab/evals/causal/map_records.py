"""What a causal map holds, as it is computed and as a file keeps it; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ...checks import short_repr
from ...errors import LabError
from ...trace.interventions.edit import Edit
from .cells import PARTS, Part, Span
from .grid import CausalGrid

if TYPE_CHECKING:
    from ...models.chat.request import Request
    from ...models.tokens.table import TokenTable

Patching = Literal["denoising", "noising"]
#: What two maps share, beside tokens and cells.
_COMPARED = (
    "model", "patching", "method", "prompts", "answer", "answer_text", "clean_logprob", "corrupted_logprob",
    "spans", "differing", "positions", "weights", "adapter", "active_edit",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class MapRecords:
    """The parts of a causal map; `CausalMap` describes them and computes from them."""

    model: str
    patching: Patching
    method: Literal["exact", "gradient"]
    prompts: tuple[Mapping[str, Any], Mapping[str, Any]] = field(repr=False)
    clean_tokens: TokenTable
    corrupted_tokens: TokenTable
    answer: tuple[int, ...]
    answer_text: str
    clean_logprob: float
    corrupted_logprob: float
    spans: tuple[Span, ...]
    differing: tuple[int, ...]
    positions: tuple[int, ...]
    grids: Mapping[Part, CausalGrid] = field(repr=False)
    weights: Mapping[str, str] = field(default_factory=dict, repr=False)
    adapter: Mapping[str, str] | None = None
    active_edit: Edit = field(default_factory=Edit)
    media: tuple[Any, ...] = field(default=(), repr=False)

    @cached_property
    def clean(self) -> Request:
        """The clean request.

        Raises
        ------
        LabError
            If its media are missing: the map is from a file that does not have them.
        """
        return self._request(0)

    @cached_property
    def corrupted(self) -> Request:
        """The corrupted request; raises as `clean` does."""
        return self._request(1)

    def _request(self, which: int) -> Request:
        from ...models.chat.request import Request

        stated = self.prompts[which].get("media")
        if stated and not self.media:
            raise LabError(
                f"The file of this map does not have the {len(stated)} media of its prompts.",
                hint="Save it with images=True, or open it with the requests that it was made with: "
                "gl.open_causal_map(path, requests=(clean, corrupted)).",
            )
        return Request.from_meta(self.prompts[which], self.media)

    @property
    def gap(self) -> float:
        """What the corruption takes from the answer: clean minus corrupted log-probability, nats."""
        return self.clean_logprob - self.corrupted_logprob

    @property
    def base_tokens(self) -> TokenTable:
        """The tokens of the run that is patched."""
        return self.corrupted_tokens if self.patching == "denoising" else self.clean_tokens

    @property
    def draws(self) -> int:
        """Number of controls."""
        return max((len(grid.controls) for grid in self.grids.values()), default=0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that were patched."""
        return tuple(part for part in PARTS if part in self.grids)

    def grid(self, part: Part) -> CausalGrid:
        """Return the cells of a part.

        Raises
        ------
        LabError
            If it was not patched.
        """
        if not isinstance(part, str) or part not in self.grids:
            raise LabError(
                f"This map has no part {short_repr(part)}.",
                hint=f"It has {', '.join(map(repr, self.parts))}.",
            )
        return self.grids[part]

    @property
    def base_request(self) -> Request:
        """The request of the run that is patched."""
        return self.corrupted if self.patching == "denoising" else self.clean

    def equal(self, other: object) -> bool:
        """Return whether two maps have the same prompts, cells and effects; media by their digests."""
        return isinstance(other, MapRecords) and (
            all(getattr(self, name) == getattr(other, name) for name in _COMPARED)
            and self.clean_tokens.equal(other.clean_tokens)
            and self.corrupted_tokens.equal(other.corrupted_tokens)
            and self.parts == other.parts
            and all(self.grids[part].equal(other.grids[part]) for part in self.parts)
        )
