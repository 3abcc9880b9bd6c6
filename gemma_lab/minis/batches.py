"""Questions into tensors: conversations in the chat format, loss on the answers only, pictures as patches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from .tasks import SKILLS, Question
from .tokenizer import token_id

SKIP = -100  # the label that the loss leaves out


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


class Batcher:
    """Draws training batches of one skill.

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
        self._open = tokenizer.encode("<|turn>model\n", add_special_tokens=False)
        self._thought = tokenizer.encode("<|channel>thought\n<channel|>", add_special_tokens=False)

    def draw(self, skill: str, rows: int, *, grid: int = 4) -> dict[str, torch.Tensor]:
        """Return one batch: ``input_ids``, ``labels``, masks and, with pictures, their patches."""
        drawn = [self._row(skill) for _ in range(rows)]
        batch = self._pad([self._encode(row, grid) for row in drawn])
        images = [question.image for row in drawn for question in row if question.image is not None]
        if images:
            pixels, positions = zip(*(patches(image, grid) for image in images), strict=True)
            batch |= {"pixel_values": torch.stack(pixels), "image_position_ids": torch.stack(positions)}
        return batch

    def repeats(self, rows: int, length: int, vocab_size: int) -> dict[str, torch.Tensor]:
        """Return random tokens said twice, with loss on the second time: what an induction head forms on."""
        first = torch.tensor(
            [[self.rng.randrange(375, vocab_size) for _ in range(length)] for _ in range(rows)]
        )
        ids = torch.cat([torch.full((rows, 1), token_id("bos_token")), first, first], 1)
        labels = ids.clone()
        labels[:, : length + 1] = SKIP
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}

    def _row(self, skill: str) -> list[Question]:
        many = self.rng.choice((1, 1, 2, 4)) if skill in ("names", "numbers") else 1
        return [SKILLS[skill](self.rng, False) for _ in range(many)]

    def _encode(self, row: list[Question], grid: int) -> tuple[list[int], list[int]]:
        messages = conversation(row)
        prompt = self.tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        text = prompt + messages[-1]["content"] + "<turn|>\n"
        text = text.replace("<|image|>", "<|image>" + "<|image|>" * grid**2 + "<image|>")
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
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

    def _pad(self, rows: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), token_id("pad_token"))
        labels = torch.full((len(rows), longest), SKIP)
        for number, (row, wanted) in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            labels[number, : len(row)] = torch.tensor(wanted)
        return {
            "input_ids": ids, "labels": labels, "attention_mask": (ids != token_id("pad_token")).long(),
            "mm_token_type_ids": (ids == token_id("image_token")).long(),
        }  # fmt: skip
