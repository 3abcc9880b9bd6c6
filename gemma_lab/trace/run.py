"""Running a model with probes on it: what ``Lab.trace`` does."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import DoesNotFit
from ..models.chat import chosen_seed, whole_number
from ..models.generation import Generation as Writing
from ..models.generation import out_of_memory
from ..models.messages import conversation, pictures
from ..models.prompt import prepare
from ..models.sampling import Sampling
from .dispatch import Precision
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


@dataclass(frozen=True)
class Request:
    """What is traced: a prompt, ready for the model, and how it is to be continued."""

    prompt: Prompt
    generate: int
    sampling: Sampling
    seed: int | None
    alternatives: int


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
) -> Trace:
    """Run the model on a prompt and return what it did; see `Lab.trace`."""
    from .editing import Editing

    messages = conversation(prompt, images=images, system=system, after=after)
    sampling = Sampling().but(temperature=temperature, top_p=top_p, top_k=top_k)
    request = Request(
        prepare(lab, messages, thinking=thinking),
        whole_number("generate", generate, least=0),
        sampling,
        chosen_seed(seed, sampling) if generate else None,
        whole_number("alternatives", alternatives, least=0),
    )
    probe = RoutingProbe(precision=precision)
    started = time.perf_counter()
    with Editing(lab, edit or Edit()) as editing, Recorder(lab.model, [probe]) as recorder:
        reply = _continue(lab, request) if request.generate else _read(lab, request.prompt)
        applied = editing.applied
    spent = time.perf_counter() - started
    return _trace(lab, request, reply, probe, recorder, applied, spent)


def _continue(lab: Lab, request: Request) -> Reply:
    writing = Writing(
        lab, request.prompt, sampling=request.sampling, seed=request.seed,
        max_new_tokens=request.generate, alternatives=request.alternatives, stop=(),
    )  # fmt: skip
    writing.run()
    return writing.reply()


def _read(lab: Lab, prompt: Prompt) -> None:
    with lab.lock, _memory(lab, prompt), torch.no_grad():
        lab.model(**prompt.inputs, use_cache=False, logits_to_keep=1)


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


def _trace(
    lab: Lab, request: Request, reply: Reply | None, probe: RoutingProbe, recorder: Recorder,
    applied: Edit, spent: float,
) -> Trace:  # fmt: skip
    prompt = request.prompt
    said = [token.id for token in reply.tokens] if reply is not None else []
    seen = tuple(pictures(prompt.messages))
    # The last token that was chosen was never read: it has no routing, and no row.
    ids = (prompt.ids + said)[: recorder.lengths[0]]
    outputs = {
        name: value.cpu().numpy() for name, value in prompt.inputs.items() if name == "image_position_ids"
    }
    table = TokenTable.of(
        ids, processor=lab.processor, prompt_length=min(len(prompt.ids), len(ids)), inputs=outputs,
        images=seen,
    )  # fmt: skip
    return Trace(
        tokens=table,
        routing=probe.result(),
        generation=_generation(reply, request.alternatives),
        meta=_meta(lab, request, seen, applied),
        timings={"total_s": spent},
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
            "gemma_lab": _version(), "torch": str(torch.__version__),
            "transformers": transformers.__version__, "python": platform.python_version(),
        },
        "dtype": str(lab.dtype).removeprefix("torch."),
        "seed": request.seed,
        "sampling": {
            "temperature": request.sampling.temperature, "top_p": request.sampling.top_p,
            "top_k": request.sampling.top_k,
        },
        "generate": request.generate,
        "prompt": request.prompt.text,
        "messages": [_told(message) for message in request.prompt.messages],
        "media": [_digest(image) for image in images],
        "edit": applied.to_dict() or None,
    }  # fmt: skip


def _version() -> str:
    from .. import __version__

    return __version__


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
