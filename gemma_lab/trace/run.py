"""Running a model with probes on it: what ``Lab.trace`` does."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import __version__
from ..errors import DoesNotFit, LabError
from ..models.chat import chosen_seed, whole_number
from ..models.generation import Generation as Writing
from ..models.generation import out_of_memory
from ..models.messages import conversation, pictures
from ..models.prompt import prepare
from ..models.recorder import Halted
from ..models.sampling import Sampling
from .dispatch import Precision, Routing
from .editing import editing
from .edits import Edit
from .generation import Generation
from .recorder import Recorder
from .routing import RoutingProbe
from .tokens import TokenTable
from .trace import Trace

if TYPE_CHECKING:
    from ..models.lab import Lab
    from ..models.prompt import Prompt
    from ..models.reply import Reply


#: A prompt longer than this is read in pieces: the masks of sliding layers grow with its square.
_WHOLE = 4096
_PIECE = 1024


@dataclass(frozen=True)
class Request:
    """What is traced: a prompt, ready for the model, and how it is to be continued."""

    prompt: Prompt
    generate: int
    sampling: Sampling
    seed: int | None
    alternatives: int
    progress: bool


def trace(
    lab: Lab,
    prompt: str | list[dict[str, Any]],
    *,
    images: Iterable[Any] = (),
    system: str | None = None,
    after: Reply | None = None,
    thinking: bool = False,
    generate: int = 0,
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    alternatives: int = 5,
    precision: Precision = "compact",
    edit: Edit | None = None,
    progress: bool = False,
) -> Trace:
    """Run the model on a prompt and return what it did; see `Lab.trace`."""
    messages = conversation(prompt, images=images, system=system, after=after)
    sampling = Sampling().but(temperature=temperature, top_p=top_p, top_k=top_k)
    request = Request(
        prepare(lab, messages, thinking=thinking),
        whole_number("generate", generate, least=0),
        sampling,
        chosen_seed(seed, sampling) if generate else None,
        whole_number("alternatives", alternatives, least=0),
        progress,
    )
    probe = RoutingProbe(precision=precision)
    recorder = Recorder(lab.model, [probe])
    started = time.perf_counter()
    with editing(lab, edit) as applied:
        reply = None
        if request.generate:
            reply = _continue(lab, request, recorder)
        else:
            _read(lab, request, recorder)
    timings = {"total_s": time.perf_counter() - started}
    if reply is not None:
        timings |= {"prefill_s": reply.timings.prefill_s, "decode_s": reply.timings.decode_s}
    if not recorder.lengths:
        raise LabError("The model was stopped before it had read the prompt.", hint="Trace again.")
    return _trace(
        lab, request, reply, probe.result(), read=recorder.lengths[0], applied=applied, timings=timings
    )


def _continue(lab: Lab, request: Request, recorder: Recorder) -> Reply:
    with _bar(lab, request, total=request.generate) as bar:
        writing = Writing(
            lab, request.prompt, sampling=request.sampling, seed=request.seed,
            max_new_tokens=request.generate, alternatives=request.alternatives, stop=(),
            heard=(lambda tokens: bar.update(len(tokens))) if request.progress else None, around=recorder,
        )  # fmt: skip
        writing.run()
    return writing.reply()


def _read(lab: Lab, request: Request, recorder: Recorder) -> None:
    prompt, total = request.prompt, len(request.prompt.ids)
    with (
        _bar(lab, request, total=total) as bar, lab.lock, _memory(lab, prompt), suppress(Halted), recorder,
        torch.no_grad(),
    ):  # fmt: skip
        if total <= _WHOLE:
            lab.model(**prompt.inputs, use_cache=False, logits_to_keep=1)
            bar.update(total)
            return
        cache, start = None, 0
        for stop in _pieces(prompt):
            given = _piece(prompt.inputs, start, stop)
            done = lab.model(**given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            bar.update(stop - start)
            cache, start = done.past_key_values, stop


def _pieces(prompt: Prompt) -> Iterator[int]:
    """Return where each piece of a long prompt ends; the first one holds all media."""
    kinds = prompt.inputs.get("mm_token_type_ids")
    soft = [] if kinds is None else kinds[0].nonzero().flatten().tolist()
    first = max(_PIECE, soft[-1] + 1 if soft else 0)
    yield from range(first, len(prompt.ids), _PIECE)
    yield len(prompt.ids)


def _piece(inputs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Return the inputs of one piece; the first one brings all media."""
    if start:
        return {"input_ids": inputs["input_ids"][:, start:stop]}
    shape = inputs["input_ids"].shape
    return {name: value[:, :stop] if value.shape == shape else value for name, value in inputs.items()}


@contextmanager
def _memory(lab: Lab, prompt: Prompt) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise DoesNotFit(
            f"Memory ran out on {lab.device} while reading a prompt of {len(prompt.ids):,} tokens.",
            hint="Shorten the prompt, pass fewer pictures, or load a smaller checkpoint.",
        ) from error


def _bar(lab: Lab, request: Request, *, total: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(
        total=total, unit=" tokens", desc=f"trace of {lab.name}", disable=not request.progress, leave=False
    )


def _trace(
    lab: Lab, request: Request, reply: Reply | None, routing: Routing | None, *, read: int, applied: Edit,
    timings: dict[str, float],
) -> Trace:  # fmt: skip
    prompt = request.prompt
    said = [token.id for token in reply.tokens] if reply is not None else []
    seen = tuple(pictures(prompt.messages))
    # The token that was chosen last was never read: it has no routing, and no row.
    ids = (prompt.ids + said)[:read]
    outputs = {
        name: value.cpu().numpy() for name, value in prompt.inputs.items() if name == "image_position_ids"
    }
    table = TokenTable.of(
        ids, processor=lab.processor, prompt_length=min(len(prompt.ids), len(ids)), inputs=outputs,
        images=seen,
    )  # fmt: skip
    return Trace(
        tokens=table,
        routing=routing,
        generation=_generation(reply, request.alternatives),
        meta=_meta(lab, request, seen, applied),
        timings=timings,
        images=seen,
    )


def _generation(reply: Reply | None, alternatives: int) -> Generation | None:
    if reply is None:
        return None
    kept = [token.alternatives[:alternatives] for token in reply.tokens]
    return Generation.of(
        ids=[token.id for token in reply.tokens],
        logprobs=[token.logprob for token in reply.tokens],
        entropy=[token.entropy for token in reply.tokens],
        alternative_ids=[[other.id for other in row] for row in kept],
        alternative_logprobs=[[other.logprob for other in row] for row in kept],
        finish=reply.finish,
        text=reply.text,
    )


def _meta(lab: Lab, request: Request, images: tuple[Any, ...], applied: Edit) -> dict[str, Any]:
    import transformers

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
        "generate": request.generate,
        "prompt": request.prompt.text,
        "messages": [_told(message) for message in request.prompt.messages],
        "media": [_digest(image) for image in images],
        "edit": applied.to_dict() if applied else None,
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


def _digest(image: Any) -> dict[str, Any]:
    pixels = np.asarray(image.convert("RGB"))
    return {
        "kind": "image", "width": image.width, "height": image.height,
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }  # fmt: skip
