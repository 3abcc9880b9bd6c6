"""The questions of the check-up: one Parquet file, written by ``gemma-lab minis questions``.

They come from the held-out parts of the minis' tasks, drawn once, so that every model is asked the same and
nothing but this file is needed to ask them: pictures and frames are PNG files, sounds FLAC files at 16 kHz.
"""

from __future__ import annotations

import functools
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..assets import data_path
from ..errors import LabError
from .grading import equal_json, is_correct, is_correct_call, normalize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ..models.chat.tools import Call
    from ..models.media.audio import Audio

QUICK = 20
"""Questions a skill of a quick check-up."""
SLOW = ("long recall",)
"""Skills of the full check-up alone: their texts take minutes to read."""
_RATE = 16_000  # samples a second of a sound
_FILE = "checkup/questions.parquet"
_AS_JSON = ("tools", "call", "history", "schema")


@dataclass(frozen=True)
class Question:
    """One question of the check-up.

    Attributes
    ----------
    skill, group
        What it tests, e.g. ``"names"``, and what accuracy is broken down by, e.g. the language ``"vi"``.
    prompt, answer
        What is asked, and the one right answer; the answer is empty when a tool is to be called.
    within
        Whether the answer may stand anywhere in the reply (`gemma_lab.evals.grading.is_correct`).
    images, frames, fps
        Pictures, and the frames of a video with how many there are a second (0 without one), as PNG bytes.
    sound
        A sound as the bytes of a FLAC file, 16 bit, mono, 16 kHz; empty without one.
    system, thinking
        The system prompt, or None, and whether the model is to think first.
    tools, call, history
        The declared functions, the call that is right (None when none is), and the messages that follow the
        prompt: a call that was made and its result.
    schema
        The JSON schema that the answer follows, or None when it is plain text.
    """

    skill: str
    group: str
    prompt: str
    answer: str
    within: bool = True
    images: tuple[bytes, ...] = field(default=(), repr=False)
    frames: tuple[bytes, ...] = field(default=(), repr=False)
    fps: float = 0.0
    sound: bytes = field(default=b"", repr=False)
    system: str | None = None
    thinking: bool = False
    tools: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    call: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    schema: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, drawn: Any, *, within: bool = True) -> Question:
        """Return a question that a task drew (`gemma_lab.minis.tasks.Question`), its media as bytes."""
        return cls(
            drawn.skill, drawn.group, drawn.prompt, drawn.answer, within=within,
            images=tuple(_png(image) for image in drawn.images),
            frames=() if drawn.video is None else tuple(_png(frame) for frame in drawn.video.frames),
            fps=0.0 if drawn.video is None else float(drawn.video.fps),
            sound=b"" if drawn.audio is None else _flac(drawn.audio),
            system=drawn.system, thinking=drawn.thinking, tools=drawn.tools, call=drawn.call,
            history=drawn.history, schema=drawn.schema,
        )  # fmt: skip

    @property
    def pictures(self) -> list[Image]:
        """The pictures, opened."""
        return [_opened(png) for png in self.images]

    @property
    def image(self) -> Image | None:
        """The first picture, opened; None without one."""
        return _opened(self.images[0]) if self.images else None

    @property
    def video(self) -> tuple[list[Image], float] | None:
        """The frames, opened, and how many there are a second; None without a video."""
        return ([_opened(png) for png in self.frames], self.fps) if self.frames else None

    @property
    def audio(self) -> Audio | None:
        """The sound, decoded; None without one.

        Raises
        ------
        MissingExtra
            Without PyAV (``pip install 'gemma_lab[video]'``), which reads FLAC.
        """
        from ..models.media.audio import load_audio

        return load_audio(self.sound) if self.sound else None

    @property
    def modality(self) -> str:
        """What has to be perceived: ``"image"``, ``"video"``, ``"audio"`` or only ``"text"``."""
        media = {"video": self.frames, "audio": self.sound, "image": self.images}
        return next((kind for kind, given in media.items() if given), "text")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The question as messages, with what follows it."""
        return [{"role": "user", "content": self.prompt}, *self.history]

    @property
    def wanted(self) -> str:
        """What is right, as a line of text: the answer, or the call."""
        if self.call is None:
            return self.answer
        return f"{self.call['name']}({', '.join(f'{k}={v!r}' for k, v in self.call['arguments'].items())})"

    def is_correct(self, said: str, calls: Sequence[Call] = ()) -> bool:
        """Return whether a reply, its text and the calls that it makes, is right (`checkup.grading`)."""
        if self.call is not None:
            return is_correct_call(calls, self.call)
        if calls:
            return False
        if self.schema is not None:
            return equal_json(said, self.answer)
        return is_correct(said, self.answer, within=self.within)


@functools.cache
def _all() -> tuple[Question, ...]:
    return tuple(read(data_path(_FILE)))


def skill_names() -> tuple[str, ...]:
    """Return the names of the skills, in the order in which they are asked."""
    return tuple(dict.fromkeys(question.skill for question in _all()))


def load_questions(*, only: Sequence[str] | None = None, each: int | None = None) -> list[Question]:
    """Return the questions, by skill.

    Parameters
    ----------
    only
        Skills; default all.
    each
        The first so many of each skill; default all 200.

    Raises
    ------
    LabError
        If there is no such skill.
    """
    unknown = set(only or ()) - set(skill_names())
    if unknown:
        raise LabError(
            f"The check-up has no skill named {', '.join(sorted(unknown))}.",
            hint=f"It asks for {', '.join(skill_names())}.",
        )
    kept = [
        [question for question in _all() if question.skill == skill][:each]
        for skill in skill_names()
        if only is None or skill in only
    ]
    return [question for part in kept for question in part]


def chance_accuracy(asked: Sequence[Question]) -> float:
    """Return how often a guess is right: an answer of another question of the same group, drawn at random.

    The share of pairs of questions of a group that have the same answer (Simpson's index, E. H. Simpson
    1949, Nature 163:688), weighted by the size of the groups. Where groups are the answers themselves, as
    the ten digits, the guess is among all.

    Parameters
    ----------
    asked
        Questions of one skill.
    """
    groups: dict[str, list[str]] = {}
    for question in asked:
        groups.setdefault(question.group, []).append(normalize(question.wanted))
    if all(len(set(answers)) == 1 for answers in groups.values()):
        groups = {"": [answer for answers in groups.values() for answer in answers]}
    lucky = 0.0
    for answers in groups.values():
        same = sum(count * (count - 1) for count in Counter(answers).values())
        lucky += same / (len(answers) - 1) if len(answers) > 1 else 0.0
    return lucky / len(asked)


def write(drawn: Iterable[Question], path: Path) -> Path:
    """Write questions to a Parquet file and return its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {f.name: _as_json(getattr(question, f.name)) if f.name in _AS_JSON else getattr(question, f.name)
         for f in fields(question)}
        for question in drawn
    ]  # fmt: skip
    texts = ("skill", "group", "prompt", "answer", "system", *_AS_JSON)
    kinds = {
        **dict.fromkeys(texts, pa.string()), **dict.fromkeys(("within", "thinking"), pa.bool_()),
        **dict.fromkeys(("images", "frames"), pa.list_(pa.binary())), "fps": pa.float64(),
        "sound": pa.binary(),
    }  # fmt: skip
    schema = pa.schema([(f.name, kinds[f.name]) for f in fields(Question)])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd", compression_level=12)
    return path


def read(path: Path) -> list[Question]:
    """Return the questions of a file that `write` made."""
    import pyarrow.parquet as pq

    found = []
    for row in pq.read_table(path).to_pylist():
        row |= {name: None if row[name] is None else json.loads(row[name]) for name in _AS_JSON}
        row |= {name: tuple(row[name] or ()) for name in ("images", "frames", "tools", "history")}
        found.append(Question(**row))
    return found


def _as_json(value: Any) -> str | None:
    return None if value is None or value == () else json.dumps(value, ensure_ascii=False)


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _opened(png: bytes) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")


def _flac(samples: NDArray[np.float32]) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
