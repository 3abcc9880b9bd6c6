"""The questions of the check-up: one Parquet file, written by ``gemma-lab minis questions``.

They come from the held-out parts of the minis' tasks, drawn once, so that every model answers the same ones
and only this file is needed: images and frames are PNG files, sounds FLAC files at 16 kHz.
"""

from __future__ import annotations

import difflib
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
"""Questions per skill of a quick check-up."""
SLOW = ("long recall",)
"""Skills that only the full check-up includes: prefill of their texts takes minutes."""
_RATE = 16_000  # samples per second
FILES = ("questions.parquet", "named_questions.parquet")
"""Files under ``data/checkup``: of the skills that are always asked, and of those asked only if named."""
_AS_JSON = ("tools", "call", "history", "schema")


@dataclass(frozen=True)
class Question:
    """One question of the check-up.

    Attributes
    ----------
    skill, group
        The tested skill, e.g. ``"names"``, and what accuracy is broken down by, e.g. the language ``"vi"``.
    prompt, answer
        The prompt, and the one right answer; the answer is empty when a tool is to be called.
    within
        Whether the answer may be anywhere in the reply (`gemma_lab.evals.is_correct`).
    images, frames, fps
        Images, and the frames of a video with their rate per second (0 without a video), as PNG bytes.
    sound
        A sound as the bytes of a FLAC file, 16 bit, mono, 16 kHz; empty without one.
    system, thinking
        System prompt, or None, and whether the model is to think first.
    tools, call, history
        Declared functions, the right call (None if there is none), and the messages that follow the prompt: a
        call and its result.
    schema
        JSON schema of the answer; None for plain text.
    soft_tokens
        Limit of soft tokens per image; 0 for the model's own.
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
    soft_tokens: int = 0

    @classmethod
    def from_task(cls, drawn: Any, *, within: bool = True) -> Question:
        """Return a question drawn by a task (`gemma_lab.minis.tasks.Question`), its media as bytes."""
        return cls(
            drawn.skill, drawn.group, drawn.prompt, drawn.answer, within=within,
            images=tuple(_png(image) for image in drawn.images),
            frames=() if drawn.video is None else tuple(_png(frame) for frame in drawn.video.frames),
            fps=0.0 if drawn.video is None else float(drawn.video.fps),
            sound=b"" if drawn.audio is None else _flac(drawn.audio),
            system=drawn.system, thinking=drawn.thinking, tools=drawn.tools, call=drawn.call,
            history=drawn.history, schema=drawn.schema, soft_tokens=drawn.soft_tokens or 0,
        )  # fmt: skip

    @property
    def opened_images(self) -> list[Image]:
        """The images, opened."""
        return [_open(png) for png in self.images]

    @property
    def image(self) -> Image | None:
        """The first image, opened; None without one."""
        return _open(self.images[0]) if self.images else None

    @property
    def video(self) -> tuple[list[Image], float] | None:
        """The frames, opened, and their rate per second; None without a video."""
        return ([_open(png) for png in self.frames], self.fps) if self.frames else None

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
        """The modality of its media: ``"image"``, ``"video"``, ``"audio"``, or ``"text"`` without media."""
        media = {"video": self.frames, "audio": self.sound, "image": self.images}
        return next((kind for kind, data in media.items() if data), "text")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The prompt as a message, followed by `history`."""
        return [{"role": "user", "content": self.prompt}, *self.history]

    @property
    def wanted(self) -> str:
        """The right answer as a line of text: the answer, or the call."""
        if self.call is None:
            return self.answer
        return f"{self.call['name']}({', '.join(f'{k}={v!r}' for k, v in self.call['arguments'].items())})"

    def is_correct(self, reply: str, calls: Sequence[Call] = ()) -> bool:
        """Return whether a reply, its text and its tool calls, is correct (`gemma_lab.evals.grading`)."""
        if self.call is not None:
            return is_correct_call(calls, self.call)
        if calls:
            return False
        if self.schema is not None:
            return equal_json(reply, self.answer)
        return is_correct(reply, self.answer, within=self.within)


