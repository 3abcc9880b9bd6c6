"""The attention probe: every head's attention, summarised and checked against the layer's output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from ....errors import BadTrace, LabError
from ....models.loading.restore import RestoreStack
from ....models.loading.tensor_parallel import require_whole_heads
from ...records.attention import Attention, AttentionRequest, HeadLayout, Tower
from ...records.attention_bands import band_extent, to_band
from ...records.attention_checks import check_attention
from ...records.routing import check_precision
from ..model_modules import attentions
from ..recorder import Pass
from ..spill import SpillBuffer
from .binning import Bins
from .buffers import BufferPool
from .checks import OutputCheck
from .head_layout import layout_of
from .interface import AttentionTaps
from .labels import LABELS, Labels
from .rows import AttentionRows, RowRequest, RowResult, block_length, max_block_size
from .sequence import SequenceTracker, TokenSlice
from .sequence_record import SequenceRecord
from .taps import AttentionTap
from .towers import TowerProbe
from .visible_keys import VisibleKeys, causal_blocks, full_blocks, masked_blocks, shrink_block


class AttentionProbe(AttentionTap):
    """Record attention patterns: pooled maps, statistics and top keys of every row, and requested rows.

    For use with `Recorder`. Rows are recomputed in blocks from the queries and keys of the stock function,
    and reduced; no tensor of all queries by all keys is made. In every pass and layer the last row, applied
    to the values, is compared with the layer's own output.

    Parameters
    ----------
    request
        What to keep.
    expected
        Tokens that the bins of maps are sized for; more make them wider.
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
        check_precision(precision)
        self.precision = precision
        self.spill_bytes = spill_bytes
        self._expected, self._labels = expected, labels
        self._modules: dict[int, torch.nn.Module] = {}
        self._layouts: dict[int, HeadLayout] = {}
        self._sequences: list[SequenceRecord] = []
        self._towers = TowerProbe() if self.request.towers else None
        self._forget()

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Attach to the model's attention; see `Probe`."""
        require_whole_heads(model, "Recording attention")
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
        """Start a pass; see `Probe`."""
        self._forget()
        if not self._sequences:
            if seen.cached:
                raise BadTrace(
                    f"The cache holds {seen.cached:,} positions that were not recorded: "
                    "rows would have unknown keys.",
                    hint="Open the recorder before the first pass, with an empty cache.",
                )
            self._sequences = [self._sequence(row, seen.rows) for row in range(seen.rows)]
        for row, sequence in enumerate(self._sequences):
            sequence.begin(
                seen.length,
                real=None if seen.real is None else seen.real[row],
                ids=None if seen.ids is None else seen.ids[row],
                pooled=self.request.pooled,
            )

    def abandon(self) -> None:
        """Discard the current pass; see `Probe`."""
        for sequence in self._sequences:
            sequence.tracker.abandon()
        self._forget()

    def end(self, seen: Pass) -> None:
        """Keep the summaries of a pass; see `Probe`."""
        del seen
        self._output_check.verify()
        for row, sequence in enumerate(self._sequences):
            if not sequence.tracker.new:
                continue
            if missing := [layer for layer in self._modules if (layer, row) not in self._results]:
                raise BadTrace(
                    f"Layers {missing} did not compute attention where it can be observed.",
                    hint='Load the model with attn_implementation="sdpa".',
                )
            found = {layer: self._results[layer, row] for layer in self._modules}
            sequence.keep(found, self._numbers[row], compact=self.precision == "compact")
            sequence.tracker.end()
        self._forget()

    def result(self, row: int = 0) -> Attention:
        """Return the attention of one sequence of the batch.

        Raises
        ------
        BadTrace
            If nothing was recorded for it.
        """
        if not 0 <= row < len(self._sequences) or not self._sequences[row].tracker.tokens:
            raise BadTrace(
                f"Nothing was recorded for sequence {row} of {len(self._sequences)}.",
                hint="Run the model inside the recorder; result(row) counts the sequences of a batch from 0.",
            )
        sequence = self._sequences[row]
        tokens = sequence.tracker.tokens
        edges, maps = sequence.bins.result(tokens)
        reaches = {layer: band_extent(squares) for layer, squares in maps.items()}
        numbers = sequence.spill.result() if len(sequence.spill) else {}
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
            keepalive=sequence.spill.folder,
        )
        check_attention(made)
        return made

    def towers(self) -> dict[str, tuple[Tower, ...]]:
        """Return the towers' attention, in the order in which they ran."""
        return {} if self._towers is None else self._towers.result()

    def on_attention(
        self,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        is_causal: bool,
        positions: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        """Summarise the rows of one layer; see `AttentionTap`."""
        del positions
        if layer not in self._modules or not self._sequences:
            return
        if layer not in self._layouts:
            self._layouts[layer] = layout_of(layer, module, query, key)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        for row, sequence in enumerate(self._sequences):
            part = sequence.tracker.token_slice(key.shape[2])
            if not len(part.queries):
                continue
            self._results[layer, row] = self._reduce(
                layer, row, part, query[row], key[row], mask, causal=is_causal, scaling=scaling
            )
        self._values[layer] = value

    def on_output(self, layer: int, output: torch.Tensor) -> None:
        """Compare the last row of each sequence with the layer's own output."""
        value = self._values.pop(layer, None)
        if value is None:
            return
        for row, sequence in enumerate(self._sequences):
            result = self._results.get((layer, row))
            if result is None or result.last is None:
                continue
            part = sequence.tracker.token_slice(value.shape[2])
            own = output[row, int(part.queries[-1])]
            self._output_check.record(
                layer, result.last, part=part, value=value[row], output=own, heads=self._heads()
            )

    def _reduce(
        self,
        layer: int,
        row: int,
        tokens: TokenSlice,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        causal: bool,
        scaling: float,
    ) -> RowResult:
        """Summarise the rows of one sequence in one layer.

        Parameters
        ----------
        row
            The sequence's place in the batch.
        tokens
            Which queries and keys are tokens of the sequence.
        query, key
            ``[heads, queries, dim]`` and ``[kv_heads, keys, dim]``, padding included.
        mask
            ``[batch, 1 or heads, queries, keys]``.
        """
        query, key = tokens.pick(query, queries=True), tokens.pick(key, queries=False)
        own_mask = None if mask is None else tokens.pick_mask(mask[row if mask.shape[0] > 1 else 0])
        visible, biases = self._visible_keys(
            layer, row, tokens, query, key, own_mask, mask_id=id(mask), causal=causal
        )
        if mask is not None:
            self._masks.append(mask)  # kept, so that its id stays its own
        query, key, own_mask = self._select_heads(query, key, own_mask)
        rows = AttentionRows(
            query,
            key,
            scaling=scaling,
            first_query=tokens.first_query,
            first_key=tokens.first_key,
            mask=own_mask,
            biases=biases,
            buffers=self._buffers,
        )
        request = self._sequences[row].row_request(self.request, query.device)
        return rows.compute(request, visible, self._out(layer, row, request, query))

    def _visible_keys(
        self,
        layer: int,
        row: int,
        tokens: TokenSlice,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        mask_id: int,
        causal: bool,
    ) -> tuple[Iterable[VisibleKeys], dict[tuple[int, ...], torch.Tensor]]:
        """Return the blocks of queries and their visible keys, and the biases made from the mask so far.

        Layers share masks, so a mask is analysed once per pass, sequence and block length.
        """
        (heads, queries), keys = query.shape[:2], key.shape[1]
        width = self._sequences[row].bins.width if self.request.pooled else 0
        window, max_size = self._layouts[layer].window, max_block_size(heads)
        length = block_length(window=window, width=width)
        visible = keys if window is None else min(keys, window + length)
        block = shrink_block(length, keys=visible, max_size=max_size)
        lead = tokens.first_query - tokens.first_key
        if mask is None and (causal or queries == 1):
            return causal_blocks(queries, keys, lead=lead, block=length, max_size=max_size), {}
        if mask is None:
            return full_blocks(queries, keys, block=block), {}
        analysed = mask_id, row, block
        if analysed not in self._visible:
            self._visible[analysed] = masked_blocks(mask, lead=lead, block=block), {}
        return self._visible[analysed]

    def _select_heads(
        self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return queries, keys and mask of the recorded heads, with one key-value head per query head."""
        recorded, heads = list(self._heads()), query.shape[0]
        if len(recorded) == heads:
            return query, key, mask
        key = key[[head * key.shape[0] // heads for head in recorded]]
        return query[recorded], key, mask if mask is None or mask.shape[0] == 1 else mask[recorded]

    def _out(self, layer: int, row: int, request: RowRequest, query: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the output arrays of a layer: views of tensors of all layers, which need no later copy."""
        if row not in self._numbers:
            shape = len(self._modules), query.shape[1], query.shape[0]  # [layers, queries, heads]
            self._numbers[row] = request.allocate(shape, query.device)
        index = list(self._modules).index(layer)
        return {name: array[index] for name, array in self._numbers[row].items()}

    def _sequence(self, row: int, rows: int) -> SequenceRecord:
        labels = self._labels[row] if row < len(self._labels) else None
        bins = Bins(limit=self.request.bins, expected=self._expected)
        return SequenceRecord(SequenceTracker(), bins, SpillBuffer(limit=self.spill_bytes // rows), labels)

    def _heads(self) -> tuple[int, ...]:
        counts = {layout.heads for layout in self._layouts.values()}
        if len(counts) > 1:
            raise LabError(
                f"Layers with {sorted(counts)} heads cannot be recorded together.",
                hint="Request layers with equal numbers of heads: AttentionRequest(layers=…).",
            )
        count = counts.pop() if counts else 0
        chosen = tuple(range(count)) if self.request.heads is None else tuple(self.request.heads)
        if not chosen or chosen[0] < 0 or chosen[-1] >= count:
            raise LabError(
                f"heads={list(chosen)} are not all among the model's {count} heads.",
                hint="Heads are numbered from 0.",
            )
        return chosen

    def _forget(self) -> None:
        self._results: dict[tuple[int, int], RowResult] = {}  # by layer and sequence
        self._numbers: dict[int, dict[str, torch.Tensor]] = {}  # by sequence, of all layers
        self._values: dict[int, torch.Tensor] = {}
        self._output_check = OutputCheck()
        self._buffers = BufferPool()
        self._masks: list[torch.Tensor] = []
        #: by mask, sequence and block length: visible keys, and biases
        self._visible: dict[
            tuple[int, int, int], tuple[list[VisibleKeys], dict[tuple[int, ...], torch.Tensor]]
        ] = {}
