"""Train a TopK sparse autoencoder on the residual stream of a model.

The recipe of Gao et al. 2024 (arXiv:2406.04093): TopK activation, decoder rows of norm 1, encoder
initialised as its transpose, an auxiliary loss that makes dead features explain what is left (appendix A.2),
and a learning rate that falls with the square root of the number of features. Inputs are divided by their
mean norm over √width, and the factor is multiplied into the weights afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...checks import real_number, whole_number
from ...errors import BadEdit, DoesNotFit, LabError
from ...models.loading.restore import restores_model
from ...models.loading.weights_digest import weights_digest
from ...models.sparse_autoencoders.sae import MAX_KEPT, MIN_VARIANCE_EXPLAINED, SparseAutoencoder
from ...system.hardware import amount, free_ram
from ...trace.interventions.apply import active_edit
from ...trace.probes.features import ResidualProbe
from .read_prompts import not_counted, prepared, progress_bar, read_with

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.options import PromptOptions
    from ...models.chat.prompt import Prompt
    from ...models.loading.loaded_model import LoadedModel

#: Rows of the residual stream that are kept at once, and bytes that they may take.
_ROWS, _BYTES = 1 << 18, 1 << 30
#: Steps without activation after which a feature is dead, share of the auxiliary loss.
_DEAD_STEPS, _AUXILIARY = 50, 1 / 32
_LEARNING_RATE = 2e-4  # at 16,384 features
_FALLING = 0.8  # fraction of the run after which the learning rate falls to zero


@dataclass
class _Weights:
    """The parameters in training."""

    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    decoder_bias: torch.Tensor

    def all(self) -> list[torch.Tensor]:
        return [self.encoder, self.encoder_bias, self.decoder, self.decoder_bias]


@restores_model
def train_sae(
    model: LoadedModel,
    prompts: Any,
    *,
    layer: int,
    features: int | None = None,
    k: int = 16,
    steps: int = 2000,
    batch_size: int = 512,
    learning_rate: float | None = None,
    seed: int = 0,
    name: str | None = None,
    progress: bool = True,
    **options: Unpack[PromptOptions],
) -> SparseAutoencoder:
    """Train a TopK sparse autoencoder; see `Lab.train_sae`."""
    if active_edit(model.model):
        raise BadEdit("An edit is active; an SAE is trained on the model itself.", hint="Leave its block.")
    layers, width = int(model.text_config.num_hidden_layers), int(model.text_config.hidden_size)
    layer = whole_number("layer", layer, minimum=0, maximum=layers - 1)
    features = whole_number("features", 8 * width if features is None else features, minimum=2)
    k = whole_number("k", k, minimum=1, maximum=min(features, MAX_KEPT))
    steps = whole_number("steps", steps, minimum=1)
    batch_size = whole_number("batch_size", batch_size, minimum=1, maximum=_ROWS)
    seed = whole_number("seed", seed, minimum=0, maximum=2**63 - 1)
    rate = _LEARNING_RATE / math.sqrt(features / 16_384) if learning_rate is None else learning_rate
    rate = real_number("learning_rate", rate, minimum=1e-8, maximum=1.0)
    capacity = _capacity(width, features)
    listed = list(prepared(model, prompts, dict(options), call="train_sae"))
    generator = torch.Generator().manual_seed(seed)
    rows = _Rows(lambda: _stream(model, listed, layer), capacity, generator)
    bar = progress_bar(progress, f"SAE of layer {layer} of {model.name}")
    with bar(total=steps, unit=" steps") as shown:
        weights, scale, report = _train(rows, features, k, steps, batch_size, rate, shown)
    return SparseAutoencoder(
        layer=layer,
        encoder=weights.encoder.detach() * scale,
        encoder_bias=weights.encoder_bias.detach(),
        decoder=weights.decoder.detach() / scale,
        decoder_bias=weights.decoder_bias.detach() / scale,
        activation="topk",
        k=k,
        name=name or f"{model.name}-layer-{layer}-topk-{k}",
        trained_on=model.name,
        base_digest=weights_digest(model.model),
        min_variance_explained=MIN_VARIANCE_EXPLAINED,
        training={
            "prompts": len(listed), "tokens": rows.read, "steps": steps, "batch_size": batch_size,
            "learning_rate": rate, "seed": seed, **report,
        },
    )  # fmt: skip


def _capacity(width: int, features: int) -> int:
    """Return how many rows are kept at once, after checking that training fits into memory."""
    needed, free = 4 * 4 * 2 * width * features, free_ram()  # weights, gradients, Adam's two moments
    capacity = min(_ROWS, max(1, min(_BYTES, (free - needed) // 4) // (4 * width)))
    if needed > free:
        raise DoesNotFit(
            f"Training {features:,} features of width {width:,} takes {amount(needed)}; {amount(free)} are "
            "free.",
            hint="Train fewer features.",
        )
    return capacity


class _Kept(ResidualProbe):
    """Keep the counted rows of a prompt, float32 on the CPU."""

    def __init__(self, layer: int, left_out: set[int]) -> None:
        super().__init__(layer)
        self.left_out, self.rows = left_out, list[torch.Tensor]()

    def take(self, rows: torch.Tensor) -> None:
        kept = [at for at in range(len(rows)) if self.read + at not in self.left_out]
        self.rows.append(rows[kept].float().cpu())


def _stream(model: LoadedModel, prompts: list[Prompt], layer: int) -> Iterator[torch.Tensor]:
    """Return the counted rows of each prompt, ``[tokens, width]``."""
    for prompt in prompts:
        probe = _Kept(layer, not_counted(model, prompt))
        read_with(model, prompt, probe)
        yield torch.cat(probe.rows)


class _Rows:
    """Batches of rows in random order; the model runs again only for what does not fit into the buffer."""

    def __init__(
        self, stream: Callable[[], Iterator[torch.Tensor]], capacity: int, generator: torch.Generator
    ) -> None:
        self._stream, self._capacity, self.generator = stream, capacity, generator
        self._source = stream()
        self.read = 0  # rows that the model has given
        self._complete = False  # whether the buffer holds all rows that there are
        self.buffer = self._filled([])
        if not len(self.buffer):
            raise LabError("None of the prompts has a token that counts.", hint="Pass prompts of text.")

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Return batches of rows without end."""
        while True:
            order = torch.randperm(len(self.buffer), generator=self.generator)
            used = len(order) if self._complete else max(1, len(order) // 2)
            for start in range(0, used, size):
                yield self.buffer[order[start : min(start + size, used)]]
            if not self._complete:
                self.buffer = self._filled([self.buffer[order[used:]]])

    def _filled(self, parts: list[torch.Tensor]) -> torch.Tensor:
        count, first = sum(map(len, parts)), not self.read
        while count < self._capacity:
            rows = next(self._source, None)
            if rows is None:
                self._complete = first
                if first or not count:
                    break
                self._source = self._stream()
                continue
            self.read += len(rows)
            count += len(rows)
            parts.append(rows)
        return torch.cat(parts) if parts else torch.zeros(0, 1)


def _train(
    rows: _Rows, features: int, k: int, steps: int, batch_size: int, rate: float, shown: Any
) -> tuple[_Weights, float, dict[str, Any]]:
    """Return the weights for scaled rows, the scale, and what training reports."""
    width = rows.buffer.shape[1]
    norm = float(rows.buffer.norm(dim=-1).mean())
    scale = math.sqrt(width) / max(norm, 1e-12)
    mean = rows.buffer.mean(dim=0)
    with torch.enable_grad():
        weights = _initial(width, features, mean * scale, rows.generator)
        optimizer = torch.optim.Adam(weights.all(), lr=rate)
        idle = torch.zeros(features, dtype=torch.long)
        lost = total = 0.0
        for step, batch in zip(range(steps), rows.batches(batch_size), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (1 - step / steps) / (1 - _FALLING))
            scaled = batch * scale
            loss, error, active = _loss(weights, scaled, k, idle)
            if not bool(torch.isfinite(loss)):
                raise LabError(f"The loss is not finite at step {step:,}.", hint="Lower learning_rate.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights.all(), 1.0)
            optimizer.step()
            with torch.no_grad():
                weights.decoder /= weights.decoder.norm(dim=-1, keepdim=True).clamp_min(1e-8)
            idle = torch.where(active, 0, idle + 1)
            lost = 0.95 * lost + 0.05 * float(error)
            total = 0.95 * total + 0.05 * float((scaled - mean * scale).square().sum(-1).mean())
            shown.update()
    dead = float((idle > _DEAD_STEPS).float().mean())
    return weights, scale, {"variance_explained": 1 - lost / total if total else None, "dead": dead}


def _initial(width: int, features: int, mean: torch.Tensor, generator: torch.Generator) -> _Weights:
    decoder = torch.randn(features, width, generator=generator)
    decoder /= decoder.norm(dim=-1, keepdim=True)
    weights = _Weights(decoder.T.clone(), torch.zeros(features), decoder, mean.clone())
    for tensor in weights.all():
        tensor.requires_grad_(True)
    return weights


def _loss(
    weights: _Weights, rows: torch.Tensor, k: int, idle: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss, the squared error per row, and which features are active, bool ``[features]``."""
    before = (rows - weights.decoder_bias) @ weights.encoder + weights.encoder_bias
    values, ids = before.relu().topk(k, dim=-1)
    sparse = torch.zeros_like(before).scatter(-1, ids, values)
    rest = rows - weights.decoder_bias - sparse @ weights.decoder
    error = rest.square().sum(-1).mean()
    spread = (rows - rows.mean(dim=0)).square().sum(-1).mean().clamp_min(1e-12).detach()
    loss = error / spread
    dead = idle > _DEAD_STEPS
    if count := min(int(dead.sum()), rows.shape[1] // 2):  # what dead features could explain of the rest
        others, which = before.masked_fill(~dead, -torch.inf).topk(count, dim=-1)
        explained = torch.zeros_like(before).scatter(-1, which, others.relu()) @ weights.decoder
        left = rest.detach()
        missed = (left - explained).square().sum(-1).mean()
        loss = loss + _AUXILIARY * missed / left.square().sum(-1).mean().clamp_min(1e-12)
    return loss, error.detach(), (sparse > 0).any(dim=0).detach()
