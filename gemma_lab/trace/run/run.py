"""Running a model with probes on it: what ``Lab.trace`` does."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ..._version import __version__
from ...errors import BadTrace, LabError
from ...interventions.apply import editing, in_force
from ...interventions.edit import Edit
from ...models.chat.chat import chosen_seed, whole_number
from ...models.chat.chunked_prefill import read, up_to
from ...models.chat.generation import Generation as Writing
from ...models.chat.logits_processors import Stopped
from ...models.chat.media_digests import digests
from ...models.chat.messages import conversation
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import frame_limit, prepare
from ...models.chat.sampling import Sampling
from ..probes.logit_lens import LogitLensProbe
from ..probes.recorder import Recorder
from ..probes.routing import RoutingProbe
from ..records.generation import Generation
from ..records.routing import Precision, Routing
from ..tokens.media_positions import Videos
from ..tokens.table import TokenTable
from ..trace import Trace
from .probe_setup import attention_probe, lens_probe

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.chat.reply import Reply
    from ...models.loading.loaded_model import LoadedModel
    from ..probes.attention.probe import AttentionProbe
    from ..records.attention import AttentionRequest
    from ..records.logit_lens import LogitLensRequest


@dataclass(frozen=True)
class Request:
    """What is traced: a prompt, ready for the model, and how it is to be continued."""

    prompt: Prompt
    max_new_tokens: int
    sampling: Sampling
    seed: int | None
    top_logprobs: int
    progress: bool


def trace(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]],
    *,
    images: Iterable[Any] = (),
    video: Any = None,
    audio: Any = None,
    max_soft_tokens: int | None = None,
    system: str | None = None,
    previous: Reply | None = None,
    thinking: bool = False,
    max_new_tokens: int = 0,
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    top_logprobs: int = 5,
    precision: Precision = "compact",
    edit: Edit | None = None,
    attention: bool | AttentionRequest = False,
    logit_lens: bool | Sequence[int] | LogitLensRequest = False,
    progress: bool = False,
) -> Trace:
    """Run the model on a prompt and return what it did; see `Lab.trace`."""
    messages = conversation(
        prompt,
        images=images,
        video=video,
        audio=audio,
        system=system,
        previous=previous,
        frames=frame_limit(lab),
    )
    sampling = Sampling().but(temperature=temperature, top_p=top_p, top_k=top_k)
    request = Request(
        prepare(lab, messages, thinking=thinking, max_soft_tokens=max_soft_tokens),
        whole_number("max_new_tokens", max_new_tokens, least=0),
        sampling,
        chosen_seed(seed, sampling) if max_new_tokens else None,
        whole_number("top_logprobs", top_logprobs, least=0),
        progress,
    )
    if edit is not None:
        edit.check_length(len(request.prompt.ids) + request.max_new_tokens)
    probe = RoutingProbe(precision=precision)
    looks = attention_probe(
        lab, request.prompt, attention, max_new_tokens=request.max_new_tokens, precision=precision
    )
    glass = lens_probe(lab, request.prompt, logit_lens, max_new_tokens=request.max_new_tokens)
    recorder = Recorder(lab.model, [each for each in (probe, looks, glass) if each is not None])
    run = _Run(lab, request, recorder, started=time.perf_counter())
    lab.interrupted_trace = None
    with editing(lab, edit):
        try:
            if request.max_new_tokens:
                run.write()
            else:
                run.read()
        except BadTrace:
            raise  # probes stopped at different places, and what contradicts itself is not kept
        except BaseException:
            if recorder.lengths:  # what whole pieces have read is kept, whatever ended it
                lab.interrupted_trace = _trace(run, probe.result(), looks, glass)
            raise
    if not recorder.lengths:
        raise LabError("The model was stopped before it had read the prompt.", hint="Trace again.")
    return _trace(run, probe.result(), looks, glass)


@dataclass
class _Run:
    """One run of the model under a recorder, and what is known of it besides."""

    lab: LoadedModel
    request: Request
    recorder: Recorder
    started: float
    reply: Reply | None = None
    pieces: tuple[int, ...] = ()
    applied: Edit = field(default_factory=Edit)
    timings: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> None:
        """Note what is in force, once the lab is ours: another thread may have edited it meanwhile."""
        self.applied = in_force(self.lab.model)
        self.recorder.__enter__()

    def __exit__(self, *raised: Any) -> None:  # noqa: PYI036
        self.recorder.__exit__(*raised)
        self.timings["total_s"] = time.perf_counter() - self.started

    def write(self) -> None:
        """Let the model read the prompt and go on with it."""
        request, prompt = self.request, self.request.prompt
        with self._bar(total=len(prompt.ids) + request.max_new_tokens) as bar:

            def heard(tokens: list[Any]) -> None:
                bar.update(max(0, len(prompt.ids) - bar.n) + len(tokens))

            writing = Writing(
                self.lab, prompt, sampling=request.sampling, seed=request.seed,
                max_new_tokens=request.max_new_tokens, top_logprobs=request.top_logprobs, stop=(),
                heard=heard if request.progress else None, told=bar.update, around=self,
            )  # fmt: skip
            try:
                writing.run()
            finally:
                self.pieces = writing.pieces
                self.reply = reply = writing.reply()
                self.timings |= {"prefill_s": reply.timings.prefill_s, "decode_s": reply.timings.decode_s}

    def read(self) -> None:
        """Let the model read the prompt."""
        prompt = self.request.prompt
        with (
            self._bar(total=len(prompt.ids)) as bar, self.lab.lock,
            raise_on_out_of_memory(self.lab.device, self._so_far), suppress(Stopped), self,
        ):  # fmt: skip
            self.pieces = plan(self.lab, prompt).stops
            read(self.lab, prompt, self.pieces, told=bar.update)

    def _so_far(self) -> str:
        done = self.recorder.lengths[0] if self.recorder.lengths else 0
        return f"after {done:,} of {len(self.request.prompt.ids):,} tokens"

    def _bar(self, *, total: int) -> Any:
        from tqdm.auto import tqdm

        return tqdm(
            total=total, unit=" tokens", desc=f"trace of {self.lab.name}", leave=False,
            disable=not self.request.progress,
        )  # fmt: skip


def _trace(
    run: _Run, routing: Routing | None, looks: AttentionProbe | None, glass: LogitLensProbe | None
) -> Trace:
    """Return the trace of what a run read; of an interrupted one, as if the prompt had ended there."""
    lab, request, read = run.lab, run.request, run.recorder.lengths[0]
    prompt = up_to(request.prompt, read)
    reply = run.reply if read >= len(request.prompt.ids) else None
    said = [token.id for token in reply.tokens] if reply is not None else []
    # The token that was chosen last was never read: it has no routing, and no row.
    ids = (prompt.ids + said)[:read]
    table = TokenTable.of(
        ids, processor=lab.processor, prompt_length=len(prompt.ids), inputs=_outputs(prompt),
        images=prompt.images, videos=_videos(prompt),
    )  # fmt: skip
    return Trace(
        tokens=table,
        routing=routing,
        generation=_generation(reply, request.top_logprobs),
        meta=_meta(run, prompt),
        timings=run.timings,
        images=prompt.images,
        attention=None if looks is None else looks.result(),
        logit_lens=None if glass is None or not glass.reached else glass.result(),
    )


def _outputs(prompt: Prompt) -> dict[str, Any]:
    """Return what the processor says of where media lie, as arrays."""
    named = ("image_position_ids", "video_position_ids", "input_features")
    outputs = {name: prompt.inputs[name].float().cpu().numpy() for name in named if name in prompt.inputs}
    grid = outputs.get("video_position_ids")
    if grid is not None:  # before 5.19, transformers keeps an axis of videos
        outputs["video_position_ids"] = grid.reshape(-1, *grid.shape[-2:])
    return {name: value if name == "input_features" else value.astype(int) for name, value in outputs.items()}


def _videos(prompt: Prompt) -> Videos | None:
    if not prompt.videos:
        return None
    return Videos(
        frames=[len(video.frames) for video in prompt.videos],
        sizes=[video.size for video in prompt.videos],
        seconds=[video.times for video in prompt.videos],
    )


def _generation(reply: Reply | None, top_logprobs: int) -> Generation | None:
    if reply is None:
        return None
    kept = [token.top_logprobs[:top_logprobs] for token in reply.tokens]
    return Generation.of(
        ids=[token.id for token in reply.tokens],
        logprobs=[token.logprob for token in reply.tokens],
        entropy=[token.entropy for token in reply.tokens],
        alternative_ids=[[other.id for other in row] for row in kept],
        alternative_logprobs=[[other.logprob for other in row] for row in kept],
        finish_reason=reply.finish_reason,
        text=reply.text,
    )


def _meta(run: _Run, prompt: Prompt) -> dict[str, Any]:
    import transformers

    lab, request, read = run.lab, run.request, run.recorder.lengths[0]
    text = lab.text_config
    experts = getattr(text, "num_experts", None) if getattr(text, "enable_moe_block", False) else None
    return {
        "model": lab.name,
        "spec": {
            "model_type": lab.config.model_type, "layers": int(text.num_hidden_layers),
            "layer_types": list(text.layer_types), "hidden": int(text.hidden_size),
            "experts": experts, "top_k": int(text.top_k_experts) if experts else None,
        },
        "versions": {
            "gemma_lab": __version__, "torch": str(torch.__version__),
            "transformers": transformers.__version__, "python": platform.python_version(),
        },
        "dtype": str(lab.dtype).removeprefix("torch."),
        "device": str(lab.device),
        "experts_implementation": getattr(text, "_experts_implementation", None) if experts else None,
        "seed": request.seed,
        "sampling": request.sampling.to_dict(),
        "max_new_tokens": request.max_new_tokens,
        "prompt": request.prompt.text,
        "messages": [_told(message) for message in request.prompt.messages],
        "media": digests(prompt),
        "max_soft_tokens": request.prompt.max_soft_tokens,
        "edit": run.applied.to_dict() if run.applied else None,
        "reading": {
            "tokens": len(request.prompt.ids), "read": min(read, len(request.prompt.ids)),
            "pieces": len(run.pieces) or 1, "complete": read >= len(request.prompt.ids),
        },
    }  # fmt: skip


def _told(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without its media: a picture's part says only that there is one."""
    content = message["content"]
    if isinstance(content, list):
        content = [
            {"type": "text", "text": part["text"]} if part["type"] == "text" else {"type": part["type"]}
            for part in content
        ]
    return {"role": message["role"], "content": content}
