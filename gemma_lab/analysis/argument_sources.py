"""Trace the argument values of a tool call to the prompt, and compare the experts that write calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import Displayed
from ..errors import LabError
from ..models.chat.tool_call_parser import BadCall, locate_values
from .attention.top_keys import require_attention, top_keys
from .experts.divergence import RoutingDivergence, routing_divergence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..trace.records.routing import Routing
    from ..trace.trace import Trace

    Floats = NDArray[np.float64]

_OPEN, _CLOSE = "<|tool_call>", "<tool_call|>"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
#: A source span grows over neighbours with at least this fraction of the largest attention.
SPAN_THRESHOLD = 0.5


@dataclass(frozen=True)
class ArgumentSource:
    """One argument value of a generated call, and the prompt tokens it came from.

    Attributes
    ----------
    call, path, value
        The function, the argument (``"city"``, ``"at.x"``, ``"tags[0]"``) and its value.
    written
        Rows of the token table that wrote the value, first and one after the last.
    source, source_text, role
        Rows of the prompt with the most attention, their text, and the role of their turn.
    share
        Their fraction of the attention to the prompt's text, 0 to 1.
    even
        What `share` would be if all text tokens of the prompt had the same attention.
    heads
        Layer and head of the heads whose top key was in `source` at every step.
    match, match_share
        Rows of the prompt whose text is the value, and their share; None and 0 if the text is not in the
        prompt. Of several places, the one with the most attention.
    lens_layer
        Layer from which on the logit lens has every token of the value as its first choice; None without a
        recorded lens, and where the model itself would have written another token.
    """

    call: str
    path: str
    value: Any
    written: tuple[int, int]
    source: tuple[int, int]
    source_text: str
    role: str
    share: float
    even: float
    heads: tuple[tuple[int, int], ...]
    match: tuple[int, int] | None
    match_share: float
    lens_layer: int | None = None

    @property
    def copied(self) -> bool:
        """Whether the source by attention and the same text in the prompt overlap."""
        return self.match is not None and self.match[0] < self.source[1] and self.source[0] < self.match[1]


@dataclass(frozen=True, eq=False)
class CallSources(Displayed):
    """The sources of every argument value of the generated calls.

    Attributes
    ----------
    model
        Name of the model.
    arguments
        One entry per value, in the order in which they were written.
    texts
        Text of each prompt token.
    attention
        Attention to each prompt token, mean over recorded heads and over the steps that wrote the value,
        float64 ``[arguments, prompt]``. Keys that are not among the recorded top keys count as 0.
    lens_layers
        Layers of the recorded logit lens; empty without one.
    lens
        Fraction of the value's tokens that are the first choice of the logit lens, before they are written,
        float64 ``[arguments, lens_layers]``; NaN where the lens was not recorded.
    """

    model: str
    arguments: tuple[ArgumentSource, ...]
    texts: tuple[str, ...] = field(repr=False)
    attention: Floats = field(repr=False)
    lens_layers: tuple[int, ...] = ()
    lens: Floats = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def __len__(self) -> int:
        return len(self.arguments)

    def to_pandas(self) -> Any:
        """Return one row per value: call, argument, value, source and its tokens, role, share, even, ….

        ``heads`` is the number of heads whose top key was in the source at every step, ``lens_layer`` the
        layer from which on the logit lens has the value's tokens first.
        """
        import pandas as pd

        columns: dict[str, list[Any]] = {
            "call": [each.call for each in self.arguments],
            "argument": [each.path for each in self.arguments],
            "value": [json.dumps(each.value, ensure_ascii=False) for each in self.arguments],
            "source": [each.source_text for each in self.arguments],
            "tokens": [f"{each.source[0]} to {each.source[1] - 1}" for each in self.arguments],
            "role": [each.role for each in self.arguments],
            "share": [each.share for each in self.arguments],
            "even": [each.even for each in self.arguments],
            "match_share": [each.match_share for each in self.arguments],
            "copied": [each.copied for each in self.arguments],
            "heads": [len(each.heads) for each in self.arguments],
        }
        if self.lens_layers:
            columns["lens_layer"] = pd.array([each.lens_layer for each in self.arguments], dtype="Int64")
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        copied = sum(each.copied for each in self.arguments)
        counted = f"{len(self)} argument value{'s' * (len(self) != 1)}"
        return f"CallSources({' '.join(self.model.split())}: {counted}, {copied} copied from the prompt)"


def call_sources(trace: Trace) -> CallSources:
    """Return, for each argument value of a generated call, which prompt tokens it was copied from.

    The query of a generated token is the row before it. Attention is averaged over recorded heads and over
    the queries of a value's tokens; control tokens and media of the prompt are left out. The source is the
    run of text tokens around the one with the most attention whose attention is at least half of it. A high
    share is evidence of copying, not proof: an intervention (``lab.edit``) tests whether it is used.

    Parameters
    ----------
    trace
        With attention (top keys) and a generated answer that calls a tool. With ``logit_lens=True`` the
        result also says in which layers the lens has a value's tokens as its first choice.

    Returns
    -------
    CallSources
        Without calls that cannot be read, and without values that no token of their own wrote.

    Raises
    ------
    LabError
        If the trace has no attention, no prompt text or no generated call.
    """
    attention = require_attention(trace)
    table = trace.tokens
    prompt = int((~table.generated).sum())
    text = np.flatnonzero((table.modalities == "text")[:prompt])
    spans = _values(trace)
    if not spans or not len(text):
        raise LabError(
            "The trace has no generated call with arguments.",
            hint="Trace a prompt with tools=… and max_new_tokens=64.",
        )
    arguments, rows, lens = [], [], []
    for call, path, value, start, stop in spans:
        top = top_keys(attention, np.arange(start - 1, stop - 1))
        weights = np.zeros(len(table))
        np.add.at(weights, np.maximum(top.keys, 0), top.weights * (top.keys >= 0))
        mean = weights[:prompt] / (top.keys.shape[0] * top.keys.shape[1])
        share = np.zeros(prompt)
        share[text] = mean[text] / max(float(mean[text].sum()), 1e-12)
        source = _around_peak(share, table.modalities[:prompt] == "text")
        match = _match(trace, value, prompt, share)
        first = top.keys[:, :, 0]
        by_layer, lens_layer = _lens(trace, start, stop)
        inside = np.all((first >= source[0]) & (first < source[1]), axis=1).tolist()
        arguments.append(
            ArgumentSource(
                call=call,
                path=path,
                value=value,
                written=(start, stop),
                source=source,
                source_text="".join(map(str, table.texts[slice(*source)])).strip(),
                role=str(table.roles[source[0]]),
                share=float(share[slice(*source)].sum()),
                even=(source[1] - source[0]) / len(text),
                heads=tuple(head for head, copies in zip(top.heads, inside, strict=True) if copies),
                match=match,
                match_share=0.0 if match is None else float(share[slice(*match)].sum()),
                lens_layer=lens_layer,
            )
        )
        rows.append(mean)
        lens.append(by_layer)
    return CallSources(
        model=str(trace.meta.get("model", "model")),
        arguments=tuple(arguments),
        texts=tuple(map(str, table.texts[:prompt])),
        attention=np.stack(rows),
        lens_layers=() if trace.logit_lens is None else trace.logit_lens.layers,
        lens=np.stack(lens),
    )


def call_routing(
    traces: Trace | Sequence[Trace], *, permutations: int = 200, seed: int = 0
) -> RoutingDivergence:
    """Compare the expert load of call syntax, of argument values and of prose.

    ``"syntax"`` are the generated tokens of calls but their values, ``"values"`` those values, ``"prose"``
    the text of user and model turns outside calls. Labels without tokens are left out.

    Parameters
    ----------
    traces
        One trace with a generated call of a model with experts, or several.
    permutations, seed
        Of the noise floor (`routing_divergence`): a single call has few tokens.

    Returns
    -------
    RoutingDivergence

    Raises
    ------
    LabError
        If a trace has no routing, or no call was generated.
    """
    listed = list(traces) if isinstance(traces, Sequence) else [traces]
    parts: dict[str, list[Routing]] = {"syntax": [], "values": [], "prose": []}
    for trace in listed:
        if trace.routing is None:
            raise LabError("A trace has no routing.", hint="Trace a model with experts.")
        table = trace.tokens
        in_call = np.zeros(len(table), dtype=bool)
        for start, stop in _calls(trace):
            in_call[start:stop] = True
        values = np.zeros(len(table), dtype=bool)
        for *_, start, stop in _values(trace):
            values[start:stop] = True
        prose = (table.modalities == "text") & np.isin(table.roles, ("user", "model")) & ~in_call
        for label, chosen in (("syntax", in_call & ~values), ("values", values), ("prose", prose)):
            if chosen.any():
                parts[label].append(trace.routing.select(np.flatnonzero(chosen)))
    if not parts["syntax"]:
        raise LabError("No call was generated.", hint="Trace a prompt with tools=… and max_new_tokens=64.")
    return routing_divergence(
        {label: routings for label, routings in parts.items() if routings},
        permutations=permutations,
        seed=seed,
    )


def _lens(trace: Trace, start: int, stop: int) -> tuple[Floats, int | None]:
    """Return which part of the written tokens each layer's lens has first, and the layer of all from then on.

    A token is predicted at the row before it.
    """
    lens = trace.logit_lens
    if lens is None:
        return np.zeros(0), None
    rows = np.arange(start, stop)
    recorded = np.searchsorted(lens.positions, rows - 1)
    if recorded.max() >= len(lens.positions) or (lens.positions[recorded] != rows - 1).any():
        return np.full(len(lens.layers), np.nan), None
    first = lens.ids[:, recorded, 0] == trace.tokens.ids[rows]  # [layers, written]
    others = np.flatnonzero(~first.all(axis=1))  # layers with another first choice
    after = 0 if not len(others) else int(others[-1]) + 1
    return first.mean(axis=1), lens.layers[after] if after < len(lens.layers) else None


def _calls(trace: Trace) -> list[tuple[int, int]]:
    """Return the rows of each generated call, delimiters included; one that is cut ends with the table."""
    pieces = trace.tokens.pieces
    opening = np.flatnonzero(trace.tokens.generated & (pieces == _OPEN)).tolist()
    closing = np.flatnonzero(pieces == _CLOSE).tolist()
    ends = [min([row + 1 for row in closing if row > start] or [len(pieces)]) for start in opening]
    return list(zip(opening, ends, strict=True))


def _values(trace: Trace) -> list[tuple[str, str, Any, int, int]]:
    """Return function, path, value and rows of every argument value of the generated calls."""
    keys = _keys(trace.meta)
    found = []
    for start, stop in _calls(trace):
        inside = range(start + 1, stop - (trace.tokens.pieces[stop - 1] == _CLOSE))
        parts = [_bytes(str(trace.tokens.pieces[row])) for row in inside]
        ends = np.cumsum([len(part) for part in parts])
        text = b"".join(parts).decode(errors="surrogateescape")
        try:
            name, values = locate_values(text, keys)
        except BadCall:
            continue
        for path, value, first, last in values:
            at, end = (len(text[:place].encode(errors="surrogateescape")) for place in (first, last))
            if at == end:  # an empty string has no token
                continue
            begin = int(np.searchsorted(ends, at, side="right"))
            after = int(np.searchsorted(ends, end, side="left")) + 1
            found.append((name, path, value, inside[begin], inside[after - 1] + 1))
    return found


def _bytes(piece: str) -> bytes:
    """Return what a token writes, in UTF-8: a part of a character for a byte token."""
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode(errors="surrogateescape")


def _keys(value: Any) -> set[str]:
    """Return the names of all declared parameters in a trace's ``meta``, at any depth."""
    if isinstance(value, Mapping):
        properties = value.get("properties")
        names = set(properties) if isinstance(properties, Mapping) else set()
        return names.union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list | tuple) else set()