@functools.cache
def _all(file: str) -> tuple[Question, ...]:
    return tuple(read(data_path(f"checkup/{file}")))


def skill_names() -> tuple[str, ...]:
    """Return the names of the skills that are asked by default, in order."""
    return _names(FILES[0])


def named_skills() -> tuple[str, ...]:
    """Return the names of the skills that are asked only if they are named."""
    return _names(FILES[1])


@functools.cache
def _names(file: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(question.skill for question in _all(file)))


def load_questions(
    *, skills: str | Sequence[str] | None = None, per_skill: int | None = None
) -> list[Question]:
    """Return the questions, by skill.

    Parameters
    ----------
    skills
        Names of skills, or one name. Default: all that are asked by default.
    per_skill
        Number of questions per skill. Default: all 200.

    Raises
    ------
    LabError
        If there is no such skill.
    """
    skills = [skills] if isinstance(skills, str) else skills
    known = (*skill_names(), *named_skills())
    if unknown := [skill for skill in skills or () if skill not in known]:
        near = difflib.get_close_matches(str(unknown[0]), known, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise LabError(
            f"The check-up has no skill named {', '.join(map(str, unknown))}.",
            hint=f"{meant}Its skills are {', '.join(skill_names())}; only if named: "
            f"{', '.join(named_skills())}.",
        )
    return [
        question
        for file in (FILES if skills else FILES[:1])
        for skill in _names(file)
        if skills is None or skill in skills
        for question in [question for question in _all(file) if question.skill == skill][:per_skill]
    ]


def chance_accuracy(questions: Sequence[Question]) -> float:
    """Return the accuracy of guessing with the answer of a random other question of the same group.

    The fraction of pairs of questions in a group with the same answer (Simpson's index, E. H. Simpson 1949,
    Nature 163:688), weighted by group size. Where each group has a single answer (e.g. the ten digits), all
    questions form one group.

    Parameters
    ----------
    questions
        Questions of one skill.
    """
    groups: dict[str, list[str]] = {}
    for question in questions:
        groups.setdefault(question.group, []).append(normalize(question.wanted))
    if all(len(set(answers)) == 1 for answers in groups.values()):
        groups = {"": [answer for answers in groups.values() for answer in answers]}
    expected = 0.0
    for answers in groups.values():
        same = sum(count * (count - 1) for count in Counter(answers).values())
        expected += same / (len(answers) - 1) if len(answers) > 1 else 0.0
    return expected / len(questions)


def write(questions: Iterable[Question], path: Path) -> Path:
    """Write questions to a Parquet file and return its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {f.name: _as_json(getattr(question, f.name)) if f.name in _AS_JSON else getattr(question, f.name)
         for f in fields(question)}
        for question in questions
    ]  # fmt: skip
    texts = ("skill", "group", "prompt", "answer", "system", *_AS_JSON)
    kinds = {
        **dict.fromkeys(texts, pa.string()), **dict.fromkeys(("within", "thinking"), pa.bool_()),
        **dict.fromkeys(("images", "frames"), pa.list_(pa.binary())), "fps": pa.float64(),
        "sound": pa.binary(), "soft_tokens": pa.int64(),
    }  # fmt: skip
    schema = pa.schema([(f.name, kinds[f.name]) for f in fields(Question)])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd", compression_level=12)
    return path


def read(path: Path) -> list[Question]:
    """Return the questions of a file written by `write`."""
    import pyarrow.parquet as pq

    questions = []
    for row in pq.read_table(path).to_pylist():
        row |= {name: None if row[name] is None else json.loads(row[name]) for name in _AS_JSON}
        row |= {name: tuple(row[name] or ()) for name in ("images", "frames", "tools", "history")}
        questions.append(Question(**row))
    return questions


def _as_json(value: Any) -> str | None:
    return None if value is None or value == () else json.dumps(value, ensure_ascii=False)


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _open(png: bytes) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")


def _flac(samples: NDArray[np.float32]) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
