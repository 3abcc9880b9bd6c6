"""A clean and a corrupted prompt that align token by token, with the answer, as two recorded runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...checks import short_repr, whole_number
from ...errors import BadPrompt, ContextFull, DoesNotFit, LabError
from ...models.chat.chunked_prefill import MEDIA_INPUTS, media

if TYPE_CHECKING:
    import torch

    from ...models.chat.prompt import Prompt
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from ...models.tokens.table import TokenTable
    from ...trace.run.branch_outputs import BranchOutputs
    from ...trace.run.layer_replay import RecordedRun


@dataclass(frozen=True, eq=False)
class PatchRun:
    """One recorded run over a prompt and the answer's tokens but the last.

    Attributes
    ----------
    run
        The residual stream, and what is needed to run layers again.
    branches
        What heads, attention, dense branch and experts returned.
    """

    run: RecordedRun
    branches: BranchOutputs


@dataclass(frozen=True, eq=False)
class PromptPair:
    """Two prompts of the same length, and the answer whose log-probability is measured.

    Attributes
    ----------
    clean, corrupted
        The prompts as the model reads them, each followed by the answer's tokens but the last.
    answer
        Token ids.
    prompt_tokens
        Length of each prompt alone.
    differing
        The positions at which they differ: in tokens, or in the media behind soft tokens.
    """

    clean: Prompt
    corrupted: Prompt
    answer: tuple[int, ...]
    prompt_tokens: int
    differing: tuple[int, ...]

    @property
    def answer_rows(self) -> slice:
        """The tokens at which the answer is predicted."""
        return slice(self.prompt_tokens - 1, self.prompt_tokens - 1 + len(self.answer))


def make_pair(
    model: LoadedModel, clean: Request, corrupted: Request, answer: Any, answer_tokens: int
) -> PromptPair:
    """Return two requests as an aligned pair.

    Parameters
    ----------
    model
        The model.
    clean, corrupted
        The requests.
    answer
        Text, token ids, or None for the beginning of the model's own greedy answer to the clean one.
    answer_tokens
        Number of tokens of that.

    Raises
    ------
    LabError
        If they do not align, or do not differ.
    ContextFull, DoesNotFit
        If they cannot be read in one pass.
    """
    from ...models.chat.prompt import prepare
    from ...trace.run.assembly import with_answer

    first, second = prepare(model, clean), prepare(model, corrupted)
    _check_aligned(model, first, second)
    differing = _differing(first, second)
    if not differing:
        raise LabError(
            f"The clean and the corrupted prompt are the same {len(first.ids):,} tokens and media.",
            hint="Change what the answer depends on: a fact, a name, a picture.",
        )
    ids = _answer_ids(model, clean, answer, answer_tokens)
    if len(first.ids) + len(ids) > model.context:
        raise ContextFull(
            f"Prompt and answer are {len(first.ids):,} + {len(ids):,} tokens; {model.name} reads "
            f"{model.context:,}.",
            hint="Shorten one of them.",
        )
    pair = PromptPair(
        with_answer(first, [*first.ids, *ids[:-1]]),
        with_answer(second, [*second.ids, *ids[:-1]]),
        ids,
        len(first.ids),
        differing,
    )
    _check_memory(model, pair)
    return pair


def record(
    model: LoadedModel,
    prompt: Prompt,
    *,
    change_embeds: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> PatchRun:
    """Run the model on one prompt of a pair and record everything that cells are made of.

    Hold ``model.lock``.
    """
    from ...models.loading.restore import RestoreStack
    from ...trace.run.branch_outputs import BranchOutputs
    from ...trace.run.layer_replay import record_run

    branches = BranchOutputs(model.model)
    with RestoreStack() as restore:
        branches.attach(restore)
        run = record_run(model.model, prompt.inputs, change_embeds=change_embeds)
    return PatchRun(run, branches)


def tokens_of(model: LoadedModel, prompt: Prompt, prompt_tokens: int) -> TokenTable:
    """Return the table of a prompt of a pair and of the answer's tokens after it."""
    from ...trace.run.assembly import token_table

    return token_table(model, replace(prompt, ids=prompt.ids[:prompt_tokens]), prompt.ids)


def _check_memory(model: LoadedModel, pair: PromptPair) -> None:
    """Raise `DoesNotFit` if one pass over a prompt and three recorded runs take too much memory.

    Prompts that `chat` reads in several chunks are read in one pass here if that fits.
    """
    from ...models.chat.prefill_plan import MEMORY_FRACTION, PrefillMemory, free_memory
    from ...system.hardware import amount

    shape, total, free = model.architecture, len(pair.clean.ids), free_memory(model)
    eager = getattr(model.text_config, "_attn_implementation", "sdpa") == "eager"
    prefill = PrefillMemory.of(shape, value_bytes=model.dtype.itemsize, eager=eager)
    widths = sum(
        4 * shape.hidden + (layer.heads + 2 * layer.kv_heads) * layer.head_dim for layer in shape.layers
    )

    def needed(tokens: int) -> tuple[int, int]:
        """Return the bytes of one pass, with the masks of local layers whole, and of three recorded runs."""
        one_pass = prefill.bytes(tokens, tokens) + prefill.pair * tokens**2
        return one_pass, 3 * tokens * widths * model.dtype.itemsize

    def fits(tokens: int) -> bool:
        one_pass, recorded = needed(tokens)
        return recorded <= free / 2 and one_pass + recorded <= MEMORY_FRACTION * free

    if not fits(total):
        one_pass, recorded = needed(total)
        longest = bisect_left(range(total), True, key=lambda tokens: not fits(tokens)) - 1
        raise DoesNotFit(
            f"A causal map reads {total:,} tokens in one pass, {amount(one_pass)}, and records three runs of "
            f"{model.name}, {amount(recorded)}; {amount(free)} are free.",
            hint=f"Shorten the prompts to some {max(0, longest):,} tokens, answer included."
            if longest > 0
            else "Free memory on the model's device, or load a smaller model.",
        )


