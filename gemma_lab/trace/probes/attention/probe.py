"""The attention probe: where every head looks, reduced beside the model's own attention and checked by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from ....errors import BadTrace, LabError
from ....models.loading.restore import RestoreStack
from ...records.attention import Attention, AttentionRequest, HeadLayout, Tower
from ...records.attention_bands import band_extent, to_band
from ...records.attention_checks import check_attention
from ..model_modules import attentions
from ..recorder import Pass
from ..spill import SpillBuffer
from .binning import Bins
from .buffers import BufferPool
from .checks import OutputCheck, check_numbers
from .head_layout import layout_of
from .interface import AttentionTaps
from .labels import LABELS, Labels
from .rows import Answer, AttentionRows, Question, block_length, block_room
from .sequence import Line, Stretch
from .taps import AttentionTap
from .towers import TowerProbe
from .visible_keys import VisibleKeys, causal_sights, fitting, masked_sights, open_sights


@dataclass
class _Sequence:
    """What is kept of one sequence of the batch."""

    line: Line
    bins: Bins
    spool: SpillBuffer
    labels: Labels | None
    rows: dict[tuple[int, int], tuple[int, Any]] = field(default_factory=dict)


class AttentionProbe(AttentionTap):
    """Records where heads look: maps, statistics of every row, top keys and asked rows.

    For use with `gemma_lab.trace.probes.recorder.Recorder`. Rows are computed once more from the queries and keys of
    the stock function, in blocks, and reduced; no tensor of all queries by all keys is made. In every pass
    and layer the last row, applied to the values, is compared with what the layer itself put out.

    Parameters
    ----------
    request
        What to keep.
    expected
        How many tokens the bins of maps are laid out for; more make them wider.
    labels
        Labels of each sequence's tokens, for the mass by modality and role; without them there is none.
    precision
        ``"compact"`` stores statistics in float16, ``"full"`` in float32.
    spill_bytes
        Bytes to hold in memory; more goes to a temporary file that lives as long as its `Attention`.

    Raises
    ------
    LabError
        On attaching, if the model has no such layer or head.
    BadTrace
        While recording, if a row does not sum to 1 or does not give the layer's own output.

    Examples
    --------
    >>> probe = AttentionProbe(AttentionRequest())
    >>> with Recorder(model, [probe]):
    ...     model.generate(**inputs)
    >>> probe.result()
    Attention(6 layers × 4 heads, 57 tokens, 57 bins, top 8)
    """

    def __init__(
        self,
        request: AttentionRequest | None = None,
        *,
        expected: int = 0,
        labels: Sequence[Labels] = (),
        precision: Literal["compact", "full"] = "compact",
        spill_bytes: int = 512 * 2**20,
    ) -> None:
        self.request = AttentionRequest() if request is None else request
        self.precision = precision
        self.spill_bytes = spill_bytes
        self._expected, self._labels = expected, labels
        self._modules: dict[int, torch.nn.Module] = {}
        self._layouts: dict[int, HeadLayout] = {}
        self._sequences: list[_Sequence] = []
        self._towers = TowerProbe() if self.request.towers else None
        self._forget()

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Stand beside the model's attention; see `gemma_lab.trace.probes.recorder.Probe`."""
        found = attentions(model)
        wanted = found if self.request.layers is None else self.request.layers
        for layer in wanted:
            if layer not in found:
                raise LabError(
                    f"There is no attention in layer {layer}.",
                    hint=f"Layers are {min(found)} to {max(found)}.",
                )
        self._modules = {layer: found[layer] for layer in wanted}
        AttentionTaps(model, [self]).attach(restore)
        if self._towers is not None:
            self._towers.attach(model, restore)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `gemma_lab.trace.probes.recorder.Probe`."""
        self._forget()
        if not self._sequences:
            if seen.cached:
                raise BadTrace(
                    f"The cache holds {seen.cached:,} positions that were not recorded: "
                    "rows would have keys that nothing is known of.",
                    hint="Open the recorder before the first pass, with an empty cache.",
                )
            self._sequences = [self._sequence(row, seen.rows) for row in range(seen.rows)]
        for row, sequence in enumerate(self._sequences):
            new = sequence.line.begin(seen.length, None if seen.real is None else seen.real[row])
            if sequence.labels is not None:
                _write_on(sequence.labels, sequence.line, None if seen.ids is None else seen.ids[row], new)
            if self.request.pooled:
                sequence.bins.fit(sequence.line.tokens)

    def abandon(self) -> None:
        """Forget a pass; see `gemma_lab.trace.probes.recorder.Probe`."""
        for sequence in self._sequences:
            sequence.line.abandon()
        self._forget()

    def end(self, seen: Pass) -> None:
        """Keep what a pass gave; see `gemma_lab.trace.probes.recorder.Probe`."""
        del seen
        self._doubts.settle()
        for row, sequence in enumerate(self._sequences):
            answers = [self._answers.get((layer, row)) for layer in self._modules]
            if not sequence.line.new:
                continue
            if any(answer is None for answer in answers):
                missing = [layer for layer in self._modules if (layer, row) not in self._answers]
                raise BadTrace(
                    f"Layers {missing} did not compute attention where it can be watched.",
                    hint='Load the model with attn_implementation="sdpa".',
                )
            self._keep(sequence, [answer for answer in answers if answer is not None], self._rooms[row])
            sequence.line.end()
        self._forget()

    def result(self, row: int = 0) -> Attention:
        """Return the attention of one sequence of the batch.

        Raises
        ------
        BadTrace
            If nothing was recorded for it.
        """
        if not 0 <= row < len(self._sequences) or not self._sequences[row].line.tokens:
            raise BadTrace(
                f"Nothing was recorded for sequence {row} of {len(self._sequences)}.",
                hint="Run the model inside the recorder; result(row) counts the sequences of a batch from 0.",
            )
        sequence = self._sequences[row]
        tokens = sequence.line.tokens
        edges, maps = sequence.bins.result(tokens)
        reaches = {layer: band_extent(squares) for layer, squares in maps.items()}
        numbers = sequence.spool.result() if len(sequence.spool) else {}
        columns: tuple[int, ...] = ()
        if "mass_by_label" in numbers and sequence.labels is not None:
            columns = sequence.labels.present()
            numbers["mass_by_label"] = numbers["mass_by_label"][:, :, list(columns)]
        made = Attention(
            layers=tuple(self._layouts[layer] for layer in self._modules),
            heads=self._heads(),
            tokens=tokens,
            bin_edges=edges,
            labels=tuple(LABELS[column] for column in columns),
            bands={
                layer: to_band(squares, before=reaches[layer][0], after=reaches[layer][1])
                for layer, squares in maps.items()
            },
            bins_before={layer: behind for layer, (behind, _) in reaches.items()},
            per_query=numbers,
            full_rows=dict(sequence.rows),
            towers=self.towers(),
            keepalive=sequence.spool.folder,
        )
        check_attention(made)
        return made

    def towers(self) -> dict[str, tuple[Tower, ...]]:
        """Return what the towers looked at, in the order in which they ran."""
        return {} if self._towers is None else self._towers.result()

    def on_attention(
        self, layer: int, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
        value: torch.Tensor, mask: torch.Tensor | None, is_causal: bool, positions: torch.Tensor | None,
        scaling: float | None,
    ) -> None:  # fmt: skip
        """Reduce the rows of one layer; see `gemma_lab.trace.probes.attention.interface.Watcher`."""
        del positions
        if layer not in self._modules or not self._sequences:
            return
        if layer not in self._layouts:
            self._layouts[layer] = layout_of(layer, module, query, key)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        for row, sequence in enumerate(self._sequences):
            part = sequence.line.stretch(key.shape[2])
            if not len(part.queries):
                continue
            self._answers[layer, row] = self._look(
                layer, row, part, query[row], key[row], mask, causal=is_causal, scaling=scaling
            )
        self._values[layer] = value

    def on_output(self, layer: int, output: torch.Tensor) -> None:
        """Compare the last row of each sequence with the layer's own output."""
        value = self._values.pop(layer, None)
        if value is None:
            return
        for row, sequence in enumerate(self._sequences):
            answer = self._answers.get((layer, row))
            if answer is None or answer.last is None:
                continue
            part = sequence.line.stretch(value.shape[2])
            own = output[row, int(part.queries[-1])]
            self._doubts.note(layer, answer.last, part=part, value=value[row], own=own, heads=self._heads())

    def _look(
        self, layer: int, row: int, part: Stretch, query: torch.Tensor, key: torch.Tensor,
        mask: torch.Tensor | None, *, causal: bool, scaling: float,
    ) -> Answer:  # fmt: skip
        query, key = part.pick(query, queries=True), part.pick(key, queries=False)
        heads, keys = query.shape[0], key.shape[1]
        width = self._sequences[row].bins.width if self.request.pooled else 0
        window, most = self._layouts[layer].window, block_room(heads)
        about = block_length(window=window, width=width)
        block = fitting(about, keys=keys if window is None else min(keys, window + about), most=most)
        lead = part.first_query - part.first_key
        sights: Iterable[VisibleKeys]
        biases: dict[tuple[int, ...], torch.Tensor] = {}
        own = None if mask is None else part.pick_mask(mask[row if mask.shape[0] > 1 else 0])
        if own is not None:
            at = id(mask), row, block
            if at not in self._sights:  # the mask is kept, so that its id stays its own
                self._sights[at] = mask, masked_sights(own, lead=lead, block=block), biases
            _, sights, biases = self._sights[at]
        elif causal or query.shape[1] == 1:
            sights = causal_sights(query.shape[1], keys, lead=lead, block=about, most=most)
        else:
            sights = open_sights(query.shape[1], keys, block=block)
        chosen = list(self._heads())
        if len(chosen) < heads:
            key = key[[head * key.shape[0] // heads for head in chosen]]
            own = own if own is None or own.shape[0] == 1 else own[chosen]
            query = query[chosen]
        gaze = AttentionRows(
            query, key, scaling=scaling, first_query=part.first_query, first_key=part.first_key, mask=own,
            biases=biases, scratch=self._scratch,
        )  # fmt: skip
        question = self._question(self._sequences[row], query.device)
        if row not in self._rooms:  # of all layers at once: nothing is to be copied together afterwards
            shape = len(self._modules), query.shape[1], len(chosen)
            self._rooms[row] = question.room(shape, query.device)
        place = list(self._modules).index(layer)
        return gaze.look(question, sights, {name: array[place] for name, array in self._rooms[row].items()})

    def _question(self, sequence: _Sequence, device: torch.device) -> Question:
        width = sequence.bins.width if self.request.pooled else 0
        asked = Question(self.request.top_k, width, None, rows=frozenset(self.request.rows))
        if not self.request.statistics:
            return asked
        if sequence.labels is None:
            return replace(asked, labels=torch.zeros((sequence.line.tokens, 0), device=device))
        return replace(asked, labels=sequence.labels.table(device), runs=sequence.labels.runs())

    def _keep(self, sequence: _Sequence, answers: list[Answer], room: dict[str, torch.Tensor]) -> None:
        new = {name: array.transpose(0, 1).cpu().numpy() for name, array in room.items()}
        if "mass_by_label" in new and sequence.labels is not None:
            # later passes may bring labels that nothing had so far
            every = np.zeros((*new["mass_by_label"].shape[:2], len(LABELS), new["mass_by_label"].shape[3]), dtype=np.float32)
            every[:, :, list(sequence.labels.present())] = new["mass_by_label"]
            new["mass_by_label"] = every
        check_numbers(new, labels=LABELS if sequence.labels is not None else ())
        if self.precision == "compact":
            new |= {
                name: new[name].astype(np.float16) for name in ("entropy", "first_token_mass", "mass_by_label") if name in new
            }
        if new:
            sequence.spool.add(new)
        for layer, answer in zip(self._modules, answers, strict=True):
            for part in answer.sums:
                sequence.bins.put(layer, part)
            for query, (first, weights) in answer.rows.items():
                sequence.rows[layer, query] = _trim(first, weights.cpu().numpy(), sequence.line.tokens)

    def _sequence(self, row: int, rows: int) -> _Sequence:
        labels = self._labels[row] if row < len(self._labels) else None
        bins = Bins(most=self.request.bins, expected=self._expected)
        return _Sequence(Line(), bins, SpillBuffer(limit=self.spill_bytes // rows), labels)

    def _heads(self) -> tuple[int, ...]:
        counts = {layout.heads for layout in self._layouts.values()}
        if len(counts) > 1:
            raise LabError(
                f"Layers with {sorted(counts)} heads cannot be recorded together.",
                hint="Ask for layers of one kind: AttentionRequest(layers=…).",
            )
        most = counts.pop() if counts else 0
        chosen = tuple(range(most)) if self.request.heads is None else tuple(self.request.heads)
        if not chosen or chosen[0] < 0 or chosen[-1] >= most:
            raise LabError(
                f"Heads {list(chosen)} are not all of the {most} heads.", hint="They count from 0."
            )
        return chosen

    def _forget(self) -> None:
        self._answers: dict[tuple[int, int], Answer] = {}
        self._rooms: dict[int, dict[str, torch.Tensor]] = {}  # by sequence: its answers' numbers, by layer
        self._values: dict[int, torch.Tensor] = {}
        self._doubts = OutputCheck()
        self._scratch = BufferPool()
        #: by mask: it, what it lets each block see, and what it adds to their scores
        self._sights: dict[
            tuple[int, int, int], tuple[Any, list[VisibleKeys], dict[tuple[int, ...], Any]]
        ] = {}


def _write_on(labels: Labels, line: Line, ids: torch.Tensor | None, new: int) -> None:
    """Let the labels cover the tokens of the pass that they do not know yet."""
    missing = line.tokens - len(labels)
    if missing <= 0:
        return
    if ids is None or missing > new:
        raise BadTrace(
            f"The sequence has {line.tokens:,} tokens, and labels are known for {len(labels):,}.",
            hint="Make the labels of the prompt that is read.",
        )
    for index in ids[-missing:].tolist():
        labels.write(int(index))


def _trim(first: int, row: Any, tokens: int) -> tuple[int, Any]:
    """Return a row from its first key with any weight on to its last."""
    seen = np.flatnonzero(row.any(axis=0)[: tokens - first])
    if not len(seen):
        return first, row[:, :0]
    return first + int(seen[0]), np.ascontiguousarray(row[:, seen[0] : seen[-1] + 1])
