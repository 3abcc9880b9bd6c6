"""One row a token: what it is, what it shows, who speaks, and where it lies in its medium."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import BadTrace
from .arrow import check_columns, contradiction, read_columns, strings, write_columns
from .graphemes import cluster
from .kinds import MODALITIES, SOFT, look_up
from .media_positions import AUDIO_MS, Pictures, Videos, locate, runs_of
from .roles import read_roles
from .scripts import direction, script
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image
    from pyarrow import Table


@dataclass(frozen=True)
class Run:
    """Tokens ``start`` to ``stop`` that are read as one: a cluster, a control token, or soft tokens together.

    Attributes
    ----------
    start, stop : int
        Rows of the table, `stop` exclusive.
    label : str
        The text they show, the name of the control token, or e.g. ``"image × 256"``.
    modality, role : str
        Of its first token.
    """

    start: int
    stop: int
    label: str
    modality: str
    role: str


@dataclass(frozen=True, eq=False, repr=False)
class TokenTable(Displayed):
    r"""The tokens of a prompt and its answer, as columns of equal length.

    `TokenTable.of` makes one from a processor's outputs, `TokenTable.build` from ids alone.

    Attributes
    ----------
    ids
        int32 ``(tokens,)``.
    pieces
        str: the vocabulary's own writing, ``"▁house"``, ``"<0xE2>"``, ``"<|turn>"``.
    texts
        str: what each token shows. A grapheme cluster is carried by the token that completes it, ``""`` on
        the tokens that only began it and on control and soft tokens. Joined, they are `shown`.
    clusters
        int32: neighbours have the same number where a character lies across the cut between them.
    roles
        str: ``"system"``, ``"user"``, ``"model"``, ``"thought"``, ``"tool"``, or ``""`` outside any turn.
    modalities
        str, of `MODALITIES`. The name after ``<|turn>`` and the line ends of the format show text, but are
        ``"special"``: nobody said them.
    media_index
        int16: which picture, video or sound (each counted from 0); −1 for text.
    boxes
        int32 ``(tokens, 4)``: x0, y0, x1, y1 in pixels of the original picture; −1 if none.
    times
        int32 ``(tokens, 2)``: start and end in ms, of a video frame or a stretch of sound; −1 if none.
    frames
        int16: which of the video's frames that the model sees; −1 if none.
    scripts
        str, ISO 15924: ``"Latn"``, ``"Arab"``, …; ``"Zyyy"`` for what all scripts share.
    directions
        str: ``"ltr"``, ``"rtl"`` or ``"neutral"``.
    generated
        bool: the model wrote it.

    Notes
    -----
    `shown` is ``tokenizer.decode(ids, skip_special_tokens=True)`` exactly, but for what cannot be shown:
    bytes that never become a character are written ``\xNN``, U+FFFD is written ``\ufffd``, and nothing is
    joined across a control token.
    """

    ids: NDArray[np.int32]
    pieces: NDArray[np.object_]
    texts: NDArray[np.object_]
    clusters: NDArray[np.int32]
    roles: NDArray[np.object_]
    modalities: NDArray[np.object_]
    media_index: NDArray[np.int16]
    boxes: NDArray[np.int32]
    times: NDArray[np.int32]
    frames: NDArray[np.int16]
    scripts: NDArray[np.object_]
    directions: NDArray[np.object_]
    generated: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        ids: Sequence[int] | NDArray[np.integer],
        *,
        processor: Any,
        prompt_length: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        images: Iterable[Image] = (),
        videos: Videos | None = None,
    ) -> TokenTable:
        """Return the table of a prompt and its answer.

        Parameters
        ----------
        ids
            ``(tokens,)``: the prompt without padding, then what was generated.
        processor
            The processor of the checkpoint, or its bare tokenizer.
        prompt_length
            How many of `ids` are the prompt; all by default.
        inputs
            The processor's outputs as numpy arrays: of these ``image_position_ids``, ``video_position_ids``,
            ``num_frames_per_video``, ``input_features`` and, if there (``return_metadata=True``),
            ``video_metadata`` are read.
        images
            The original pictures, whose pixels the boxes are in.
        videos
            What `inputs` does not say of videos: frame size, exact timestamps.

        Raises
        ------
        BadTrace
            If ids, outputs and pictures are not of one prompt.
        """
        given = dict(inputs or {})
        grid = given.get("image_position_ids")
        sounds = given.get("input_features")
        return cls.build(
            ids,
            tokenizer=getattr(processor, "tokenizer", None) or processor,
            prompt_length=prompt_length,
            image_position_ids=None if grid is None else np.asarray(grid),
            image_sizes=[image.size for image in images],
            videos=Videos.of(given, said=videos),
            sounds=None if sounds is None else len(np.asarray(sounds)),
            audio_ms=float(getattr(processor, "audio_ms_per_token", AUDIO_MS)),
        )

    @classmethod
    def build(
        cls,
        ids: Sequence[int] | NDArray[np.integer],
        *,
        tokenizer: Any,
        prompt_length: int | None = None,
        image_position_ids: NDArray[np.integer] | None = None,
        image_sizes: Sequence[tuple[int, int]] = (),
        videos: Videos | None = None,
        sounds: int | None = None,
        audio_ms: float = AUDIO_MS,
    ) -> TokenTable:
        """Return the table of ids.

        Parameters
        ----------
        ids
            ``(tokens,)``.
        tokenizer
            A tokenizer of transformers in Gemma's manner.
        prompt_length
            How many of `ids` are the prompt; all by default.
        image_position_ids
            ``(pictures, patches, 2)``, −1 where padded.
        image_sizes
            ``(width, height)`` of the original pictures.
        videos
            See `gemma_lab.trace.tokens.media_positions.Videos`.
        sounds
            How many sounds there are, to check.
        audio_ms
            Milliseconds a soft token of sound.

        Raises
        ------
        BadTrace
            If the prompt does not hold the media that are described.
        """
        numbers = np.asarray(ids, dtype=np.int32).reshape(-1)
        length = len(numbers) if prompt_length is None else int(prompt_length)
        if not 0 <= length <= len(numbers):
            raise BadTrace(
                f"prompt_length is {length:,}, but there are {len(numbers):,} ids.",
                hint="Pass prompt and answer together, and how many of the ids are the prompt.",
            )
        listed = numbers.tolist()
        pieces = Vocabulary(tokenizer)
        roles, scaffold = read_roles(listed, vocabulary=pieces, prompt_length=length)
        known = look_up(listed, tokenizer=tokenizer, pieces=pieces)
        modalities = strings(known.modalities)
        written = np.arange(len(numbers)) >= length
        # a model may write the token that stands for a picture: there is none behind it
        modalities[written & np.isin(modalities, SOFT)] = "special"
        texts, clusters = cluster(known.data)
        places = locate(
            modalities,
            texts,
            pictures=Pictures(image_position_ids, image_sizes),
            videos=videos,
            sounds=sounds,
            audio_ms=audio_ms,
        )
        modalities[np.asarray(scaffold, dtype=bool) & (modalities == "text")] = "special"
        scripts, directions = _writing(texts, clusters)
        return cls(
            numbers,
            strings(known.written),
            strings(texts),
            clusters,
            strings(roles),
            modalities,
            places.media_index,
            places.boxes,
            places.times,
            places.frames,
            strings(scripts),
            strings(directions),
            written,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        counts = [(kind, int((self.modalities == kind).sum())) for kind in MODALITIES]
        parts = ", ".join(f"{count:,} {kind}" for kind, count in counts if count)
        written = f"; {int(self.generated.sum()):,} generated" if self.generated.any() else ""
        plural = "" if len(self) == 1 else "s"
        return f"TokenTable({len(self):,} token{plural}{': ' if parts else ''}{parts}{written})"

    @cached_property
    def shown(self) -> str:
        """The text of all tokens together."""
        return "".join(self.texts)

    @property
    def starts(self) -> NDArray[np.int32]:
        """int32 ``(tokens,)``: where the token's cluster begins in `shown`, in characters (code points)."""
        return self._spans[0]

    @property
    def ends(self) -> NDArray[np.int32]:
        """int32 ``(tokens,)``: where the token's cluster ends in `shown`, exclusive."""
        return self._spans[1]

    @cached_property
    def _spans(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        edges = np.concatenate([[0], np.cumsum([len(text) for text in self.texts])]).astype(np.int32)
        opens = self._opens
        firsts = np.append(np.flatnonzero(opens), len(self))
        group = np.cumsum(opens) - 1
        return edges[firsts[group]], edges[firsts[group + 1]]

    @property
    def _opens(self) -> NDArray[np.bool_]:
        return np.concatenate([[True], np.diff(self.clusters) != 0])[: len(self)]

    def runs(self) -> list[Run]:
        """Return the table as a reader goes through it.

        Returns
        -------
        list of Run
            One a cluster of text, one a control token, and one for the soft tokens of a picture, a frame or a
            sound: ``"image × 256"``.
        """
        edges = self._opens
        for kind in SOFT:
            for start, stop in runs_of(self.modalities == kind):
                edges[start + 1 : stop] = False
        return [
            self._run(start, stop) for start, stop in pairwise([*np.flatnonzero(edges).tolist(), len(self)])
        ]

    def _run(self, start: int, stop: int) -> Run:
        kind = str(self.modalities[start])
        label = "".join(self.texts[start:stop])
        if kind in SOFT:
            label = f"{kind} × {stop - start:,}"
        elif not label:
            label = "".join(self.pieces[start:stop])
        return Run(start, stop, label, kind, str(self.roles[start]))

    def select(self, which: slice | ArrayLike) -> TokenTable:
        """Return some of the rows; `shown`, `starts` and `ends` are then of these alone.

        Parameters
        ----------
        which
            A slice, a mask ``(tokens,)`` or row numbers.
        """
        rows = which if isinstance(which, slice) else np.asarray(which)
        if not isinstance(rows, slice) and rows.size == 0:
            rows = slice(0, 0)
        return TokenTable(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def equal(self, other: object) -> bool:
        """Return whether another table has the same rows."""
        return isinstance(other, TokenTable) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__
        )

    def to_arrow(self) -> Table:
        """Return the table as a ``pyarrow.Table``: one column each, a box as x0, y0, x1, y1."""
        return write_columns(self)

    @classmethod
    def from_arrow(cls, table: Table) -> TokenTable:
        """Return the table that `to_arrow` wrote.

        Raises
        ------
        BadTrace
            If a column is missing or of another type, or what the columns say contradicts itself.
        """
        values = read_columns(table)
        starts, ends = values.pop("starts"), values.pop("ends")
        tokens = cls(**values)
        tokens.check()
        if not (np.array_equal(tokens.starts, starts) and np.array_equal(tokens.ends, ends)):
            raise contradiction("start and end are not the spans of the clusters' texts")
        return tokens

    def check(self) -> None:
        """Raise `BadTrace` unless the columns have one length and hold what `build` can give."""
        check_columns(self)


def _writing(texts: Sequence[str], clusters: NDArray[np.int32]) -> tuple[list[str], list[str]]:
    """Return script and direction of each token: those of its whole cluster."""
    whole = [""] * (int(clusters[-1]) + 1 if len(clusters) else 0)
    groups = clusters.tolist()
    for group, text in zip(groups, texts, strict=True):
        whole[group] += text
    seen = {text: (script(text), direction(text)) for text in set(whole)}
    return [seen[whole[group]][0] for group in groups], [seen[whole[group]][1] for group in groups]