def _around_peak(share: Floats, is_text: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the run of text tokens around the largest share where it is at least half of that."""
    peak = int(share.argmax())
    enough = is_text & (share > 0) & (share >= SPAN_THRESHOLD * share[peak])
    start, stop = peak, peak + 1
    while start > 0 and enough[start - 1]:
        start -= 1
    while stop < len(share) and enough[stop]:
        stop += 1
    return start, stop


def _match(trace: Trace, value: Any, prompt: int, share: Floats) -> tuple[int, int] | None:
    """Return the rows of the prompt that show a value as text; of several, those with the largest share."""
    wanted = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    texts = [str(text) for text in trace.tokens.texts[:prompt]]
    ends, text = np.cumsum([len(part) for part in texts]), "".join(texts)
    if not wanted.strip():
        return None
    whole = rf"(?<!\w){re.escape(wanted)}(?!\w)"
    places = list(re.finditer(whole, text))
    if not places and isinstance(value, str):  # scripts without spaces have no edges of words
        places = list(re.finditer(re.escape(wanted), text))
    rows = [
        (
            int(np.searchsorted(ends, place.start(), side="right")),
            int(np.searchsorted(ends, place.end(), side="left")) + 1,
        )
        for place in places
    ]
    return max(rows, key=lambda span: float(share[slice(*span)].sum()), default=None)
