"""Questions into tensors: conversations in the chat format, loss on the answers only, pictures as patches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .tasks import SKILLS, Question, recall
from .tokenizer import token_id

SKIP = -100  # the label that the loss leaves out
_FIRST_WORD = 375  # ids below are control tokens, words of the format and bytes


def patches(image: Any, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a square picture as patches and their positions, as Gemma 4's image processor lays them out.

    Parameters
    ----------
    grid
        Soft tokens a side; each covers 3 × 3 patches of 16 × 16 pixels.

    Returns
    -------
    tuple
        Pixels in [0, 1], shape ``(9 * grid**2, 768)``, and (x, y) positions, shape ``(9 * grid**2, 2)``.
    """
    side = 3 * grid
    pixels = np.asarray(image.resize((16 * side, 16 * side), 3), dtype=np.float32) / 255
    cut = pixels.reshape(side, 16, side, 16, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, -1)
    y, x = np.divmod(np.arange(side * side), side)
    return torch.from_numpy(cut.copy()), torch.from_numpy(np.stack([x, y], -1))


def stacked_patches(images: list[Any], grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures of one size as `patches` does, one a row: ``(pictures, patches, …)``."""
    pixels, positions = zip(*(patches(image, grid) for image in images), strict=True)
    return torch.stack(pixels), torch.stack(positions)


def conversation(questions: list[Question]) -> list[dict[str, Any]]:
    """Return questions and their answers as the messages of one conversation."""
    messages: list[dict[str, Any]] = []
    for question in questions:
        said = [{"type": "image"}] if question.image is not None else []
        messages.append({"role": "user", "content": [*said, {"type": "text", "text": question.prompt}]})
        messages.append({"role": "assistant", "content": question.answer})
        for prompt, answer in question.more:
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return messages


@dataclass
class Row:
    """One packed row: token ids, the labels that carry loss, and the pictures that stand in it."""

    skill: str
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """Rows as tensors: what the model takes, labels of shape ``(rows, length)``, and each row's skill."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    skills: list[str]


class Batcher:
    """Draws packed rows of one skill and joins them into batches.

    A row holds whole conversations one after the other, each from its own ``<bos>``, until the next would
    not fit: short questions would otherwise leave more padding than text.

    Parameters
    ----------
    tokenizer
        The mini's tokenizer with its chat template.
    rng
        Where every draw comes from.
    """

    def __init__(self, tokenizer: Any, rng: random.Random) -> None:
        self.tokenizer = tokenizer
        self.rng = rng
        self.most_facts = recall.MOST_FACTS  # of a text to recall from, in training
        self._open = self._ids("<|turn>model\n")
        self._thought = self._ids("<|channel>thought\n<channel|>")
        self._turn = [token_id("eot_token"), *self._ids("\n"), *self._open, *self._thought]
        asked = tokenizer(recall.corpus(), add_special_tokens=False)["input_ids"]
        self._recalled = sorted({token for ids in asked for token in ids})
        words = ([f" {word}" for word in pool] for pool in (recall.NAMES, recall.THINGS))
        self._named = tuple(self._single(pool) for pool in words)

    def row(self, skill: str, *, length: int = 192, grid: int = 4, held_out: bool = False) -> Row:
        """Return one row of at most `length` tokens, or of one conversation that is longer.

        Parameters
        ----------
        grid
            Soft tokens a side of each picture.
        held_out
            Draw from the part that training never sees.
        """

        def drawn() -> Row:
            questions = self._conversation(skill, held_out)
            images = [question.image for question in questions if question.image is not None]
            return Row(skill, *self._encode(questions, grid), images)

        return _filled(drawn, length)

    def repeats(self, *, length: int = 192) -> Row:
        """Return random tokens said twice, with loss on the second time: what an induction head forms on.

        Half of the rows draw from the few hundred tokens that recall is asked in, where it forms first.
        """
        row = Row("repeats")
        known = self._recalled if self.rng.random() < 0.5 else range(_FIRST_WORD, len(self.tokenizer))
        said = self.rng.randint(6, min(32, (length - 1) // 2))
        while len(row.ids) + 2 * said + 1 <= length:
            first = [self.rng.choice(known) for _ in range(said)]
            row.ids += [token_id("bos_token"), *first, *first]
            row.labels += [SKIP] * (said + 2) + first[1:]  # the first repeated token could not be foreseen
        return row

    def pairs(self, *, length: int = 192) -> Row:
        """Return pairs of tokens, then their first halves in another order, with loss on the second halves.

        Half of the rows pair the names and things of the recall task. What recall needs and repeats do not
        force: to look a thing up by its content, not by its distance
        (multi-query associative recall, Arora et al. 2023, arXiv:2312.04927).
        """
        row = Row("pairs")
        keys_of, values_of = self._named if self.rng.random() < 0.5 else (self._recalled, self._recalled)
        many = self.rng.randint(2, min(8, self.most_facts))
        while len(row.ids) + 4 * many + 1 <= length:
            keys = self.rng.sample(keys_of, many)
            found = {key: self.rng.choice(values_of) for key in keys}
            row.ids += [token_id("bos_token"), *(token for pair in found.items() for token in pair)]
            row.labels += [SKIP] * (2 * many + 1)
            for key in self.rng.sample(keys, many):
                row.ids += [key, found[key]]
                row.labels += [SKIP, found[key]]
        return row

    def retold(self, *, length: int = 192) -> Row:
        """Return texts of facts that are told again in another order, with loss on the values.

        Between pairs and questions: whose value it is stands some words before it.
        """

        def parts(before: str, value: str) -> tuple[list[int], list[int]]:
            return self._ids(f" {before.rstrip()}"), self._ids(f" {value}.")

        return self._looked_up("retold", recall.retold, parts, length)

    def asked(self, *, length: int = 192) -> Row:
        """Return texts of facts, questions about them, and answers after a piece of the turn between them.

        Between retold facts and conversations: from nothing to the whole of what the chat format puts
        between question and answer, so that what was asked is carried further and further.
        """

        def parts(before: str, value: str) -> tuple[list[int], list[int]]:
            gap = self._turn[: self.rng.randint(0, len(self._turn))]
            return self._ids(f" {before.rstrip()}") + gap, [*self._ids(value), token_id("eot_token")]

        return self._looked_up("asked", recall.asked, parts, length)

    def _looked_up(self, name: str, draw: Any, parts: Any, length: int) -> Row:
        def drawn() -> Row:
            text, again = draw(self.rng, most=self.most_facts)
            ids = [token_id("bos_token"), *self._ids(text)]
            labels = [SKIP] * len(ids)
            for before, value in again:
                said, given = parts(before, value)
                ids += said + given
                labels += [SKIP] * len(said) + given[:-1] + [SKIP]
            return Row(name, ids, labels)

        return _filled(drawn, length)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def batch(self, rows: list[Row], *, grid: int = 4) -> Batch:
        """Return rows as one batch, padded on the right to the longest."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), token_id("pad_token"))
        labels = torch.full((len(rows), longest), SKIP)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            labels[number, : len(row.ids)] = torch.tensor(row.labels)
        inputs = {
            "input_ids": ids, "attention_mask": (ids != token_id("pad_token")).long(),
            "mm_token_type_ids": (ids == token_id("image_token")).long(),
        }  # fmt: skip
        images = [image for row in rows for image in row.images]
        if images:
            inputs["pixel_values"], inputs["image_position_ids"] = stacked_patches(images, grid)
        return Batch(inputs, labels, [row.skill for row in rows])

    def _single(self, words: list[str]) -> list[int]:
        """Return the words that are one token each."""
        cut = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return [ids[0] for ids in cut if len(ids) == 1]

    def _conversation(self, skill: str, held_out: bool) -> list[Question]:
        many = self.rng.choice((1, 1, 2, 4)) if skill in ("names", "numbers") else 1
        if skill == "recall":
            return [recall.ask(self.rng, held_out, most=self.most_facts)]
        return [SKILLS[skill](self.rng, held_out) for _ in range(many)]

    def _encode(self, row: list[Question], grid: int) -> tuple[list[int], list[int]]:
        messages = conversation(row)
        prompt = self.tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        text = prompt + messages[-1]["content"] + "<turn|>\n"
        text = text.replace("<|image|>", "<|image>" + "<|image|>" * grid**2 + "<image|>")
        ids = self._ids(text)
        return ids, self._labels(ids)

    def _labels(self, ids: list[int]) -> list[int]:
        labels, inside = [SKIP] * len(ids), False
        i = 0
        while i < len(ids):
            if ids[i : i + len(self._open)] == self._open:
                i += len(self._open)
                if ids[i : i + len(self._thought)] == self._thought:
                    i += len(self._thought)
                inside = True
                continue
            if inside:
                labels[i] = ids[i]
                inside = ids[i] != token_id("eot_token")
            i += 1
        return labels


def _filled(draw: Callable[[], Row], length: int) -> Row:
    """Return rows drawn one after the other as one, until the next would make it longer than `length`."""
    row = draw()
    while len(row.ids) + len((more := draw()).ids) <= length:
        row.ids += more.ids
        row.labels += more.labels
        row.images += more.images
    return row
