"""`survey`: trace a corpus, in this process or on Ray, and resume a run that was stopped."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._version import __version__
from ..checks import whole_number
from ..errors import LabError
from .model_state import MODEL
from .partition import partition_path
from .prompts import PromptSource
from .ray_engine import trace_on_ray
from .ray_worker import make_worker
from .survey import MANIFEST, VERSION, Survey, open_survey
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

    from ..lab import Lab
    from ..remote_lab import RemoteLab

    folder, settings_of_load = _folder(out), _mapping("load", load)
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
    if engine == "ray" and isinstance(model, Lab):
        raise LabError("A loaded model cannot be sent to workers.", hint="Pass its name or folder.")
    if not isinstance(model, Lab | RemoteLab):
        from ..models.loading.resolve import locate

        locate(model)  # a wrong name should not cost the start of a worker
    if isinstance(model, Lab):
        check_options(model, options)  # before anything is written
    _claim(
        folder,
        {
            "version": VERSION,
            "model": _name(model) if isinstance(model, Lab | RemoteLab) else str(model),
            "prompts": len(source),
            "prompts_sha256": source.digest(),
            "partition_size": partition_size,
            "batch_size": batch_size,
            "keep_tokens": keep_tokens,
            "seed": seed,
            "options": {name: repr(value) for name, value in sorted(options.items())},
        },
    )
    for draft in folder.glob(".draft-*"):  # of a run that was killed
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
    numbers = range(-(-len(source) // partition_size))
    left = [number for number in numbers if not partition_path(folder, number).is_dir()]
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


def _folder(out: Any) -> Path:
    """Return the folder of a survey; raise `LabError` if it is no path, or a file."""
    if not isinstance(out, str | Path) or not str(out):
        raise LabError(f"out={out!r:.80} is no folder.", hint="Pass a path; the folder is made.")
    if Path(out).exists() and not Path(out).is_dir():
        raise LabError(f"{out} is a file.", hint="Pass another path for out=; the folder is made.")
    return Path(out)


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise LabError(
            f"{name}={value!r:.80} is no mapping of keywords.", hint='For example load={"dtype": "bfloat16"}.'
        )
    return dict(value or {})


def _name(model: Lab | RemoteLab) -> str:
    """Return what a manifest calls a model: the same model behind another server is another one."""
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


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a new survey, or check that an existing one has the same settings.

    One that has no partition yet is a new one: a wrong option is corrected by the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    if not any(folder.glob("part-*")):
        (folder / MODEL).unlink(missing_ok=True)
    if path.is_file() and any(folder.glob("part-*")):
        known = open_survey(folder).manifest
        differing = sorted(key for key, value in manifest.items() if known.get(key) != value)
        if differing:
            listed = ", ".join(f"{key} {known.get(key)!r:.60}" for key in differing)
            raise LabError(
                f"{folder} holds another survey: {listed}.",
                hint="Choose another folder for out=, or repeat the call that began it.",
            )
        return
    if any(folder.glob("part-*")):
        raise LabError(f"{folder} has partitions and no manifest.", hint="Choose another folder for out=.")
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(
        json.dumps(manifest | {"gemma_lab": __version__, "python": platform.python_version()}, indent=1)
        + "\n",
        encoding="utf-8",
    )
    draft.replace(path)
