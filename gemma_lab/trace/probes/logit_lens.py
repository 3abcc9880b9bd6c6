"""The logit-lens probe: each layer's output under the model's own final norm, head and soft cap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import BadTrace
from ...models.loading.restore import RestoreStack
from ..records.logit_lens import LensKind, LogitLens
from .kv_shared_layers import FullPrefill
from .readout import Readout
from .recorder import Pass
from .top_tokens import top_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers of a block of distributions that is computed at once: 256 MiB in float32.
_BLOCK = 1 << 26


class LogitLensProbe:
    """Record the logit lens: each layer's output at some positions, under the final norm and the output head.

    For use with `Recorder`. One sequence at a time; also at soft tokens of images, in KV-shared layers (which
    then run on every row, see `FullPrefill`), in chunks of a prompt and at every decode step.

    Parameters
    ----------
    positions
        Rows to record.
    onward
        From this row on, every row is recorded. Default: none.
    top
        How many of each layer's most likely tokens to keep.
    targets
        Ids to follow, beside the last layer's own choice.
    name
        Returns the text of an id.
    jacobians
        Mean Jacobians by layer, for a Jacobian lens; layers without one are read as they are.

    Raises
    ------
    LabError
        On attaching, if the model has no final norm or no head.
    BadTrace
        While recording, if the last layer under the norm is not what the model hands to its head.
    """

    def __init__(
        self,
        positions: Collection[int],
        *,
        onward: int | None = None,
        top: int = 5,
        targets: Sequence[int] = (),
        name: Callable[[int], str],
        jacobians: Mapping[int, NDArray[np.floating]] | None = None,
    ) -> None:
        self.positions, self.onward = frozenset(positions), onward
        self.top, self.targets, self.name = top, tuple(targets), name
        self._jacobians = jacobians
        self._read = 0  # rows of complete passes
        self._parts: list[tuple[Any, ...]] = []
        self.layers: tuple[int, ...] = ()
        self.abandon()

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on layers and the final norm; see `Probe`."""
        self._readout = Readout(model, jacobians=self._jacobians)
        layers = self._readout.layers
        self.layers = tuple(range(len(layers)))
        FullPrefill(model).attach(restore)
        for number, layer in enumerate(layers):
            restore.hook(layer, self._keep_output(number))
        restore.hook(self._readout.norm, self._keep_normed)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        if seen.rows > 1:
            raise BadTrace(
                f"The logit lens records one sequence; this batch has {seen.rows}.",
                hint="Trace one at a time.",
            )
        self.abandon()
        self._length = seen.length
        rows = range(seen.length) if seen.real is None else seen.real[0].nonzero().flatten().tolist()
        self._real = len(rows)
        first = self._read
        onward = float("inf") if self.onward is None else self.onward
        wanted = [
            (first + place, row)
            for place, row in enumerate(rows)
            if first + place in self.positions or first + place >= onward
        ]
        self._wanted, self._rows = [row for _, row in wanted], [place for place, _ in wanted]

    def abandon(self) -> None:
        """Discard the current pass; see `Probe`."""
        self._outputs: list[torch.Tensor | None] = [None] * len(self.layers)
        self._final: torch.Tensor | None = None
        self._wanted, self._rows = list[int](), list[int]()

    @torch.no_grad()
    def end(self, seen: Pass) -> None:
        """Apply norm and head to what the layers returned; see `Probe`."""
        del seen
        self._read += self._real
        if self._rows:
            self._check()
            hidden = torch.stack(
                [
                    self._readout.transport(each.to(self._readout.device), layer)
                    for layer, each in enumerate(self._outputs)
                    if each is not None
                ]
            )
            self._parts.append((self._rows, *self._apply_head(hidden)))
        self.abandon()

    @property
    def kind(self) -> LensKind:
        """Which lens is recorded."""
        return "logit" if self._jacobians is None else "jacobian"

    @property
    def reached(self) -> bool:
        """Whether any of the positions was recorded."""
        return bool(self._parts)

    def result(self) -> LogitLens:
        """Return the recorded lens.

        Raises
        ------
        BadTrace
            If none of the positions was recorded.
        """
        if not self._parts:
            raise BadTrace(
                "None of the positions for the lens was read.",
                hint="Request positions below the number of tokens, or generate more.",
            )
        rows = [row for part in self._parts for row in part[0]]
        ids, logprobs, ranks, followed = (
            np.concatenate([part[number] for part in self._parts], axis=1) for number in (1, 2, 3, 4)
        )
        targets = np.concatenate([part[5] for part in self._parts])
        known = np.unique(np.concatenate([ids.reshape(-1), targets.reshape(-1)])).tolist()
        return LogitLens(
            layers=self.layers, positions=np.asarray(rows, dtype=np.int32), ids=ids, logprobs=logprobs,
            target_ids=targets, ranks=ranks, target_logprobs=followed,
            token_texts={index: self.name(index) for index in known},
            kind=self.kind,
        )  # fmt: skip

    def _keep_output(self, number: int) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _args: Any, output: Any) -> None:
            whole = output[0] if isinstance(output, tuple) else output
            # of a KV-shared tail the model's own call comes first, with its last row alone, then every row
            if self._wanted and whole.shape[1] == self._length:
                self._outputs[number] = whole[0, self._wanted].detach()

        return hook

    def _keep_normed(self, _module: torch.nn.Module, _args: Any, output: torch.Tensor) -> None:
        if self._wanted and self._final is None:
            self._final = output[0, -1].detach()

    def _check(self) -> None:
        """Raise `BadTrace` unless every layer was seen, and the last one is what the head was given."""
        missing = [number for number, each in enumerate(self._outputs) if each is None]
        if missing:
            raise BadTrace(
                f"Layer {missing[0]} was read for fewer tokens than the pass has.",
                hint="Something else drops rows; open the recorder without it.",
            )
        last = self._outputs[-1]
        if self._final is None or last is None or self._wanted[-1] != self._length - 1:
            return
        again = self._readout.norm(last[-1:].to(self._final.device))[0].float()
        own = self._final.float()
        slack = 1e-4 if self._final.dtype == torch.float32 else 0.05
        if not torch.allclose(again, own, rtol=slack, atol=slack * float(own.abs().max())):
            raise BadTrace(
                f"The last layer under the final norm is off by {float((again - own).abs().max()):.3g} from "
                "what the model hands to its head.",
                hint="A hook changes what layers return; take it off, or edit with lab.edit().",
            )

    def _apply_head(self, hidden: torch.Tensor) -> tuple[Any, ...]:
        """Return ids, log-probabilities, ranks and targets of ``[layers, rows, hidden]`` outputs."""
        layers, rows, width = hidden.shape
        step = self._block()
        finals = [self._readout.logits(part).argmax(-1) for part in torch.split(hidden[-1], step)]
        targets = torch.cat(finals)[:, None]
        if self.targets:
            asked = torch.tensor(self.targets, device=targets.device).expand(rows, -1)
            targets = torch.cat([targets, asked], dim=1)
        follow = targets.repeat(layers, 1)  # [layers × rows, n]
        found: list[list[torch.Tensor]] = [[], [], [], []]
        flat = hidden.reshape(-1, width)
        for part, ids in zip(torch.split(flat, step), torch.split(follow, step), strict=True):
            logits = self._readout.logits(part).float()
            scale = logits.logsumexp(-1, keepdim=True)
            best, best_ids = top_tokens(logits, min(self.top, logits.shape[-1]))
            chosen = logits.gather(1, ids)
            ranks = torch.stack([(logits > chosen[:, n, None]).sum(-1) for n in range(ids.shape[1])], dim=1)
            for kept, value in zip(found, (best_ids, best - scale, ranks, chosen - scale), strict=True):
                kept.append(value.cpu())
        top_ids, logprobs, orders, followed = (
            torch.cat(each).reshape(layers, rows, -1).numpy() for each in found
        )
        return (
            top_ids.astype(np.int32), logprobs.astype(np.float32), orders.astype(np.int32),
            followed.astype(np.float32), targets.cpu().numpy().astype(np.int32),
        )  # fmt: skip

    def _block(self) -> int:
        return max(1, _BLOCK // self._readout.vocabulary)
