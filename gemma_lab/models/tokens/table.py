"""The token table: id, text, role, modality and position in its medium of every token."""

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
from .kinds import MEDIA_KINDS, MODALITIES, token_kinds
from .media_positions import AUDIO_MS, Images, Videos, locate_media, runs_of
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
    """Tokens ``start`` to ``stop`` shown as one unit: a cluster, a control token, or a medium's soft tokens.

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

    Made by `TokenTable.of` from a processor's outputs, or by `TokenTable.build` from ids.

    Attributes
    ----------
    ids
        int32 ``(tokens,)``.
    pieces
        str: the entry of the vocabulary, ``"▁house"``, ``"<0xE2>"``, ``"<|turn>"``.
    texts
        str: the text that each token shows. A grapheme cluster is shown by the token that completes it; the
        tokens that begin it, control tokens and soft tokens have ``""``. Joined, they are `shown`.
    clusters
        int32, ascending: neighbours have the same number where a character spans both.
    roles
        str: ``"system"``, ``"user"``, ``"model"``, ``"thought"``, ``"tool"`` (a declaration),
        ``"tool_call"``, ``"tool_response"``, or ``""`` outside any turn.
    modalities
        str, of `MODALITIES`. The name after ``<|turn>`` and the line ends of the format show text, but are
        ``"special"``: they are not part of a message.
    media_index
        int16: which image, video or audio clip (each kind counted from 0); −1 for text.
    boxes
        int32 ``(tokens, 4)``: x0, y0, x1, y1 in pixels of the original image; −1 if none.
    times
        int32 ``(tokens, 2)``: start and end in ms of a video frame or a span of audio; −1 if none.
    frames
        int16: which of the video's frames that the model sees; −1 if none.
    scripts
        str, ISO 15924: ``"Latn"``, ``"Arab"``, …; ``"Zyyy"`` for characters common to all scripts.
    directions
        str: ``"ltr"``, ``"rtl"`` or ``"neutral"``.
    generated
        bool: whether the model generated it.

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
        """Make the table of a prompt and its answer from a processor's outputs.

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
            The original images; boxes are in their pixels.
        videos
            What `inputs` does not state about videos: frame size, exact timestamps.

        Raises
        ------
        BadTrace
            If ids, outputs and images are not of one prompt.
        """
        outputs = dict(inputs or {})
        grid = outputs.get("image_position_ids")
        features = outputs.get("input_features")
        return cls.build(
            ids,
            tokenizer=getattr(processor, "tokenizer", None) or processor,
            prompt_length=prompt_length,
            image_position_ids=None if grid is None else np.asarray(grid),
            image_sizes=[image.size for image in images],
            videos=Videos.of(outputs, known=videos),
            clips=None if features is None else len(np.asarray(features)),
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
        clips: int | None = None,
        audio_ms: float = AUDIO_MS,
    ) -> TokenTable:
        """Make the table of a sequence of ids.

        Parameters
        ----------
        ids
            ``(tokens,)``.
        tokenizer
            A tokenizer of a Gemma model.
        prompt_length
            How many of `ids` are the prompt; all by default.
        image_position_ids
            ``(images, patches, 2)``, −1 where padded.
        image_sizes
            ``(width, height)`` of the original images.
        videos
            See `gemma_lab.models.tokens.media_positions.Videos`.
        clips
            Number of audio clips, to check.
        audio_ms
            Milliseconds per soft token of audio.

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
        vocabulary = Vocabulary(tokenizer)
        roles, scaffold = read_roles(listed, vocabulary=vocabulary, prompt_length=length)
        known = token_kinds(listed, tokenizer=tokenizer, vocabulary=vocabulary)
        modalities = strings(known.modalities)
        written = np.arange(len(numbers)) >= length
        # a generated placeholder of an image has no image
        modalities[written & np.isin(modalities, MEDIA_KINDS)] = "special"
        texts, clusters = cluster(known.data)
        positions = locate_media(
            modalities,
            texts,
            images=Images(image_position_ids, image_sizes),
            videos=videos,
            clips=clips,
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
            positions.media_index,
            positions.boxes,
            positions.times,
            positions.frames,
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
        """Return the table as units of reading.

        Returns
        -------
        list of Run
            One per cluster of text, one per control token, and one for the soft tokens of each image, frame
            or audio clip: ``"image × 256"``.
        """
        edges = self._opens
        for kind in MEDIA_KINDS:
            for start, stop in runs_of(self.modalities == kind):
                edges[start + 1 : stop] = False
        return [
            self._run(start, stop) for start, stop in pairwise([*np.flatnonzero(edges).tolist(), len(self)])
        ]

    def _run(self, start: int, stop: int) -> Run:
        kind = str(self.modalities[start])
        label = "".join(self.texts[start:stop])
        if kind in MEDIA_KINDS:
            label = f"{kind} × {stop - start:,}"
        elif not label:
            label = "".join(self.pieces[start:stop])
        return Run(start, stop, label, kind, str(self.roles[start]))

    def select(self, which: slice | ArrayLike) -> TokenTable:
        """Return some of the rows; `shown`, `starts` and `ends` are then those of the selection.

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
    """Return script and direction of each token: those of its cluster."""
    clustered = [""] * (int(clusters[-1]) + 1 if len(clusters) else 0)
    groups = clusters.tolist()
    for group, text in zip(groups, texts, strict=True):
        clustered[group] += text
    known = {text: (script(text), direction(text)) for text in set(clustered)}
    return [known[clustered[group]][0] for group in groups], [known[clustered[group]][1] for group in groups]
