"""The records of one run, and the conditions that they meet together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from ...models.tokens.media_positions import runs_of
from .attention_checks import check_attention, check_complete, check_visible_keys
from .json_values import plain_json
from .routing import check_routing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...models.tokens.table import TokenTable
    from .attention import Attention
    from .features import Features
    from .generation import Generation
    from .logit_lens import LogitLens
    from .routing import Routing

_TRACE_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class TraceRecords:
    """The parts of a trace: see `gemma_lab.trace.trace.Trace`, which saves, compares and converts them."""

    tokens: TokenTable
    routing: Routing | None = None
    generation: Generation | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    attention: Attention | None = None
    logit_lens: LogitLens | None = None
    features: Features | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "meta", plain_json(self.meta))
        for name in ("routing", "attention", "features"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.tokens):
                raise BadTrace(
                    f"The part {name!r} has {len(part):,} tokens, the token table {len(self.tokens):,}.",
                    hint=_TRACE_AGAIN,
                )
        lens = self.logit_lens
        if lens is not None and len(lens) and lens.positions[-1] >= len(self.tokens):
            raise BadTrace(
                f"The logit lens covers token {lens.positions[-1]:,} of {len(self.tokens):,}.",
                hint=_TRACE_AGAIN,
            )
        if self.generation is not None:
            rows = self.tokens.ids[self.tokens.generated]
            if not np.array_equal(rows, self.generation.ids[: len(rows)]):
                raise BadTrace(
                    f"The {len(rows):,} generated rows of the token table are not the first of the "
                    f"{len(self.generation):,} generated tokens.",
                    hint=_TRACE_AGAIN,
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def check(self) -> None:
        """Raise `BadTrace` unless every value of every part is one that a model can give.

        Saving and opening both call this, so that what is saved can be opened. Arrays are read once, one
        layer at a time.
        """
        self.tokens.check()
        if self.routing is not None:
            check_routing(self.routing)
        if self.attention is not None:
            check_attention(self.attention)
            check_complete(self.attention)
            check_visible_keys(self.attention, _last_visible(self.tokens))
        if self.features is not None:
            self.features.check()


def _last_visible(tokens: TokenTable) -> NDArray[np.int64]:
    """Return the last key that each query may attend to, ``[tokens]``.

    That is the query itself, or the last token of its image or video frame: Gemma 3 and 4 attend in both
    directions inside one.
    """
    last = np.arange(len(tokens))
    for kind in ("image", "video"):
        for start, stop in runs_of(tokens.modalities == kind):
            last[start:stop] = stop - 1
    return last
