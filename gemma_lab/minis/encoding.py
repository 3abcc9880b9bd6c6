"""Questions as token ids: in the chat format, with soft tokens for media, and loss on the answers only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.media.video import format_timestamp
from .media_inputs import ENCODED, MediaInputs
from .tasks import Question
from .tasks.cells import UNKNOWN
from .tokenizer import token_id

SKIP = -100  # the label that the loss leaves out


@dataclass
class Row:
    """One packed row: token ids, labels that carry loss, and its media, in order.

    ``news`` holds the change at each soft token of an image or frame (`Question.news`), ``pictures`` what can
    be said about each of them (`Question.pictures`), ``looks`` positions of tokens and of those that they
    should attend to (`gemma_lab.minis.attention_guide`), ``series`` the number of pictures of each question:
    images or frames, one after the other, which are compared.
    """

    skill: str
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    clips: list[Any] = field(default_factory=list)
    sounds: list[Any] = field(default_factory=list)
    news: list[int] = field(default_factory=list)
    pictures: list[dict[str, int]] = field(default_factory=list)
    looks: list[tuple[int, list[int]]] = field(default_factory=list)
    series: list[int] = field(default_factory=list)

    def extend(self, more: Row) -> None:
        """Append another row."""
        here = len(self.ids)
        self.looks += [(here + at, [here + token for token in tokens]) for at, tokens in more.looks]
        for name in ("ids", "labels", "images", "clips", "sounds", "news", "pictures", "series"):
            getattr(self, name).extend(getattr(more, name))


def conversation(question: Question) -> list[dict[str, Any]]:
    """Return what precedes the last answer of a question as messages."""
    media = ["image"] * len(question.images)
    media += ["video"] * (question.video is not None) + ["audio"] * (question.audio is not None)
    parts: Any = question.prompt
    if media:
        parts = [*({"type": kind} for kind in media), {"type": "text", "text": question.prompt}]
    messages = [{"role": "system", "content": question.system}] if question.system else []
    messages.append({"role": "user", "content": parts})
    answer = question.answer
    for prompt, following in question.more:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": prompt}]
        answer = following
    return [*messages, *question.history]


class Encoder:
    """Encodes questions as rows.

    Parameters
    ----------
    tokenizer
        The mini's tokenizer with its chat template.
    media
        The inputs that the mini takes for media, for the number of soft tokens of a sound.
    """

    def __init__(self, tokenizer: Any, media: MediaInputs = ENCODED) -> None:
        self.tokenizer, self.media = tokenizer, media
        self._open = self.ids("<|turn>model\n")
        self._thought = self.ids("<|channel>thought\n<channel|>")

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, without ``<bos>``."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @property
    def turn(self) -> list[int]:
        """The text between a question and its answer with thinking off."""
        return [token_id("eot_token"), *self.ids("\n"), *self._open, *self._thought]

    def row(self, question: Question, *, grid: int) -> Row:
        """Return one conversation.

        Parameters
        ----------
        grid
            Soft tokens per side of each image and frame.
        """
        prompt = self._with_media(self._prompt(question), question, grid)
        before, answer = self.ids(prompt), self.ids(self._answer(question))
        labels = self._earlier(before) if question.more else [SKIP] * len(before)
        end = self.ids("\n") if not question.call else []  # nothing follows a call but its result
        clips = [] if question.video is None else [question.video]
        sounds = [] if question.audio is None else [question.audio]
        pictures = pictures_of(question)
        return Row(
            question.skill, before + answer + end, labels + answer + [SKIP] * len(end),
            list(question.images), clips, sounds, _news(question, grid), pictures,
            series=[len(pictures)] if pictures else [],
        )  # fmt: skip

    def _prompt(self, question: Question) -> str:
        text: str = self.tokenizer.apply_chat_template(
            conversation(question), tools=list(question.tools) or None, tokenize=False,
            add_generation_prompt=True, enable_thinking=question.thinking,
        )  # fmt: skip
        return text

    def declared(self, tools: Sequence[dict[str, Any]]) -> list[int]:
        """Return the system turn that declares functions, from its ``<bos>`` to its end."""
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": "?"}], tools=list(tools), tokenize=False
        )
        return self.ids(text[: text.index("<|turn>user")])

    def called(self, call: dict[str, Any]) -> list[int]:
        """Return a call, ``{"name": …, "arguments": {…}}``, in the template's own syntax."""
        return self.ids(self._call(call))

    def _answer(self, question: Question) -> str:
        if question.call is not None:
            return self._call(question.call) + "<|tool_response>"
        answer = question.more[-1][1] if question.more else question.answer
        thought = f"<|channel>thought\n{question.thought}<channel|>" if question.thinking else ""
        return f"{thought}{answer}<turn|>"

    def _call(self, call: dict[str, Any]) -> str:
        """Return a call in the template's own syntax."""
        messages = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
        ]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False)
        start, end = text.index("<|tool_call>"), text.index("<tool_call|>")
        return str(text[start:end]) + "<tool_call|>"

    def _with_media(self, prompt: str, question: Question, grid: int) -> str:
        """Return the prompt with one placeholder per soft token."""
        soft = grid**2
        prompt = prompt.replace("<|image|>", "<|image>" + "<|image|>" * soft + "<image|>")
        if question.video is not None:
            prompt = prompt.replace("<|video|>", " ".join(
                f"{format_timestamp(at)} <|image>{'<|video|>' * soft}<image|>"
                for at in question.video.times
            ))  # fmt: skip
        if question.audio is not None:
            placeholders = "<|audio|>" * self.media.soft_tokens(question.audio)
            prompt = prompt.replace("<|audio|>", f"<|audio>{placeholders}<audio|>")
        return prompt

    def _earlier(self, ids: list[int]) -> list[int]:
        """Return the labels of a prompt with earlier answers of the model, which carry loss, too."""
        labels, inside = [SKIP] * len(ids), False
        i = 0
        while i < len(ids):
            if ids[i : i + len(self._open)] == self._open:
                i += len(self._open)
                inside = ids[i : i + len(self._thought)] != self._thought  # that opens the answer to come
                continue
            if inside:
                labels[i] = ids[i]
                inside = ids[i] != token_id("eot_token")
            i += 1
        return labels


def _news(question: Question, grid: int) -> list[int]:
    if question.news is not None:
        return question.news(grid)
    pictures = len(question.images) + (0 if question.video is None else len(question.video.frames))
    return [UNKNOWN] * grid**2 * pictures


def pictures_of(question: Question) -> list[dict[str, int]]:
    """Return what can be said about each image or frame of a question, of frames their second, too."""
    images, times = len(question.images), () if question.video is None else question.video.times
    said = question.pictures or ({},) * (images + len(times))
    return [*said[:images], *timed(said[images:], times)]


def timed(pictures: Sequence[dict[str, int]], times: Sequence[float]) -> list[dict[str, int]]:
    """Return what can be said about frames with the second of each, from their times in seconds."""
    return [one | {"second": int(at)} for one, at in zip(pictures, times, strict=True)]


def filled(draw: Callable[[], Row], length: int) -> Row:
    """Return rows joined into one, until the next would make it longer than `length`."""
    row = draw()
    while len(row.ids) + len((more := draw()).ids) <= length:
        row.extend(more)
    return row
