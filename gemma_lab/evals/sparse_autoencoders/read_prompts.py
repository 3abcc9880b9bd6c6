"""Read prompts one after the other with a probe on the model, without making traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import LabError
from ...models.chat.chunked_prefill import read
from ...models.chat.logits_processors import check_finite
from ...models.chat.options import PromptOptions, check_keywords
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import prepare
from ...models.chat.request_builder import build_request
from ...models.loading.restore import RestoreStack
from ...trace.probes.recorder import Recorder
from ...trace.run.probe_setup import not_counted

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.probes.features import ResidualProbe

_EXAMPLE = 'For example ["What is 7 times 8?", "Write a haiku."].'


def prepared(model: LoadedModel, prompts: Any, options: dict[str, Any], *, call: str) -> Iterator[Prompt]:
    """Return prompts as the model reads them; none is run.

    Parameters
    ----------
    model
        The model.
    prompts
        Several prompts, each as for `Lab.chat`.
    options
        As for `Lab.chat`, the same for all.
    call
        The method that was called, for errors.

    Raises
    ------
    LabError
        If it is a single text or message, a mapping, or holds none.
    """
    check_keywords(call, options, PromptOptions)
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable):
        raise LabError(f"{call} takes several prompts, not {short_repr(prompts)}.", hint=_EXAMPLE)
    listed = list(prompts)
    if not listed:
        raise LabError(f"{call} was given no prompt.", hint=_EXAMPLE)
    for prompt in listed:
        request = build_request(model, prompt, options, max_new_tokens=0)
        yield prepare(model, request.with_options(max_new_tokens=0))


def read_with(model: LoadedModel, prompt: Prompt, probe: ResidualProbe) -> None:
    """Run the model on a prompt with a probe, in chunks as `Lab.trace` does, and remove the probe."""
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: "of a prompt"):
        restore.hold(model.lock)
        restore.enter_context(Recorder(model.model, [probe]))
        output = read(model, prompt, plan(model, prompt).stops)
        check_finite(output.logits[0, -1], len(prompt.ids) - 1)


def progress_bar(shown: bool, what: str) -> Callable[..., Any]:
    """Return a function that makes a progress bar, hidden unless `shown`."""
    from tqdm.auto import tqdm

    return lambda **options: tqdm(desc=what, leave=False, disable=not shown, **options)


__all__ = ["not_counted", "prepared", "progress_bar", "read_with"]
