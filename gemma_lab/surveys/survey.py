"""A survey that was made: its rows, tokens and summaries, analysed one partition at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.attention.head_summary import HeadSummary
from ..analysis.experts.coactivation import Coactivation, expected_pairs
from ..analysis.experts.load import ExpertLoad
from ..checks import as_path, whole_number
from ..display import Displayed
from ..errors import LabError, NotTraced
from .partition import HEADS, PROMPTS, SUMMARY, TOKENS, label_column
from .summary import MAX_VALUES, RoutingSummary

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from ..analysis.experts.specialisation import Specialisation

MANIFEST, VERSION = "survey.json", 1


@dataclass(frozen=True)
class Survey(Displayed):
    """A survey on disk.

    Attributes
    ----------
    folder
        Where it is.
    manifest
        What was asked: model, options, number and digest of prompts.
    """

    folder: Path
    manifest: dict[str, Any]

    def __repr__(self) -> str:
        done = len(self.partitions)
        size, prompts = self.manifest["partition_size"], self.manifest["prompts"]
        needed = -(-prompts // size)
        state = "complete" if done == needed else f"{done} of {needed} partitions"
        return f"Survey({self.manifest['model']}: {prompts:,} prompts, {state})"

    @property
    def partitions(self) -> list[Path]:
        """Folders of the complete partitions, in order."""
        return sorted(self.folder.glob("part-*"))

    @property
    def complete(self) -> bool:
        """Whether no prompt is left."""
        return bool(len(self.partitions) == -(-self.manifest["prompts"] // self.manifest["partition_size"]))

    def dataset(self, table: str = "prompts") -> ds.Dataset:
        """Return a pyarrow dataset over all partitions, read lazily; DuckDB reads it as it is.

        Parameters
        ----------
        table
            ``"prompts"``, one row per prompt, or ``"tokens"``, one row per token.

        Raises
        ------
        NotTraced
            If the survey keeps no tokens.
        """
        import pyarrow.dataset as ds

        names = {"prompts": PROMPTS, "tokens": TOKENS}
        if table not in names:
            raise LabError(f"{table!r} is no table.", hint="prompts or tokens")
        files = [str(path / names[table]) for path in self.partitions if (path / names[table]).is_file()]
        if not files:
            raise NotTraced(f"This survey has no {table}.", hint="gl.survey(…, keep_tokens=True)")
        return ds.dataset(files, format="parquet")

    def prompts(self) -> Any:
        """Return the rows of all prompts as a pandas DataFrame, labels as columns.

        A label that is called as another column has ``label_`` before its name.
        """
        frame = self.dataset("prompts").to_table().to_pandas()
        labels = frame.pop("labels").map(dict)
        for name in sorted({key for row in labels for key in row}):
            frame[label_column(name)] = labels.map(lambda row, name=name: row.get(name))
        return frame

    def summaries(self) -> Iterator[RoutingSummary]:
        """Yield the summary of each partition that has routing, in order."""
        for path in self.partitions:
            if (path / SUMMARY).is_file():
                yield RoutingSummary.load(path / SUMMARY)

    @cached_property
    def summary(self) -> RoutingSummary:
        """The sum over all partitions, held one partition at a time.

        Raises
        ------
        NotTraced
            If the model has no experts.
        """
        total: RoutingSummary | None = None
        for part in self.summaries():
            if total is None:
                total = part
            else:
                total.merge(part)
        if total is None:
            raise NotTraced(
                "This survey has no routing.", hint="Survey a model with experts, such as mini-moe."
            )
        return total

    def head_summary(self) -> HeadSummary:
        """Return what every attention head does over all prompts, added up one partition at a time.

        Entropy, distance, sinks and head types; see `gemma_lab.analysis.head_summary`.

        Raises
        ------
        NotTraced
            If no attention was recorded.
        """
        total: HeadSummary | None = None
        for path in self.partitions:
            if (path / HEADS).is_file():
                part = HeadSummary.load(path / HEADS)
                total = part if total is None else total + part
        if total is None:
            raise NotTraced("This survey has no attention.", hint="gl.survey(…, attention=True)")
        return total

    def expert_load(self, label: str | None = None, value: str | None = None) -> ExpertLoad:
        """Return the load of every expert, over all tokens or those of prompts with one label.

        With a label, and of a server, `mass`, `router_entropy` and `expert_output_fraction` are NaN: only
        counts are kept by label, and servers report no weights.
        """
        total = self.summary
        if label is None:
            known = total.has_weights
            return ExpertLoad(
                layers=total.layers, tokens=total.tokens, top_k=total.top_k, counts=total.counts,
                mass=total.weight_steps / 65_535 if known else np.full(total.counts.shape, np.nan),
                router_entropy=total.entropy / total.tokens,
                expert_output_fraction=total.expert_output_fraction / total.tokens,
            )  # fmt: skip
        if label in total.uncounted:
            raise LabError(
                f"{label} has more than {MAX_VALUES:,} values: they are not counted apart.",
                hint="survey.dataset('tokens') has the experts of every token, by prompt.",
            )
        if (label, str(value)) not in total.by_label:
            labels = sorted({f"{column}={one}" for column, one in total.by_label})[:12]
            raise LabError(
                f"No prompt has {label}={value!r}.", hint=f"There are: {', '.join(labels) or 'no labels'}"
            )
        tokens, counts = total.by_label[label, str(value)]
        unknown = np.full(len(total.layers), np.nan)
        return ExpertLoad(
            layers=total.layers, tokens=tokens, top_k=total.top_k, counts=counts,
            mass=np.full(counts.shape, np.nan), router_entropy=unknown, expert_output_fraction=unknown,
        )  # fmt: skip

    def specialisation(
        self, label: str, *, permutations: int = 200, alpha: float = 0.05, seed: int = 0
    ) -> Specialisation:
        """Compare the routing of prompts with different labels, with labels permuted among prompts.

        `gl.analysis.specialisation` with prompts as groups, over any number of partitions: one of them is in
        memory at a time, beside the counts of every permutation (8 bytes × permutations × labels × layers ×
        experts).

        Parameters
        ----------
        label
            A label of the prompts, e.g. ``"language"``. Prompts without it are left out.
        permutations, alpha, seed
            As in `gl.analysis.specialisation`.

        Raises
        ------
        NotTraced
            If the survey keeps no tokens.
        LabError
            If no two prompts differ in this label.
        """
        from .specialisation import specialisation_by_label

        return specialisation_by_label(
            self.prompts(), self.summary, self.partitions, label,
            permutations=permutations, alpha=alpha, seed=seed,
        )  # fmt: skip

    def coactivation(self) -> Coactivation:
        """Return which experts are chosen together, with what independence would give."""
        total = self.summary
        expected = np.stack([expected_pairs(row / total.tokens) for row in total.counts]) * total.tokens
        experts = total.experts
        expected[:, range(experts), range(experts)] = total.counts  # the diagonal is each expert's own count
        return Coactivation(layers=total.layers, tokens=total.tokens, counts=total.pairs, expected=expected)

    def union_sizes(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the mean number of different experts of n consecutive generated tokens, ``[n, layers]``.

        It is the number of experts per layer loaded to verify n drafted tokens; n from 1. NaN where no run
        was that long.
        """
        total = self.summary
        runs = np.where(total.runs > 0, total.runs, np.nan)
        return np.asarray(total.unions / runs[:, None])


def open_survey(folder: str | Path) -> Survey:
    """Open a survey, complete or not.

    Raises
    ------
    LabError
        If there is none, or it is of a newer version.
    """
    target = as_path("folder", folder, example='gl.open_survey("survey")')
    path = target / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise LabError(
            f"{folder} holds no survey.", hint="gl.survey(prompts, model, out=folder) makes one."
        ) from None
    if version != VERSION:
        raise LabError(
            f"{folder} is a survey of version {version}; this is {VERSION}.", hint="Upgrade gemma_lab."
        )
    for name in ("prompts", "partition_size"):
        whole_number(f"{name} of {path}", manifest.get(name), minimum=1)
    if not isinstance(manifest.get("model"), str):
        raise LabError(f"{path} names no model.", hint="It is damaged; make the survey again.")
    return Survey(target, manifest)
