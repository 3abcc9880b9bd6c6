"""Compute a causal map; `Lab.causal_map` calls `causal_map`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from ...checks import short_repr, whole_number
from ...errors import LabError
from ...models.chat.options import PromptOptions, check_keywords
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.request_builder import build_request
from ...models.loading.restore import RestoreStack, restores_model
from ...models.loading.weights_digest import weights_digest
from ...trace.interventions.apply import active_edit
from ...trace.run.layer_replay import LayerReplay
from .causal_map import CausalMap
from .cells import (
    BY_SPAN,
    PARTS,
    SITES,
    Cell,
    CellValues,
    Part,
    Span,
    as_parts,
    as_positions,
    as_spans,
    cells_of,
    random_directions,
)
from .controls import ControlPrompts, given_control
from .gradient import estimate_cells, gradients_at
from .grid import CausalGrid
from .map_records import Patching
from .pair import PatchRun, PromptPair, make_pair, record, tokens_of
from .patching import evaluate_cells

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.prompt import Prompt
    from ...models.chat.request import Request
    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.interventions.edit import Edit

Method = Literal["exact", "gradient"]
_OPTIONS = (
    "clean", "corrupted", "answer", "answer_tokens", "patching", "parts", "spans", "positions", "method",
    "controls", "seed", "batch_size", "progress",
)  # fmt: skip


@restores_model
def causal_map(
    model: LoadedModel,
    clean: PromptLike,
    corrupted: PromptLike,
    *,
    answer: str | Sequence[int] | None = None,
    answer_tokens: int = 1,
    patching: Patching = "denoising",
    parts: Part | Literal["all"] | Sequence[Part] = "residual",
    spans: int | Sequence[Span] | None = None,
    positions: Sequence[int] | None = None,
    method: Method = "exact",
    controls: int | Iterable[PromptLike] = 19,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    **options: Unpack[PromptOptions],
) -> CausalMap:
    """Patch parts of one run into another and measure the answer; see `Lab.causal_map`."""
    check_keywords("causal_map", options, PromptOptions, also=_OPTIONS)
    _check(patching, Patching, "patching")
    _check(method, Method, "method")
    edit = _usable_edit(active_edit(model.model), method)
    first, second = (
        build_request(model, prompt, options, max_new_tokens=0).with_options(max_new_tokens=0)
        for prompt in (clean, corrupted)
    )
    pair = make_pair(model, first, second, answer, answer_tokens)
    count, given = _controls(model, controls, options, pair)
    job = _Job(
        model=model,
        requests=(first, second),
        pair=pair,
        patching=patching,
        method=method,
        parts=parts,
        spans=as_spans(spans, len(pair.clean.ids)),
        positions=as_positions(positions, len(pair.clean.ids)),
        draws=count,
        given=given,
        random=np.random.default_rng(whole_number("seed", seed, minimum=0)),
        batch_size=None if batch_size is None else whole_number("batch_size", batch_size, minimum=1),
        progress=progress,
        edit=edit,
    )
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: "while a map was computed"):
        restore.hold(model.lock)
        return job.run()


@dataclass
class _Job:
    """One causal map in the making: results are kept as they come."""

    model: LoadedModel
    requests: tuple[Request, Request]
    pair: PromptPair
    patching: Patching
    method: Method
    parts: Any
    spans: tuple[Span, ...]
    positions: tuple[int, ...]
    draws: int
    given: Sequence[Prompt]
    random: np.random.Generator
    batch_size: int | None
    progress: bool
    edit: Edit

    def run(self) -> CausalMap:
        """Record both runs, then patch all cells: first from the other run, then from every control."""
        pair, model = self.pair, self.model
        runs = [record(model, prompt) for prompt in (pair.clean, pair.corrupted)]
        base, source = runs[::-1] if self.patching == "denoising" else runs
        self.replay = LayerReplay(model.model, base.run)
        self.parts = as_parts(self.parts, _available(base))
        logprobs = [self._logprob(each) for each in runs]
        self.base_logprob = logprobs[runs.index(base)]
        self._lay_out(base, source)
        result = self._result(*logprobs)
        model.last_causal_map = result
        values = CellValues(base, source)
        with self._bar(total=len(self.cells) * (1 + self.draws)) as bar:
            self._measure(values, values.of, self.effects, bar)
            for draw in range(self.draws):
                controls = {part: array[draw] for part, array in self.controls.items()}
                if self.patching == "noising" and not self.given:
                    write = partial(random_directions, values, random=self.random)
                    self._measure(values, write, controls, bar)
                else:
                    control = CellValues(base, self._control(draw))
                    self._measure(control, control.of, controls, bar)
        return result

    def _lay_out(self, base: PatchRun, source: PatchRun) -> None:
        """Make the cells, and arrays for their effects."""
        self.cells: list[Cell] = []
        self.layers: dict[Part, tuple[int, ...]] = {}
        self.effects: dict[Part, Any] = {}
        self.controls: dict[Part, Any] = {}
        for part in self.parts:
            layers, columns, cells = cells_of(part, base, source, spans=self.spans, positions=self.positions)
            self.layers[part] = layers
            self.effects[part] = np.full((len(layers), columns), np.nan)
            self.controls[part] = np.full((self.draws, len(layers), columns), np.nan)
            self.cells += cells

    def _measure(
        self,
        values: CellValues,
        write: Callable[[Cell], torch.Tensor],
        effects: dict[Part, Any],
        bar: Any,
    ) -> None:
        """Fill in the effects of all cells; those that change nothing have none, and are not run."""

        def keep(cell: Cell, effect: float) -> None:
            effects[cell.part][self.layers[cell.part].index(cell.layer), cell.column] = effect
            bar.update()

        changing = []
        # what precedes the first difference is the same in both runs, but for rounding
        first = 0 if self.given else self.replay.first_affected(self.pair.differing[0])
        last, rows = len(self.replay.run.calls) - 1, self.pair.answer_rows
        for cell in self.cells:
            changed = values.changed(cell, first)
            if cell.part == "residual" and cell.layer == last and cell.positions[-1] < rows.start:
                changed = None  # nothing reads it
            if changed is None:
                keep(cell, 0.0)
            else:
                changing.append(changed)
        answer = self.pair.answer
        if self.method == "gradient":
            if not hasattr(self, "gradients"):
                sites = list(dict.fromkeys(SITES[part] for part in self.parts))
                self.gradients = gradients_at(self.replay, sites, answer=answer, rows=rows)
            estimate_cells(changing, write, values.before, self.gradients, on_cell=keep)
            return
        evaluate_cells(
            self.model, self.replay, changing, write, answer=answer, rows=rows, batch_size=self.batch_size,
            on_cell=lambda cell, logprob: keep(cell, logprob - self.base_logprob),
        )  # fmt: skip

    def _control(self, draw: int) -> PatchRun:
        if self.given:
            return record(self.model, self.given[draw])
        if not hasattr(self, "prompts"):
            self.prompts = ControlPrompts(self.model, self.pair, self.random)
        prompt, change_embeds = self.prompts.draw()
        return record(self.model, prompt, change_embeds=change_embeds)

    def _logprob(self, run: PatchRun) -> float:
        hidden = run.run.output[:, self.pair.answer_rows]
        with torch.no_grad():
            return float(self.replay.logprobs(hidden, self.pair.answer).sum())

    def _result(self, clean: float, corrupted: float) -> CausalMap:
        """Return the map, whose arrays are filled in as results come."""
        pair = self.pair
        tokens = [
            tokens_of(self.model, prompt, pair.prompt_tokens) for prompt in (pair.clean, pair.corrupted)
        ]
        return CausalMap(
            model=self.model.name,
            patching=self.patching,
            method=self.method,
            prompts=(self.requests[0].to_meta(), self.requests[1].to_meta()),
            clean_tokens=tokens[0],
            corrupted_tokens=tokens[1],
            answer=pair.answer,
            answer_text=str(self.model.tokenizer.decode(list(pair.answer))),
            clean_logprob=clean,
            corrupted_logprob=corrupted,
            spans=self.spans,
            differing=pair.differing,
            positions=self.positions,
            grids={
                part: CausalGrid(
                    part, self.layers[part], self.effects[part], self.controls[part], self._readout(part)
                )
                for part in self.parts
            },
            weights=weights_digest(self.model.model),
            adapter=dict(self.model.adapter) if self.model.adapter else None,
            active_edit=self.edit,
            media=tuple(medium for request in self.requests for _, medium in request.media),
        )

    def _readout(self, part: Part) -> Any:
        """Return which columns hold a token at which the answer is predicted."""
        columns = self.effects[part].shape[1]
        if part not in BY_SPAN:
            return np.zeros(columns, dtype=bool)
        return np.asarray([stop >= self.pair.prompt_tokens for _, stop in self.spans])

    def _bar(self, *, total: int) -> AbstractContextManager[Any]:
        from tqdm.auto import tqdm

        bar: AbstractContextManager[Any] = tqdm(
            total=total, unit=" cells", desc=f"causal map of {self.model.name}", leave=False,
            disable=not self.progress,
        )  # fmt: skip
        return bar


def _available(run: PatchRun) -> tuple[Part, ...]:
    """Return the parts that the model has."""
    have = {site for site, layers in run.branches.outputs.items() if layers} | {"residual"}
    units = {"head": bool(run.branches.head_counts), "expert": bool(run.branches.expert_calls)}
    return tuple(part for part in PARTS if SITES[part] in have and units.get(part, True))


def _usable_edit(edit: Edit, method: Method) -> Edit:
    """Return the active edit.

    Raises
    ------
    LabError
        If it is bound to positions, which layers that are run again from a later token on do not have; or for
        a gradient, if it is of experts: gradients do not flow through an edited router.
    """
    bound = [kind for kind in ("knock_out_attention", "patch", "steer") if getattr(edit, kind)]
    if bound:
        raise LabError(
            f"An edit with {bound[0]} is active; a causal map can be made under edits of experts and heads "
            "alone.",
            hint="Leave its `with` block first. What it does to an answer say lab.next_token(prompt) in the "
            "block and outside, and gl.evals.dose_curve for steering.",
        )
    if method == "gradient" and (edit.ablate_experts or edit.boost_experts or edit.force_experts):
        raise LabError(
            "An edit of experts is active, and gradients do not flow through an edited router.",
            hint='Leave its `with` block first, or use method="exact".',
        )
    return edit


def _controls(model: LoadedModel, controls: Any, options: Any, pair: PromptPair) -> tuple[int, list[Prompt]]:
    """Return the number of controls, and those that were given; none if they are to be drawn.

    All are prepared here, so that one that does not fit the pair is refused before the map is computed.
    """
    if not isinstance(controls, Iterable):
        return whole_number("controls", controls, minimum=0), []
    if isinstance(controls, str | bytes | Mapping):
        raise LabError(
            f"controls is {short_repr(controls)}.", hint="Pass their number, or a list of prompts as long."
        )
    requests = (build_request(model, each, options, max_new_tokens=0) for each in controls)
    given = [given_control(model, pair, request, number) for number, request in enumerate(requests)]
    return len(given), given


def _check(value: Any, kind: Any, name: str) -> None:
    if not isinstance(value, str) or value not in get_args(kind):
        raise LabError(
            f"There is no {name} {short_repr(value)}.",
            hint="It is " + " or ".join(f'"{each}"' for each in get_args(kind)) + ".",
        )
