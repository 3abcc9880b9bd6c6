"""`survey`: trace a corpus, in this process or on Ray, and resume a run that was stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..checks import whole_number
from ..errors import LabError
from .prompts import PromptSource
from .ray_engine import trace_on_ray
from .ray_worker import make_worker
from .survey import VERSION, Survey, open_survey
from .survey_folder import as_folder, claim, partitions_left
from .worker import check_options

if TYPE_CHECKING:
    from ..lab import Lab
    from ..remote_lab import RemoteLab


def survey(
    prompts: Any,
    model: Lab | RemoteLab | str | Path,
    *,
    out: str | Path,
    engine: Literal["local", "ray"] = "local",
    workers: int = 2,
    partition_size: int = 64,
    batch_size: int = 1,
    keep_tokens: bool = True,
    seed: int = 0,
    progress: bool = True,
    load: dict[str, Any] | None = None,
    **options: Any,
) -> Survey:
    """Trace a corpus into partitioned Parquet.

    A survey that was killed at any moment is resumed by the same call: partitions are written atomically, and
    the result equals that of an uninterrupted run, byte for byte. A prompt that fails has its error in its
    row.

    Parameters
    ----------
    prompts
        See `gemma_lab.surveys.prompts.PromptSource`.
    model
        A loaded model (engine ``"local"``); a name, hub id or folder that every worker loads for itself; or a
        model behind a server (`gemma_lab.connect`), whose experts are recorded if the server reports them:
        ids without weights.
    out
        Folder of the survey; made if it is not there.
    engine
        ``"local"`` traces in this process, ``"ray"`` through Ray Data with one actor per model replica: on
        the cluster that ``ray.init`` or ``RAY_ADDRESS`` connects to, which needs `out` on a shared disk, else
        on this machine. GPUs are divided among the actors; without one, an actor computes in one thread. Both
        engines write the same bytes where they compute with as many threads.
    workers
        Actors on Ray; requests at once to a server, with either engine.
    partition_size
        Prompts per partition: what is lost when a worker is killed, and what an analysis holds in memory.
    batch_size
        Prompts per forward pass, padded on the right: what a GPU needs to be used. Text prompts without an
        answer and without the logit lens are batched, others are traced one by one. The default is exact:
        every prompt as `Lab.trace` traces it. Larger batches differ by rounding
        (`gemma_lab.trace.run.batch`).
    keep_tokens
        Write every token with its routing, 28 bytes per token and layer before compression; otherwise only
        the rows and the mergeable summaries.
    seed
        Of sampling, for ``temperature`` above 0.
    progress
        Show a bar with rate and time left.
    load
        Keywords of `gemma_lab.load` for the workers.
    **options
        Of `gemma_lab.Lab.trace`: ``max_new_tokens``, ``temperature``, ``attention``, ``logit_lens``, …; of
        `gemma_lab.RemoteLab.trace` for a server, which has the last two not.

    Returns
    -------
    Survey

    Raises
    ------
    LabError
        If the folder holds a survey of other prompts, another model or other options.
    MissingExtra
        For ``"ray"`` without Ray.
    """
    from tqdm.auto import tqdm

    from ..remote_lab import RemoteLab

    folder, settings_of_load = as_folder(out), _mapping("load", load)
    source = PromptSource(prompts)
    source.check()
    partition_size = whole_number("partition_size", partition_size, minimum=1)
    workers = whole_number("workers", workers, minimum=1)
    batch_size = whole_number("batch_size", batch_size, minimum=1)
    seed = whole_number("seed", seed, minimum=0)
    if not isinstance(keep_tokens, bool):
        raise LabError(f"keep_tokens={keep_tokens!r:.40} is not True or False.")
    if engine not in ("local", "ray"):
        raise LabError(f"engine={engine!r} is no engine.", hint="engine='local' or engine='ray'.")
    _check_model(model, engine, options)  # before a worker starts or anything is written
    claim(
        folder,
        {
            "version": VERSION,
            "model": _name(model),
            "prompts": len(source),
            "prompts_sha256": source.digest(),
            "partition_size": partition_size,
            "batch_size": batch_size,
            "keep_tokens": keep_tokens,
            "seed": seed,
            "options": {name: repr(value) for name, value in sorted(options.items())},
        },
    )
    left = partitions_left(folder, prompts=len(source), size=partition_size)
    settings = {
        "source": source,
        "model": model,
        "folder": folder,
        "partition_size": partition_size,
        "options": options,
        "seed": seed,
        "keep_tokens": keep_tokens,
        "batch_size": batch_size,
        "load": settings_of_load,
        "served": isinstance(model, RemoteLab),
        "concurrent": workers if engine == "local" else 1,
    }
    done = len(source) - sum(min(partition_size, len(source) - number * partition_size) for number in left)
    with tqdm(total=len(source), initial=done, unit=" prompts", disable=not progress, desc="survey") as bar:
        for count in _run(left, settings, engine, workers):
            bar.update(count)
    return open_survey(folder)


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise LabError(
            f"{name}={value!r:.80} is no mapping of keywords.", hint='For example load={"dtype": "bfloat16"}.'
        )
    return dict(value or {})


def _check_model(model: Any, engine: str, options: dict[str, Any]) -> None:
    """Raise `LabError` if a model cannot be traced this way."""
    from ..lab import Lab
    from ..remote_lab import RemoteLab

    if isinstance(model, Lab):
        if engine == "ray":
            raise LabError("A loaded model cannot be sent to workers.", hint="Pass its name or folder.")
        check_options(model, options)
    elif model is None:
        raise LabError("A survey needs a model, not None.", hint='gl.survey(prompts, "mini-moe", out=…)')
    elif not isinstance(model, RemoteLab):
        from ..models.loading.resolve import locate

        locate(model)


def _name(model: Lab | RemoteLab | str | Path) -> str:
    """Return what a manifest calls a model: the same model behind another server is another one."""
    if isinstance(model, str | Path):
        return str(model)
    connection = getattr(model, "connection", None)
    return model.name if connection is None else f"{model.name} at {connection.base}"


def _run(left: list[int], settings: dict[str, Any], engine: str, workers: int) -> Iterator[int]:
    if not left:
        return
    if engine == "local":
        worker = make_worker(**settings)
        for number in left:
            yield worker.trace_partition(number)
        return
    yield from trace_on_ray(left, settings, workers)