def _check_aligned(model: LoadedModel, clean: Prompt, corrupted: Prompt) -> None:
    first, second = len(clean.ids), len(corrupted.ids)
    kinds = [prompt.inputs.get("mm_token_type_ids") for prompt in (clean, corrupted)]
    if first != second:
        place = next(
            (
                place
                for place, (one, two) in enumerate(zip(clean.ids, corrupted.ids, strict=False))
                if one != two
            ),
            min(first, second),
        )
        one, two = (_named(model, prompt.ids, place) for prompt in (clean, corrupted))
        raise BadPrompt(
            f"The clean prompt has {first:,} tokens, the corrupted one {second:,}; they differ from token "
            f"{place:,} on: {one} and {two}.",
            hint="Replace words by words of as many tokens (lab.cost counts them), and pictures by pictures "
            "of the same shape.",
        )
    soft = [[] if each is None else each[0].tolist() for each in kinds]
    if any(soft[0]) != any(soft[1]) or (any(soft[0]) and soft[0] != soft[1]):
        raise BadPrompt(
            f"Both prompts have {first:,} tokens, but their media are at different ones: "
            f"{sum(map(bool, soft[0])):,} and {sum(map(bool, soft[1])):,} soft tokens.",
            hint="Use media of the same kind and shape at the same places.",
        )
    for name in ("image_position_ids", "video_position_ids"):
        grids = [prompt.inputs.get(name) for prompt in (clean, corrupted)]
        if None not in grids and not _equal(*grids):
            shapes = [_shape(grid) for grid in grids]
            raise BadPrompt(
                f"The patches of both prompts' pictures do not align: {shapes[0]} and {shapes[1]}, across × "
                "down.",
                hint="Use pictures of the same shape: crop or scale one of them.",
            )


def _differing(clean: Prompt, corrupted: Prompt) -> tuple[int, ...]:
    """Return where two aligned prompts differ: other tokens, or soft tokens of media that differ."""
    found = {
        place for place, (one, two) in enumerate(zip(clean.ids, corrupted.ids, strict=True)) if one != two
    }
    kinds = clean.inputs.get("mm_token_type_ids")
    if kinds is None or not kinds.any():
        return tuple(sorted(found))
    soft = {place for place, kind in enumerate(kinds[0].tolist()) if kind}
    located = media(clean.inputs)
    for medium in located or ():
        rows = slice(medium.first, medium.after)
        names = [name for name in MEDIA_INPUTS[medium.kind] if name in clean.inputs]
        if all(_equal(clean.inputs[name][rows], corrupted.inputs[name][rows]) for name in names):
            soft -= set(range(medium.start, medium.stop))
    return tuple(sorted(found | soft))


def _equal(one: Any, two: Any) -> bool:
    import torch

    return one.shape == two.shape and torch.equal(one, two)


def _shape(grid: Any) -> str:
    """Return the extent of the last picture of a batch in patches."""
    across, down = (int(each) + 1 for each in grid.reshape(-1, 2).amax(0))
    return f"{across} × {down}"


def _answer_ids(model: LoadedModel, clean: Request, answer: Any, answer_tokens: int) -> tuple[int, ...]:
    from ...models.tokens.vocabulary import Vocabulary

    if answer is None:
        return _own_answer(model, clean, whole_number("answer_tokens", answer_tokens, minimum=1))
    if isinstance(answer, str):
        ids = Vocabulary(model.tokenizer).ids(answer)
    elif isinstance(answer, Iterable) and not isinstance(answer, bytes | Mapping | AbstractSet):
        from ...models.chat.request import token_ids

        ids = token_ids(answer)
    else:
        raise LabError(
            f"answer is {short_repr(answer)}.",
            hint="Pass its text, its token ids, or None for the model's own.",
        )
    if not ids or max(ids) >= model.vocabulary:
        raise LabError(
            f"answer={short_repr(answer)} is {len(ids)} tokens of a vocabulary of {model.vocabulary:,}.",
            hint="Pass its text, its token ids, or None for the model's own.",
        )
    return ids


def _own_answer(model: LoadedModel, clean: Request, count: int) -> tuple[int, ...]:
    """Return the first tokens of the model's greedy answer."""
    from ...models.chat.chat import chat
    from ...models.chat.sampling import Sampling
    from ...models.tokens.vocabulary import Vocabulary

    kept = model.last_reply
    try:
        reply = chat(model, clean.with_options(max_new_tokens=count, sampling=Sampling.greedy(), seed=None))
    finally:
        model.last_reply = kept
    ids = tuple(token.id for token in reply.tokens)
    if not ids:
        raise LabError("The model was stopped before it answered.", hint="Run it again, or pass answer=.")
    opener = Vocabulary(model.tokenizer).find("<|channel>")
    if ids[0] == opener or reply.tokens[0].kind == "thought":  # some prompts end within a thought
        raise LabError(
            "The model begins its answer to the clean prompt with a thought, which does not tell the prompts "
            "apart.",
            hint="Pass what is measured, answer=…, or thinking=False.",
        )
    return ids


def _named(model: LoadedModel, ids: Sequence[int], place: int) -> str:
    from ...models.tokens.vocabulary import Vocabulary

    return repr(Vocabulary(model.tokenizer).name(ids[place])) if place < len(ids) else "its end"
